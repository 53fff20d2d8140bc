"""A Segment survives the tar, and anything that is not one is refused without being trusted."""

import dataclasses
import io
import pickle
import tarfile

import numpy as np
import pytest

from pipeline.dataset.format.samples import FEATURE_MEMBERS, MEMBERS, SampleError, decode, decode_slice, encode
from pipeline.records import ANNOTATION_DTYPE, FRAME_DTYPE, Segment, SegmentFeatures


@pytest.fixture
def segment() -> Segment:
    frames = np.zeros(5, FRAME_DTYPE)
    frames["time_s"] = np.arange(5) / 25
    frames["face_ok"][2:] = True
    labels = np.full((5, 2), np.nan, np.float32)
    labels[1:] = 0.25
    return Segment(
        video_id="a__b",
        person="left",
        group="a",
        split="train",
        start_s=1.28,
        num_preroll=2,
        frame_rate_hz=25.0,
        hop_s=0.01,
        frames=frames,
        faces_mjpeg=b"\xff\xd8jpeg\xff\xd9" * 3,
        mel_db=np.arange(40, dtype=np.float16).reshape(20, 2),
        labels=labels,
        annotations=np.array([(3, 0.12, 0.5, -0.5)], ANNOTATION_DTYPE),
    )


def tar_of(members: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.type = len(data), kind
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def assert_equal(one: Segment, two: Segment) -> None:
    for field in dataclasses.fields(Segment):
        left, right = getattr(one, field.name), getattr(two, field.name)
        if isinstance(left, np.ndarray):
            assert left.dtype == right.dtype
            assert left.tobytes() == right.tobytes(), field.name
        else:
            assert left == right, field.name


def test_round_trip(segment):
    assert_equal(decode(encode(segment)), segment)
    assert tuple(encode(segment)) == MEMBERS
    assert encode(segment) == encode(decode(encode(segment)))


def test_a_slice_of_a_tar_is_a_sample(segment):
    data = tar_of({f"{segment.key}.{name}": content for name, content in encode(segment).items()})
    assert segment.key == "a__b_left_000001280"
    assert_equal(decode_slice(data), segment)


def test_the_key_has_no_dot(segment):
    assert "." not in segment.key


def test_a_missing_member_is_named(segment):
    members = encode(segment)
    del members["mel.npy"]
    with pytest.raises(SampleError, match=r"lacks mel\.npy"):
        decode(members)


def test_pickles_are_never_loaded(segment, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "canary"), "w"))

    buffer = io.BytesIO()
    np.save(buffer, np.array([Trap()], dtype=object), allow_pickle=True)
    for worker_crash in (buffer.getvalue(), pickle.dumps(Trap())):
        with pytest.raises(SampleError, match=r"mel\.npy is not a plain array"):
            decode(encode(segment) | {"mel.npy": worker_crash})
    assert not (tmp_path / "canary").exists()


def npy_header(shape):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f2", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data", [npy_header((1 << 40,)) + b"1234", npy_header((-2, -1)) + b"1234", b"PK\x03\x04" + bytes(60), b"\x93NUMPY"]
)
def test_an_array_that_promises_what_is_not_there_is_refused(segment, data):
    with pytest.raises(SampleError, match=r"mel\.npy is not a plain array"):
        decode(encode(segment) | {"mel.npy": data})


@pytest.mark.parametrize("shape", [(0, 64), (3, 0)])
def test_empty_arrays_survive(segment, shape):
    empty = dataclasses.replace(segment, mel_db=np.empty(shape, np.float16))
    assert_equal(decode(encode(empty)), empty)
    assert decode(encode(empty)).mel_db.shape == shape


def test_a_sparse_member_is_refused():
    info = tarfile.TarInfo("k.mel.npy")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 29)}
    info.size = 512
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info, io.BytesIO(b"1\n0\n1\n".ljust(512, b"\0")))
    with pytest.raises(SampleError, match="not part of the format"):
        decode_slice(buffer.getvalue())


def test_a_wrong_dtype_is_refused(segment):
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((2, 2)))
    with pytest.raises(SampleError, match="dtype float64, the format says float32"):
        decode(encode(segment) | {"labels.npy": buffer.getvalue()})


@pytest.mark.parametrize("name", ["../../etc/passwd", "/abs", "k.pkl", "k.faces.mjpeg/../x"])
def test_foreign_members_are_refused(name):
    with pytest.raises(SampleError, match="not part of the format"):
        decode_slice(tar_of({name: b"x"}))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(kind):
    with pytest.raises(SampleError, match="not part of the format"):
        decode_slice(tar_of({"k.mel.npy": b""}, kind))


@pytest.mark.parametrize("data", [b"", b"garbage" * 200, b"\0" * 1024])
def test_what_is_no_tar_is_refused(data):
    with pytest.raises(SampleError):
        decode_slice(data)


def test_a_cut_slice_is_refused(segment):
    data = tar_of({f"{segment.key}.{name}": content for name, content in encode(segment).items()})
    with pytest.raises(SampleError):
        decode_slice(data[:1500])


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        (b"{", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "lacks video_id"),
        (b'{"video_id": ""}', "lacks person"),
    ],
)
def test_a_meta_of_another_kind_is_refused(segment, meta, words):
    with pytest.raises(SampleError, match=words):
        decode(encode(segment) | {"meta.json": meta})


def test_a_member_that_stands_there_twice_is_refused(segment):
    data = tar_of({"k.mel.npy": b"one", "other.mel.npy": b"two"})
    with pytest.raises(SampleError, match="stands there twice"):
        decode_slice(data)


def with_features(segment, num_frames=3, video_dim=4, audio_dim=2):
    video, audio = (np.arange(num_frames * dim).reshape(num_frames, dim) for dim in (video_dim, audio_dim))
    ok = np.array([(True, False), (True, True), (False, False), (True, True)])[:num_frames]
    features = SegmentFeatures(video.astype(np.float16), audio.astype(np.float16), ok)
    return dataclasses.replace(segment, faces_mjpeg=b"", mel_db=np.zeros((0, 0), np.float16), features=features)


def test_features_replace_crops_and_sound(segment):
    precomputed = with_features(segment)
    members = encode(precomputed)
    assert tuple(members) == FEATURE_MEMBERS
    read = decode_slice(tar_of({f"{segment.key}.{name}": content for name, content in members.items()}))
    for name in ("video_ND", "audio_ND", "ok_N2"):
        left, right = getattr(read.features, name), getattr(precomputed.features, name)
        assert left.dtype == right.dtype
        assert np.array_equal(left, right)
    assert_equal(dataclasses.replace(read, features=None), dataclasses.replace(precomputed, features=None))
    assert encode(read) == members


def test_half_of_the_features_is_refused(segment):
    members = encode(with_features(segment))
    del members["audio_features.npy"]
    with pytest.raises(SampleError, match=r"lacks audio_features\.npy"):
        decode(members)


def test_features_of_more_frames_than_there_are_are_refused(segment):
    with pytest.raises(SampleError, match=r"shapes \(4, 4\), \(4, 2\) and \(4, 2\); 3 own frames need \(3, D_v\)"):
        decode(encode(with_features(segment, num_frames=4)))
