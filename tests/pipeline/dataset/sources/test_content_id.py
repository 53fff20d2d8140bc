import pytest

from pipeline import storage
from pipeline.dataset.sources.content_id import END_BYTES, content_id_of_file, content_ids


@pytest.mark.parametrize("size", [0, 5, END_BYTES, END_BYTES + 3, 3 * END_BYTES])
def test_a_local_file_has_the_identity_its_listing_gave_it(tmp_path, size):
    path = tmp_path / "files" / "a.mp4"
    path.parent.mkdir()
    path.write_bytes(bytes(n % 251 for n in range(size)))
    listed = content_ids(storage.list_files(str(path.parent)), str(tmp_path / "root"))
    assert listed == {str(path): content_id_of_file(path)}


def test_either_end_counts(tmp_path):
    content_ids = set()
    for n, position in enumerate((0, 3 * END_BYTES - 1)):
        data = bytearray(3 * END_BYTES)
        data[position] = 1
        (tmp_path / f"{n}.mp4").write_bytes(data)
        content_ids.add(content_id_of_file(tmp_path / f"{n}.mp4"))
    assert len(content_ids) == 2


def test_each_file_that_is_read_is_reported_and_no_other(tmp_path):
    folder, root, read = tmp_path / "files", str(tmp_path / "root"), []
    folder.mkdir()
    for name in "abc":
        (folder / name).write_text(name)

    def find_ids():
        content_ids(storage.list_files(str(folder)), root, on_read=lambda *numbers: read.append(numbers))

    find_ids()
    assert read == [(1, 3), (2, 3), (3, 3)]
    (folder / "d").write_text("d")
    find_ids()
    assert read[3:] == [(1, 1)]
