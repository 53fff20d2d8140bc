"""The manifests of models that come with the program."""

import re
from pathlib import Path
from typing import get_args

from pipeline.config.model_files import MANIFESTS, model_file
from pipeline.config.settings import all_settings

MODELS = Path(__file__).parents[3] / "infra/models"


def test_every_model_that_can_be_fetched_has_a_manifest():
    names = sorted(get_args(all_settings()["fetch_model.name"].type))
    assert names == sorted(path.stem for path in MODELS.glob("*.toml"))
    assert names == sorted(path.stem for path in MANIFESTS.glob("*.toml"))


def test_a_manifest_names_one_file_at_one_commit_and_its_sum():
    yunet = model_file("yunet")
    assert re.fullmatch(r"https://github\.com/opencv/opencv_zoo/raw/[0-9a-f]{40}/.*2023mar\.onnx", yunet.uri)
    assert yunet.sha256 == "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
    assert (yunet.size_bytes, yunet.licence) == (232_589, "MIT")
