import os
import subprocess
import sys
import tempfile

import pytest

from pipeline.storage.scratch import remove_abandoned, scratch_folder

KILLED = """
import os, signal
from pipeline.storage.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "face.jpg").write_bytes(b"face")
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_a_folder_of_a_killed_process_is_removed_and_one_at_work_is_kept():
    killed = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True)
    left = killed.stdout.strip()
    assert os.path.exists(f"{left}/face.jpg"), killed.stderr
    with scratch_folder() as working:
        assert [str(folder) for folder in remove_abandoned()] == [left]
        assert working.exists()
    assert not os.path.exists(left)
    assert not working.exists()
