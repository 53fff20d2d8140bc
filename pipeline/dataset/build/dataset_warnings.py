"""What a person should know of a dataset whose videos are all built, in lines that it keeps from its commit on."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.config import Config
from pipeline.dataset.plan.check_splits import built_split_warnings
from pipeline.dataset.report.face_warnings import detector_advice, face_warnings
from pipeline.dataset.report.silence_warnings import silence_warnings
from pipeline.dataset.sources.source_warnings import label_warnings, sound_warnings
from pipeline.records import UnusedInput, VideoRow


def dataset_warnings(rows: Sequence[VideoRow], unused: Sequence[UnusedInput], config: Config) -> tuple[str, ...]:
    """Lines on splits that lack something, labels that do not fit, sound and faces.

    They depend on the rows and the settings that the dataset was built with, and name none but its own videos
    and sound files beside them: what the source holds besides may change, and may be of somebody who withdrew.
    """
    about_faces = [f"{line}; see quality.html" for line in face_warnings(rows)]
    return (
        *built_split_warnings(rows, config),
        *label_warnings(rows),
        *sound_warnings(rows, unused),
        *silence_warnings(rows),
        *about_faces,
        *detector_advice(rows, config),
    )
