"""Every setting of the configuration with its default, bounds and meaning, for the help and the documentation."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import get_type_hints

from pipeline.config.experiment import Config
from pipeline.config.fields import Setting, setting_of, settings_of


@cache
def all_settings() -> dict[str, Setting]:
    """The settings by their names, e.g. `name` and `media.crop_px`, in the order of the sections."""
    hints = get_type_hints(Config, include_extras=True)
    found: list[Setting] = []
    for name, info in Config.model_fields.items():
        if dataclasses.is_dataclass(hints[name]):
            found += settings_of(hints[name], name)
        else:
            found.append(setting_of(name, hints[name], info.default))
    return {setting.name: setting for setting in found}


def section_descriptions() -> dict[str, str]:
    """The first sentence on each section, by its name."""
    return {
        name: (type(info.default).__doc__ or "").partition("\n")[0]
        for name, info in Config.model_fields.items()
        if dataclasses.is_dataclass(info.default)
    }
