"""How far tracks are from an anchor, and which of them are the anchor's person."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.records import AnchorPoint

MAX_DISTANCE = 1.0  # of the anchor's person: face sides between centres, plus octaves between sizes
WEIGHT_DECAY_S = 1.0  # a box this much further in time from the anchor's points weighs 1 / e


def nearest_tracks(
    rows: NDArray[np.void],
    anchor: Sequence[AnchorPoint],
    times_s: NDArray[np.float64],
    cuts: Sequence[int],
) -> NDArray[np.bool_]:
    """Find the boxes of the anchor's person: those of the tracks nearest to it.

    A track's distance is the mean over its boxes of the distance from where the anchor is at that time: face sides
    between the centres plus octaves between the sizes. Boxes weigh the more the nearer in time they are to a point of
    the anchor, because the anchor is known there and interpolated elsewhere. A track further away than `MAX_DISTANCE`
    is another person's.

    Args:
        rows: (n,) with the fields track (a number), frame (an index into `times_s`) and box (in the anchor's pixels).
        anchor: at least one point, in time order.
        times_s: (N,) of the frames.
        cuts: frames at which another scene begins.

    Returns:
        (n,) True for the boxes of that person, at most one for each frame.
    """
    tracks, frames = rows["track"], rows["frame"]
    distance_of_track = distances_from_anchor(rows, anchor, times_s, cuts)
    distances = np.array([distance_of_track[number] for number in tracks.tolist()])
    nearest = np.full(len(times_s), np.inf)  # of each frame
    np.minimum.at(nearest, frames, distances)
    chosen = (distances <= MAX_DISTANCE) & (distances == nearest[frames])
    first_track = np.full(len(times_s), np.iinfo(np.int64).max)  # of equals in a frame
    np.minimum.at(first_track, frames[chosen], tracks[chosen])
    return np.asarray(chosen & (tracks == first_track[frames]))


def distances_from_anchor(
    rows: NDArray[np.void],
    anchor: Sequence[AnchorPoint],
    times_s: NDArray[np.float64],
    cuts: Sequence[int],
) -> dict[int, float]:
    """Number of each track in `rows` -> its mean distance from the anchor, see `nearest_tracks`."""
    expected, time_to_point_s = _expected(anchor, times_s, cuts)
    frames = rows["frame"]
    distances = _distances(rows["box"], expected[frames])
    weights = np.exp(-time_to_point_s[frames] / WEIGHT_DECAY_S) + 1e-6
    numbers, which = np.unique(rows["track"], return_inverse=True)
    mean = np.bincount(which, distances * weights, len(numbers)) / np.bincount(which, weights, len(numbers))
    return dict(zip(numbers.tolist(), mean.tolist(), strict=True))


def _expected(
    anchor: Sequence[AnchorPoint], times_s: NDArray[np.float64], cuts: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N, 4) the anchor's box at each time, and (N,) seconds to the nearest of its points.

    Boxes are interpolated between the points of the same scene; a scene without a point takes those of all scenes.
    """
    points = np.array([(p.time_s, p.x0, p.y0, p.x1, p.y1) for p in anchor])
    expected, time_to_point_s = np.empty((len(times_s), 4)), np.empty(len(times_s))
    edges = [0, *cuts, len(times_s)]
    for first, end in pairwise(edges):
        from_s = times_s[first] - 1e-3 if first else -np.inf
        until_s = times_s[end] - 1e-3 if end < len(times_s) else np.inf
        in_scene = points[(points[:, 0] >= from_s) & (points[:, 0] < until_s)]
        in_scene = in_scene if len(in_scene) else points
        scene_s = times_s[first:end]
        for column in range(4):
            expected[first:end, column] = np.interp(scene_s, in_scene[:, 0], in_scene[:, 1 + column])
        after = np.searchsorted(in_scene[:, 0], scene_s)
        neighbours_s = in_scene[np.clip([after - 1, after], 0, len(in_scene) - 1), 0]
        time_to_point_s[first:end] = np.abs(scene_s - neighbours_s).min(axis=0)
    return expected, time_to_point_s


def _distances(boxes: NDArray[np.floating], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) face sides between the centres plus octaves between the sizes of (n, 4) boxes and (n, 4) expected ones."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6).max(axis=1)
    expected_sides = np.maximum(expected[:, 2:] - expected[:, :2], 1e-6).max(axis=1)
    between_centres = np.hypot(*((boxes[:, :2] + boxes[:, 2:] - expected[:, :2] - expected[:, 2:]) / 2).T)
    octaves = np.abs(np.log2(sides / expected_sides))
    return np.asarray(between_centres / np.maximum(sides, expected_sides) + octaves)
