"""Workers that cannot begin: the build ends with their reason, not with what Ray thinks of it."""

import pytest

from pipeline.jobs.workers import pool
from tests.support.preprocessing import config_of, plans_of


def test_workers_with_other_tools_end_the_build_at_once(talkers, tmp_path, local_ray, capsys):
    config = config_of(talkers, tmp_path)
    with pytest.raises(RuntimeError, match=r"^this worker has .* the driver .*: install the same versions .*nodes$"):
        list(pool.build_shards(plans_of(config), config, str(tmp_path / "d"), {"ffmpeg": "1"}))
    assert "asked for again" not in capsys.readouterr().out
