"""What only a local folder can do or suffer: links, a full disk, a writer that is killed."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline import storage

PUBLISH = "import sys; from pipeline import storage; storage.publish(sys.argv[1], sys.argv[2])"
FILL_THE_DISK = """
import sys
from pipeline import storage
for write in (storage.publish_bytes, storage.create_if_absent):
    try:
        write(b"x" * 5_000_000, sys.argv[1] + "/shards/train-00000.tar")
    except OSError as error:
        print(error.errno, error)
try:
    storage.publish(sys.argv[2], sys.argv[1] + "/shards/train-00000.tar")
except OSError as error:
    print(error.errno, error)
import os
print(os.listdir(sys.argv[1] + "/shards"))
"""


@pytest.mark.chaos
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_killed_writer_leaves_the_final_name_alone(tmp_path, old):
    source, folder = tmp_path / "shard.tar", tmp_path / "shards"
    folder.mkdir()
    with source.open("wb") as file:
        file.truncate(4 * 2**30)  # takes seconds to copy, and no room
    if old:
        storage.publish_bytes(old, str(folder / "shard.tar"))
    writer = subprocess.Popen([sys.executable, "-c", PUBLISH, source, folder / "shard.tar"])
    try:
        wait_until(lambda: any(found.stat().st_size > 0 for found in folder.glob(".*.partial")))
    finally:
        writer.kill()
    assert writer.wait(30) == -signal.SIGKILL, "it was killed at work, not after it"

    listed = storage.list_files(str(folder))
    assert [(Path(found.uri).name, found.size_bytes) for found in listed] == ([("shard.tar", 3)] if old else [])
    assert storage.exists(str(folder / "shard.tar")) == bool(old)
    storage.publish_bytes(b"second try", str(folder / "shard.tar"))
    assert storage.read_bytes(str(folder / "shard.tar")) == b"second try"


def test_a_full_disk_names_the_file_and_its_bytes(tmp_path):
    namespace = ["unshare", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*namespace, "true"], capture_output=True).returncode:
        pytest.skip("no user namespaces here, so no small disk to fill")
    disk, large = tmp_path / "disk", tmp_path / "large"
    disk.mkdir()
    large.write_bytes(b"x" * 5_000_000)
    script = f'mount -t tmpfs -o size=1m none "$1" && exec {sys.executable} -c "$0" "$1" "$2"'
    filled = subprocess.run(
        [*namespace, "sh", "-c", script, FILL_THE_DISK, disk, large], capture_output=True, text=True
    )
    *messages, left = filled.stdout.splitlines()
    assert len(messages) == 3, filled.stderr
    for message in messages:
        assert f"no space left for {disk}/shards/train-00000.tar: 5000000 bytes were to be written" in message
    assert left == "[]", "a failed write leaves nothing behind"


def test_unfinished_files_are_not_listed(tmp_path):
    (tmp_path / f".{'0123456789abcdef' * 2}.partial").write_bytes(b"half")
    (tmp_path / "film.partial").write_bytes(b"a name of its own")
    assert [Path(found.uri).name for found in storage.list_files(str(tmp_path))] == ["film.partial"]


def test_a_disk_without_links_is_reported(tmp_path, monkeypatch):
    def reject(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")  # as exFAT does

    monkeypatch.setattr(os, "link", reject)
    with pytest.raises(OSError, match=r"has no hard links, .* move the root"):
        storage.create_if_absent(b"marker", str(tmp_path / "dataset.json"))
    assert not list(tmp_path.iterdir())


def test_pipes_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "null.mp4").symlink_to(os.devnull)
    (tmp_path / "a.mp4").write_bytes(b"a")
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nothing")
    assert [(Path(found.uri).name, found.size_bytes) for found in storage.list_files(str(tmp_path))] == [
        ("a.mp4", 1),
        ("gone.mp4", 0),
    ]


def test_links_are_followed_once(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/a.mp4").write_bytes(b"film")
    (tmp_path / "videos/dangling.mp4").symlink_to("nowhere.mp4")
    (tmp_path / "videos/self").symlink_to(tmp_path / "videos")
    (tmp_path / "source").mkdir()
    (tmp_path / "source/linked").symlink_to(tmp_path / "videos")
    found = storage.list_files(str(tmp_path / "source"))
    root = f"{tmp_path}/source/linked"
    assert [(one.uri, one.size_bytes) for one in found] == [(f"{root}/a.mp4", 4), (f"{root}/dangling.mp4", 0)]


def test_a_local_file_is_its_own_copy(tmp_path):
    (tmp_path / "my film.mp4").write_bytes(b"film")
    for uri in (f"{tmp_path}/my film.mp4", f"file://{tmp_path}/my%20film.mp4"):
        assert storage.local_copy(uri, tmp_path / "unused") == tmp_path / "my film.mp4"
    assert not (tmp_path / "unused").exists()


def test_a_copy_is_a_link_that_later_writes_leave_alone(tmp_path):
    source, target = str(tmp_path / "a.tar"), str(tmp_path / "b.tar")
    storage.publish_bytes(b"shard", source)
    storage.copy(source, target)
    storage.copy(source, target)
    assert os.path.samefile(source, target)
    assert sorted(os.listdir(tmp_path)) == ["a.tar", "b.tar"]
    storage.publish_bytes(b"newer", source)
    assert storage.read_bytes(target) == b"shard"


def test_a_file_instead_of_a_folder_is_named(tmp_path):
    (tmp_path / "outputs").write_bytes(b"")
    for write in (storage.publish_bytes, storage.create_if_absent):
        with pytest.raises(NotADirectoryError, match=r"lies below .*/outputs, which is a file"):
            write(b"x", str(tmp_path / "outputs/run/config.json"))


def test_any_other_failure_keeps_its_number(tmp_path):
    with pytest.raises(storage.StorageError) as raised:
        storage.publish_bytes(b"x", str(tmp_path / ("long" * 100)))
    assert raised.value.errno == errno.ENAMETOOLONG


def test_a_forbidden_folder_is_named(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    folder = tmp_path / "private"
    folder.mkdir(mode=0)
    for use in (storage.list_files, lambda uri: storage.publish_bytes(b"x", uri + "/x")):
        with pytest.raises(PermissionError, match=r"private.*owner and mode"):
            use(str(folder))


def wait_until(happened, timeout_s: float = 30) -> None:
    end_s = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.001)


def test_a_folder_goes_with_its_last_file(tmp_path):
    uris = [str(tmp_path / f"root/attempts/{name}.json") for name in "ab"]
    for uri in uris:
        storage.publish_bytes(b"mark", uri)
    storage.delete(uris[0])
    assert os.listdir(tmp_path / "root/attempts") == ["b.json"]
    storage.delete(uris[1])
    assert os.listdir(tmp_path / "root") == []
    storage.delete(uris[1])
    assert (tmp_path / "root").exists()


def test_a_writer_gets_its_file_into_a_folder_that_others_empty(tmp_path):
    uri, done = str(tmp_path / "marks/a.json"), threading.Event()

    def empty():
        while not done.wait(0.0002):
            storage.delete(uri)

    emptier = threading.Thread(target=empty)
    emptier.start()
    try:
        for _ in range(500):
            storage.publish_bytes(b"mark", uri)
            storage.create_if_absent(b"mark", uri)
    finally:
        done.set()
        emptier.join()
