"""Configuration: precedence, refusals with a suggestion, and fingerprints that cover exactly what they should."""

import dataclasses
import json
import pickle
from pathlib import Path

import pytest

from iaca_model.config import PRESETS
from iaca_model.corruption import KINDS
from pipeline.config import (
    Config,
    UsageError,
    dataset_fingerprint,
    evaluation_fingerprint,
    fingerprint,
    fingerprints,
    load,
    require_detector,
    require_view,
    run_fingerprint,
)
from pipeline.config.dataset_sections import PreprocessConfig

RUNS = sorted((Path(__file__).parents[3] / "infra/runs").glob("*.toml"))
CONTENT_IDS = {"a": "1-aa", "b": "2-bb"}
TOOLS = {"ffmpeg": "9.0", "opencv": "4.14"}


def changed(section: str, **values) -> Config:
    config = Config()
    return config.model_copy(update={section: dataclasses.replace(getattr(config, section), **values)})


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_run_files_load(path):
    assert load(path).name == path.stem


def test_defaults_then_file_then_overrides(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('name = "mine"\n[train]\nepochs = 3\nbatch_size = 4\n')
    config = load(file, {"train": {"batch_size": 8}})
    assert (config.name, config.train.epochs, config.train.batch_size) == ("mine", 3, 8)
    assert config.train.learning_rate == Config().train.learning_rate


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sorce = 1", "unknown key sorce; did you mean source?"),
        ("[faces]\ndetectr = 'haar'", "unknown key faces.detectr; did you mean faces.detector?"),
        ("[train]\nlr = 1", "unknown key train.lr; did you mean train.learning_rate?"),
        ("lr = 1", "unknown key lr; did you mean train.learning_rate or ablate.learning_rate?"),
        ("[media]\nfps = 30", "unknown key media.fps; did you mean media.frame_rate_hz?"),
        ("[training]\nepochs = 3", "unknown key training; did you mean train?"),
        ("[faces]\nqqq = 1", "unknown key faces.qqq; allowed here: align, choose,"),
        ("[faces]\ndetector = 'dlib'", "faces.detector is 'dlib'; allowed: haar, yunet"),
        ("[train]\nepochs = 'many'", "train.epochs is 'many'; allowed: a whole number, at least 1"),
        ("[sequence]\nsubclip_dilation = 5", "subclip_frames 32 must be a multiple of subclip_dilation 5"),
        (
            "[evaluate]\ncorrupt_modality = 0.3\nmasked_modality = 'audio'",
            "evaluate.corrupt_modality is 0.3 and evaluate.masked_modality is audio, but a span is corrupted only",
        ),
        (
            "[ablate]\nmin_span = 14",
            "min_span is 14, but in sequences of num_steps 16 a corrupted span has at most 12 steps (3/4, or max_span)",
        ),
        ("[ablate]\nnum_steps = 8\nmin_span = 9\nmax_span = 9", "a corrupted span has at most 8 steps"),
        ("[splits]\nval = 0.7\ntest = 0.7", "splits.val 0.7 + splits.test 0.7"),
        ("[train]\nepochs = 0", "train.epochs is 0; allowed: at least 1"),
        ("[train]\nlearning_rate = nan", "train.learning_rate is nan; allowed: a number, above 0"),
        ("[train]\nlearning_rate = inf", "train.learning_rate is inf; allowed: a number, above 0"),
        ("[model]\ntemperature = nan", "model.temperature is nan; allowed: a number or none"),
        ("[train]\nuse_gpu = 'maybe'", "train.use_gpu is 'maybe'; allowed: true or false"),
        ("[source]\nvideos = ['a']", "source.videos is ['a']; allowed: text"),
        ("[model]\nfeature_dim = 0", "model.feature_dim is 0; it must be above 0"),
        (
            "[train]\nlr_scheduler = 'cosine'",
            "unknown key train.lr_scheduler; the learning rate warms up over",
        ),
        ("train = 3", "train is 3, but it is a section: [train] in a run file, --train.SETTING as an option"),
        ("[train]\ndrop_modality = 2", "train.drop_modality is 2; allowed: 0 to 1"),
        ("[sound]\nhop_s = 0", "sound.hop_s is 0; allowed: above 0"),
        ("[sound]\nwindow_s = 0.1", "sound.window_s 0.1 at media.sample_rate_hz 16000 is 1600 samples; allowed: 1 to"),
        ("[media]\ncrop_px = 5", "media.crop_px is 5; allowed: 16 to 512"),
        ("[media]\nframe_rate_hz = 300", "media.frame_rate_hz is 300; allowed: above 0, up to 240"),
        ("[ablate]\ntrain_corrupted = 2", "ablate.train_corrupted is 2; allowed: 0 to 1"),
        ("[model]\npreset = 'faithfull'", "model.preset: no preset is called 'faithfull'"),
        ("[model]\npreset = 'iaca_plus'", "did you mean iaca+?"),
        (
            "[model]\npreset = 'iaca+'\nmodalities = 'video'",
            "model.front reliability compares video with audio, but modalities is video: set front to none or",
        ),
        ("[model]\ngte = 'dca'", "unknown key model.gte; did you mean model.gate?"),
        ("[media]\nsample_rate_hz = 90", "sound.hop_s 0.01 is less than a sample at 90 Hz"),
        ("[faces]\nmin_score = 60", "faces.min_score is 60; allowed: 0 to 1"),
        ("[shards]\nmax_rejected_fraction = 5", "shards.max_rejected_fraction is 5; allowed: 0 to 1"),
        ("[evaluate]\nnum_threads = -1", "evaluate.num_threads is -1; allowed: at least 0"),
        ("[preprocess]\nlimit = -3", "preprocess.limit is -3; allowed: at least 0"),
        ("name = '../mine'", "name is '../mine'; it becomes a folder's"),
        ("this is not toml", "is not valid TOML"),
    ],
)
def test_refusals_name_the_key_and_the_remedy(tmp_path, text, message):
    file = tmp_path / "run.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"run\.toml") as caught:
        load(file)
    assert message in str(caught.value)


