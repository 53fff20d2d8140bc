"""One synthetic clip: a video with sound, its labels in two forms and the truth about it."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import ffmpeg as ffmpeg_python
import numpy as np

from pipeline.synthetic.appearance import Identity, draw_identity
from pipeline.synthetic.damage import Corruption, corrupt_sound, draw_spans
from pipeline.synthetic.expression import express
from pipeline.synthetic.scene import Shot, film
from pipeline.synthetic.trajectory import Floats, draw_trajectory, resample
from pipeline.synthetic.voice import CONTROL_HZ, speak

AFFECT, VOICE, PICTURE, OTHER, CORRUPT = 2, 3, 4, 5, 6  # streams of random numbers; 1 is the identity's


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """All that a clip depends on; picklable, so that clips can be made in parallel processes."""

    identity: int
    clip: int
    seed: int
    duration_s: float
    width_px: int
    height_px: int
    frame_rate_hz: float
    sample_rate_hz: int
    corruptions: tuple[str, ...] = ()  # of corruption.KINDS
    labels_of: tuple[int, int] | None = None  # identity and clip whose labels are written; None: its own

    def __post_init__(self) -> None:
        if self.width_px % 2 or self.height_px % 2 or min(self.width_px, self.height_px) < 64:
            raise ValueError(f"a clip of {self.width_px}x{self.height_px} px: sides must be even and at least 64")
        if self.num_frames < 1:
            raise ValueError(f"a clip of {self.duration_s} s at {self.frame_rate_hz} Hz has no frame: make it longer")
        if self.sample_rate_hz < 8000 or self.sample_rate_hz % CONTROL_HZ:
            raise ValueError(f"sample_rate_hz is {self.sample_rate_hz}; allowed: multiples of 100 from 8000 up")

    @property
    def group(self) -> str:
        """Name of the person."""
        return f"person{self.identity:02d}"

    @property
    def name(self) -> str:
        """Name of the clip's files, without extension."""
        return f"{self.group}_clip{self.clip}"

    @property
    def num_frames(self) -> int:
        """Frames of the video, and rows of its labels."""
        return round(self.duration_s * self.frame_rate_hz)

    @property
    def files(self) -> tuple[str, ...]:
        """Paths that `make_clip` writes below its directory; the last one is written last."""
        name = self.name
        return f"videos/{name}.mp4", f"labels/{name}.csv", f"affwild2/{name}.txt", f"truth/{name}.json"

    def rng(self, stream: int) -> np.random.Generator:
        """The random numbers of one stream of this clip."""
        return np.random.default_rng([self.seed, stream, self.identity, self.clip])


def affect_of(spec: ClipSpec) -> Floats:
    """(num_frames, 2) the valence and arousal that drive the clip's face and voice."""
    return draw_trajectory(spec.rng(AFFECT), spec.num_frames, spec.frame_rate_hz)


def make_clip(spec: ClipSpec, directory: Path, ffmpeg: str) -> ClipSpec:
    """Write the clip's files below `directory` and return `spec`.

    Args:
        ffmpeg: path of the ffmpeg executable.

    Raises:
        OSError: ffmpeg fails; the message carries what it said.
    """
    person = draw_identity(spec.seed, spec.identity)
    affect = affect_of(spec)
    spans = draw_spans(spec.rng(CORRUPT), spec.corruptions, spec.num_frames / spec.frame_rate_hz)
    samples, lips = _sound(spec, person, affect, spans)
    rng = spec.rng(PICTURE)
    faces = express(rng, affect, resample(lips, CONTROL_HZ, spec.num_frames, spec.frame_rate_hz), spec.frame_rate_hz)
    size = {"width_px": spec.width_px, "height_px": spec.height_px}
    shots = film(rng, person, faces, spans, **size, frame_rate_hz=spec.frame_rate_hz)

    video, labels, affwild2, truth = (directory / path for path in spec.files)
    for path in (video, labels, affwild2, truth):
        path.parent.mkdir(parents=True, exist_ok=True)
    boxes, covered = _mux(spec, shots, samples, video, ffmpeg)
    _write_labels(spec, affect, labels, affwild2)
    facts = {"video": spec.name, "group": spec.group, "frame_rate_hz": spec.frame_rate_hz}
    corrupted = [asdict(span) for span in spans]
    truth.write_text(json.dumps({**facts, "corruptions": corrupted, "boxes": boxes, "covered": covered}))
    return spec


