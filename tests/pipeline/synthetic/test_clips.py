"""Synthetic clips: the same bytes for the same seed, labels that agree, corruptions where the sidecar states them."""

import csv
import json
import pickle
from dataclasses import replace

import av
import numpy as np
import pytest

from pipeline.media.ffmpeg_command import find_ffmpeg
from pipeline.synthetic.clip import affect_of, make_clip
from pipeline.synthetic.damage import KINDS
from pipeline.synthetic.talkers import assign_splits
from tests.support.talkers import clip_specs, synthesize

SMALL = {"num_identities": 3, "clips_per_identity": 1, "duration_s": 2.0, "width_px": 160, "height_px": 120}


@pytest.fixture(scope="module")
def talkers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("talkers")
    return folder, synthesize(folder, **SMALL, seed=3)


@pytest.fixture(scope="module")
def corrupted(tmp_path_factory):
    """One clip of each kind of corruption, and the same clip without any: {kind: (pictures, sound, truth)}."""
    folder = tmp_path_factory.mktemp("corrupted")
    clean = clip_specs(**SMALL | {"duration_s": 4.0}, seed=1)[0]
    made = {}
    for kind in ("", *KINDS):
        spec = make_clip(replace(clean, corruptions=(kind,) if kind else ()), folder / (kind or "clean"), find_ffmpeg())
        video, _, _, truth = (folder / (kind or "clean") / name for name in spec.files)
        made[kind] = (*_decode(video), json.loads(truth.read_text()))
    return made


def _decode(video):
    with av.open(str(video)) as container:
        pictures = np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)])
    with av.open(str(video)) as container:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    return pictures.astype(float), sound.astype(float)


def _contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _labels(folder, spec):
    return np.loadtxt(folder / spec.files[1], delimiter=",", skiprows=1)


def test_same_seed_gives_the_same_bytes(talkers, tmp_path):
    synthesize(tmp_path, **SMALL, seed=3)
    assert _contents(tmp_path) == _contents(talkers[0])


def test_another_seed_gives_other_people_and_other_labels(talkers, tmp_path):
    synthesize(tmp_path, **SMALL, seed=4)
    ours, theirs = _contents(talkers[0]), _contents(tmp_path)
    assert ours.keys() == theirs.keys()
    assert not [name for name in ours if name.startswith(("videos", "labels")) and ours[name] == theirs[name]]


def test_layout(talkers):
    folder, specs = talkers
    named = {name for spec in specs for name in spec.files}
    assert _contents(folder).keys() == named | {"manifest.csv", "source.json"}
    assert specs[2].files[0] == "videos/person02_clip0.mp4"


def test_the_video_has_a_frame_for_every_label_and_sound_for_all_of_it(talkers):
    folder, specs = talkers
    with av.open(str(folder / specs[0].files[0])) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert (video.width, video.height, video.average_rate, audio.rate) == (160, 120, 25, 16000)
    pictures, sound = _decode(folder / specs[0].files[0])
    assert len(pictures) == len(_labels(folder, specs[0])) == 50
    assert len(sound) / 16000 == pytest.approx(2.0, abs=0.1)


def test_both_forms_of_the_labels_agree_and_lie_in_range(talkers):
    folder, specs = talkers
    for spec in specs:
        assert (folder / spec.files[1]).read_text().startswith("frame,valence,arousal\n0,")
        assert (folder / spec.files[2]).read_text().startswith("valence,arousal\n")
        rows = _labels(folder, spec)
        np.testing.assert_array_equal(rows[:, 0], np.arange(spec.num_frames))
        np.testing.assert_array_equal(rows[:, 1:], np.loadtxt(folder / spec.files[2], delimiter=",", skiprows=1))
        assert np.abs(rows[:, 1:]).max() <= 1
        np.testing.assert_allclose(rows[:, 1:], affect_of(spec), atol=6e-5)


def test_trajectories_vary_within_and_across_clips():
    clips = [affect_of(spec) for spec in clip_specs(num_identities=16, clips_per_identity=2)]
    assert np.mean([clip.std(axis=0) for clip in clips], axis=0).min() > 0.3
    assert np.std([clip.mean(axis=0) for clip in clips], axis=0).min() > 0.2
    assert abs(np.corrcoef(np.concatenate(clips).T)[0, 1]) < 0.2
    assert np.abs(np.diff(clips[0], axis=0)).max() < 0.15


