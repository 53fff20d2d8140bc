"""Presets and the checks of the model's configuration; none of it needs torch."""

import dataclasses
import subprocess
import sys

import pytest

from iaca_model.config import PRESETS, InputSpec, ModelConfig, preset_fields
from pipeline.ablation.variants import NUM_RECURSIONS

NAMES = ["ca", "jca", "rjca", "dca", "iaca", "tca", "grjca", "hgrjca", "tagf", "concat"]
NAMES += ["video_only", "audio_only", "faithful", "iaca+", "jca+", "ca+"]


def test_every_name_is_there_and_unknown_ones_are_refused_with_the_list():
    assert sorted(PRESETS) == sorted(NAMES)
    with pytest.raises(ValueError, match=r"no preset is called 'ica'; there are concat, .*faithful"):
        preset_fields("ica")
    with pytest.raises(ValueError, match=r"no preset is called 'faithfull'; there are .*; did you mean faithful\?"):
        ModelConfig(preset="faithfull")


@pytest.mark.parametrize("typed", ["iaca_plus", "iaca-plus", "IACA+", "iaca +"])
def test_other_spellings_of_the_plus_are_understood(typed):
    with pytest.raises(ValueError, match=r"no preset is called '.*'; .*; did you mean iaca\+\?"):
        preset_fields(typed)


def test_iaca_is_the_default_and_faithful_the_literal_form():
    assert PRESETS["iaca"] == ModelConfig()
    literal = PRESETS["faithful"].fusion(num_steps=16)
    assert (literal.gate, literal.gate_relu, literal.gate_init, literal.temperature) == ("iaca", True, "xavier", 0.1)
    default = ModelConfig().fusion(num_steps=16)
    assert (default.gate_relu, default.gate_init, default.modality_gate) == (False, "zero", "concat")


@pytest.mark.parametrize("name", ["iaca+", "jca+", "ca+"])
def test_a_plus_is_a_front_at_the_depth_of_the_ablation_and_nothing_else(name):
    fields, plain = preset_fields(name), preset_fields(name.rstrip("+"))
    assert fields.pop("front") == "reliability"
    assert fields.pop("num_recursions", None) == (None if name == "iaca+" else NUM_RECURSIONS)
    assert fields == plain
    fusion = PRESETS[name].fusion(num_steps=16)
    assert (fusion.front_output, fusion.depth) == ("scaled", NUM_RECURSIONS)


def test_the_presets_of_the_papers_have_no_front():
    assert {name for name, model in PRESETS.items() if model.front != "none"} == {"iaca+", "jca+", "ca+"}


def test_presets_recur_as_often_as_the_papers():
    depths = {name: PRESETS[name].fusion(num_steps=16).depth for name in NAMES}
    twice = {"dca", "iaca", "iaca+", "jca+", "ca+", "faithful", "grjca", "hgrjca", "tagf"}
    assert {name for name, depth in depths.items() if depth == 2} == twice
    assert depths["rjca"] == depths["jca"] == 1


def test_changes_are_taken_over():
    assert dataclasses.replace(PRESETS["ca"], feature_dim=32).fusion(num_steps=4).video_dim == 32


@pytest.mark.parametrize("name", NAMES)
def test_the_fields_of_a_preset_make_it_of_the_defaults(name):
    fields = preset_fields(name)
    assert ModelConfig(**fields) == PRESETS[name]
    assert all(value != getattr(ModelConfig(), field) for field, value in fields.items())
    assert dataclasses.replace(ModelConfig(preset=name), preset="") == ModelConfig()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base": "concat"}, "base concat .* not iaca"),
        ({"feature_dim": 0}, "feature_dim is 0; it must be above 0"),
        ({"temporal": "blstm", "joint_dim": 31}, "joint_dim 31 .* must be even"),
        ({"modalities": "text"}, "modalities is 'text'; allowed: both, video, audio"),
        ({"fusion_dropout": 1.5}, "dropout is 1.5; allowed"),
        (
            {"front": "reliability", "modalities": "video"},
            "front reliability compares video with audio, but modalities is video: set front to none or modalities to",
        ),
        (
            {"front": "reliability", "base": "concat", "gate": "none", "modalities": "audio"},
            "front reliability compares video with audio, but modalities is audio: set front to none or modalities to",
        ),
    ],
)
def test_a_wrong_model_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig(**changes)


def test_an_empty_input_is_refused():
    with pytest.raises(ValueError, match="num_frames is 0"):
        InputSpec(num_frames=0)


def test_the_configuration_does_not_import_torch():
    code = "import sys, iaca_model.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
