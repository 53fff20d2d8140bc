"""Descendants are found, adopted and ended, even those that ignore SIGTERM; scripts are killed by name."""

import subprocess
import sys

FAMILY = """
import os, subprocess, sys, time
from pipeline.runtime import processes

processes.adopt_orphans()
stubborn = "trap '' TERM; echo ready; while true; do sleep 0.1; done"
# A parent that leaves its child behind, in a session of the child's own.
subprocess.run(["sh", "-c", "setsid sleep 60 >/dev/null 2>&1 &"])
child = subprocess.Popen(["sh", "-c", stubborn], stdout=subprocess.PIPE)
child.stdout.readline()
assert len(processes.descendants()) >= 2, processes.descendants()
begin = time.monotonic()
processes.end_descendants(grace_s=0.3)
assert not processes.descendants()
assert child.wait() == -9
print(time.monotonic() - begin)
"""

SCRIPTS = """
import os, subprocess, sys
from pathlib import Path
from pipeline.runtime import processes

folder = Path(sys.argv[1])
for name in ("monitor.py", "my_monitor.py", "worker.py"):
    (folder / name).write_text("import time; print('ready', flush=True); time.sleep(60)")
children = {
    name: subprocess.Popen([sys.executable, "-u", folder / name, "--flag"], stdout=subprocess.PIPE)
    for name in ("monitor.py", "my_monitor.py", "worker.py")
}
for child in children.values():
    child.stdout.readline()
processes.kill_scripts("/monitor.py", "/log_monitor.py")
assert children["monitor.py"].wait() == -9
assert {child.poll() for name, child in children.items() if name != "monitor.py"} == {None}
processes.end_descendants(grace_s=5)
"""


def test_a_script_is_killed_and_its_neighbours_are_not(tmp_path):
    done = subprocess.run([sys.executable, "-c", SCRIPTS, tmp_path], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


def test_everything_below_is_ended_even_what_is_detached_or_stubborn():
    done = subprocess.run([sys.executable, "-c", FAMILY], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert 0.3 <= float(done.stdout) < 10
