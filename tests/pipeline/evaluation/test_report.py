import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from iaca_model.corruption import HEALTHY, KINDS, MISSING, SWAPPED
from pipeline.evaluation import plots, report, scores
from pipeline.evaluation.alignment import align_streams
from pipeline.evaluation.corruption_scores import measure_corruption
from pipeline.evaluation.predictions import ClockPredictions, StreamPredictions
from pipeline.evaluation.smoothing import Windows, smooth
from pipeline.evaluation.subject import EvaluationKey
from pipeline.records import ANNOTATION_DTYPE, VideoRow

VOID = {"meta", "link", "br"}
KEY = EvaluationKey("run-1", "data-1", "test", "none", "0" * 64, "1" * 64)
SETTINGS = [("model", "jca")]
HISTORY = [
    {"step": 0, "attempt": 1, "damaged_checkpoints": []},
    {"step": 1, "epoch": 1, "loss": 2.0, "learning_rate": 1e-3},
    {"step": 1, "epoch": 1, "train_loss": 2.0, "val_ccc_valence": 0.1, "val_ccc_arousal": 0.3, "val_ccc_mean": 0.2},
    {"step": 2, "epoch": 2, "loss": 1.0, "learning_rate": 1e-3},
    {"step": 2, "epoch": 2, "train_loss": 1.0, "val_ccc_valence": 0.5, "val_ccc_arousal": 0.7, "val_ccc_mean": 0.6},
]


class Balance(HTMLParser):
    """Fails on a tag that is closed out of turn, and collects ids."""

    def __init__(self):
        super().__init__()
        self.open, self.ids = [], []

    def handle_starttag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


FRONT, IACA, DCA, GRJCA = (
    ("reliability_video", "reliability_audio"),
    ("video_own", "video_cross", "audio_own", "audio_cross", "modality_video", "modality_audio"),
    ("video_own", "video_cross", "audio_own", "audio_cross"),
    tuple(f"{modality}_{i}" for modality in ("video", "audio") for i in range(3)),
)  # names of weights


def stream(name, seed, gates=("modality_video", "video_cross"), num_annotations=100):
    rng, times = np.random.default_rng(seed), np.arange(100) / 25
    values = rng.uniform(-1, 1, (100, 2)).astype(np.float32)
    face_ok = np.ones(100, bool)
    face_ok[20:40] = False
    weights = {gate: values[:, i % 2] for i, gate in enumerate(gates)}
    rows = np.zeros(num_annotations, ANNOTATION_DTYPE)
    rows["time_s"] = times[:num_annotations]
    rows["valence"], rows["arousal"] = rng.uniform(-1, 1, (2, num_annotations))
    return StreamPredictions(name, "", ClockPredictions(times, values, face_ok, face_ok, face_ok, weights), rows)


def with_valid(of, valid):
    """The same stream with a prediction only where `valid` says so."""
    return dataclasses.replace(of, clock=dataclasses.replace(of.clock, valid=valid))


def corrupted(of):
    """The same stream with its sound missing over 20 frames, and with its picture swapped over 5 and over 25."""
    kinds = np.full((len(of.clock.times_s), 2), HEALTHY, np.uint8)
    kinds[45:65, 1] = MISSING
    kinds[2:7, 0] = kinds[70:95, 0] = SWAPPED
    return dataclasses.replace(of, clock=dataclasses.replace(of.clock, corruption=kinds))


def page(streams, lost=(), history=(), best_step=0, **key):
    columns = align_streams(streams)
    videos = [
        VideoRow(s.video_id, "", "", "", "test", "ok", "", "", "", labelled_frames=len(s.annotations)) for s in streams
    ]
    metrics = {**scores.measure(columns, [*videos, *lost]), **measure_corruption(columns)}
    return report.render(
        dataclasses.replace(KEY, **key), SETTINGS, metrics, columns, streams, history=history, best_step=best_step
    )


@pytest.mark.parametrize("num_videos", [1, 2, 5])
def test_the_page_is_well_formed_stands_alone_and_is_the_same_each_time(num_videos):
    streams = [stream(f"v{i}", i) for i in range(num_videos)]
    text = page(streams, history=HISTORY, best_step=2)
    parser = Balance()
    parser.feed(text)
    assert parser.open == []
    assert len(set(parser.ids)) == len(parser.ids)
    assert text.count('class="tag"') == min(num_videos, 3)
    assert not re.search(r"<script|src=|@import|url\((?!#)", text)
    assert page(streams, history=HISTORY, best_step=2) == text


def test_names_are_text_never_markup():
    name = 'a<img src=x onerror="1">$b$&amp;'
    text = page([stream(name, 0), stream("v1", 1)], run="<b>run</b>")
    assert "<img" not in text
    assert "<b>run</b>" not in text
    assert "&lt;img" in text


