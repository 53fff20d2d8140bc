"""What every caller relies on, tried in a local folder, on an imitated S3 server and on a real one."""

from __future__ import annotations

import multiprocessing
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import storage

ODD_NAMES = (
    "two words.mp4",
    "Zoë/naïve façade.csv",
    "日本語.webm",
    "100%25 of #1?.txt",
    "[a-z]*{1,2}.tar",
    "a+b&c=d;e,f@g:h.json",
    'it\'s "quoted".txt',
    "~tilde/.hidden",
    "back\\slash.txt",
)
RANGES = (
    (0, None, b"0123456789"),
    (0, 4, b"0123"),
    (3, 4, b"3456"),
    (7, None, b"789"),
    (7, 100, b"789"),
    (10, None, b""),
    (10, 1, b""),
    (99, None, b""),
    (99, 5, b""),
    (5, 0, b""),
)

# Where the imitated server would take long to tell the same.
without_imitation = pytest.mark.parametrize(
    "storage_root", ["local", pytest.param("rgw", marks=pytest.mark.s3)], indirect=True
)


def test_what_is_written_is_read(storage_root, tmp_path):
    finished = tmp_path / "finished.bin"
    finished.write_bytes(bytes(range(256)) * 100)
    storage.publish(finished, storage.join(storage_root, "a/b/finished.bin"))
    storage.publish_bytes("ünï".encode(), storage.join(storage_root, "note.txt"))
    storage.publish_bytes(b"", storage.join(storage_root, "empty"))

    assert storage.read_bytes(storage.join(storage_root, "a/b/finished.bin")) == finished.read_bytes()
    assert storage.read_text(storage.join(storage_root, "note.txt")) == "ünï"
    assert storage.read_bytes(storage.join(storage_root, "empty")) == b""
    assert storage.read_bytes(storage.join(storage_root, "empty"), 0, 5) == b""
    assert finished.exists(), "what was published is still the caller's"


@without_imitation
def test_large_files_arrive_whole(storage_root, tmp_path):
    large = tmp_path / "large.tar"
    block = bytes(range(256)) * 4096
    with large.open("wb") as file:
        for number in range(101):  # more than two parts of an upload
            file.write(number.to_bytes(4, "big") + block)
    uri = storage.join(storage_root, "large.tar")
    storage.publish(large, uri)
    assert storage.stat(uri).size_bytes == large.stat().st_size
    assert storage.local_copy(uri, tmp_path / "copies").read_bytes() == large.read_bytes()
    start = 77 * (len(block) + 4)
    assert storage.read_bytes(uri, start, 4) == (77).to_bytes(4, "big")


def test_ranges(storage_root):
    uri = storage.join(storage_root, "digits")
    storage.publish_bytes(b"0123456789", uri)
    assert {(start, size): storage.read_bytes(uri, start, size) for start, size, _ in RANGES} == {
        (start, size): expected for start, size, expected in RANGES
    }
    with pytest.raises(ValueError, match="byte -1"):
        storage.read_bytes(uri, -1)


def test_odd_names(storage_root):
    uris = [storage.join(storage_root, name) for name in ODD_NAMES]
    for uri in uris:
        storage.publish_bytes(uri.encode(), uri)
    assert [found.uri for found in storage.list_files(storage_root)] == sorted(uris)
    for uri in uris:
        assert storage.read_text(uri) == uri
        assert storage.stat(uri).uri == uri
        storage.delete(uri)
        assert not storage.exists(uri)


def test_a_newer_file_has_another_version(storage_root):
    uri = storage.join(storage_root, "config.json")
    storage.publish_bytes(b"one", uri)
    first = storage.stat(uri)
    assert first == storage.list_files(storage_root)[0], "a listing and a single look agree"
    threading.Event().wait(0.02)  # a file system's clock may tick as slowly as 100 Hz
    storage.publish_bytes(b"two", uri)
    assert storage.read_bytes(uri) == b"two"
    assert storage.stat(uri).version != first.version
    assert storage.stat(uri).size_bytes == 3


def test_listing_is_recursive_and_sorted(storage_root):
    names = ["b.txt", "a/2", "a/10", "a/B", "a/b/c/d", "a.txt", "ab/x"]
    for name in names:
        storage.publish_bytes(name.encode(), storage.join(storage_root, name))
    root = storage.normalise(storage_root)
    listed = [(found.uri.removeprefix(root + "/"), found.size_bytes) for found in storage.list_files(storage_root)]
    assert listed == [(name, len(name)) for name in sorted(names)]
    below_a = [found.uri for found in storage.list_files(storage.join(root, "a"))]
    assert below_a == [f"{root}/a/{name}" for name in ("10", "2", "B", "b/c/d")], "ab/x is not below a"
    assert [found.uri for found in storage.list_files(f"{root}/b.txt")] == [f"{root}/b.txt"]
    assert storage.list_files(storage.join(root, "nothing")) == []


