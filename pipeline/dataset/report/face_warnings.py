"""Warnings about who was followed: videos whose face is rarely found, in which others stand out, or that are cut."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.config import Config
from pipeline.records import VideoRow, VisibleFace, stream_key
from pipeline.records.quantities import count_text, names_text, percent_text

MIN_FACE_FRACTION = 0.5  # of the original frames; less is a person who is rarely found, or another one
MIN_OTHERS_SHARE = 0.1  # of the time; less is a person who passes by
MIN_SIZE_RATIO = 1.5  # of the sides of two faces; less is not clearly larger


def other_faces_share(row: VideoRow) -> float:
    """Share of the video in which a face that is not followed is visible: of the one that stays longest, 0 to 1."""
    longest_s = max((face.stop_s - face.start_s for face in row.faces if not face.num_followed), default=0.0)
    return min(1.0, longest_s / row.duration_s) if row.duration_s else 0.0


def person_warnings(row: VideoRow) -> tuple[str, ...]:
    """Why the followed person of a video may be the wrong one, or nobody; empty where nothing speaks for that."""
    if row.status != "ok":
        return ()
    warnings = []
    if row.face_fraction < MIN_FACE_FRACTION:
        warnings.append(f"the face is found in {percent_text(row.face_fraction)} of the frames")
    followed = [face for face in row.faces if face.num_followed]
    others = [face for face in row.faces if not face.num_followed and _is_staying(face, row)]
    if followed and others:
        num_frames = sum(face.num_followed for face in followed)
        longest = max(others, key=lambda face: face.num_frames)
        if longest.num_frames > num_frames:
            duration = f"{longest.num_frames:,} clock frames, the followed one {num_frames:,}"
            warnings.append(f"another face is visible for longer: {duration}")
        side_px = sum(_side_px(face) * face.num_followed for face in followed) / num_frames
        largest_px = max(_side_px(face) for face in others)
        if largest_px >= MIN_SIZE_RATIO * side_px:
            warnings.append(f"another face is larger: {largest_px:.0f} px, the followed one {side_px:.0f} px")
    return tuple(warnings)


def face_warnings(videos: Sequence[VideoRow]) -> tuple[str, ...]:
    """Warnings about the faces of a dataset: a line for each kind, with the number of videos and three names."""
    used = [row for row in videos if row.status == "ok"]
    rare = [row for row in used if row.face_fraction < MIN_FACE_FRACTION]
    others = [row for row in used if row.face_fraction >= MIN_FACE_FRACTION and person_warnings(row)]
    cut = [row for row in used if row.num_cuts]
    warnings = []
    if rare:
        warnings.append(f"the face is found in less than {MIN_FACE_FRACTION:.0%} of the frames of {videos_text(rare)}")
    if others:
        warnings.append(f"a face that is not followed is larger or visible for longer in {videos_text(others)}")
    if cut:
        number = count_text(sum(row.num_cuts for row in cut), "scene cut")
        warnings.append(f"{number} in {videos_text(cut)}: after a cut the person may be another")
    return tuple(warnings)


def detector_advice(videos: Sequence[VideoRow], config: Config) -> tuple[str, ...]:
    """The line that recommends YuNet where Haar found no face, hardly any, or perhaps another person's; or none."""
    if config.faces.detector != "haar" or config.source.crops:
        return ()
    if not any(row.reason == "no_face" or person_warnings(row) for row in videos):
        return ()
    return ("YuNet finds more faces, fewer of them false: run iaca fetch-model yunet, then use --faces.detector yunet",)


def videos_text(rows: Sequence[VideoRow]) -> str:
    """The number of videos and the first three names, e.g. "2 videos (a, b)"."""
    return f"{count_text(len(rows), 'video')} ({names_text([stream_key(row.video_id, row.person) for row in rows])})"


def _is_staying(face: VisibleFace, row: VideoRow) -> bool:
    """Whether a face is there for a while, and in some frames of that: a false one now and then is not."""
    longest = max(each.num_frames for each in row.faces)
    is_frequent = face.num_frames >= MIN_OTHERS_SHARE * longest
    return is_frequent and face.stop_s - face.start_s >= MIN_OTHERS_SHARE * row.duration_s


def _side_px(face: VisibleFace) -> float:
    return max(face.x1 - face.x0, face.y1 - face.y0)
