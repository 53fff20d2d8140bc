"""What a person should know about a source, in lines: copies of a file, what is not used, labels that do not fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.dataset.sources.identical import copies_of
from pipeline.dataset.sources.label_fit import LABEL_PROBLEMS
from pipeline.records import UnusedInput, Video, VideoRow, stream_key
from pipeline.records.quantities import names_text

_UNUSED = {  # kind -> of one, of several
    "labels": ("label file belongs to no video", "label files belong to no video"),
    "list": ("name in the lists is no video's", "names in the lists are no video's"),
    "manifest": ("row of the manifest names no video", "rows of the manifest name no video"),
    "sound": (
        "sound file beside a video is not used (the sound in the video is)",
        "sound files beside videos are not used (the sound in the videos is)",
    ),
}


def source_warnings(streams: Sequence[Video | VideoRow], unused: Iterable[UnusedInput]) -> tuple[str, ...]:
    """A line for the copies of files, and one for each kind of file, name or row that is not used, with three names."""
    lines = []
    if copies := copies_of(streams):
        number = sum(len(ids) - 1 for ids in copies)
        verb = "video is a copy" if number == 1 else "videos are copies"
        named = names_text([names_text(ids, separator=" = ") for ids in copies])
        lines.append(f"{number} {verb} of another and in the same group: {named}")
    names: dict[str, list[str]] = {}
    for each in unused:
        names.setdefault(each.kind, []).append(each.name)
    for kind, texts in _UNUSED.items():
        if found := names.get(kind):
            lines.append(f"{len(found)} {texts[len(found) > 1]}: {names_text(found)}")
    return tuple(lines)


def label_warnings(rows: Sequence[VideoRow]) -> tuple[str, ...]:
    """A line for each kind of label file that does not fit its video, with three names."""
    lines = []
    for kind, (of_one, of_several) in LABEL_PROBLEMS.items():
        if names := [stream_key(row.video_id, row.person) for row in rows if row.label_problem == kind]:
            what = f"1 label file {of_one}" if len(names) == 1 else f"{len(names)} label files {of_several}"
            lines.append(f"{what}: {names_text(names)}")
    return tuple(lines)