def test_a_model_without_gates_and_a_split_without_scored_videos_have_a_page():
    assert "cross-attention" not in page([stream("v0", 0, gates=())])
    assert "cross-attention" in page([stream("v0", 0)])
    assert page([stream("v0", 0, num_annotations=0)]).count("–") > 3


RELIABILITY, WEIGHT, CROSS = (
    "reliability of each modality, judged before attention",
    "weight of each modality",
    "weight of what each learns from the other (cross-attention)",
)  # titles of panels


@pytest.mark.parametrize(
    ("gates", "titles"),
    [
        ((), []),
        (FRONT, [RELIABILITY]),
        (IACA, [WEIGHT, CROSS]),
        (IACA + FRONT, [RELIABILITY, WEIGHT, CROSS]),
        (DCA, [CROSS]),
        (DCA + FRONT, [RELIABILITY, CROSS]),
        (GRJCA, []),
        (GRJCA + FRONT, [RELIABILITY]),
    ],
)
def test_the_front_is_shown_above_the_gates_and_the_page_names_only_what_is_shown(gates, titles):
    of = stream("v0", 0, gates=gates)
    assert [panel.title for panel in plots.weight_panels(of.clock)] == titles
    picture = plots.over_time(of)
    offsets = [picture.find(f">{title}<") for title in titles]
    assert -1 not in offsets
    assert offsets == sorted(offsets)
    text = page([of])
    assert len(re.findall(">(?:reliability|weight) of [^<]*<", text)) == len(titles)
    assert ("how reliable each modality is" in text) == ("<b>Reliability</b>" in text) == (RELIABILITY in titles)
    assert ("how much each modality counts" in text) == ("between video and audio" in text) == (WEIGHT in titles)
    assert ("learns from the other" in text) == ("attending to the other" in text) == (CROSS in titles)
    assert ("is read from the reliability" in text) == (RELIABILITY in titles and WEIGHT in titles)
    assert ("Their weights are not drawn" in text) == ("video_0" in gates)
    assert ('--video)"></i>video<' in text) == bool(titles), "the key has the colours of the curves"


def test_corrupted_clips_are_pointed_out_with_their_share_and_how_well_the_verdicts_detect_them():
    streams = [corrupted(stream(f"v{i}", i, gates=FRONT + IACA)) for i in range(2)]
    text = page(streams, corrupt_modality=0.25)
    assert "with a chance of 0.25 for each segment, a span of one modality" in text
    assert "The video is corrupted in 30.0% of the scored frames, the sound in 20.0%." in text
    measured = measure_corruption(align_streams(streams))["detection"]
    for name, title in (
        ("reliability", "reliability, before attention"),
        ("modality", "modality gate, after attention"),
    ):
        values = (measured[name][measure] for measure in (*KINDS, "all", "gap"))
        cells = "".join(f"<td>{report.format_ccc(value)}</td>" for value in values)
        assert f"<tr><td>{title}</td>{cells}</tr>" in text
    assert text.index("reliability, before attention") < text.index("modality gate, after attention")
    assert "judged before attention, on features as they come" in text
    assert 'class="area corrupted"' in text
    alone = page([corrupted(stream("v0", 0, gates=FRONT))], corrupt_modality=0.25)
    assert "reliability, before attention" in alone
    assert "modality gate" not in alone
    assert "on features as they come" not in alone
    without = page([corrupted(stream("v0", 0, gates=()))], corrupt_modality=0.25)
    assert "it has no verdict that could be measured" in without
    assert "corrupted" not in page([stream("v0", 0)]).partition("</style>")[2]


def test_corrupted_spans_are_drawn_over_the_strips_with_their_kind_where_it_has_room():
    of = stream("v0", 0)
    plain, picture = plots.over_time(of), plots.over_time(corrupted(of))
    assert "var(--corrupted)" not in plain
    assert picture.count("fill: var(--corrupted)") > 3 * 3, "behind every panel and in the strips"
    assert [len(re.findall(f">{kind}<", picture)) for kind in KINDS] == [1, 0, 1]
    assert picture.count("var(--missing)") == plain.count("var(--missing)"), "what is missing is shown as before"


def test_a_lost_video_is_listed_with_its_reason_and_a_split_that_was_learnt_from_is_pointed_out():
    streams = [stream("v0", 0), stream("v1", 1)]
    lost = VideoRow("v2", "", "", "", "val", "rejected", "faces", "no_face", "a face in <0%", labelled_frames=7)
    text = page(streams, lost=[lost], split="val")
    assert "no_face" in text
    assert "a face in &lt;0%" in text
    assert "3: 2 used, 1 rejected" in text
    assert "207: 200 scored, 7 lost" in text
    assert "The checkpoint was chosen on this split" in text
    assert "The checkpoint was chosen" not in page(streams)


