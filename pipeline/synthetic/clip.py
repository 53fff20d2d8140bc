"""One synthetic clip: a video with sound, its labels in two forms and the truth about it."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import ffmpeg as ffmpeg_python
import numpy as np

from pipeline.synthetic.appearance import Identity, draw_identity
from pipeline.synthetic.damage import Corruption, corrupt_sound, draw_spans
from pipeline.synthetic.expression import draw_expressions
from pipeline.synthetic.scene import DrawnFrame, VideoFormat, draw_frames
from pipeline.synthetic.trajectory import Floats, draw_trajectory, resample
from pipeline.synthetic.voice import CONTROL_HZ, Speech, speak

# Streams of random numbers of a clip; 1 is that of the identity.
AFFECT, VOICE, PICTURE, OTHER_VOICE, CORRUPT = 2, 3, 4, 5, 6


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """Everything that a clip depends on; picklable, so that clips can be made in parallel processes.

    Raises:
        ValueError: a size, duration or sample rate is not allowed.
    """

    identity: int
    clip: int
    seed: int
    duration_s: float
    width_px: int
    height_px: int
    frame_rate_hz: float
    sample_rate_hz: int
    corruptions: tuple[str, ...] = ()  # of damage.KINDS
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
        """Paths that `make_clip` writes below its directory: video, two files of labels, and last the truth."""
        name = self.name
        return f"videos/{name}.mp4", f"labels/{name}.csv", f"affwild2/{name}.txt", f"truth/{name}.json"

    def rng(self, stream: int) -> np.random.Generator:
        """Start the generator of one stream of random numbers of this clip."""
        return np.random.default_rng([self.seed, stream, self.identity, self.clip])


def affect_of(spec: ClipSpec) -> Floats:
    """Draw the valence and arousal that drive the clip's face and voice, (num_frames, 2)."""
    return draw_trajectory(spec.rng(AFFECT), spec.num_frames, spec.frame_rate_hz)


def make_clip(spec: ClipSpec, directory: Path, ffmpeg: str) -> ClipSpec:
    """Make the clip and write its files below `directory`.

    Args:
        spec: of the clip.
        directory: created where it is missing.
        ffmpeg: path of the ffmpeg executable.

    Returns:
        `spec`, so that a pool of processes can report which clip is done.

    Raises:
        OSError: ffmpeg fails; the message has the end of its stderr.
    """
    person = draw_identity(spec.seed, spec.identity)
    affect = affect_of(spec)
    spans = draw_spans(spec.rng(CORRUPT), spec.corruptions, spec.num_frames / spec.frame_rate_hz)
    samples, lips = _sound(spec, person, affect, spans)
    rng = spec.rng(PICTURE)
    lips_of_frames = resample(lips, CONTROL_HZ, spec.num_frames, spec.frame_rate_hz)
    faces = draw_expressions(rng, affect, lips_of_frames, spec.frame_rate_hz)
    frames = draw_frames(rng, person, faces, spans, VideoFormat(spec.width_px, spec.height_px, spec.frame_rate_hz))

    video, labels, affwild2, truth = (directory / path for path in spec.files)
    for path in (video, labels, affwild2, truth):
        path.parent.mkdir(parents=True, exist_ok=True)
    boxes, covered = _encode(spec, frames, samples, video, ffmpeg)
    _write_labels(spec, affect, labels, affwild2)
    record = {
        "video": spec.name,
        "group": spec.group,
        "frame_rate_hz": spec.frame_rate_hz,
        "corruptions": [asdict(span) for span in spans],
        "boxes": boxes,
        "covered": covered,
    }
    truth.write_text(json.dumps(record))
    return spec


