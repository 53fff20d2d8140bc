"""Read a dataset in plain PyTorch: one range read per sample, and nothing imported from this project.

    python examples/read_a_dataset.py outputs/datasets/demo-... --split train

docs/dataset-format.md describes what is read here.
"""

from __future__ import annotations

import argparse
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet
import torch
from torch.utils.data import DataLoader, Dataset


class Segments(Dataset[dict[str, torch.Tensor]]):
    """The segments of one split, each as tensors over its own frames; context frames are left out.

    A sample has N frames (the last segment of a video may have fewer than the others):

    - faces uint8 (N, H, W, 3) RGB, 0 where there is no face, and face_ok bool (N,)
    - mel float32 (hops, mels) in dB, and audio_ok bool (N,)
    - labels float32 (N, 2), valence and arousal, NaN where there is no label
    """

    def __init__(self, folder: Path, split: str) -> None:
        info = json.loads((folder / "dataset.json").read_text())  # written last: without it the dataset is unfinished
        self.shards = folder / "shards"
        self.crop_px = info["config"]["media"]["crop_px"]
        self.rows = pyarrow.parquet.read_table(folder / "index.parquet", filters=[("split", "=", split)]).to_pylist()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        row = self.rows[number]
        members = self._members(row)
        meta = json.loads(members["meta.json"])
        stored = {name: np.load(io.BytesIO(members[f"{name}.npy"])) for name in ("frames", "mel", "labels")}
        first = row["num_preroll"]
        first_hop = round(first / meta["frame_rate_hz"] / meta["hop_s"])
        frames, mel, labels = stored["frames"][first:], stored["mel"][first_hop:], stored["labels"][first:]
        return {
            "faces": torch.from_numpy(self._faces(frames, members["faces.mjpeg"])),
            "face_ok": torch.from_numpy(frames["face_ok"].copy()),
            "mel": torch.from_numpy(mel.astype(np.float32)),
            "audio_ok": torch.from_numpy(frames["audio_ok"].copy()),
            "labels": torch.from_numpy(labels),
        }

    def _members(self, row: dict[str, Any]) -> dict[str, bytes]:
        """The files of one sample by their extension; its byte range is a readable tar."""
        with (self.shards / row["shard"]).open("rb") as shard:
            shard.seek(row["offset"])
            data = shard.read(row["size"])
        members = {}
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None, f"{member.name} is no file"
                members[member.name.split(".", 1)[1]] = file.read()
        return members

    def _faces(self, frames: np.ndarray, mjpeg: bytes) -> np.ndarray:
        faces = np.zeros((len(frames), self.crop_px, self.crop_px, 3), np.uint8)
        for i in np.flatnonzero(frames["face_ok"]):
            jpeg = mjpeg[frames["offset"][i] :][: frames["size"][i]]
            faces[i] = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        return faces


def main() -> None:
    """Read a whole split and print what is in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="folder with dataset.json")
    parser.add_argument("--split", default="train", choices=("train", "val", "test"))
    parser.add_argument("--num-workers", type=int, default=0, help="processes of the DataLoader")
    options = parser.parse_args()
    segments = Segments(options.dataset, options.split)
    num_frames = num_faces = num_labelled = 0
    for sample in DataLoader(segments, batch_size=None, shuffle=True, num_workers=options.num_workers):
        num_frames += len(sample["labels"])
        num_faces += int(sample["face_ok"].sum())
        num_labelled += int((~sample["labels"].isnan().any(dim=1)).sum())
    print(f"{len(segments)} segments: {num_frames} frames, {num_faces} with a face, {num_labelled} labelled")


if __name__ == "__main__":
    main()