def test_permuted_labels_are_always_another_clips_and_the_videos_stay(talkers, tmp_path):
    folder, specs = talkers
    for spec in synthesize(tmp_path, **SMALL, seed=3, permute_labels=True):
        assert (tmp_path / spec.files[0]).read_bytes() == (folder / spec.files[0]).read_bytes()
        assert (tmp_path / spec.files[1]).read_bytes() != (folder / spec.files[1]).read_bytes()
    label_files = sorted((tmp_path / spec.files[1]).read_bytes() for spec in specs)
    assert label_files == sorted((folder / spec.files[1]).read_bytes() for spec in specs)


def test_a_clip_can_be_pickled():
    spec = clip_specs(**SMALL)[0]
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_the_set_share_of_clips_is_corrupted_each_kind_in_turn():
    specs = clip_specs(num_identities=20, clips_per_identity=2, corrupted_fraction=0.25)
    kinds = sorted(kind for spec in specs for kind in spec.corruptions)
    assert kinds == sorted(2 * KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_sidecar_states_what_is_corrupted_and_where(corrupted, kind):
    pictures, sound, truth = corrupted[kind]
    clean_pictures, clean_sound, _ = corrupted[""]
    (span,) = truth["corruptions"]
    assert span["kind"] == kind
    assert 0 <= span["start_s"] < span["end_s"] <= 4.0
    frames = np.arange(len(pictures)) / 25
    samples = np.arange(len(sound)) / 16000
    picture_change = np.abs(pictures - clean_pictures).max(axis=(1, 2)) > 60
    sound_change = np.abs(sound - clean_sound) > 0.004
    changed, times = (picture_change, frames) if kind.startswith("face") else (sound_change, samples)
    inside = (times >= span["start_s"] - 0.07) & (times < span["end_s"] + 0.07)  # AAC smears over its window
    assert changed[inside].mean() > 0.3
    assert changed[~inside].mean() < 0.01


def test_covered_frames_are_flagged_within_the_span_only(corrupted):
    for kind, (_, _, truth) in corrupted.items():
        covered = np.array(truth["covered"])
        if not kind.startswith("face"):
            assert not covered.any()
            continue
        (span,) = truth["corruptions"]
        times = np.flatnonzero(covered) / 25
        assert span["start_s"] <= times.min() < times.max() < span["end_s"]
        assert covered.sum() / 25 > 0.4 * (span["end_s"] - span["start_s"])


def test_dropped_sound_is_silent_and_noise_is_loud(corrupted):
    for kind, low, high in (("audio_dropped", 0.0, 1e-3), ("audio_noisy", 0.05, 1.0)):
        _, sound, truth = corrupted[kind]
        (span,) = truth["corruptions"]
        inside = sound[round(16000 * (span["start_s"] + 0.1)) : round(16000 * (span["end_s"] - 0.1))]
        assert low <= inside.std() < high


@pytest.mark.parametrize("num_identities", range(1, 25))
def test_splits_of_identities(num_identities):
    splits = assign_splits(num_identities, seed=0)
    counts = {name: splits.count(name) for name in ("train", "val", "test")}
    assert sum(counts.values()) == num_identities
    assert counts["train"] >= 1
    assert num_identities < 3 or min(counts.values()) >= 1
    assert num_identities < 12 or (counts["test"] >= 4 and counts["val"] >= 2 and counts["train"] >= 6)


def test_the_manifest_keeps_a_person_in_one_split(talkers):
    folder, specs = talkers
    rows = list(csv.DictReader((folder / "manifest.csv").open()))
    assert [row["video"] for row in rows] == [f"{spec.name}.mp4" for spec in specs]
    assert {row["group"]: row["split"] for row in rows} == dict(
        zip([spec.group for spec in specs], assign_splits(3, seed=3), strict=True)
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_identities": 0}, "num_identities\n.*greater than or equal to 1"),
        ({"width_px": 161}, "161x120"),
        ({"duration_s": 0.01}, "no frame"),
        ({"sample_rate_hz": 22050}, "22050"),
        ({"corrupted_fraction": 1.5}, "1.5"),
        ({"num_identities": 1, "permute_labels": True}, "at least 2 clips"),
    ],
)
def test_refuses_what_cannot_be_made(settings, message):
    with pytest.raises(ValueError, match=message):
        clip_specs(**SMALL | settings)


def test_ffmpeg_failure_carries_its_message(tmp_path):
    ffmpeg = tmp_path / "ffmpeg"
    ffmpeg.write_text("#!/bin/sh\necho 'no space in the attic' >&2\nexit 1\n")
    ffmpeg.chmod(0o755)
    with pytest.raises(OSError, match=r"person00_clip0\.mp4: no space in the attic"):
        make_clip(clip_specs(**SMALL)[0], tmp_path, str(ffmpeg))
    assert not list(tmp_path.rglob("*.mp4"))