def _sound(spec: ClipSpec, person: Identity, affect: Floats, spans: tuple[Corruption, ...]) -> tuple[Floats, Floats]:
    """Samples of the clip with their corrupted spans, and the movement of the lips to the intact voice."""
    speech = _speak(spec, spec.rng(VOICE), person, affect)
    other_speech = speech
    if "audio_mismatched" in spec.corruptions:
        rng = spec.rng(OTHER_VOICE)
        other_affect = draw_trajectory(rng, spec.num_frames, spec.frame_rate_hz)
        other_speech = _speak(spec, rng, person, other_affect)
    samples = corrupt_sound(spec.rng(CORRUPT), speech.samples, other_speech.samples, spans, spec.sample_rate_hz)
    return samples, speech.lips


def _speak(spec: ClipSpec, rng: np.random.Generator, person: Identity, affect: Floats) -> Speech:
    return speak(rng, affect, person.voice, frame_rate_hz=spec.frame_rate_hz, sample_rate_hz=spec.sample_rate_hz)


def _encode(
    spec: ClipSpec, frames: Iterator[DrawnFrame], samples: Floats, video: Path, ffmpeg: str
) -> tuple[list[list[float]], list[bool]]:
    """Encode frames and sound into an mp4 whose bytes depend on nothing else.

    Returns:
        the box of the face and whether it is covered, of each frame.
    """
    boxes, covered = [], []
    with tempfile.TemporaryDirectory(prefix="talker-") as scratch:
        sound, unfinished = Path(scratch) / "sound.raw", Path(scratch) / "video.mp4"
        sound.write_bytes(np.rint(samples * 32767).astype("<i2").tobytes())
        encoder = _start_encoder(spec, sound, unfinished, ffmpeg)
        assert encoder.stdin is not None
        try:
            for frame in frames:
                encoder.stdin.write(frame.yuv.tobytes())
                boxes.append([round(v, 1) for v in frame.box])
                covered.append(frame.covered)
        except BrokenPipeError:
            pass  # ffmpeg has failed: its stderr is read below
        finally:
            _, stderr = encoder.communicate()
        if encoder.returncode:
            message = stderr.decode(errors="replace").strip()[-500:]
            raise OSError(f"ffmpeg could not encode {video.name}: {message}")
        shutil.move(unfinished, video)
    return boxes, covered


def _start_encoder(spec: ClipSpec, sound: Path, video: Path, ffmpeg: str) -> subprocess.Popen[bytes]:
    size = f"{spec.width_px}x{spec.height_px}"
    pictures = ffmpeg_python.input("pipe:", format="rawvideo", pix_fmt="yuv420p", s=size, framerate=spec.frame_rate_hz)
    voice = ffmpeg_python.input(str(sound), format="s16le", ar=spec.sample_rate_hz, ac=1)
    exact = {"fflags": "+bitexact", "flags:v": "+bitexact", "flags:a": "+bitexact", "map_metadata": -1, "threads": 1}
    codecs = {"vcodec": "libx264", "preset": "veryfast", "crf": 20, "acodec": "aac", "audio_bitrate": "64k"}
    output = ffmpeg_python.output(pictures, voice, str(video), **codecs, **exact, movflags="+faststart")
    quiet = output.global_args("-hide_banner", "-loglevel", "error")
    return quiet.run_async(cmd=ffmpeg, pipe_stdin=True, pipe_stdout=True, pipe_stderr=True, overwrite_output=True)


def _write_labels(spec: ClipSpec, affect: Floats, labels: Path, affwild2: Path) -> None:
    """Write a row per frame: `frame,valence,arousal` from frame 0, and Aff-Wild2's `valence,arousal`."""
    if spec.labels_of is not None:
        identity, clip = spec.labels_of
        affect = affect_of(replace(spec, identity=identity, clip=clip))
    rows = [f"{valence:.4f},{arousal:.4f}" for valence, arousal in affect]
    labels.write_text("frame,valence,arousal\n" + "".join(f"{i},{row}\n" for i, row in enumerate(rows)))
    affwild2.write_text("valence,arousal\n" + "".join(f"{row}\n" for row in rows))
