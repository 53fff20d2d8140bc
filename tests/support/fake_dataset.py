"""A small drawn dataset: segments whose brightness follows valence and whose loudness follows arousal."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import cv2
import numpy as np

from pipeline.dataset.build.commit import commit_dataset
from pipeline.dataset.format.dataset_info import DatasetInfo
from pipeline.dataset.format.shard_file import ShardFile
from pipeline.dataset.format.shards import record_to_json, sha256_of_file
from pipeline.records import ANNOTATION_DTYPE, FRAME_DTYPE, SampleRow, Segment, ShardRecord, VideoRow

CROP_PX, NUM_MELS, RATE_HZ, HOP_S = 16, 8, 25.0, 0.01


def make_segment(
    video_id="talker",
    split="train",
    num_frames=32,
    num_preroll=7,
    start_s=0.0,
    seed=0,
    no_face=(),
    no_sound=(),
    labelled=True,
):
    """Stored frame i shows its own index in the blue-to-red gradient's brightness; `no_*` are stored indices."""
    count = num_preroll + num_frames
    times = start_s + (np.arange(count) - num_preroll) / RATE_HZ
    rng = np.random.default_rng([seed, round(start_s * 1000)])
    phase, speed = rng.uniform(0, 6.28), rng.uniform(2.0, 4.0)
    labels = np.stack([np.sin(speed * times + phase), np.cos(1.3 * speed * times + phase)], 1).astype(np.float32) * 0.8
    frames = np.zeros(count, FRAME_DTYPE)
    frames["time_s"], frames["source_index"] = times, np.round(times * RATE_HZ)
    frames["video_ok"] = frames["face_ok"] = frames["audio_ok"] = True
    frames["face_ok"][list(no_face)] = False
    frames["audio_ok"][list(no_sound)] = False
    frames["box"] = np.where(frames["face_ok"][:, None], [0, 0, 9, 9], np.nan)
    mjpeg = io.BytesIO()
    for i in np.flatnonzero(frames["face_ok"]):
        data = picture(labels[i, 0])
        frames["offset"][i], frames["size"][i] = mjpeg.tell(), len(data)
        mjpeg.write(data)
    hop_times = np.arange(round(count / RATE_HZ / HOP_S)) * HOP_S + times[0]
    loudness = np.interp(hop_times, times, labels[:, 1])
    mel = (-40 + 30 * loudness[:, None] + rng.normal(0, 1, (len(hop_times), NUM_MELS))).astype(np.float16)
    own = slice(num_preroll, None)
    annotations = np.zeros(num_frames if labelled else 0, ANNOTATION_DTYPE)
    if labelled:
        annotations["frame"], annotations["time_s"] = frames["source_index"][own], times[own]
        annotations["valence"], annotations["arousal"] = labels[own].T
    if not labelled:
        labels = np.full_like(labels, np.nan)
    return Segment(
        video_id, "", video_id, split, start_s, num_preroll, RATE_HZ, HOP_S, frames, mjpeg.getvalue(), mel, labels,
        annotations,
    )  # fmt: skip


def picture(level):
    """A grey JPEG whose brightness encodes `level` in -1..1."""
    grey = round(128 + 100 * float(level))
    ok, data = cv2.imencode(".jpg", np.full((CROP_PX, CROP_PX, 3), grey, np.uint8))
    assert ok
    return data.tobytes()


def write_shard(directory: Path, name: str, segments) -> list[SampleRow]:
    """A tar under `directory`/shards and the index rows of its samples."""
    (directory / "shards").mkdir(parents=True, exist_ok=True)
    with ShardFile(directory / "shards" / f"{name}.tar") as shard:
        return shard.add_video(segments)


def write_dataset(directory: Path, config, segments_of_split, rejected=()) -> DatasetInfo:
    """A committed dataset of one shard per split; `rejected` are further rows of videos.parquet."""
    records = []
    for split, segments in segments_of_split.items():
        rows = write_shard(directory, f"{split}-00000", segments)
        videos = tuple(video_row(name, segments) for name in dict.fromkeys(s.video_id for s in segments))
        videos += tuple(row for row in rejected if row.split == split)
        tar = directory / "shards" / f"{split}-00000.tar"
        records.append(ShardRecord(f"{split}-00000", sha256_of_file(tar), tar.stat().st_size, "", tuple(rows), videos))
        tar.with_suffix(".json").write_text(record_to_json(records[-1]))
    return commit_dataset(str(directory), config, records, {})


def video_row(video_id, segments) -> VideoRow:
    """The row of an accepted video."""
    own = [segment for segment in segments if segment.video_id == video_id]
    labels = np.concatenate([segment.annotations for segment in own])
    return labels_summed(
        VideoRow(video_id, "", f"{video_id}.mp4", video_id, own[0].split, "ok", "", "", "", num_segments=len(own)),
        labels,
    )


def labels_summed(row: VideoRow, labels) -> VideoRow:
    """`row` with the number and the sums of its annotations."""
    v, a = labels["valence"].astype(float), labels["arousal"].astype(float)
    sums = {"valence_sum": v.sum(), "valence_squares": v @ v, "arousal_sum": a.sum(), "arousal_squares": a @ a}
    return dataclasses.replace(row, labelled_frames=len(labels), **{name: float(x) for name, x in sums.items()})


def index_row(segment, shard="train-00000.tar", offset=0, size=1) -> SampleRow:
    """A row of index.parquet for a segment that is never read."""
    where = (segment.start_s, segment.num_preroll, segment.num_frames, 1.0, 1.0, 1.0, 1.0)
    named = (segment.key, shard, offset, size, segment.video_id, segment.person, segment.group, segment.split)
    return SampleRow(*named, *where)
