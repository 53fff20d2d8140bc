"""A newcomer's folder of videos and labels: drawn talkers, odd files among them, and mistakes in the labels."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.media.ffmpeg_command import find_ffmpeg
from tests.support.media_files import counter_picture, tone, write_media
from tests.support.talkers import synthesize

# The reason and the words of the detail by which a reader knows what is wrong with the file.
REJECTED = {
    "broken off.mp4": ("unreadable", "incomplete: the index (moov atom) is missing"),
    "a text.mp4": ("unreadable", "not a media file"),
    "playlist.mp4": ("unreadable", "a playlist (HLS or M3U), which is never followed"),
    "empty.mp4": ("unreadable", "empty"),
    "only sound.wav": ("no_video", "no video stream"),
    "emil.mp4": ("bad_labels", "3.5"),
    "wall.mp4": ("no_face", "face"),
}
LABELS_WITHOUT_VIDEO = ["nobody 1.csv", "nobody 2.csv", "nobody 3.csv", "nobody 4.csv", "nobody 5.csv"]
TALKERS = [
    "Zoë talks.mp4", "Jürgen.mp4", "day 1/anna b.mp4", "day 1/łukasz.mp4", "carl.mp4", "dora.mp4", "emil.mp4",
    "frida.mp4", "gus.mp4", "hana.mp4", "ivo.mp4", "jana.mp4", "without sound.mp4", "silent.mp4",
]  # fmt: skip
INPUTS = sorted({*TALKERS, "dora (2).mp4", *REJECTED})
DURATION_S, FRAME_RATE_HZ = 4.0, 25
RUN_FILE = """
name = "newcomer"
media = { crop_px = 32 }
segments = { num_frames = 32, num_preroll = 7 }
sequence = { num_subclips = 4, subclip_frames = 8, subclip_dilation = 2, subclip_stride = 8 }
model = { feature_dim = 8, head_dim = 8 }
train = { epochs = 2, batch_size = 4, phases_per_segment = 2 }
"""


@dataclass(frozen=True)
class NewcomerFolder:
    """Where the folder has its parts."""

    path: Path

    @property
    def videos(self) -> Path:
        """The folder of the clips."""
        return self.path / "videos"

    @property
    def labels(self) -> Path:
        """The folder of the label files."""
        return self.path / "labels"

    @property
    def run_file(self) -> Path:
        """Settings of a small dataset and a small model."""
        return self.path / "newcomer.toml"

    @property
    def words(self) -> list[str]:
        """The arguments that name the run file, the videos and the labels."""
        uris = {"config": self.run_file, "source.videos": self.videos, "source.labels": self.labels}
        return [word for name, path in uris.items() for word in (f"--{name}", str(path))]


def make_newcomer_folder(path: Path) -> NewcomerFolder:
    """Make all clips, odd files and label files below `path`."""
    folder = NewcomerFolder(path)
    specs = synthesize(path / "drawn", num_identities=len(TALKERS), clips_per_identity=1, duration_s=DURATION_S)
    for spec, name in zip(specs, TALKERS, strict=True):
        move(path / f"drawn/videos/{spec.name}.mp4", folder.videos / name)
        move(path / f"drawn/labels/{spec.name}.csv", (folder.labels / name).with_suffix(".csv"))
    shutil.rmtree(path / "drawn")
    folder.run_file.write_text(RUN_FILE)
    add_odd_files(folder.videos)
    make_mistakes(folder.labels)
    return folder


def move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)


def add_odd_files(videos: Path) -> None:
    """Put files beside the talkers that are no videos of a talker, or only in part."""
    change(videos / "without sound.mp4", "-an", "-c:v", "copy")
    change(videos / "silent.mp4", "-af", "volume=0", "-c:v", "copy")
    change(videos / "ivo.mp4", "-c", "copy")
    whole = (videos / "ivo.mp4").read_bytes()
    assert whole.index(b"mdat") < whole.index(b"moov"), "the index is not at the end, which is lost"
    (videos / "broken off.mp4").write_bytes(whole[: len(whole) // 2])
    (videos / "a text.mp4").write_text("Dear colleague, the videos are on the other disk.\n" * 20)
    (videos / "playlist.mp4").write_text("#EXTM3U\n#EXTINF:4,\ncarl.mp4\n#EXT-X-ENDLIST\n")
    (videos / "empty.mp4").touch()
    write_media(videos / "only sound.wav", sound=tone(DURATION_S))
    write_media(videos / "carl.wav", sound=tone(DURATION_S))
    shutil.copy(videos / "dora.mp4", videos / "dora (2).mp4")
    times_ms = np.arange(0, DURATION_S * 1000, 1000 / FRAME_RATE_HZ)
    write_media(
        videos / "wall.mp4", [counter_picture(i) for i in range(len(times_ms))], times_ms, sound=tone(DURATION_S)
    )
    (videos / "notes.txt").write_text("recorded in May\n")


def change(video: Path, *options: str) -> None:
    """Let ffmpeg write the file anew with these options."""
    changed = video.with_name("changed.mp4")
    program = [find_ffmpeg(), "-v", "error", "-y", "-i", str(video), *options, str(changed)]
    subprocess.run(program, check=True)
    changed.rename(video)


def make_mistakes(labels: Path) -> None:
    """Make the five usual mistakes: out of range, counted from 1, too short, too long, without a video."""
    rows = {name: (labels / f"{name}.csv").read_text().splitlines() for name in ("emil", "frida", "gus", "hana")}
    number = len(rows["emil"]) - 1
    rows["emil"][10] = "9,3.5,0.1"
    rows["frida"][1:] = [f"{i},0.1,0.{i % 9}" for i in range(1, number + 1)]
    rows["gus"] = rows["gus"][: number // 2]
    rows["hana"] += [f"{i},0.2,0.{i % 9}" for i in range(number, 2 * number)]
    for name, lines in rows.items():
        (labels / f"{name}.csv").write_text("\n".join(lines) + "\n")
    for name in LABELS_WITHOUT_VIDEO:
        (labels / name).write_text("frame,valence,arousal\n0,0.1,0.2\n")
