"""The synthesize job: parallel, resumable, free to run again."""

import pytest

from pipeline.config import UsageError, load
from pipeline.jobs.synthesize import run, source_uri
from tests.support.talkers import synthesize

SETTINGS = {"num_identities": 3, "clips_per_identity": 1, "duration_s": 1.0, "width_px": 128, "height_px": 96}


def _config(root, **more):
    return load(None, {"name": "tiny", "storage": {"root": str(root)}, "synthesis": SETTINGS | more})


def _contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_publishes_what_synthesize_writes_and_then_nothing_more(tmp_path, capsys):
    config = _config(tmp_path / "root")
    result = run(config)
    assert not result.skipped
    assert result.counts == {"videos": 3}
    assert capsys.readouterr().out.count("@progress") == 3
    output = tmp_path / "root/sources" / result.output_uri.rsplit("/", 1)[1]
    synthesize(tmp_path / "alone", corrupted_fraction=config.synthesis.corrupted_fraction, **SETTINGS)
    assert _contents(output) == _contents(tmp_path / "alone")
    assert run(config).skipped


def test_an_interrupted_run_makes_only_what_is_missing(tmp_path, capsys):
    config = _config(tmp_path)
    output = tmp_path / "sources" / run(config).output_uri.rsplit("/", 1)[1]
    before = _contents(output)
    (output / "source.json").unlink()
    (output / "truth/person01_clip0.json").unlink()
    (output / "videos/person01_clip0.mp4").write_bytes(b"")
    capsys.readouterr()
    assert not run(config).skipped
    assert capsys.readouterr().out.count("@progress") == 1
    assert _contents(output) == before


def test_the_uri_depends_on_the_settings(tmp_path):
    uris = {source_uri(_config(tmp_path, seed=seed)) for seed in (0, 1)}
    assert len(uris) == 2
    assert source_uri(_config(tmp_path)) in uris


def test_impossible_settings_are_the_users(tmp_path):
    with pytest.raises(UsageError, match="synthesis: a clip of 127x96 px"):
        run(_config(tmp_path, width_px=127))