def test_listing_goes_beyond_a_thousand(storage_root):
    names = [f"{number:05d}" for number in range(1100)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: storage.publish_bytes(b"x", storage.join(storage_root, "many", name)), names))
    found = storage.list_files(storage.join(storage_root, "many"))
    assert [one.uri.rsplit("/", 1)[1] for one in found] == names


def test_exists(storage_root):
    assert not storage.exists(storage_root)
    storage.publish_bytes(b"x", storage.join(storage_root, "folder/file.txt"))
    for there in ("", "folder", "folder/file.txt"):
        assert storage.exists(storage.join(storage_root, there)), there
    for absent in ("fold", "folder/file", "folder/file.txt.gz", "file.txt"):
        assert not storage.exists(storage.join(storage_root, absent)), absent


@pytest.mark.parametrize("read", [storage.read_bytes, storage.stat, lambda uri: storage.local_copy(uri, "unused")])
def test_a_missing_file_is_named(storage_root, read, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    storage.publish_bytes(b"x", storage.join(storage_root, "there"))
    with pytest.raises(FileNotFoundError, match=r"absent\.tar") as raised:
        read(storage.join(storage_root, "absent.tar"))
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.rglob("absent.tar")), "a download that failed leaves no file"


def test_a_folder_is_no_file(storage_root):
    storage.publish_bytes(b"x", storage.join(storage_root, "folder/file"))
    with pytest.raises(IsADirectoryError, match="folder"):
        storage.stat(storage.join(storage_root, "folder"))


def test_every_failure_is_a_storage_error(storage_root, tmp_path):
    storage.publish_bytes(b"x", storage.join(storage_root, "folder/file"))
    absent, folder = storage.join(storage_root, "absent"), storage.join(storage_root, "folder")
    failures = {
        lambda: storage.read_bytes(absent): FileNotFoundError,
        lambda: storage.copy(absent, folder): FileNotFoundError,
        lambda: storage.publish(tmp_path / "absent", absent): FileNotFoundError,
        lambda: storage.local_copy(absent, tmp_path): FileNotFoundError,
        lambda: storage.stat(folder): IsADirectoryError,
    }
    for use, builtin in failures.items():
        with pytest.raises(storage.StorageError) as raised:
            use()
        assert isinstance(raised.value, builtin)
        assert type(pickle.loads(pickle.dumps(raised.value))) is type(raised.value), "it travels between processes"


def test_delete_twice_is_fine(storage_root):
    uri = storage.join(storage_root, "gone")
    storage.publish_bytes(b"x", uri)
    storage.delete(uri)
    storage.delete(uri)
    assert storage.list_files(storage_root) == []


def test_publishing_nothing_changes_nothing(storage_root, tmp_path):
    uri = storage.join(storage_root, "shard.tar")
    storage.publish_bytes(b"old", uri)
    for source in (tmp_path / "absent", tmp_path):
        with pytest.raises(FileNotFoundError, match="not a file"):
            storage.publish(source, uri)
    assert storage.read_bytes(uri) == b"old"


def test_readers_never_see_a_part(storage_root, tmp_path):
    uri = storage.join(storage_root, "shard.tar")
    contents = [bytes([value]) * 3_000_000 for value in (1, 2)]
    for number, content in enumerate(contents):
        (tmp_path / str(number)).write_bytes(content)
    storage.publish(tmp_path / "0", uri)
    done, contents_read = threading.Event(), set()

    def read() -> None:
        while not done.is_set():
            contents_read.add(storage.read_bytes(uri))

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for number in range(20):
            storage.publish(tmp_path / str(number % 2), uri)
        done.set()
        for reader in readers:
            reader.result()
    assert contents_read
    assert contents_read <= set(contents)


def test_the_first_one_creates(storage_root):
    uri = storage.join(storage_root, "folder/dataset.json")
    assert storage.create_if_absent(b"first", uri)
    assert not storage.create_if_absent(b"second", uri)
    assert storage.read_bytes(uri) == b"first"
    assert len(storage.list_files(storage_root)) == 1
    storage.delete(uri)
    assert storage.create_if_absent(b"third", uri)


