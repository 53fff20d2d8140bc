"""Features of recordings as the data of a trial: what is read, how it is masked, and what is refused."""

import dataclasses

import pytest
import torch

from iaca_model.corruption import HEALTHY
from pipeline.ablation.measures import missing_audio
from pipeline.ablation.recordings import find_recordings, read_splits, read_trial_data
from pipeline.ablation.trial import Trial, TrialModel, run_trial
from pipeline.ablation.variants import list_variants
from pipeline.config import UsageError, load
from pipeline.config.job_sections import AblateConfig
from tests.support.fake_dataset import make_segment, write_dataset
from tests.support.fake_features import (
    AUDIO_DIM,
    NUM_FRAMES,
    SECTIONS,
    VIDEO_DIM,
    feature_dataset,
    feature_segment,
    small_features,
)

LENGTH, STRIDE = 4, 8
SMALL = {"bases": "jca", "gates": "none,iaca", "extras": "", "updates": 40, "batch_size": 8, "learning_rate": 1e-2}
MODEL = {"temporal": "blstm", "joint_dim": 8, "head_dim": 8, "fusion_dropout": 0.1}


def config(dataset="", **ablate):
    return load(None, {**SECTIONS, "model": MODEL, "ablate": {**SMALL, "dataset": str(dataset), **ablate}})


@pytest.fixture(scope="module")
def holed(tmp_path_factory):
    """Labels, picture or sound are missing here and there, one clip is short of a tile and one has no labels."""
    directory = tmp_path_factory.mktemp("features") / "holed"
    train = [feature_segment("a", "train", 1), feature_segment("b", "train", 2, no_video=range(8, 32))]
    val = [
        feature_segment("c", "val", 3, no_audio=range(16)),
        half_labelled(feature_segment("d", "val", 4)),
        feature_segment("e", "val", 5, labelled=False),
    ]
    return feature_dataset(directory, {"train": train, "val": val}).uri


def half_labelled(segment):
    labels = segment.labels.copy()
    labels[segment.num_preroll + 12 :] = float("nan")
    return dataclasses.replace(segment, labels=labels)


def splits_of(uri, **ablate):
    return read_splits(find_recordings(config(uri, **ablate)))


def test_every_labelled_frame_of_what_is_measured_is_there_once(holed):
    sequences = splits_of(holed)["val"].sequences
    assert splits_of(holed)["val"].counts == {
        "sequences": 2 * STRIDE,
        "videos": 2,
        "labelled_frames": NUM_FRAMES + 12,
    }
    assert (sequences.video_NLD.shape, sequences.audio_NLD.shape) == ((16, LENGTH, VIDEO_DIM), (16, LENGTH, AUDIO_DIM))
    frame_NL = ((sequences.video_NLD[..., 0].float() - 1) * 64).round().int()
    assert sorted(frame_NL[:STRIDE].flatten().tolist()) == list(range(NUM_FRAMES))
    labelled = frame_NL[STRIDE:][sequences.labelled_NL[STRIDE:]]
    assert sorted(labelled.tolist()) == list(range(12))
    assert (sequences.kind_NL2 == HEALTHY).all()


def test_training_has_some_phases_of_each_segment(holed):
    train = splits_of(holed, phases=2)["train"].sequences
    assert len(train) == 2 * 2
    assert train.group_N.tolist() == [0, 0, 1, 1]
    frame_NL = ((train.audio_NLD[..., 0].float() - 1) * 64).round().int()
    assert frame_NL[:2, 0].tolist() == [0, 4]


def test_masks_are_those_of_the_dataset(holed):
    splits = splits_of(holed)
    assert splits["val"].sequences.ok_NL2[:STRIDE, :2, 1].sum() == 0  # frames 0 to 15
    assert splits["val"].sequences.ok_NL2[:STRIDE, 2:].all()
    assert splits["train"].sequences.ok_NL2[STRIDE:, 1:, 0].sum() == 0


def test_only_what_is_whole_is_corrupted_and_swaps_come_from_another_group(holed):
    data = read_trial_data(find_recordings(config(holed)), AblateConfig(corrupted=1.0), seed=0)
    rows = torch.arange(len(data.clean))
    clean, corrupted = data.clean.take(rows), data.corrupted.take(rows)
    touched = corrupted.kind_NL2 != HEALTHY
    assert touched.any()
    assert not (touched & ~clean.ok_NL2.all(-1, keepdim=True)).any()
    assert torch.equal(corrupted.ok_NL2, clean.ok_NL2), "masks do not mark it"
    swap_N = data.corrupted.swap_N
    assert (clean.group_N[swap_N] != clean.group_N).all()
    assert torch.equal(corrupted.video_NLD, data.corrupted.take(rows).video_NLD), "the same each time"


def trial_on(uri, name="jca+iaca", seed=0, **ablate):
    settings = config(uri, **ablate)
    rows = {row.name: row for row in list_variants(settings.ablate)}
    return Trial(rows[name], seed, settings.ablate, settings.model, find_recordings(settings))


