"""Picture, sound and labels of a segment belong to the same moment, whatever the container does with time."""

import cv2
import numpy as np
import pytest

from pipeline.dataset.build.tiling import SpanSignals, Tiling, tile
from pipeline.dataset.sources.label_clock import annotations_of
from pipeline.dataset.sources.label_formats import parse
from pipeline.media.container.probe import probe
from pipeline.media.faces.detect import Detection
from pipeline.media.options import ClockSpan, PersonRule
from pipeline.media.read_sound import read_sound
from pipeline.media.read_video import read_video
from pipeline.records import Video
from tests.support.hostile_files import skip_by_edit_list
from tests.support.media_files import counter_picture, read_counter, write_media
from tests.support.media_options import MEL, VIDEO, change_options

NUM_FRAMES, NUM_PREROLL, HOP_S = 30, 8, MEL.hop_s
DURATION_S = 6
PICTURES = [np.tile(counter_picture(i), (4, 1)) for i in range(DURATION_S * 25)]  # square, like a crop
EVEN_MS = [i * 40 for i in range(len(PICTURES))]
UNEVEN_MS = np.cumsum([0] + [(13, 40, 95, 21, 60)[i % 5] for i in range(len(PICTURES) - 1)]).tolist()
BEEPS_S = (0.73, 1.5, 2.205, 3.4, 4.1, 4.9)  # in the sound of every file, 0.1 s each
SCALE_S = 10.0  # labels tell the time of their frame: valence = time / SCALE_S

FILES = {  # extension, times of the pictures, start of the sound, settings
    "constant": ("mp4", EVEN_MS, 0, {}),
    "variable": ("mp4", UNEVEN_MS, 0, {}),
    "variable, aac": ("mp4", UNEVEN_MS, 0, {"sound_codec": "aac"}),
    "variable webm": (
        "webm",
        UNEVEN_MS,
        0,
        {"codec": "libvpx", "sound_codec": "libopus", "video_options": {"deadline": "realtime"}},
    ),
    "picture late": ("mkv", [852 + time_ms for time_ms in UNEVEN_MS], 0, {}),
    "picture late mov": ("mov", [852 + time_ms for time_ms in EVEN_MS], 0, {}),
    "sound late": ("mkv", UNEVEN_MS, 430, {}),
    "transport stream": ("ts", UNEVEN_MS, 0, {"sound_codec": "mp2"}),
    "edit list": ("mp4", EVEN_MS, 0, {"sound_codec": "aac", "video_options": {"bf": "0"}}),
}
SKIPPED = {"edit list": 10}  # pictures that the edit list leaves out: their times are negative


class FakeWholePictureDetector:
    """Takes the whole picture for a face."""

    def detect(self, picture):
        height, width = picture.y.shape
        return [Detection((0.0, 0.0, float(width), float(height)), 0.9)]


def beeps(start_s, rate_hz):
    times_s = start_s + np.arange(round((DURATION_S - start_s) * rate_hz)) / rate_hz
    loud = np.any([(times_s >= beep_s) & (times_s < beep_s + 0.1) for beep_s in BEEPS_S], axis=0)
    return 0.5 * np.sin(2 * np.pi * 1000 * times_s) * loud


def write(name, path):
    """The file, and the true time of each picture, in seconds from the first one that is shown."""
    extension, times_ms, sound_ms, settings = FILES[name]
    rate_hz = 48000 if "sound_codec" in settings else 16000
    audio = {"sound_codec": "flac" if extension == "mp4" else "pcm_s16le"} | settings
    sound = beeps(sound_ms / 1000, rate_hz)
    path = path.with_suffix(f".{extension}")
    write_media(path, PICTURES, times_ms, sound=sound, sound_at_ms=sound_ms, sound_rate_hz=rate_hz, **audio)
    skipped = SKIPPED.get(name, 0)
    if skipped:
        skip_by_edit_list(path, EVEN_MS[skipped] / 1000)
    return path, (np.array(times_ms) - EVEN_MS[skipped]) / 1000


