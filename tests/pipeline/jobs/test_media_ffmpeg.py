"""Another ffmpeg by `media.ffmpeg`: refused before any work if it is too old, else of no influence by its path."""

import shutil

import pytest

from pipeline.config import UsageError
from pipeline.dataset.build.versions import require_same_settings
from pipeline.jobs import preprocess, synthesize, verify
from pipeline.jobs.workers import shard_builder
from pipeline.jobs.workers.file_scanner import scan_file
from pipeline.media.ffmpeg_command import find_ffmpeg
from tests.support.fake_ffmpeg import fake_ffmpeg
from tests.support.preprocessing import build_in_process, config_of, result_of, start_job

ASKED = {"crop_px": 48}


@pytest.fixture
def own_ffmpeg(tmp_path):
    """The bundled ffmpeg at another path."""
    return fake_ffmpeg(tmp_path / "own", script=f'exec "{find_ffmpeg()}" "$@"')


@pytest.mark.parametrize("job", [preprocess, synthesize])
@pytest.mark.parametrize(
    ("version", "message"),
    [
        (
            "5.1.9-0+deb12u1",
            r"media\.ffmpeg: .*/ffmpeg is ffmpeg 5\.1\.9-0\+deb12u1, but 8\.0 is the oldest .*give one of",
        ),
        ("N-118000-g1a2b3c", r"media\.ffmpeg: .* names no release.* 8\.0, .*leave media\.ffmpeg out"),
    ],
)
def test_one_that_cannot_be_used_is_refused_before_any_work(job, version, message, talkers, tmp_path):
    old = str(fake_ffmpeg(tmp_path, version))
    with pytest.raises(UsageError, match=message):
        job.run(config_of(talkers, tmp_path / "root", media={**ASKED, "ffmpeg": old}))
    assert not (tmp_path / "root").exists()


def test_the_refusal_is_the_users_exit_code(talkers, tmp_path):
    job = start_job(config_of(talkers, tmp_path / "root", media={"ffmpeg": "no-such-ffmpeg"}), tmp_path / "job")
    assert job.wait(timeout=60) == 2
    assert (tmp_path / "job/output.txt").read_text().startswith("error: media.ffmpeg: no-such-ffmpeg: machine ")


def test_a_worker_checks_its_own(talkers, tmp_path):
    config = config_of(talkers, tmp_path, media={**ASKED, "ffmpeg": str(tmp_path / "only-on-the-driver")})
    with pytest.raises(UsageError, match=r"only-on-the-driver: machine .* has no executable file at that path"):
        shard_builder.ShardBuilder(config, str(tmp_path), {"ffmpeg": "9"})
    with pytest.raises(UsageError, match="only-on-the-driver"):
        scan_file([], config)


def test_its_path_changes_neither_bytes_nor_names(talkers, undisturbed, own_ffmpeg, tmp_path):
    config = config_of(talkers, tmp_path, media={**ASKED, "ffmpeg": str(own_ffmpeg)})
    info = build_in_process(config)
    assert info.digest == undisturbed.digest
    assert info.toolchain == undisturbed.toolchain
    require_same_settings(config_of(talkers, tmp_path), info)  # so that it can be extended with the bundled one


@pytest.mark.slow
def test_a_repair_takes_the_one_of_its_own_call(talkers, own_ffmpeg, tmp_path):
    info = build_in_process(config_of(talkers, tmp_path, media={**ASKED, "ffmpeg": str(own_ffmpeg)}))
    shutil.rmtree(own_ffmpeg.parent)
    tar = tmp_path / f"datasets/talk/shards/{info.shards[0].name}.tar"
    before = tar.read_bytes()
    tar.unlink()
    asked = config_of(talkers, tmp_path, verify={"dataset": info.uri, "repair": True})
    result_of(start_job(asked, tmp_path / "job", "verify"), tmp_path / "job")
    assert tar.read_bytes() == before


def test_a_repair_refuses_one_that_is_too_old(talkers, tmp_path):
    info = build_in_process(config_of(talkers, tmp_path))
    (tmp_path / f"datasets/talk/shards/{info.shards[0].name}.tar").unlink()
    old = {"ffmpeg": str(fake_ffmpeg(tmp_path / "old", "7.1.1"))}
    with pytest.raises(UsageError, match=r"ffmpeg 7\.1\.1, but 8\.0 is the oldest"):
        verify.run(config_of(talkers, tmp_path, media=old, verify={"dataset": info.uri, "repair": True}))
