"""One trial from nothing to its numbers, small."""

import dataclasses
import json

import pytest
import torch

from iaca_model.corruption import HEALTHY
from pipeline.ablation.benchmark import World
from pipeline.ablation.feature_sequences import TrialSequences
from pipeline.ablation.trial import BENCHMARK_MODEL, Trial, TrialModel, augment, run_trial, train_variant, training_loss
from pipeline.ablation.variants import list_variants
from pipeline.config.job_sections import AblateConfig
from tests.support.fake_device import FAKE_DEVICE, FakeDeviceTensor, FakeHostTensor

SMALL = AblateConfig(num_steps=8, feature_dim=8, num_train=64, num_test=64, updates=4, batch_size=8)
ROWS = {row.name: row for row in list_variants(SMALL)}
ROWS |= {row.name: row for row in list_variants(dataclasses.replace(SMALL, bases="jca", gates="tagf"))}


@pytest.mark.parametrize("name", ["concat", "jca+hgrjca", "jca+tagf", "tca+front+iaca", "ca+iaca:agreement_supervised"])
def test_a_trial_gives_numbers_that_json_keeps_and_repeats_itself(name):
    trial = Trial(ROWS[name], 5, SMALL)
    result = json.loads(json.dumps(run_trial(trial)))
    again = run_trial(trial)
    assert (result["variant"], result["seed"]) == (name, 5)
    assert result["ccc"] == again["ccc"]
    verdicts = [verdict for word, verdict in (("front", "reliability"), ("iaca", "modality")) if word in name]
    assert list(result["detection"]) == verdicts
    assert len(result["curve"]) == 32


def test_training_is_what_makes_it_better():
    learnt = dataclasses.replace(SMALL, updates=120, num_train=256, learning_rate=1e-2)
    scores = [run_trial(Trial(ROWS["jca"], 5, settings))["ccc"]["clean"]["mean"] for settings in (SMALL, learnt)]
    assert scores[1] > 0.5 > scores[0]


def test_a_model_on_another_device_gets_its_inputs_there_and_gives_its_outputs_back():
    trial = Trial(ROWS["ca+front+iaca"], 5, dataclasses.replace(SMALL, encoder="mlp"), device=FAKE_DEVICE)
    torch.manual_seed(0)
    model, here = TrialModel(trial), trial.load_data().corrupted
    audio_ok_NL = torch.rand(len(here), SMALL.num_steps) > 0.5
    model.device = "cpu"
    expected, _ = model.predict_with_labels(here, audio_ok_NL)

    model.device = FAKE_DEVICE
    inputs = []
    model.register_forward_pre_hook(lambda _, args: inputs.extend((*vars(args[0]).values(), args[1])))
    on_host = TrialSequences(**{name: tensor.as_subclass(FakeHostTensor) for name, tensor in vars(here).items()})
    prediction, labels = model.predict_with_labels(on_host, audio_ok_NL.as_subclass(FakeHostTensor))
    assert {type(tensor) for tensor in inputs} == {FakeDeviceTensor}
    kept = (prediction.values_BL2, prediction.valid_BL, *prediction.gates.values(), *vars(labels).values())
    assert {type(tensor) for tensor in kept} == {FakeHostTensor}
    assert len(prediction.gates) == 2
    assert torch.equal(prediction.values_BL2.as_subclass(torch.Tensor), expected.values_BL2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_trial_on_a_gpu_measures_what_one_on_the_cpu_does():
    without_dropout = dataclasses.replace(BENCHMARK_MODEL, head_dropout=0.0)  # each device draws its own
    on_cpu, on_gpu = (
        run_trial(Trial(ROWS["jca+front+iaca"], 5, SMALL, without_dropout, device=name)) for name in ("cpu", "cuda")
    )
    for data in ("clean", "corrupted"):
        assert on_gpu["ccc"][data]["mean"] == pytest.approx(on_cpu["ccc"][data]["mean"], abs=0.01)


def test_an_encoder_in_front_is_trained_too():
    trial = Trial(ROWS["ca"], 5, dataclasses.replace(SMALL, encoder="mlp"))
    model = TrialModel(trial)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    train_variant(model, trial.load_data(), trial)
    moved = {
        name.split(".")[0] for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])
    }
    assert moved == {"model", "video", "audio"}
    assert not list(TrialModel(Trial(ROWS["ca"], 5, SMALL)).video.parameters())


