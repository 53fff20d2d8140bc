"""Suggestions: the usual names of other programs are known, and nothing absurd is proposed."""

import pytest

from flows.cli.commands import COMMANDS
from pipeline.config.settings import all_settings, section_descriptions
from pipeline.config.suggestions import NO_SETTING, SYNONYMS, did_you_mean, question, settings_meant_by


def test_every_synonym_leads_to_settings_and_is_none_itself():
    assert [name for settings in SYNONYMS.values() for name in settings if name not in all_settings()] == []
    assert [name for name in SYNONYMS if "_" in name or name != name.lower()] == []
    assert [name for name in SYNONYMS if name in all_settings()] == []


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("train.lr", "train.learning_rate"),
        ("lr", "train.learning_rate"),
        ("LR", "train.learning_rate"),
        ("batch_size", "train.batch_size"),
        ("bs", "train.batch_size"),
        ("batch", "train.batch_size"),
        ("epochs", "train.epochs"),
        ("num_epochs", "train.epochs"),
        ("train.workers", "train.num_workers"),
        ("gpus", "train.use_gpu"),
        ("device", "train.use_gpu"),
        ("train.wd", "train.weight_decay"),
        ("model.dropout", "model.fusion_dropout"),
        ("fps", "media.frame_rate_hz"),
        ("media.fps", "media.frame_rate_hz"),
        ("train.fps", "media.frame_rate_hz"),
        ("sample_rate", "media.sample_rate_hz"),
        ("media.sr", "media.sample_rate_hz"),
        ("seed", "train.seed"),
        ("output_dir", "storage.root"),
        ("out", "storage.root"),
        ("data", "source.videos"),
        ("videos", "source.videos"),
        ("labels", "source.labels"),
        ("model", "model.backbone"),
        ("ckpt", "evaluate.run"),
        ("train.fp16", "train.precision"),
        ("amp", "train.precision"),
        ("trian.lr", "train.learning_rate"),
        ("trian.epohcs", "train.epochs"),
        ("train.epoch", "train.epochs"),
        ("epohcs", "train.epochs"),
        ("train.gate", "model.gate"),
        ("training.epochs", "train.epochs"),
    ],
)
def test_the_usual_names_are_known(name, setting):
    assert settings_meant_by(name)[0] == setting


@pytest.mark.parametrize("name", ["train.zzz", "zzz", "train.fish", "faces", "train.", "", ".", "train.colour"])
def test_nothing_absurd_is_proposed(name):
    assert settings_meant_by(name) == []


def test_the_sections_of_a_command_decide_between_equal_names():
    assert settings_meant_by("workers", ["cluster"]) == ["cluster.num_workers"]
    assert settings_meant_by("lr", ["ablate"]) == ["ablate.learning_rate"]
    assert settings_meant_by("lr", ["media"])[0] == "train.learning_rate"
    assert settings_meant_by("ablate.lr") == ["ablate.learning_rate"]


@pytest.mark.parametrize(
    ("name", "command"),
    [("trian", "train"), ("eval", "evaluate"), ("prep", "preprocess"), ("ex", ""), ("run", ""), ("train", "train")],
)
def test_a_beginning_is_enough_where_it_is_unique(name, command):
    assert did_you_mean(name, COMMANDS) == command


def test_what_has_no_setting_leads_to_none():
    assert [name for name in NO_SETTING if settings_meant_by(name) or name in SYNONYMS] == []


def test_questions_are_sentences():
    assert question(["a"]) == "did you mean a?"
    assert question(["a", "b", "c"]) == "did you mean a, b or c?"


def test_a_setting_is_its_own_meaning():
    """Whatever section it is looked for in: its name alone leads to it."""
    for name, setting in all_settings().items():
        if setting.section and setting.field not in section_descriptions():
            assert name in settings_meant_by(setting.field, [setting.section])
