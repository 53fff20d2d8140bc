"""What a source has that may be a mistake, by kind: the words for the terminal and for the data-quality page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.dataset.sources.label_fit import TOLERANCE_S
from pipeline.records import LabelProblem, UnusedInput, UnusedKind, VideoRow


@dataclass(frozen=True, slots=True)
class FindingText:
    """How one kind of finding is called."""

    of_one: str  # in a line of the terminal, after the number
    of_several: str
    title: str  # on the page
    advice: str


UNUSED_TEXTS: Mapping[UnusedKind, FindingText] = {  # all but "file": other files are listed in the plan alone
    "labels": FindingText(
        "label file belongs to no video",
        "label files belong to no video",
        "Label files without a video",
        "A label file has the path of its video, without regard to extensions.",
    ),
    "list": FindingText(
        "name in the lists is no video's",
        "names in the lists are no video's",
        "Names in the lists without a video",
        "A list has the path below the source, without the extension.",
    ),
    "manifest": FindingText(
        "row of the manifest names no video",
        "rows of the manifest name no video",
        "Rows of the manifest without a video",
        "A row names the path below the source, with or without the extension, or the video's id.",
    ),
    "sound": FindingText(
        "sound file beside a video is not used (only the sound inside the video is)",
        "sound files beside videos are not used (only the sound inside the videos is)",
        "Sound files beside a video, not used",
        "Only the sound inside the video is used.",
    ),
}
LABEL_TEXTS: Mapping[LabelProblem, FindingText] = {  # all but ""
    "ends_early": FindingText(
        f"label file ends more than {TOLERANCE_S:g} s before its video",
        f"label files end more than {TOLERANCE_S:g} s before their video",
        "Labels that end too early",
        f"Each ends more than {TOLERANCE_S:g} s before its video.",
    ),
    "ends_late": FindingText(
        f"label file ends more than {TOLERANCE_S:g} s after its video",
        f"label files end more than {TOLERANCE_S:g} s after their video",
        "Labels that end too late",
        f"Each ends more than {TOLERANCE_S:g} s after its video.",
    ),
    "counts_from_1": FindingText(
        "label file numbers the frames from 1, but the first frame is 0: its labels are one frame late",
        "label files number the frames from 1, but the first frame is 0: their labels are one frame late",
        "Labels that number the frames from 1",
        "Each numbers the frames from 1, but the first frame is 0: its labels are one frame late.",
    ),
}


def unused_findings(unused: Iterable[UnusedInput]) -> list[tuple[FindingText, list[UnusedInput]]]:
    """The inputs that nothing uses, by kind, in the order of the table; other files are left out."""
    by_kind: dict[UnusedKind, list[UnusedInput]] = {kind: [] for kind in UNUSED_TEXTS}
    for each in unused:
        if each.kind != "file":
            by_kind[each.kind].append(each)
    return [(UNUSED_TEXTS[kind], found) for kind, found in by_kind.items() if found]


def label_findings(rows: Iterable[VideoRow]) -> list[tuple[FindingText, list[VideoRow]]]:
    """The rows whose labels do not fit, by kind, in the order of the table."""
    by_kind: dict[LabelProblem, list[VideoRow]] = {kind: [] for kind in LABEL_TEXTS}
    for row in rows:
        if row.label_problem:
            by_kind[row.label_problem].append(row)
    return [(LABEL_TEXTS[kind], found) for kind, found in by_kind.items() if found]
