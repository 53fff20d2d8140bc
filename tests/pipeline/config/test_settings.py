"""The settings as help and documentation show them: all described, their bounds in words, their values."""

from pathlib import Path

import pytest

from pipeline.config import Config
from pipeline.config.settings import all_settings, section_descriptions
from pipeline.media.ffmpeg_command import OLDEST_FFMPEG

SETTINGS = all_settings()


def test_every_setting_and_section_has_a_description():
    assert not [name for name, setting in SETTINGS.items() if not setting.description]
    assert all(section_descriptions().values())


def test_every_field_is_a_setting():
    sections = {name: values for name, values in Config().model_dump().items() if isinstance(values, dict)}
    assert set(SETTINGS) == {"name", *(f"{name}.{field}" for name, values in sections.items() for field in values)}


def test_the_oldest_ffmpeg_is_described_as_it_is_checked():
    """The configuration cannot import it from the media."""
    oldest = "{}.{} or newer".format(*OLDEST_FFMPEG)
    page = Path(__file__).parents[3] / "docs/getting-started.md"
    assert oldest in SETTINGS["media.ffmpeg"].description
    assert f"It must be version {oldest}" in " ".join(page.read_text(encoding="utf-8").split())


@pytest.mark.parametrize(
    ("name", "values", "bounds", "default"),
    [
        ("media.crop_px", "int", "16 to 512", 112),
        ("media.frame_rate_hz", "float", "above 0, up to 240", 25.0),
        ("train.epochs", "int", "at least 1", 30),
        ("train.learning_rate", "float", "above 0", 1e-3),
        ("ablate.train_corrupted", "float or none", "0 to 1", None),
        ("faces.detector", "haar, yunet", "", "haar"),
        ("model.num_recursions", "int or none", "", None),
        ("name", "str", "", "experiment"),
    ],
)
def test_the_record_of_a_setting(name, values, bounds, default):
    setting = SETTINGS[name]
    assert (setting.values, setting.bounds, setting.default) == (values, bounds, default)
    assert f"{setting.section}.{setting.field}".removeprefix(".") == name
