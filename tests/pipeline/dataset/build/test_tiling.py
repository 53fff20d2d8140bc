import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.build.tiling import FLOOR_DB, SpanSignals, Tiling, num_hops, tile
from pipeline.dataset.format.samples import encode
from pipeline.records import ANNOTATION_DTYPE, FRAME_DTYPE, Annotations, Video

VIDEO = Video("talk", "talk.mp4", "/talk.mp4", 1, "1-0", person="left", group="anna", split="train")


def signals(tmp_path, num_frames, rate_hz=25.0, hop_s=0.01, faceless=(), annotation_times=()):
    """Frame i has the face bytes `<i>;`, hop j the mel value j, and annotation k the valence k / 100."""
    frames = np.zeros(num_frames, FRAME_DTYPE)
    frames["time_s"], frames["source_index"] = np.arange(num_frames) / rate_hz, np.arange(num_frames)
    frames["video_ok"] = True
    data = b""
    for i in range(num_frames):
        if i not in faceless:
            frames["offset"][i], frames["size"][i], frames["face_ok"][i] = len(data), len(f"{i};"), True
            data += f"{i};".encode()
    path = tmp_path / "faces.mjpeg"
    path.write_bytes(data)
    hops = num_hops(num_frames, rate_hz, hop_s)
    mel = np.arange(hops, dtype=np.float16)[:, None].repeat(2, axis=1)
    rows = np.zeros(len(annotation_times), ANNOTATION_DTYPE)
    rows["time_s"], rows["valence"] = annotation_times, np.arange(len(rows)) / 100
    return SpanSignals(frames, path, mel, np.ones(hops, bool), Annotations(rows))


def face_of(segment, frame):
    row = segment.frames[frame]
    return segment.faces_mjpeg[row["offset"] : row["offset"] + row["size"]].decode()


def test_segments_tile_the_clock_and_each_frame_finds_its_face(tmp_path):
    followed = replace(signals(tmp_path, 25, faceless=(3, 9, 10)), followed="left by anchor")
    segments = list(tile(VIDEO, followed, Tiling(25.0, 0.01, 10, 4)))
    assert [segment.start_s for segment in segments] == [0.0, 0.4, 0.8]
    assert [segment.num_frames for segment in segments] == [10, 10, 5]
    assert {segment.followed for segment in segments} == {"left by anchor"}
    assert [segment.key for segment in segments] == [
        "talk_left_000000000",
        "talk_left_000000400",
        "talk_left_000000800",
    ]
    for segment in segments:
        assert segment.num_preroll == 4
        for position, frame in enumerate(segment.frames):
            shown = "" if frame["source_index"] in (-1, 3, 9, 10) else f"{frame['source_index']};"
            assert face_of(segment, position) == shown
    assert segments[1].frames["source_index"].tolist() == list(range(6, 20))
    assert segments[1].faces_mjpeg == "".join(f"{i};" for i in range(6, 20) if i not in (9, 10)).encode()


def test_before_the_first_segment_there_is_nothing(tmp_path):
    first = next(tile(VIDEO, signals(tmp_path, 12, annotation_times=[0.0]), Tiling(25.0, 0.01, 10, 4)))
    before = first.frames[:4]
    assert before["time_s"] == pytest.approx([-0.16, -0.12, -0.08, -0.04])
    assert not (before["video_ok"] | before["face_ok"] | before["audio_ok"]).any()
    assert np.isnan(before["box"]).all()
    assert before["source_index"].tolist() == [-1] * 4
    assert (first.mel_db[:16] == FLOOR_DB).all()
    assert (first.mel_db[16:, 0] == np.arange(40)).all()
    assert np.isnan(first.labels[:4]).all()


def test_a_segment_without_a_face_has_no_bytes(tmp_path):
    segments = list(tile(VIDEO, signals(tmp_path, 20, faceless=range(8, 20)), Tiling(25.0, 0.01, 10, 2)))
    assert segments[1].faces_mjpeg == b""
    assert not segments[1].frames["size"].any()