def test_a_missing_file_points_to_the_ready_ones(tmp_path):
    with pytest.raises(UsageError, match=r"does not exist; by name alone there are ablation, affwild2, demo"):
        load(tmp_path / "none.toml")


@pytest.mark.parametrize(("run_file", "num_hops"), [("affwild2.toml", 104), ("talking_faces.toml", 125)])
def test_the_sound_of_a_subclip_begins_with_its_first_frame(run_file, num_hops):
    # 44.1 kHz, 30 Hz: the 45570 samples of 31 frames are 104 centred hops of 441; at 25 Hz they are 1.24 s
    config = load(RUNS[0].parent / run_file)
    assert config.input_spec.num_hops == num_hops
    first_own = round(config.segments.num_preroll / config.media.frame_rate_hz / config.sound.hop_s)
    assert config.input_spec.num_hops <= first_own + 1  # the preroll holds all that its first own frame hears


def test_a_preset_lies_below_the_run_file_and_the_command_line(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('[model]\npreset = "iaca"\ngate_relu = false\n')
    model = load(file, {"model": {"preset": "faithful", "temperature": "0.5"}}).model
    literal = PRESETS["faithful"]
    assert (model.preset, model.gate_relu, model.temperature) == ("faithful", False, 0.5)
    assert (model.gate_init, model.temporal) == (literal.gate_init, literal.temporal) == ("xavier", "blstm")
    assert Config.model_validate({"model": {"preset": "faithful"}}).model.temporal == "blstm"


def test_a_preset_with_a_plus_is_written_as_any_other(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('[model]\npreset = "iaca+"\n')
    model = load(file).model
    assert (model.preset, model.base, model.gate, model.front) == ("iaca+", "jca", "iaca", "reliability")
    assert load(file, {"model": {"front": "none"}}).model.front == "none"


def test_the_name_of_a_preset_is_no_part_of_fingerprints():
    named = load(None, {"model": {"preset": "faithful"}})
    fields = {"gate_relu": True, "gate_init": "xavier", "temperature": 0.1, "temporal": "blstm"}
    spelt_out = load(None, {"model": fields})
    assert run_fingerprint(named, "d") == run_fingerprint(spelt_out, "d") != run_fingerprint(Config(), "d")


def test_sections_check_themselves_wherever_they_are_made():
    with pytest.raises(ValueError, match="crop_px"):
        changed("media", crop_px=5)
    with pytest.raises(ValueError, match="must be a multiple"):
        changed("sequence", subclip_dilation=5)


def test_it_travels_to_workers_and_cannot_be_changed():
    config = load(RUNS[0])
    assert pickle.loads(pickle.dumps(config)) == config
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.train.epochs = 1


def test_json_round_trip():
    config = load(RUNS[0])
    assert Config.model_validate_json(config.to_json()) == config
    assert json.loads(config.to_json())["name"] == config.name


def test_fingerprint_ignores_key_order_and_sees_values():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


@pytest.mark.parametrize(
    "config",
    [
        changed("storage", root="s3://elsewhere"),
        changed("source", videos="/moved", labels="/moved", manifest="m.csv"),
        changed("cluster", address="http://head:8265", num_workers=7),
        changed("train", learning_rate=1.0, epochs=1),
        changed("evaluate", split="val"),
        changed("model", base="ca"),
        changed("media", ffmpeg="/opt/ffmpeg/bin/ffmpeg"),
        Config().model_copy(update={"name": "other", "preprocess": PreprocessConfig(limit=3, dry_run=True)}),
    ],
    ids=["root", "source", "cluster", "train", "evaluate", "model", "path of ffmpeg", "name"],
)
def test_a_dataset_does_not_depend_on(config):
    assert dataset_fingerprint(config, CONTENT_IDS, TOOLS) == dataset_fingerprint(Config(), CONTENT_IDS, TOOLS)


@pytest.mark.parametrize(
    ("config", "content_ids", "tools"),
    [
        (changed("media", frame_rate_hz=30.0), CONTENT_IDS, TOOLS),
        (changed("faces", margin=0.5), CONTENT_IDS, TOOLS),
        (changed("sound", num_mels=80), CONTENT_IDS, TOOLS),
        (changed("splits", seed=1), CONTENT_IDS, TOOLS),
        (changed("segments", num_preroll=40), CONTENT_IDS, TOOLS),
        (changed("shards", target_mb=1.0), CONTENT_IDS, TOOLS),
        (Config(), {"a": "1-aa"}, TOOLS),
        (Config(), {"a": "1-aa", "b": "2-other"}, TOOLS),
        (Config(), CONTENT_IDS, {"ffmpeg": "8.0", "opencv": "4.14"}),
    ],
    ids=["media", "faces", "sound", "splits", "segments", "shards", "fewer", "bytes", "toolchain"],
)
def test_a_dataset_depends_on(config, content_ids, tools):
    assert dataset_fingerprint(config, content_ids, tools) != dataset_fingerprint(Config(), CONTENT_IDS, TOOLS)


def test_the_detector_counts_by_its_digest_not_its_uri():
    def of(uri, sha256):
        config = changed("faces", detector="yunet", model_uri=uri, model_sha256=sha256)
        return dataset_fingerprint(config, {}, {})

    assert of("/a.onnx", "11") == of("s3://b/c.onnx", "11") != of("/a.onnx", "22")


def test_a_run_depends_on_data_model_and_training_only():
    reference = run_fingerprint(Config(), "d1")
    assert run_fingerprint(Config(), "d2") != reference
    assert run_fingerprint(changed("train", learning_rate=1.0), "d1") != reference
    assert run_fingerprint(changed("model", gate="dca"), "d1") != reference
    assert run_fingerprint(changed("train", dataset="/moved", keep_checkpoints=9), "d1") == reference
    assert run_fingerprint(changed("storage", root="/moved"), "d1") == reference
    assert run_fingerprint(changed("weights", video="/moved"), "d1") == reference
    assert run_fingerprint(changed("weights", video_sha256="11"), "d1") != reference


def test_settings_without_effect_leave_a_run_its_name():
    """The two names are those of runs that were trained before there was a front or corruption."""
    assert run_fingerprint(Config(), "d1") == "b92efb750e48"
    assert run_fingerprint(load(None, {"model": {"preset": "tca"}, "train": {"drop_modality": 0.3}}), "d1") == (
        "a4ac60d87ba3"
    )
    assert run_fingerprint(changed("train", corrupt_missing=7.0, corrupt_swapped=0.0), "d1") == "b92efb750e48"
    corrupted = run_fingerprint(changed("train", corrupt_modality=0.5), "d1")
    others = {
        run_fingerprint(changed("model", front="reliability"), "d1"),
        run_fingerprint(changed("train", corrupt_modality=0.4), "d1"),
        *(run_fingerprint(changed("train", corrupt_modality=0.5, **{f"corrupt_{kind}": 2.0}), "d1") for kind in KINDS),
    }
    assert len(others | {corrupted, "b92efb750e48"}) == 7


def test_corruption_of_no_kind_is_refused():
    no_kind = {f"corrupt_{kind}": 0.0 for kind in KINDS}
    message = (
        r"train\.corrupt_modality is 0\.5, but train\.corrupt_missing, train\.corrupt_noisy and train\.corrupt_swapped "
        r"are 0; give one of them a share"
    )
    with pytest.raises(UsageError, match=message):
        load(None, {"train": {**no_kind, "corrupt_modality": 0.5}})
    assert load(None, {"train": no_kind}).train.corrupt_modality == 0
    only_noise = load(None, {"train": {**no_kind, "corrupt_modality": 0.5, "corrupt_noisy": 3.0}})
    assert only_noise.train.corrupt_shares[KINDS.index("noisy")] == 3
    assert sum(only_noise.train.corrupt_shares) == 3


def test_an_evaluation_depends_on_its_split_and_what_is_masked():
    reference = evaluation_fingerprint(Config(), "r", "d")
    assert evaluation_fingerprint(changed("evaluate", masked_modality="audio"), "r", "d") != reference
    assert evaluation_fingerprint(changed("evaluate", run="/moved", num_threads=9), "r", "d") == reference


def test_an_evaluation_of_healthy_clips_is_the_one_that_it_was_before_clips_could_be_corrupted():
    assert evaluation_fingerprint(Config(), "r", "d") == "369ae02a91ec"
    assert evaluation_fingerprint(changed("evaluate", corrupt_seed=3), "r", "d") == "369ae02a91ec"
    corrupted = [changed("evaluate", corrupt_modality=0.3, corrupt_seed=seed) for seed in (0, 1)]
    corrupted.append(changed("evaluate", corrupt_modality=0.4))
    assert len({evaluation_fingerprint(config, "r", "d") for config in (Config(), *corrupted)}) == 4


def test_an_evaluation_is_another_when_a_metric_has_changed(monkeypatch):
    reference = evaluation_fingerprint(Config(), "r", "d")
    monkeypatch.setattr(fingerprints, "EVALUATION_FORMAT", fingerprints.EVALUATION_FORMAT + 1)
    assert evaluation_fingerprint(Config(), "r", "d") != reference


@pytest.mark.parametrize(
    ("require", "values", "message"),
    [
        (require_detector, {"faces": {"detector": "yunet"}}, "needs faces.model_uri"),
        (require_detector, {"faces": {"align": True}}, "faces.align needs eyes, which faces.detector haar does not"),
        (require_view, {"segments": {"num_frames": 100}}, "= 512 must equal segments.num_frames 100"),
        (require_view, {"segments": {"num_preroll": 3}}, "segments.num_preroll 3 must be at least"),
    ],
)
def test_sections_must_agree_only_where_both_are_used(require, values, message):
    require(Config())
    with pytest.raises(UsageError, match=message):
        require(load(None, values))
