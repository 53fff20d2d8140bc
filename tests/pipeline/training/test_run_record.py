"""The files that make a folder a run: what a reader is told where they are missing or of another version."""

import pytest

from pipeline import storage
from pipeline.config import RUN_MARKER, Config, UsageError
from pipeline.training.run_record import CONFIG, read_config, read_record, write_config


def test_the_configuration_is_read_as_it_was_written(tmp_path):
    config = Config.model_validate({"train": {"epochs": 3}})
    write_config(str(tmp_path), config)
    assert read_config(str(tmp_path)) == config


def test_a_folder_without_a_configuration_is_no_run(tmp_path):
    with pytest.raises(UsageError, match=f"is not a run: it has no {CONFIG}"):
        read_config(str(tmp_path))


@pytest.mark.parametrize(("file", "read"), [(CONFIG, read_config), (RUN_MARKER, read_record)])
def test_a_run_of_another_version_is_named_with_the_way_on(tmp_path, file, read):
    storage.publish_bytes(b'{"train": {"setting_of_old": 1}}', storage.join(str(tmp_path), file))
    with pytest.raises(UsageError, match=rf"made by another version .* {file} .* train it again"):
        read(str(tmp_path))


def test_a_run_without_a_record_is_not_finished(tmp_path):
    assert read_record(str(tmp_path)) is None
