"""What a file is that cannot be read as media, found by its content and never by its name."""

from __future__ import annotations

import codecs
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

HEAD_BYTES = 4096
MAX_BOXES = 1000  # of an MP4 file, at the top level
MP4_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"moof", b"styp", b"sidx", b"uuid"}
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"  # ids of the two elements that a Matroska file consists of

PLAYLISTS = {  # beginning of a text in lower case, from behind white space and the prolog of XML: its kind
    rb"#extm3u": "HLS or M3U",
    rb"ffconcat version": "concat script",
    rb"file\s+('[^'\n]*'|\S+\.\w+)\s*(\n|$)": "concat script",
    rb"v=0\r?\no=": "SDP session",
    rb"<mpd[\s>]": "DASH",
    rb"<smil[\s>]": "SMIL",
    rb"<playlist[\s>]": "XSPF",
    rb"<asx[\s>]": "ASX",
    rb"\[playlist\]": "PLS",
    rb"\[reference\]": "ASX",
}
OTHER_TEXTS = {
    rb"version https://git-lfs": "a Git LFS pointer: `git lfs pull` fetches the file itself",
    rb"(<!doctype html|<html[\s>])": "a web page",
}
OTHER_FILES = {
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x89PNG\r\n": "a PNG picture",
    b"GIF8": "a GIF picture",
    b"%PDF-": "a PDF document",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"\x7fELF": "a program",
}
PICTURE_BRANDS = (b"heic", b"heix", b"mif1", b"avif")  # of files that are made of the boxes of MP4, too
CONTAINERS = {
    b"FLV\x01": "FLV",
    b"OggS": "Ogg",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "ASF (wmv)",
    b"\x00\x00\x01\xba": "MPEG program stream",
    b"\x00\x00\x01\xb3": "MPEG video",
    b"\x06\x0e\x2b\x34": "MXF",
    b"DKIF": "IVF",
    b"fLaC": "FLAC",
    b"ID3": "MP3",
}


@dataclass(frozen=True, slots=True)
class _Box:
    """A box at the top level of an MP4 file."""

    kind: bytes
    end: int  # behind its last byte, as it claims itself

    def __str__(self) -> str:
        return self.kind.decode("ascii")


def describe_unreadable(path: Path, error: str) -> str:
    """Why a file is no media that can be read, as one line for people.

    Args:
        path: of a file that is not empty.
        error: what FFmpeg reports of it.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    return describe_incomplete(path) or _other_kind(head) or _damaged_container(head, error)


def describe_incomplete(path: Path) -> str:
    """What a container that was cut off or not finished lacks, as far as its own sizes show it; "" if they do not."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        size = file.seek(0, 2)
        if head[4:8] in MP4_BOXES and head[8:12] not in PICTURE_BRANDS:
            return _missing_of_mp4(list(_boxes(file, size)), size)
        promised = _promised_bytes(head)
    if promised <= size:
        return ""
    return f"incomplete: the file has {size} bytes, its header promises {promised}"


def _boxes(file: BinaryIO, size: int) -> Iterator[_Box]:
    """The boxes of an MP4 file until one ends behind the file, or is none."""
    start = 0
    for _ in range(MAX_BOXES):
        file.seek(start)
        header = file.read(16)
        kind = header[4:8]
        if len(header) < 8 or not re.fullmatch(rb"[ -~]{4}", kind):
            return
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        end = start + length if length else size  # 0: to the end of the file
        if end < start + 8:
            return
        yield _Box(kind, end)
        if end >= size:
            return
        start = end


def _missing_of_mp4(boxes: list[_Box], size: int) -> str:
    """What an MP4 file of `size` bytes lacks; "" if nothing, or if its boxes do not show it."""
    if not boxes:  # not even the first has a length that is possible
        return ""
    index = next((box for box in boxes if box.kind == b"moov"), None)
    last = boxes[-1]
    cut = f"the file ends at byte {size}, its {last} box at byte {last.end}" if last.end > size else ""
    if index is None:
        reason = cut or "it was not written to its end, or its end is lost"
        return f"incomplete: the index (moov atom) is missing; {reason}"
    if index.end > size:
        return f"incomplete: the index (moov atom) is cut off; {cut}"
    return f"incomplete: {cut}" if cut else ""


def _promised_bytes(head: bytes) -> int:
    """Size of the whole file by the header of a RIFF (AVI, WAV) or Matroska file; 0 where it gives none."""
    if head[:4] == b"RIFF" and len(head) >= 12:
        (length,) = struct.unpack_from("<I", head, 4)
        return 0 if length == 0xFFFFFFFF else int(length) + 8
    if head[:4] == EBML:
        length, start = _element_length(head, 4)
        at = start + length
        if head[at : at + 4] == SEGMENT:
            length, start = _element_length(head, at + 4)
            return start + length if length else 0
    return 0


def _element_length(data: bytes, at: int) -> tuple[int, int]:
    """The length of an EBML element, 0 if unknown, and where its content begins."""
    first = data[at] if at < len(data) else 0
    num_bytes = 9 - first.bit_length() if first else 1
    number = int.from_bytes(data[at : at + num_bytes], "big") & ((1 << 7 * num_bytes) - 1)
    unknown = (1 << 7 * num_bytes) - 1  # all bits set: a recording that is still being written
    return (0 if number == unknown else number), at + num_bytes


def _other_kind(head: bytes) -> str:
    """What a file is that is no container; "" if that is not known."""
    if not head.strip(b"\0"):
        return "not a media file: it begins with nothing but zero bytes, as a copy or download that was not finished"
    if head[4:8] == b"ftyp" and head[8:12] in PICTURE_BRANDS:
        return "not a media file: a HEIF or AVIF picture"
    for beginning, kind in OTHER_FILES.items():
        if head.startswith(beginning):
            return f"not a media file: {kind}"
    text = _without_prolog(head.removeprefix(b"\xef\xbb\xbf").lstrip().lower())
    for pattern, kind in PLAYLISTS.items():
        if re.match(pattern, text):
            return f"a playlist ({kind}), which is never followed"
    for pattern, kind in OTHER_TEXTS.items():
        if re.match(pattern, text):
            return f"not a media file: {kind}"
    return "not a media file: text" if _is_text(head) else ""


def _without_prolog(text: bytes) -> bytes:
    """A text from behind the declaration of XML and the comments that it begins with.

    Comments are found one by one: a repeated pattern for them is matched in a number of ways that doubles with each.
    """
    text = re.sub(rb"\A<\?xml[^>]*>\s*", b"", text)
    while text.startswith(b"<!--"):
        end = text.find(b"-->", 4)
        if end < 0:
            break
        text = text[end + 3 :].lstrip()
    return text


def _is_text(head: bytes) -> bool:
    try:
        decoded = codecs.getincrementaldecoder("utf-8")().decode(head)  # its last character may be cut
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character.isspace() for character in decoded)


def _damaged_container(head: bytes, error: str) -> str:
    kind = next((kind for beginning, kind in CONTAINERS.items() if head.startswith(beginning)), "")
    if head[4:8] in MP4_BOXES:
        kind = "MP4"
    elif head[:4] == b"RIFF":
        kind = "AVI" if head[8:12] == b"AVI " else "RIFF"
    elif head[:4] == EBML:
        kind = "Matroska (mkv, webm)"
    elif head[:1] == b"\x47" == head[188:189]:
        kind = "MPEG transport stream"
    if kind:
        return f"damaged or incomplete: it begins like a file of the kind {kind}, but cannot be read: {error}"
    return f"not a media file, or of a container that is not allowed: {error}"