def segments(path, labels, directory, frame_rate_hz):
    """Those of the whole path from a file to its segments, in two spans."""
    options = change_options(VIDEO, frame_rate_hz=frame_rate_hz, crop_px=128, margin=0.0)
    detector = FakeWholePictureDetector()
    probed = probe(path, max_duration_s=100)
    annotations = annotations_of(parse(labels, name="labels"), frame_times_s=probed.frame_times_s)
    for start, stop in [(0, 2 * NUM_FRAMES), (2 * NUM_FRAMES, -1)]:
        first = max(0, start - NUM_PREROLL)
        span, rule = ClockSpan(first, stop), PersonRule("longest")
        video = read_video(path, probed, options, detector=detector, directory=directory, rule=rule, span=span)
        num_frames = len(video.frames)
        sound = read_sound(path, probed, options.decode, MEL, num_clock_frames=num_frames, first_frame=first)
        signals = SpanSignals(video.frames, video.mjpeg_path, sound.mel_db, sound.hop_ok, annotations, first, start)
        stream = Video("clip", path.name, str(path), 0, "")
        yield from tile(stream, signals, Tiling(frame_rate_hz, HOP_S, NUM_FRAMES, NUM_PREROLL))


def numbers_in(segment):
    """The number in the crop of each frame that has one."""
    for row in segment.frames:
        data = np.frombuffer(segment.faces_mjpeg[row["offset"] :][: row["size"]], np.uint8)
        yield read_counter(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)) if row["face_ok"] else None


def onsets_s(segment):
    """When the sound rises to its half, by the segment's own rows."""
    loud = segment.mel_db.astype(np.float32).max(axis=1)
    first_s = round(float(segment.frames["time_s"][0]) / HOP_S) * HOP_S
    return first_s + (1 + np.flatnonzero(np.diff((loud > loud.max() - 6).astype(int)) == 1)) * HOP_S


@pytest.mark.parametrize(
    ("name", "frame_rate_hz"), [*((name, 25.0) for name in FILES), ("variable", 30.0), ("picture late", 30.0)]
)
def test_label_frame_and_sound_are_of_one_moment(name, frame_rate_hz, tmp_path):
    path, shown_s = write(name, tmp_path / "clip")
    skipped = SKIPPED.get(name, 0)
    times_s = probe(path, max_duration_s=100).frame_times_s
    lead_s = times_s[0] - shown_s[skipped]  # lossy encoders begin a little before their sound, and with it the clock
    assert 0 <= lead_s < 0.07
    shown_s = shown_s + lead_s
    rows = [f"{i},{t / SCALE_S:.6f},0" for i, t in enumerate(shown_s[skipped:])]
    found = list(segments(path, "\n".join(["frame,valence,arousal", *rows]), tmp_path, frame_rate_hz))

    num_frames = num_labels = 0
    beeps_found_s = set()
    for segment in found:
        own = slice(segment.num_preroll, None)
        for row, number, label in list(zip(segment.frames, numbers_in(segment), segment.labels, strict=True))[own]:
            time_s = row["time_s"]
            if row["video_ok"]:
                assert number - skipped == row["source_index"]
                assert shown_s[number] <= time_s + 0.0025  # containers and the clock round by up to this
                assert number + 1 == len(shown_s) or time_s < shown_s[number + 1] + 0.001
                num_frames += 1
            if not np.isnan(label[0]):
                after = np.searchsorted(shown_s, time_s).clip(1, len(shown_s) - 1)
                assert abs(label[0] * SCALE_S - time_s) <= (shown_s[after] - shown_s[after - 1]) / 2
                num_labels += 1
        first_s, last_s = segment.frames["time_s"][[0, -1]]
        inside = [b + lead_s for b in BEEPS_S if first_s + 0.03 < b + lead_s < last_s - 0.03]
        if inside:
            onsets = onsets_s(segment)
            for beep_s in inside:
                assert np.abs(onsets - beep_s).min() <= HOP_S
            beeps_found_s.update(inside)
    until_s = shown_s[-1] - 0.1
    assert num_frames >= (until_s - shown_s[skipped]) * frame_rate_hz
    assert num_labels >= 0.97 * (until_s - shown_s[skipped]) * frame_rate_hz
    assert beeps_found_s >= {b + lead_s for b in BEEPS_S if b + lead_s < until_s - 0.1}


@pytest.mark.parametrize("error_s", [0.045, -0.045])
def test_an_error_of_one_frame_would_be_noticed(error_s, tmp_path, monkeypatch):
    monkeypatch.setitem(FILES, "constant", ("mp4", [t + 852 for t in EVEN_MS], 0, {}))
    path, shown_s = write("constant", tmp_path / "clip")
    rows = [f"{i},{(t + error_s) / SCALE_S:.6f},0" for i, t in enumerate(shown_s)]
    found = next(segments(path, "\n".join(["frame,valence,arousal", *rows]), tmp_path, 25.0))
    known = ~np.isnan(found.labels[:, 0])
    assert np.abs(found.labels[known, 0] * SCALE_S - found.frames["time_s"][known]).min() > 0.02
