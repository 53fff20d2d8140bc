"""The person followed through a whole video: found on its keyframes, recognised again in any stretch of it."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.media.decode import Picture, picture_size
from pipeline.media.faces.cuts import same_scene
from pipeline.media.faces.detect import Box, Detection, Detector, area
from pipeline.media.faces.track import Choice, Track, alike, by_rule, distance, near
from pipeline.media.ffmpeg_command import compile_pipe, open_input
from pipeline.media.ffmpeg_process import Child, NotePipe
from pipeline.records import AnchorPoint, Probe, Rejection

LONG_SIDE_PX = 640  # of the pictures that are searched
MIN_STEP_S = 0.5  # where each picture is a keyframe, not each is searched
LONGEST_STEP_S = 10.0  # a sighting counts until the next keyframe, but no longer than this
NEARBY_S = 1.0  # how fast a sighting loses its say with time
MAX_DISTANCE = 1.0  # of a track from the anchor: face sides between centres, plus octaves between sizes
_NOTE = re.compile(r"frame:\d+ +pts:(-?\d+) ")


@dataclass(slots=True)
class _Look:
    """One keyframe: the faces on it, and whether it shows the scene of the keyframe before."""

    faces: list[Detection]
    same_scene: bool


def scan_people(
    path: Path,
    probe: Probe,
    *,
    detector: Detector,
    ffmpeg: str,
    choose: Choice,
    min_score: float,
    timeout_s: float,
) -> tuple[AnchorPoint, ...]:
    """Where the person that `choose` means is on the keyframes of `path`; empty when there is nobody.

    Spans of the video that are read with this anchor follow the same person, whoever reads them. People are told
    apart by place and size alone: somebody near the place where a person was last seen is that person, and so is the
    only one left over while the scene stays the same. Two people of one size who change places between two keyframes
    cannot be told from two who stay.

    Raises:
        Rejection: ("decode", "timeout").
    """
    width_px, height_px = picture_size(probe)
    shrink = min(1.0, LONG_SIDE_PX / max(width_px, height_px))
    size_px = max(2, int(width_px * shrink) // 2 * 2), max(2, int(height_px * shrink) // 2 * 2)
    shown_us = array("q")
    looks: list[_Look] = []
    notes = NotePipe(lambda line: _note(line, shown_us))
    with Child(_command(path, probe, notes.url, size_px, ffmpeg), timeout_s=timeout_s, notes=notes) as child:
        before = None
        for picture in _pictures(child, size_px):
            faces = [face for face in detector.detect(picture) if face.score >= min_score]
            looks.append(_Look(faces, before is not None and same_scene(before, picture)))
            before = picture
        child.finish()
        if child.timed_out:
            raise Rejection("decode", "timeout", f"keyframes were not decoded within {timeout_s:g} s")
    times_s = np.array(shown_us[: len(looks)], np.float64) / 1e6
    stretch = probe.width_px / size_px[0], probe.height_px / size_px[1]
    return tuple(
        AnchorPoint(float(times_s[i]), *(float(value) for value in np.array(box) * (stretch * 2)))
        for i, box in _follow(looks, times_s, choose)
    )


def _command(path: Path, probe: Probe, notes_url: str, size_px: tuple[int, int], ffmpeg: str) -> list[str]:
    """Keyframes at their own times, which are noted on the way."""
    pictures = (
        open_input(path, reinit_filter=0, skip_frame="nokey")[str(probe.video_stream)]
        .filter("settb", "AVTB")
        .filter("setpts", f"PTS-{round(probe.start_s * 1e6)}")
        .filter("select", f"isnan(prev_selected_t)+gte(t-prev_selected_t,{MIN_STEP_S})")
        .filter("metadata", mode="add", key="shown", value=1)  # only frames that have metadata are printed
        .filter("metadata", mode="print", key="shown", file=notes_url)
        .filter("scale", *size_px, out_range="tv", flags="bilinear+accurate_rnd+bitexact")
    )
    return compile_pipe(pictures, ffmpeg, format="rawvideo", pix_fmt="yuv420p", fps_mode="passthrough")


def _note(line: str, shown_us: array[int]) -> None:
    if match := _NOTE.match(line):
        shown_us.append(int(match[1]))


def _pictures(child: Child, size_px: tuple[int, int]) -> Iterator[Picture]:
    (width, height), half = size_px, (size_px[1] // 2, size_px[0] // 2)
    num_y = width * height
    while True:
        data = np.empty(num_y * 3 // 2, np.uint8)
        if child.read_into(data) < len(data):
            return
        u, v = data[num_y:].reshape(2, *half)
        yield Picture(data[:num_y].reshape(height, width), u, v)


def _follow(looks: Sequence[_Look], times_s: NDArray[np.float64], choose: Choice) -> list[tuple[int, Box]]:
    """(keyframe, box) of every sighting of the person that `choose` means.

    A person is a Track whose frames are keyframes and whose sums are over milliseconds.
    """
    lasting_ms = _lasting_ms(times_s)
    people: list[Track] = []
    sightings: dict[int, list[tuple[int, Box]]] = {}
    for i, look in enumerate(looks):
        pairs = _pairs(people, look, i)
        for index, face in enumerate(look.faces):
            person = pairs.get(index)
            if person is None:
                person = Track(len(people), i, i, face.box, face.box, face.score, face.roll_rad, num_frames=0)
                people.append(person)
            person.last, person.last_box = i, face.box
            person.num_frames += int(lasting_ms[i])
            person.sum_area += float(lasting_ms[i]) * area(face.box)
            person.sum_centre_x += float(lasting_ms[i]) * (face.box[0] + face.box[2]) / 2
            sightings.setdefault(person.number, []).append((i, face.box))
    chosen = by_rule([[person] for person in people], choose)
    return sightings[chosen[0].number] if chosen else []


def _lasting_ms(times_s: NDArray[np.float64]) -> NDArray[np.int64]:
    steps_s = [min(after - before, LONGEST_STEP_S) for before, after in pairwise(times_s)]
    return np.maximum(1, np.rint(np.array([*steps_s, np.median(steps_s or [1.0])]) * 1000)).astype(np.int64)


def _pairs(people: Sequence[Track], look: _Look, now: int) -> dict[int, Track]:
    """Index of a face -> who it is: who was just seen there, else who was ever seen there, nearest first.

    Then, while the scene is the same, the only face left over is the only person left over, wherever it went.
    """
    candidates = sorted(
        (person.last < now - 1 or not look.same_scene, distance(person.last_box, face.box), person.number, index)
        for person in people
        for index, face in enumerate(look.faces)
        if near(person.last_box, face.box)
    )
    pairs: dict[int, Track] = {}
    for _, _, number, index in candidates:
        if index not in pairs and people[number] not in pairs.values():
            pairs[index] = people[number]
    faces_left = [index for index in range(len(look.faces)) if index not in pairs]
    people_left = [person for person in people if person.last == now - 1 and person not in pairs.values()]
    if look.same_scene and len(faces_left) == len(people_left) == 1:
        (index,), (person,) = faces_left, people_left
        if alike(person.last_box, look.faces[index].box):
            pairs[index] = person
    return pairs


def nearest_tracks(
    rows: NDArray[np.void],
    anchor: Sequence[AnchorPoint],
    times_s: NDArray[np.float64],
    cuts: Sequence[int],
) -> NDArray[np.bool_]:
    """(n,) which boxes are the anchor's person: those of the tracks nearest to it, at most one for each frame.

    A track's distance is the mean over its boxes of the distance from where the anchor is at that time: face sides
    between the centres plus octaves between the sizes. Boxes count the more the nearer in time they are to a point of
    the anchor, for there the anchor knows and elsewhere it guesses. A track further away than `MAX_DISTANCE` is
    somebody else.

    Args:
        rows: (n,) with the fields track (a number), frame (an index into `times_s`) and box (in the anchor's pixels).
        anchor: at least one point, in time order.
        times_s: (N,) of the frames.
        cuts: frames at which another scene begins.
    """
    tracks, frames = rows["track"], rows["frame"]
    apart = distances_from_anchor(rows, anchor, times_s, cuts)
    mean = np.array([apart[number] for number in tracks.tolist()])
    best = np.full(len(times_s), np.inf)
    np.minimum.at(best, frames, mean)
    first = np.full(len(times_s), np.iinfo(np.int64).max)
    chosen = (mean <= MAX_DISTANCE) & (mean == best[frames])
    np.minimum.at(first, frames[chosen], tracks[chosen])
    return np.asarray(chosen & (tracks == first[frames]))


def distances_from_anchor(
    rows: NDArray[np.void],
    anchor: Sequence[AnchorPoint],
    times_s: NDArray[np.float64],
    cuts: Sequence[int],
) -> dict[int, float]:
    """Number of each track in `rows` -> its distance from the anchor, see `nearest_tracks`."""
    expected, age_s = _expected(anchor, times_s, cuts)
    frames = rows["frame"]
    apart = _distances(rows["box"], expected[frames])
    say = np.exp(-age_s[frames] / NEARBY_S) + 1e-6
    numbers, which = np.unique(rows["track"], return_inverse=True)
    mean = np.bincount(which, apart * say, len(numbers)) / np.bincount(which, say, len(numbers))
    return dict(zip(numbers.tolist(), mean.tolist(), strict=True))


def _expected(
    anchor: Sequence[AnchorPoint], times_s: NDArray[np.float64], cuts: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N, 4) where the anchor is at each time, and (N,) seconds to the nearest of its points that tell.

    Points tell of their own scene, on lines between them; a scene without a point takes the points of all.
    """
    points = np.array([(p.time_s, p.x0, p.y0, p.x1, p.y1) for p in anchor])
    expected, age_s = np.empty((len(times_s), 4)), np.empty(len(times_s))
    edges = [0, *cuts, len(times_s)]
    for first, end in pairwise(edges):
        from_s = times_s[first] - 1e-3 if first else -np.inf
        until_s = times_s[end] - 1e-3 if end < len(times_s) else np.inf
        own = points[(points[:, 0] >= from_s) & (points[:, 0] < until_s)]
        own = own if len(own) else points
        scene = times_s[first:end]
        for column in range(4):
            expected[first:end, column] = np.interp(scene, own[:, 0], own[:, 1 + column])
        after = np.searchsorted(own[:, 0], scene)
        around = own[np.clip([after - 1, after], 0, len(own) - 1), 0]
        age_s[first:end] = np.abs(scene - around).min(axis=0)
    return expected, age_s


def _distances(boxes: NDArray[np.floating], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6).max(axis=1)
    wanted = np.maximum(expected[:, 2:] - expected[:, :2], 1e-6).max(axis=1)
    apart = np.hypot(*((boxes[:, :2] + boxes[:, 2:] - expected[:, :2] - expected[:, 2:]) / 2).T)
    return np.asarray(apart / np.maximum(sides, wanted) + np.abs(np.log2(sides / wanted)))
