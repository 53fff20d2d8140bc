"""Workers that cannot begin: the build ends with their reason, not with what Ray thinks of it."""

import pytest

from pipeline.jobs.build_dataset import BuildTarget, build_shards
from pipeline.jobs.workers.pool import WorkerPool
from tests.support.preprocessing import config_of, plans_of


def test_workers_with_other_tools_end_the_build_at_once(talkers, tmp_path, local_ray, capsys):
    config = config_of(talkers, tmp_path)
    target = BuildTarget(str(tmp_path / "d"), config, {"ffmpeg": "1"})
    with pytest.raises(RuntimeError, match=r"^this worker has .* the driver .*: install the same versions .*nodes$"):
        build_shards(target, plans_of(config), WorkerPool(config))
    assert "submitted again" not in capsys.readouterr().out
