import dataclasses

import numpy as np
import pytest

from iaca_model.config import InputSpec
from pipeline.config.job_sections import SequenceConfig
from pipeline.dataset.format.samples import SampleError
from pipeline.training import sequences
from tests.support.fake_dataset import CROP_PX, NUM_MELS, make_segment
from tests.support.fake_run import small_config

VIEW = SequenceConfig(num_subclips=4, subclip_frames=8, subclip_dilation=2, subclip_stride=8)
SPEC = InputSpec(num_steps=4, num_frames=4, crop_px=CROP_PX, num_mels=NUM_MELS, num_hops=32)
ALL_PHASES = tuple(range(8))


def brightness(pictures):
    return pictures.float().mean((-3, -2, -1))


def expected_brightness(segment, stored):
    return 128 + 100 * segment.labels[stored, 0]


def test_each_own_frame_ends_exactly_one_subclip():
    assert sorted(sequences.end_frames(ALL_PHASES, VIEW).ravel()) == list(range(32))


def test_a_subclip_holds_every_second_frame_backwards_from_its_end():
    segment = make_segment()
    found = sequences.cut(segment, (3,), VIEW, SPEC)
    # step 1 of phase 3 ends at own frame 11, which is stored frame 18 after 7 frames of preroll
    assert np.allclose(brightness(found.frames_BLTHWC)[0, 1], expected_brightness(segment, [12, 14, 16, 18]), atol=2)
    assert np.array_equal(found.target_BL2[0, 1], segment.labels[18])
    assert found.video_ok_BL.all()
    assert found.target_ok_BL.all()


def test_colours_arrive_as_red_green_blue():
    import cv2

    ok, data = cv2.imencode(".png", np.full((CROP_PX, CROP_PX, 3), (10, 20, 200), np.uint8))
    assert ok
    segment = make_segment()
    frames = segment.frames.copy()
    frames["offset"], frames["size"] = 0, len(data)
    blue_green_red = dataclasses.replace(segment, frames=frames, faces_mjpeg=data.tobytes())
    assert tuple(sequences.cut(blue_green_red, (0,), VIEW, SPEC).frames_BLTHWC[0, 0, 0, 0, 0]) == (200, 20, 10)


def test_a_missing_crop_takes_the_nearest_of_its_subclip_the_earlier_of_two():
    last, has_crop = np.array([[7]]), np.ones(8, bool)
    has_crop[[3]] = False
    index, usable = sequences.subclip_frame_indices(last, has_crop, VIEW)
    assert index.tolist() == [[[1, 1, 5, 7]]]
    assert usable.all()


@pytest.mark.parametrize(
    ("missing", "usable"), [((), True), ((1, 3), True), ((1, 3, 5), False), ((7,), False), ((6, 4, 2, 0), True)]
)
def test_a_subclip_needs_its_last_frame_and_half_of_its_subsampled_frames(missing, usable):
    has_crop = np.ones(8, bool)
    has_crop[list(missing)] = False
    assert sequences.subclip_frame_indices(np.array([[7]]), has_crop, VIEW)[1].item() is usable


def test_frames_before_the_segment_count_as_missing():
    # own frame 0 without preroll: only the last of four subsampled frames exists
    video_ok = sequences.cut(make_segment(num_preroll=0), (0, 2, 4), VIEW, SPEC).video_ok_BL
    assert video_ok[:, 0].tolist() == [False, True, True]


def test_a_short_segment_is_padded_on_the_right_with_every_mask_false():
    found = sequences.cut(make_segment(num_frames=11), (2, 3), VIEW, SPEC)
    inside = [[True, True, False, False], [True, False, False, False]]
    for mask in (found.video_ok_BL, found.audio_ok_BL, found.target_ok_BL):
        assert mask.tolist() == inside
    assert not found.frames_BLTHWC[:, 2:].any()
    assert not found.mel_BLSM[:, 2:].any()


def test_sound_ends_with_the_hop_of_the_last_frame():
    segment = make_segment()
    mel = sequences.cut(segment, (3,), VIEW, SPEC).mel_BLSM[0, 1]
    final = 18 * 4  # stored frame 18 at 25 Hz, hops of 10 ms
    assert np.array_equal(mel, segment.mel_db[final - 31 : final + 1].astype(np.float32))


def test_a_frame_sounds_the_same_wherever_its_segment_begins():
    spec = small_config().input_spec
    whole = make_segment(num_frames=64)
    later = dataclasses.replace(
        whole, frames=whole.frames[32:], mel_db=whole.mel_db[32 * 4 :], labels=whole.labels[32:]
    )  # its preroll is the end of what came before
    view = dataclasses.replace(VIEW, num_subclips=8)
    in_whole = sequences.cut(whole, ALL_PHASES, view, dataclasses.replace(spec, num_steps=8))
    in_later = sequences.cut(later, ALL_PHASES, VIEW, spec)
    assert np.array_equal(in_whole.mel_BLSM[:, 4:], in_later.mel_BLSM)


@pytest.mark.parametrize(("num_silent", "audio_ok"), [(4, True), (5, False)])
def test_sound_is_usable_when_half_of_its_hops_are_real(num_silent, audio_ok):
    # the 32 hops up to stored frame 18 belong to frames 10 (its last one) to 18; each silent frame takes four
    segment = make_segment(no_sound=range(18 - num_silent, 18))
    assert sequences.cut(segment, (3,), VIEW, SPEC).audio_ok_BL[0, 1].item() is audio_ok


def test_frames_without_a_label_are_not_targets_and_hold_no_nan():
    found = sequences.cut(make_segment(labelled=False), ALL_PHASES, VIEW, SPEC)
    assert not found.target_ok_BL.any()
    assert not found.target_BL2.any()
    assert found.video_ok_BL.all()


def test_a_face_missing_everywhere_decodes_nothing():
    segment = make_segment(no_face=range(39))
    assert not sequences.cut(segment, ALL_PHASES, VIEW, SPEC).video_ok_BL.any()


def test_a_damaged_crop_names_the_sample_and_the_frame():
    segment = make_segment()
    broken = dataclasses.replace(segment, faces_mjpeg=b"\0" * len(segment.faces_mjpeg))
    with pytest.raises(SampleError, match=r"talker_000000000: the crop of stored frame 1 .* is not a JPEG"):
        sequences.cut(broken, (0,), VIEW, SPEC)


def test_another_crop_size_or_number_of_bands_names_both():
    with pytest.raises(SampleError, match="crop of 16x16 px, the model takes 20"):
        sequences.cut(make_segment(), (0,), VIEW, dataclasses.replace(SPEC, crop_px=20))
    with pytest.raises(SampleError, match="8 mel bands, the model takes 64"):
        sequences.cut(make_segment(), (0,), VIEW, dataclasses.replace(SPEC, num_mels=64))