@pytest.mark.parametrize(("split", "tuned_on", "flatters"), [("val", "val", True), ("test", "val", False)])
def test_raw_and_smoothed_scores_stand_side_by_side_and_windows_tuned_on_what_is_scored_are_pointed_out(
    split, tuned_on, flatters
):
    windows = Windows(0.4, 1.2, tuned_on)
    streams = [smooth(stream(f"v{i}", i), windows, 25.0) for i in range(2)]
    metrics = scores.measure(align_streams(streams), [])
    raw, filtered = metrics["ccc"]["pooled"], metrics["ccc_smoothed"]["pooled"]
    assert raw["mean"] != filtered["mean"]
    metrics["smoothing"] = dataclasses.asdict(windows)
    text = report.render(
        dataclasses.replace(KEY, split=split), SETTINGS, metrics, align_streams(streams), streams, (), 0
    )
    for name, ccc in (("raw", raw), ("smoothed", filtered)):
        cells = "".join(f"<td>{report.format_ccc(ccc[key])}</td>" for key in ("valence", "arousal", "mean"))
        assert f"<tr><td>{name}</td>{cells}" in text
    assert "0.40 s for valence, 1.20 s for arousal" in text
    assert ("so the smoothed numbers flatter the model" in text) is flatters
    assert "smoothed" not in page([stream("v0", 0)])


def test_a_constant_prediction_is_pointed_out():
    flat = stream("v0", 0)
    flat = dataclasses.replace(flat, clock=dataclasses.replace(flat.clock, values=np.zeros((100, 2), np.float32)))
    assert "valence and arousal is constant" in page([flat])


def curve_lengths(picture, colour, *, dotted):
    """The number of points of every line of a colour."""
    paths = re.findall(r'<path d="([^"]*)"[^>]*style="([^"]*)"', picture)
    chosen = [d for d, style in paths if f"stroke: var(--{colour})" in style and "fill: none" in style
              and ("stroke-dasharray" in style) == dotted]  # fmt: skip
    return [len(re.findall("[ML] ", d)) for d in chosen]


def test_the_curves_leave_out_the_frames_that_have_no_prediction():
    valid = np.arange(100) >= 12
    picture = plots.over_time(with_valid(stream("v0", 0), valid))
    for colour in ("valence", "arousal"):
        assert curve_lengths(picture, colour, dotted=False) == [88]
        assert curve_lengths(picture, colour, dotted=True) == [12]
    assert set(curve_lengths(picture, "video", dotted=False)) == {88}, "weights of the gates, too"
    assert "<pattern" in picture
    assert "<pattern" not in plots.over_time(with_valid(stream("v0", 0), np.ones(100, bool)))


def test_the_page_has_the_time_of_the_first_prediction_and_how_the_frames_before_it_are_scored():
    late, later = (with_valid(stream(name, 0), np.arange(100) >= first) for name, first in (("v0", 10), ("v1", 12)))
    text = page([late, later])
    assert "because the model needs 0.40 to 0.48 s of face or sound first" in text
    assert "Their frames are scored all the same" in text
    assert "the first prediction comes after 0.40 to 0.48 s" in text
    assert "200: 200 scored" in text
    at_once = page([with_valid(stream("v0", 0), np.ones(100, bool))])
    assert "Hatched" not in at_once
    assert "no prediction" not in at_once
    assert "the first prediction comes" not in at_once


def test_the_training_is_shown_with_the_step_that_was_evaluated_where_the_run_has_a_history():
    text = page([stream("v0", 0)], history=HISTORY, best_step=2)
    assert "those of step 2, after epoch 2, with the best mean" in text
    assert "after each of the 2 epochs" in text
    assert "How it was trained" not in page([stream("v0", 0)])
    assert "How it was trained" not in page([stream("v0", 0)], history=HISTORY[:2])


def test_the_training_curves_have_a_point_per_step_and_epoch_and_a_line_at_the_best_step():
    steps = [{"step": i + 1, "loss": 2.0 - 0.1 * (i % 2)} for i in range(30)]
    epochs = [{**HISTORY[2], "step": 10}, {**HISTORY[4], "step": 20}, {**HISTORY[2], "step": 30}]
    loss, ccc = plots.training_loss(epochs, steps), plots.validation_ccc(epochs, best_step=20)
    assert curve_lengths(loss, "muted", dotted=False) == [30]
    assert curve_lengths(loss, "ink", dotted=False) == [3]
    for name in ("valence", "arousal", "ink"):
        assert curve_lengths(ccc, name, dotted=False) == [3]
    assert curve_lengths(ccc, "best", dotted=False) == [2]


def test_pictures_take_the_colours_of_the_page():
    picture = plots.over_time(stream("v0", 0))
    assert "var(--valence)" in picture
    assert "#0a0a" not in picture
    assert not re.search(r"#[0-9a-f]{6}", picture)


def test_spans_are_the_runs_of_selected_frames():
    times = np.arange(6) / 10
    found = plots.spans(times, np.array([True, True, False, False, True, True]))
    assert np.allclose(found, [(0.0, 0.2), (0.4, 0.6)])
    assert plots.spans(times, np.zeros(6, bool)) == []