def test_one_of_eight_threads_creates(storage_root):
    start = threading.Barrier(8)

    def race(number: int) -> list[bool]:
        wins = []
        for turn in range(10):
            start.wait(30)
            wins.append(storage.create_if_absent(str(number).encode(), storage.join(storage_root, str(turn))))
        return wins

    with ThreadPoolExecutor(8) as pool:
        wins = list(pool.map(race, range(8)))
    assert_one_winner(wins, storage_root)


@without_imitation
def test_one_of_four_processes_creates(storage_root):
    spawn = multiprocessing.get_context("spawn")
    with spawn.Manager() as manager:
        start, results = manager.Barrier(4), manager.dict()
        racers = [spawn.Process(target=race_in_process, args=(n, storage_root, start, results)) for n in range(4)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join(120)
        assert [racer.exitcode for racer in racers] == [0] * 4
        assert_one_winner([results[number] for number in range(4)], storage_root)


def race_in_process(number, root, start, results) -> None:
    storage.exists(root)  # imports and connects before the race
    wins = []
    for turn in range(10):
        start.wait(60)
        wins.append(storage.create_if_absent(str(number).encode(), storage.join(root, str(turn))))
    results[number] = wins


def assert_one_winner(wins: list[list[bool]], root: str) -> None:
    for turn in range(10):
        winners = [number for number, of_racer in enumerate(wins) if of_racer[turn]]
        assert len(winners) == 1, f"turn {turn} was won by {winners}"
        assert storage.read_text(storage.join(root, str(turn))) == str(winners[0])


def test_local_copies_of_one_name_are_two(storage_root, tmp_path):
    uris = [storage.join(storage_root, person, "video 1.mp4") for person in ("ann", "bob")]
    for uri in uris:
        storage.publish_bytes(uri.encode(), uri)
    copies = [storage.local_copy(uri, tmp_path / "copies") for uri in uris]
    assert [copy.read_text() for copy in copies] == uris
    assert {copy.name for copy in copies} == {"video 1.mp4"}
    assert (copies == [Path(uri) for uri in uris]) == storage.is_local(storage_root), "what is local is not copied"


def test_a_name_longer_than_a_file_may_have_is_copied(storage_root, tmp_path):
    length = 200 if storage.is_local(storage_root) else 300
    uri = storage.join(storage_root, "ä" * (length // 2 - 2) + ".mp4")
    storage.publish_bytes(b"video", uri)
    copy = storage.local_copy(uri, tmp_path / "copies")
    assert (copy.read_bytes(), copy.suffix) == (b"video", ".mp4")


def test_copy_within_and_across(storage_root, tmp_path):
    here = str(tmp_path / "here")
    source = storage.join(storage_root, "parent/train-00000.tar")
    storage.publish_bytes(b"shard", source)
    storage.publish_bytes(b"old", storage.join(storage_root, "child/train-00000.tar"))
    for target in (storage.join(storage_root, "child/train-00000.tar"), storage.join(here, "download.tar")):
        storage.copy(source, target)
        assert storage.read_bytes(target) == b"shard"
    storage.copy(storage.join(here, "download.tar"), storage.join(storage_root, "upload.tar"))
    storage.publish_bytes(b"changed", source)
    assert storage.read_bytes(storage.join(storage_root, "child/train-00000.tar")) == b"shard"
    assert [found.size_bytes for found in storage.list_files(storage_root)] == [5, 7, 5]
    with pytest.raises(FileNotFoundError, match="absent"):
        storage.copy(storage.join(storage_root, "absent"), storage.join(storage_root, "copy"))


def test_require_writable(storage_root, tmp_path):
    storage.require_writable(storage.join(storage_root, "not/yet/there"))
    assert storage.list_files(storage_root) == []
    (tmp_path / "file").touch()
    with pytest.raises(storage.AccessDeniedError, match=r".*/file is a file, not a folder"):
        storage.require_writable(str(tmp_path / "file/below"))


def test_free_bytes(storage_root):
    free = storage.free_bytes(storage.join(storage_root, "not/yet/there"))
    assert free is None if storage_root.startswith("s3://") else free > 0


def test_arrow_writes_and_reads(storage_root):
    filesystem, path = storage.arrow_filesystem(storage_root)
    filesystem = pickle.loads(pickle.dumps(filesystem))  # Ray sends it to its workers
    filesystem.create_dir(path, recursive=True)
    table = pa.table({"key": ["a", "b"], "offset": [0, 512]})
    pq.write_table(table, f"{path}/index.parquet", filesystem=filesystem)
    assert pq.read_table(f"{path}/index.parquet", filesystem=filesystem).equals(table)
    assert [Path(found.uri).name for found in storage.list_files(storage_root)] == ["index.parquet"]
