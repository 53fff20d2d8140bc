"""Which rows an ablation has, and what is refused."""

import dataclasses
from typing import get_args

import pytest

from iaca_model.config import FusionConfig, Gate
from pipeline.ablation import variants
from pipeline.ablation.variants import EXTRAS, list_variants
from pipeline.config import UsageError
from pipeline.config.job_sections import AblateConfig

PLAIN = FusionConfig(video_dim=12, audio_dim=8, base="concat", gate="none")


def names(**changes) -> list[str]:
    return [row.name for row in list_variants(AblateConfig(**changes))]


def test_every_legal_pair_and_the_extras_on_their_bases():
    rows = names()
    assert rows[0] == "concat"
    about_the_front = [row.name for row in list_variants(AblateConfig()) if row.oracle or "front" in row.fusion]
    assert len([name for name in rows if ":" not in name]) == 1 + 4 * 5 + len(about_the_front)
    assert about_the_front[:3] == ["concat+front", "concat+control", "concat+oracle"]
    assert about_the_front[-4:] == ["tca+front", "tca+front+iaca", "tca+control", "tca+oracle"]
    assert [name for name in rows if name.startswith("jca+iaca:")] == [
        f"jca+iaca:{extra}" for extra in EXTRAS if extra != "sharp"
    ]
    assert "ca+iaca:sharp" in rows
    assert "ca+iaca:soft" not in rows, "it is the default already"
    assert "tca+iaca:faithful" not in rows
    assert len(set(rows)) == len(rows)


def test_the_reference_is_there_whatever_was_asked_for():
    assert names(bases="ca", gates="iaca", extras="", fronts="") == ["ca", "ca+iaca"]
    assert all(row.reference in names() for row in list_variants(AblateConfig()))


def test_every_fusion_can_be_built_and_recurs_alike():
    for row in list_variants(AblateConfig()):
        assert row.fusion_config(PLAIN).depth == (0 if row.base == "concat" else 2)


def test_the_extras_do_what_their_names_promise():
    rows = {row.name: row for row in list_variants(AblateConfig())}
    fusions = {name: row.fusion_config(PLAIN) for name, row in rows.items()}
    literal = fusions["jca+iaca:faithful"]
    assert (literal.gate_relu, literal.gate_init, literal.temperature) == (True, "xavier", 0.1)
    assert not fusions["jca+iaca:frozen"].gate_trainable
    frozen = dataclasses.replace(fusions["jca+iaca:frozen"], gate_trainable=True)
    assert frozen == fusions["jca+iaca"] == fusions["jca+iaca:supervised"]
    assert rows["jca+iaca:augmented"].augment == rows["jca+iaca:supervised"].augment
    assert rows["jca+iaca:augmented"].gate_supervision == 0


def test_the_rows_about_the_front_are_what_their_names_promise():
    rows = {row.name: row for row in list_variants(AblateConfig(bases="jca"))}
    front, both, control = (rows[f"jca+{name}"].fusion_config(PLAIN) for name in ("front", "front+iaca", "control"))
    plain, iaca = rows["jca"].fusion_config(PLAIN), rows["jca+iaca"].fusion_config(PLAIN)
    assert front == dataclasses.replace(plain, front="reliability")
    assert both == dataclasses.replace(iaca, front="reliability")
    assert control == dataclasses.replace(front, front_output="appended")
    assert rows["jca+oracle"].fusion_config(PLAIN) == plain
    assert [name for name, row in rows.items() if row.oracle] == ["jca+oracle"]
    compared_with_iaca = {name for name, row in rows.items() if row.default_iaca == "jca+iaca"}
    assert {"jca+front", "jca+front+iaca", "jca+control"} < compared_with_iaca
    assert "jca+oracle" not in compared_with_iaca
    assert {row.reference for row in rows.values()} == {"jca"}


def test_only_the_gates_that_are_listed_run_as_released(monkeypatch):
    def literal_gates():
        gates = ",".join(get_args(Gate))
        rows = list_variants(AblateConfig(gates=gates, extras="", fronts=""))
        return {row.gate: row.fusion for row in rows if row.fusion}

    literal = {"gate_relu": True, "gate_init": "xavier", "temperature": 0.1}
    assert literal_gates() == {
        "dca": literal,
        "grjca": literal,
        "hgrjca": literal,
        "tagf": literal | {"gate_relu": False},
    }
    monkeypatch.setattr(variants, "RELEASED_GATES", {"dca": literal})
    assert literal_gates() == {"dca": literal}


def test_tagf_runs_where_it_is_asked_for():
    assert names(bases="jca", gates="tagf", extras="", fronts="") == ["jca", "jca+tagf"]
    assert not [name for name in names() if name.endswith("tagf")], "not in the default grid"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bases": "ca,rnn"}, "ablate.bases names rnn; allowed: concat, ca, jca, jca_paper, tca"),
        ({"gates": "hard"}, "ablate.gates names hard; allowed: none, dca, iaca, grjca, hgrjca, tagf"),
        ({"fronts": "back"}, r"ablate.fronts names back; allowed: front, front\+iaca, control, oracle"),
        ({"extras": "magic"}, "ablate.extras names magic; allowed: faithful, frozen"),
        ({"extra_bases": "concat"}, "ablate.extra_bases names concat; allowed: ca, jca"),
    ],
)
def test_unknown_names_are_refused_with_what_there_is(changes, message):
    with pytest.raises(UsageError, match=message):
        list_variants(AblateConfig(**changes))