def _sound(spec: ClipSpec, person: Identity, affect: Floats, spans: tuple[Corruption, ...]) -> tuple[Floats, Floats]:
    """The clip's samples with their corrupted spans, and the movement of the lips to the unspoilt voice."""
    say = partial(speak, frame_rate_hz=spec.frame_rate_hz, sample_rate_hz=spec.sample_rate_hz)
    speech = say(spec.rng(VOICE), affect, person.throat)
    other = speech
    if "audio_mismatched" in spec.corruptions:
        rng = spec.rng(OTHER)
        other = say(rng, draw_trajectory(rng, spec.num_frames, spec.frame_rate_hz), person.throat)
    return corrupt_sound(spec.rng(CORRUPT), speech.samples, other.samples, spans, spec.sample_rate_hz), speech.lips


def _mux(
    spec: ClipSpec, shots: Iterator[Shot], samples: Floats, video: Path, ffmpeg: str
) -> tuple[list[list[float]], list[bool]]:
    """Encode pictures and sound into an mp4 whose bytes depend on nothing else; return boxes and covered flags."""
    boxes, covered = [], []
    with tempfile.TemporaryDirectory(prefix="talker-") as scratch:
        sound, unfinished = Path(scratch) / "sound.raw", Path(scratch) / "video.mp4"
        sound.write_bytes(np.rint(samples * 32767).astype("<i2").tobytes())
        encoder = _encoder(spec, sound, unfinished, ffmpeg)
        assert encoder.stdin is not None
        try:
            for shot in shots:
                encoder.stdin.write(shot.yuv.tobytes())
                boxes.append([round(v, 1) for v in shot.box])
                covered.append(shot.covered)
        except BrokenPipeError:
            pass  # ffmpeg has given up: what it said is read below
        finally:
            _, said = encoder.communicate()
        if encoder.returncode:
            raise OSError(f"ffmpeg could not encode {video.name}: {said.decode(errors='replace').strip()[-500:]}")
        shutil.move(unfinished, video)
    return boxes, covered


def _encoder(spec: ClipSpec, sound: Path, video: Path, ffmpeg: str) -> subprocess.Popen[bytes]:
    size = f"{spec.width_px}x{spec.height_px}"
    pictures = ffmpeg_python.input("pipe:", format="rawvideo", pix_fmt="yuv420p", s=size, framerate=spec.frame_rate_hz)
    voice = ffmpeg_python.input(str(sound), format="s16le", ar=spec.sample_rate_hz, ac=1)
    exact = {"fflags": "+bitexact", "flags:v": "+bitexact", "flags:a": "+bitexact", "map_metadata": -1, "threads": 1}
    codecs = {"vcodec": "libx264", "preset": "veryfast", "crf": 20, "acodec": "aac", "audio_bitrate": "64k"}
    output = ffmpeg_python.output(pictures, voice, str(video), **codecs, **exact, movflags="+faststart")
    quiet = output.global_args("-hide_banner", "-loglevel", "error")
    return quiet.run_async(cmd=ffmpeg, pipe_stdin=True, pipe_stdout=True, pipe_stderr=True, overwrite_output=True)


def _write_labels(spec: ClipSpec, affect: Floats, labels: Path, affwild2: Path) -> None:
    """One row per frame: `frame,valence,arousal` from frame 0, and Aff-Wild2's `valence,arousal`."""
    if spec.labels_of is not None:
        identity, clip = spec.labels_of
        affect = affect_of(replace(spec, identity=identity, clip=clip))
    rows = [f"{valence:.4f},{arousal:.4f}" for valence, arousal in affect]
    labels.write_text("frame,valence,arousal\n" + "".join(f"{i},{row}\n" for i, row in enumerate(rows)))
    affwild2.write_text("valence,arousal\n" + "".join(f"{row}\n" for row in rows))