def test_audio_ok_follows_the_hops(tmp_path):
    stuff = signals(tmp_path, 20)
    stuff.hop_ok[20:] = False  # the sound ends at 0.2 s
    ok = np.concatenate([s.frames["audio_ok"][2:] for s in tile(VIDEO, stuff, Tiling(25.0, 0.01, 10, 2))])
    assert ok.tolist() == [True] * 5 + [False] * 15


def test_windows_ending_at_any_frame_find_their_sound(tmp_path):
    rate, hop, preroll = 30.0, 0.01, 31
    for segment in tile(VIDEO, signals(tmp_path, 150, rate), Tiling(rate, hop, 64, preroll)):
        assert len(segment.mel_db) == num_hops(len(segment.frames), rate, hop)
        for frame in range(preroll, len(segment.frames)):
            row = round((frame - preroll) / rate / hop)
            time = segment.frames["time_s"][frame - preroll]
            if time >= 0:
                assert abs(segment.mel_db[row, 0] * hop - time) <= hop


@settings(max_examples=40, deadline=None)
@given(
    num_frames=st.integers(1, 70),
    size=st.integers(1, 40),
    preroll=st.integers(0, 12),
    rate=st.sampled_from([25.0, 30.0, 29.97]),
    times=st.lists(st.floats(0, 3), unique=True, max_size=12),
)
def test_every_frame_and_annotation_is_in_exactly_one_segment(tmp_path_factory, num_frames, size, preroll, rate, times):
    edges = [n * size / rate for n in range(5)]  # annotations on the seams too
    times = sorted({t for t in [*times, *edges] if t < num_frames / rate})
    stuff = signals(tmp_path_factory.mktemp("tile"), num_frames, rate, annotation_times=times)
    segments = list(tile(VIDEO, stuff, Tiling(rate, 0.01, size, preroll)))
    own = np.concatenate([s.frames["source_index"][preroll:] for s in segments])
    assert own.tolist() == list(range(num_frames))
    assert np.concatenate([s.annotations["time_s"] for s in segments]).tolist() == times


@settings(max_examples=40, deadline=None)
@given(
    num_frames=st.integers(2, 90),
    size=st.integers(1, 20),
    preroll=st.integers(0, 12),
    cut=st.integers(1, 8),
    rate=st.sampled_from([25.0, 30.0]),
    times=st.lists(st.floats(0, 4), unique=True, max_size=12),
)
def test_spans_give_the_segments_of_the_whole(tmp_path_factory, num_frames, size, preroll, cut, rate, times):
    folder = tmp_path_factory.mktemp("spans")
    times = sorted(t for t in {*times, cut * size / rate} if t < num_frames / rate)
    faceless = range(7, num_frames, 5)
    tiling = Tiling(rate, 0.01, size, preroll)
    stuff = signals(folder, num_frames, rate, faceless=faceless, annotation_times=times)
    stuff.hop_ok[10:90] = False
    seam = cut * size
    parts = (
        [part_of(stuff, rate, 0, seam), part_of(stuff, rate, seam, num_frames, preroll)]
        if seam < num_frames
        else [stuff]
    )
    spans = [segment for part in parts for segment in tile(VIDEO, part, tiling)]
    whole = list(tile(VIDEO, stuff, tiling))
    assert [encode(segment) for segment in spans] == [encode(segment) for segment in whole]


def part_of(stuff, rate, start, stop, preroll=0):
    """What a span's worker has of the whole: its frames and those before them, and their sound."""
    first = max(0, start - preroll)
    hops = slice(round(first / rate / 0.01), math.ceil(stop / rate / 0.01 - 1e-9))
    return replace(
        stuff,
        frames=stuff.frames[first:stop],
        mel_db=stuff.mel_db[hops],
        hop_ok=stuff.hop_ok[hops],
        first_frame=first,
        start_frame=start,
    )