def test_the_oracle_zeroes_what_is_corrupted():
    """With the corrupted features zeroed, what stands there has no influence."""
    trial = Trial(ROWS["jca+oracle"], 5, SMALL)
    torch.manual_seed(0)
    model, sequences = TrialModel(trial).eval(), trial.load_data().corrupted
    corrupted_NL2 = sequences.kind_NL2 != HEALTHY
    assert corrupted_NL2.any()
    hidden = dataclasses.replace(sequences, video_NLD=sequences.video_NLD + corrupted_NL2[..., :1])
    assert torch.equal(model(hidden).values_BL2, model(sequences).values_BL2)
    unaware = TrialModel(Trial(ROWS["jca"], 5, SMALL)).eval()
    assert not torch.equal(unaware(hidden).values_BL2, unaware(sequences).values_BL2)


def test_the_oracle_knows_of_augmentation_too():
    trial = Trial(ROWS["jca+oracle"], 5, dataclasses.replace(SMALL, augment=0.9))
    batch = trial.load_data().train
    augmented = augment(batch, trial, torch.Generator().manual_seed(0))
    new_NL2 = (augmented.kind_NL2 != HEALTHY) & (batch.kind_NL2 == HEALTHY)
    assert new_NL2.any()
    assert (augmented.kind_NL2[batch.kind_NL2 != HEALTHY] != HEALTHY).all()


def test_the_settings_of_the_benchmark_make_other_worlds():
    def train(**changes):
        return Trial(ROWS["jca"], 5, dataclasses.replace(SMALL, **changes)).load_data().train

    plain = train(train_corrupted=0.0)
    anonymous = train(train_corrupted=0.0, identity=0.0)
    assert torch.equal(plain.target_NL2, anonymous.target_NL2)
    own_mean = [data.video_NLD.mean(1).std(0).mean() for data in (plain, anonymous)]
    assert own_mean[1] < 0.8 * own_mean[0], "without identity people differ less"
    short, any_length = train(min_span=1, max_span=2), train()
    longest = [int((data.kind_NL2[..., 0] != HEALTHY).sum(1).max()) for data in (short, any_length)]
    assert longest == [2, 6]
    blocks = TrialModel(Trial(ROWS["jca"], 5, dataclasses.replace(SMALL, temporal="tcn")))
    assert blocks.model.has_blocks
    assert not TrialModel(Trial(ROWS["jca"], 5, SMALL)).model.has_blocks


def test_the_digest_covers_what_the_numbers_depend_on_and_nothing_else():
    trial = Trial(ROWS["ca"], 5, SMALL)
    elsewhere = dataclasses.replace(SMALL, bases="ca", num_seeds=9, first_seed=1, num_workers=2)
    assert dataclasses.replace(trial, settings=elsewhere).digest == trial.digest
    others = [
        Trial(ROWS["ca"], 6, SMALL),
        Trial(ROWS["jca"], 5, SMALL),
        Trial(ROWS["ca+oracle"], 5, SMALL),
        Trial(ROWS["ca"], 5, dataclasses.replace(SMALL, updates=5)),
        Trial(ROWS["ca"], 5, dataclasses.replace(SMALL, identity=0.0)),
        Trial(ROWS["ca"], 5, dataclasses.replace(SMALL, max_span=4)),
    ]
    assert len({trial.digest, *(other.digest for other in others)}) == 7


def test_supervision_moves_the_modality_gate_towards_the_healthy_side():
    trial = Trial(ROWS["jca+iaca:supervised"], 5, SMALL)
    torch.manual_seed(0)
    model = TrialModel(trial).eval()
    batch = World(5, SMALL.num_steps, SMALL.feature_dim).draw(64)
    unsupervised = dataclasses.replace(trial, variant=dataclasses.replace(trial.variant, gate_supervision=0.0))
    supervised_loss, plain_loss = (
        training_loss(model, batch, compared, torch.Generator().manual_seed(0)) for compared in (trial, unsupervised)
    )
    assert supervised_loss.item() - plain_loss.item() == pytest.approx(
        trial.variant.gate_supervision * 0.6931, rel=1e-3
    )  # ln 2: .5/.5
    assert (batch.kind_NL2 == HEALTHY).all(), "augmentation works on a copy"
