"""What a person should know about a source, in lines: copies of a file, what is not used, labels that do not fit."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from pipeline.dataset.sources.finding_texts import FindingText, label_findings, unused_findings
from pipeline.dataset.sources.identical import copies_of
from pipeline.dataset.sources.listing import key_safe
from pipeline.records import UnusedInput, Video, VideoRow, stream_key
from pipeline.records.quantities import names_text

JOIN_OPTIONS = "-map 0:v:0 -map 1:a:0 -c copy"  # of ffmpeg: the picture of the first input, the sound of the second


def source_warnings(streams: Sequence[Video | VideoRow], unused: Iterable[UnusedInput]) -> tuple[str, ...]:
    """Lines on copies of files, on each kind of file, name or row that is not used, and on videos without labels."""
    lines = []
    if copies := copies_of(streams):
        number = sum(len(ids) - 1 for ids in copies)
        verb = "video is a copy" if number == 1 else "videos are copies"
        named = names_text([names_text(ids, separator=" = ") for ids in copies])
        lines.append(f"{number} {verb} of another and in the same group: {named}")
    lines += [_line(text, [each.name for each in found]) for text, found in unused_findings(unused)]
    unlabelled = [stream.key for stream in streams if isinstance(stream, Video) and not stream.labels_uri]
    if unlabelled and len(unlabelled) < len(streams):
        has = "1 video has" if len(unlabelled) == 1 else f"{len(unlabelled)} videos have"
        lines.append(f"{has} no label file: {names_text(unlabelled)}")
    return tuple(lines)


def label_warnings(rows: Sequence[VideoRow]) -> tuple[str, ...]:
    """A line for each kind of label file that does not fit its video, with three names."""
    return tuple(
        _line(text, [stream_key(row.video_id, row.person) for row in found]) for text, found in label_findings(rows)
    )


def sound_warnings(rows: Sequence[VideoRow], unused: Iterable[UnusedInput]) -> tuple[str, ...]:
    """A line with the videos that have no sound, but a sound file beside them, and the command that joins the two."""
    soundless = soundless_videos(rows, unused)
    if not soundless:
        return ()
    (video, sound), number = soundless[0], len(soundless)
    if number == 1:
        what = f"{video} has no sound of its own, and {sound} beside it is not used: put it into the video"
    else:
        names = names_text([video for video, _ in soundless])
        what = f"{number} videos have no sound of their own, and the sound files beside them are not used: {names}; "
        what += "put each into its video"
    inputs = f"-i {shlex.quote(video)} -i {shlex.quote(sound)}"
    command = f"ffmpeg {inputs} {JOIN_OPTIONS} new.mkv"
    return (f"{what}, {command}, and replace both by new.mkv as {PurePosixPath(video).with_suffix('.mkv')}",)


def soundless_videos(rows: Sequence[VideoRow], unused: Iterable[UnusedInput]) -> list[tuple[str, str]]:
    """Each video without a sound stream that has a sound file beside it, sorted: the paths of both."""
    extensions = {row.video_id: PurePosixPath(row.uri).suffix for row in rows if row.container and not row.audio_codec}
    sounds: dict[str, str] = {}
    for each in unused:
        if each.kind == "sound" and (extension := extensions.get(key_safe(each.name))) is not None:
            sounds.setdefault(str(PurePosixPath(each.name).with_suffix(extension)), each.name)
    return sorted(sounds.items())


def _line(text: FindingText, names: Sequence[str]) -> str:
    return f"{len(names)} {text.of_one if len(names) == 1 else text.of_several}: {names_text(names)}"