def test_a_trial_learns_from_features_and_repeats_itself(tmp_path):
    uri = small_features(tmp_path / "small").uri
    result, again = (run_trial(trial_on(uri, updates=50)) for _ in range(2))
    assert {**result, "cpu_s": 0} == {**again, "cpu_s": 0}
    assert result["ccc"]["clean"]["mean"] > 0.5
    assert result["detection"]["modality"]["gap"] is not None
    assert {name: counts["videos"] for name, counts in result["data"].items()} == {"train": 3, "val": 3, "test": 3}
    assert result["update"] % 5 == 0


def test_what_the_model_is_made_of(holed):
    model = TrialModel(trial_on(holed))
    assert (model.model.fusion.config.video_dim, model.model.fusion.config.audio_dim) == (VIDEO_DIM, AUDIO_DIM)
    assert model.model.has_blocks
    assert model.model.valence[0].out_features == 8
    assert model.model.fusion.config.dropout == 0.1
    assert TrialModel(trial_on(holed, encoder="mlp")).audio[0].in_features == AUDIO_DIM


def test_what_is_absent_and_unlabelled_has_no_influence(holed):
    """Other features where masks are False, and other targets without a label, give the same numbers."""
    trial = trial_on(holed)
    torch.manual_seed(0)
    model = TrialModel(trial)
    clean = splits_of(holed)["val"].sequences.take(torch.arange(2 * STRIDE))
    other = dataclasses.replace(
        clean,
        audio_NLD=clean.audio_NLD.where(clean.ok_NL2[..., 1:], 7.0),
        target_NL2=clean.target_NL2.where(clean.labelled_NL[..., None], 9.0),
    )
    curves = [missing_audio(model.predict, source, 0) for source in (clean, other)]
    assert [point["mean"] for point in curves[0]] == pytest.approx([point["mean"] for point in curves[1]])


def test_the_best_moment_on_val_is_kept(tmp_path):
    uri = small_features(tmp_path / "small").uri
    diverging = run_trial(trial_on(uri, updates=50, learning_rate=3.0))
    assert diverging["update"] < 50
    without = small_features(tmp_path / "without", splits=("train", "test")).uri
    assert run_trial(trial_on(without, updates=10))["update"] == 10


def test_the_digest_covers_the_features_and_the_blocks(holed, tmp_path):
    trial = trial_on(holed)
    assert trial_on(holed, num_train=9, num_steps=9, memory_gb=2.0).digest == trial.digest
    blocks = dataclasses.replace(trial, model=dataclasses.replace(trial.model, temporal="tcn"))
    moved = dataclasses.replace(trial, recordings=dataclasses.replace(trial.recordings, uri="elsewhere"))
    assert moved.digest == trial.digest
    others = {
        blocks.digest,
        trial_on(holed, phases=2).digest,
        trial_on(holed, train_corrupted=0.0).digest,
        trial_on(small_features(tmp_path / "small").uri).digest,
        dataclasses.replace(trial, recordings=None).digest,
    }
    assert len(others | {trial.digest}) == 6


def test_what_cannot_be_learnt_from_is_refused(tmp_path, holed):
    clips = write_dataset(tmp_path / "clips", load(None, SECTIONS), {s: [make_segment(s, s)] for s in ("train", "val")})
    alone = small_features(tmp_path / "alone", count=1)
    for uri, changes, message in (
        (clips.uri, {}, "iaca extract --dataset"),
        (alone.uri, {}, r"the train split of .* has labels of one group only \(train0\)"),
        (holed, {"memory_gb": 1e-6}, r"take 4\.1e-06 GB in each worker process, ablate\.memory_gb allows 1e-06"),
        (small_features(tmp_path / "untested", splits=("val",)).uri, {}, "the train split"),
    ):
        with pytest.raises(UsageError, match=message):
            find_recordings(config(uri, **changes))
    short = {"num_subclips": 2, "subclip_frames": 8, "subclip_dilation": 2, "subclip_stride": 16}
    with pytest.raises(UsageError, match="num_subclips is 2, but a corrupted span has 3 steps or more"):
        find_recordings(load(None, {**SECTIONS, "sequence": short, "ablate": {"dataset": holed}}))
    for changes, message in (
        ({"min_span": 4}, r"has 4 steps or more \(ablate.min_span\) and at most 3 of the 4"),
        ({"min_span": 9, "max_span": 9}, r"has 9 steps or more \(ablate.min_span\) and at most 4 of the 4"),
    ):
        with pytest.raises(UsageError, match=message):
            find_recordings(config(holed, **changes))
    assert find_recordings(config(holed, min_span=3)) == find_recordings(config(holed, min_span=2, max_span=2))
    deaf = small_features(tmp_path / "deaf", modalities="video")
    with pytest.raises(UsageError, match="are of video; an ablation of the fusion needs both"):
        find_recordings(config(deaf.uri))
    with pytest.raises(UsageError, match="the sequence section does not fit"):
        find_recordings(load(None, {**SECTIONS, "sequence": {}, "ablate": {"dataset": holed}}))


def test_a_split_without_faces_is_refused_before_anything_is_trained(tmp_path):
    with_faces = [feature_segment(name, "train") for name in "ab"]
    without_faces = [feature_segment(name, "test", no_video=range(NUM_FRAMES)) for name in "cd"]
    uri = feature_dataset(tmp_path / "d", {"train": with_faces, "test": without_faces}).uri
    with pytest.raises(UsageError, match=r"the test split of .* has 0 labelled frames that show a face"):
        splits_of(uri)
