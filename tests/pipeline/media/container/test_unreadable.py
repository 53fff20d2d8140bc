"""What is reported of a file that cannot be read: what is missing, or what it is instead."""

import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.media.container.probe import probe
from pipeline.media.container.unreadable import describe_incomplete, describe_unreadable
from pipeline.records import Rejection
from tests.support import hostile_files as hostile

MP4 = b"\0\0\0\x14ftypisom\0\0\0\0isom"


def detail_of(path):
    with pytest.raises(Rejection) as caught:
        probe(path, max_duration_s=100)
    assert caught.value.reason == "unreadable"
    assert "\n" not in caught.value.detail
    return caught.value.detail


def written(path, data):
    path.write_bytes(data)
    return path


def test_the_three_have_sentences_of_their_own(tmp_path):
    """By content: all have the same ending."""
    cut = hostile.cut(0.5)(tmp_path / "cut.mp4")
    assert detail_of(cut).startswith("incomplete: the index (moov atom) is missing; the file ends at byte ")
    text = written(tmp_path / "text.mp4", b"Recorded on Monday, see folder 2.\n")
    assert detail_of(text) == "not a media file: text"
    playlist = written(tmp_path / "playlist.mp4", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/a.ts\n")
    assert detail_of(playlist) == "a playlist (HLS or M3U), which is never followed"


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"ffconcat version 1.0\nfile a.mp4\n", "a playlist (concat script), which"),
        (b"file 'a.mp4'\nfile 'b.mp4'\n", "a playlist (concat script), which"),
        (b"\xef\xbb\xbf#EXTM3U\r\na.mp4\r\n", "a playlist (HLS or M3U), which"),
        (b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n", "a playlist (SDP session), which"),
        (b"<?xml version='1.0'?>\n<!-- x -->\n<MPD xmlns='urn'></MPD>", "a playlist (DASH), which"),
        (b"[playlist]\nFile1=a.mp4\n", "a playlist (PLS), which"),
        (b"<ASX version='3'></ASX>", "a playlist (ASX), which"),
        (b"file this under Monday\n", "not a media file: text"),
        (b"\n<!DOCTYPE html>\n<html><body>403 Forbidden</body></html>", "not a media file: a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "not a media file: a Git LFS pointer"),
        (("\u017elu\u0165ou\u010dk\u00fd " * 1000).encode(), "not a media file: text"),
        (("x" + "\u017e" * 4000).encode(), "not a media file: text"),  # a character of two bytes where the head ends
        (b"\xff\xd8\xff\xe0" + bytes(99), "not a media file: a JPEG picture"),
        (b"PK\x03\x04" + bytes(99), "not a media file: a ZIP archive"),
        (b"\0\0\0\x18ftypheic" + bytes(99), "not a media file: a HEIF or AVIF picture"),
        (bytes(100_000), "not a media file: it begins with nothing but zero bytes"),
        (np.random.default_rng(1).bytes(9000), "not a media file, or of a container that is not allowed: "),
        (b"OggS\xff" + bytes(50), "damaged or incomplete: it begins like a file of the kind Ogg, but cannot be read: "),
        (MP4, "incomplete: the index (moov atom) is missing; it was not written to its end"),
        (MP4 + struct.pack(">I", 0) + b"mdat" + bytes(99), "incomplete: the index (moov atom) is missing; it was not"),
        (
            MP4 + struct.pack(">I4sQ", 1, b"mdat", 5000) + bytes(9),
            "the file ends at byte 45, its mdat box at byte 5020",
        ),
        (MP4 + struct.pack(">I4s", 3, b"mdat") + bytes(9), "incomplete: the index (moov atom) is missing"),
        (b"\0\0\0\4ftypisom" + bytes(9), "damaged or incomplete: it begins like a file of the kind MP4"),
        (b"\0\0\0\5mdat", "damaged or incomplete: it begins like a file of the kind MP4"),
        (struct.pack(">I4sQ", 1, b"mdat", 2), "damaged or incomplete: it begins like a file of the kind MP4"),
        (b"RIFF" + struct.pack("<I", 900) + b"AVI LIST", "incomplete: the file has 16 bytes, its header promises 908"),
    ],
)
def test_it_is_known_by_its_content(data, detail, tmp_path):
    assert detail in describe_unreadable(written(tmp_path / "file.mp4", data), "Invalid data")
    assert detail in detail_of(written(tmp_path / "file.mkv", data))


COMMENTS = b"<!---->" * 500


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"x", "not a media file: text"),
        (b"<!--", "not a media file: text"),
        (b"<!-- > -- -> \n <MPD> -->\n<MPD xmlns='urn'>", "a playlist (DASH), which is never followed"),
        (b"\n<smil>", "a playlist (SMIL), which is never followed"),
        (b"<html>", "not a media file: a web page"),
    ],
)
def test_many_comments_take_no_time(data, detail, tmp_path):
    """A pattern that is tried on every way to part them would end with the time of the process that probes."""
    path = written(tmp_path / "file.mp4", b"<?xml version='1.0'?>" + COMMENTS + data)
    with pytest.raises(Rejection) as caught:
        probe(path, max_duration_s=100, timeout_s=30)
    assert (caught.value.reason, caught.value.detail) == ("unreadable", detail)


def test_a_matroska_file_that_was_cut_gives_both_sizes(tmp_path):
    path = hostile.clip(tmp_path / "clip.mkv")
    size = path.stat().st_size
    assert describe_incomplete(path) == ""
    path.write_bytes(path.read_bytes()[:100])
    assert detail_of(path) == f"incomplete: the file has 100 bytes, its header promises {size}"


def test_nothing_is_missing_of_what_is_whole(tmp_path):
    mjpeg = {"codec": "mjpeg", "pix_fmt": "yuvj420p", "time_base": Fraction(1, 25)}
    for name, settings in {
        "a.mp4": {},
        "a.mov": {},
        "a.mkv": {},
        "a.webm": {"codec": "libvpx"},
        "a.avi": mjpeg,
    }.items():
        path = hostile.clip(tmp_path / name, **settings)
        assert describe_incomplete(path) == "", name


BEGINNINGS = [b"", b"\0\0\0\1mdat", b"RIFF", b"\x1a\x45\xdf\xa3", b"<?xml ", b"<!--", b"file ", b"\xef\xbb\xbf", MP4]


@pytest.fixture(scope="module")
def any_file(tmp_path_factory):
    return tmp_path_factory.mktemp("any") / "file"


@given(
    beginning=st.sampled_from([*BEGINNINGS, *(b"\0\0\0" + bytes([length]) + b"moov" for length in range(9))]),
    rest=st.binary(max_size=64),
)
def test_any_beginning_is_described_without_an_error(any_file, beginning, rest):
    if beginning + rest:  # of empty files nothing is asked
        detail = describe_unreadable(written(any_file, beginning + rest), "Invalid data")
        assert detail
        assert "\n" not in detail


def test_any_bytes_are_described_without_an_error(tmp_path):
    """Damage of every kind at every place: one line each, and never an exception."""
    clips = [hostile.clip(tmp_path / name).read_bytes() for name in ("clip.mp4", "clip.mkv")]
    random = np.random.default_rng(0)
    for beginning in (*clips, b"RIFF\0\0\0\0AVI ", MP4 + b"\0\0\0\x10"):
        for _ in range(100):
            data = bytearray(beginning[: random.integers(1, len(beginning) + 1)])
            for offset in random.integers(0, len(data), 5):
                data[offset] = random.integers(0, 256)
            detail = describe_unreadable(written(tmp_path / "damaged", bytes(data)), "Invalid data")
            assert detail
            assert "\n" not in detail
