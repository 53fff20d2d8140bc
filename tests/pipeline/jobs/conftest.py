"""Fixtures of the preprocessing tests: a small source of drawn talkers and the dataset made of it without trouble."""

import ffmpeg
import pytest

from pipeline.media.ffmpeg_command import find_ffmpeg
from pipeline.synthetic.clip import make_clip
from pipeline.synthetic.talkers import manifest_csv
from tests.support.preprocessing import build_in_process, config_of
from tests.support.talkers import clip_specs


@pytest.fixture(scope="session")
def talkers(tmp_path_factory):
    """A folder of videos: 5 clips of talkers, and one each that is faceless, broken, without video, badly labelled."""
    folder = tmp_path_factory.mktemp("talkers")
    specs = clip_specs(num_identities=3, clips_per_identity=2, duration_s=2.0, width_px=160, height_px=120)
    for spec in specs:
        make_clip(spec, folder, find_ffmpeg())
    (folder / "manifest.csv").write_text(manifest_csv(specs))
    (folder / "labels/person02_clip1.csv").write_text("frame,valence,arousal\n0,0.5,7\n")
    blank = ffmpeg.input("color=c=gray:s=160x120:r=25:d=1", f="lavfi")
    ffmpeg.run(ffmpeg.output(blank, str(folder / "videos/blank.mp4")), cmd=find_ffmpeg(), quiet=True)
    sound = ffmpeg.input("sine=d=1", f="lavfi")
    ffmpeg.run(ffmpeg.output(sound, str(folder / "videos/voice.m4a")), cmd=find_ffmpeg(), quiet=True)
    (folder / "videos/broken.mp4").write_bytes(b"this is no video" * 100)
    (folder / "labels/broken.csv").write_text("frame,valence,arousal\n0,0.5,-0.5\n1,0.25,nan\n2,0.5,0.25\n")
    return folder


@pytest.fixture(scope="session")
def undisturbed(talkers, tmp_path_factory):
    """The dataset that every other way of building must equal."""
    return build_in_process(config_of(talkers, tmp_path_factory.mktemp("undisturbed")))
