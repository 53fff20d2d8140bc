"""The table of an ablation on made-up results whose means and differences are known by hand."""

import csv
import io
import json

import pytest

from iaca_model.corruption import KINDS
from pipeline import storage
from pipeline.ablation import figures, report, table
from pipeline.ablation.measures import MASKS, PATTERNS
from pipeline.ablation.variants import list_variants
from pipeline.config import Config, load

OVERRIDES = {
    "name": "made-up",
    "ablate": {"bases": "ca", "gates": "none,iaca", "extras": "frozen", "fronts": "", "num_seeds": 2},
}
CCC = {"ca": {100: 0.5, 101: 0.7}, "ca+iaca": {100: 0.6, 101: 0.9}, "ca+iaca:frozen": {100: 0.5, 101: 0.8}}
WITH_FRONT = {**CCC, "ca+front+iaca": {100: 0.65, 101: 1.0}, "ca+oracle": {100: 0.9, 101: 0.9}}


def made_up(variant: str, seed: int) -> table.TrialResult:
    value = WITH_FRONT[variant][seed]
    scores = {"valence": value, "arousal": value, "mean": value}
    found = {**dict.fromkeys((*KINDS, "all"), 0.9), "gap": 0.4}
    gates = [gate for word, gate in (("front", "reliability"), ("iaca", "modality")) if word in variant]
    curve = [
        {"percent": percent, "pattern": pattern, "mask": mask, **scores}
        for pattern in PATTERNS
        for percent in (0, 100)
        for mask in MASKS
    ]
    trial = {"variant": variant, "base": "ca", "gate": "iaca" if "iaca" in variant else "none", "seed": seed}
    clean = {**scores, "mean": 0.8}
    return {
        **trial,
        "ccc": {"corrupted": scores, "clean": clean},
        "detection": dict.fromkeys(gates, found),
        "curve": curve,
        "num_parameters": 7,
        "cpu_s": 1.0,
    }


@pytest.fixture(scope="module")
def config() -> Config:
    return load(None, OVERRIDES)


@pytest.fixture(scope="module")
def results() -> list[table.TrialResult]:
    return [made_up(variant, seed) for seed in (101, 100) for variant in CCC]


def test_differences_are_paired_by_seed(config, results):
    base, gated, frozen = table.make_rows(list_variants(config.ablate), results)
    assert base.gain_corrupted is None
    assert base.corrupted.mean == pytest.approx(0.6)
    assert base.corrupted.deviation == pytest.approx(0.02**0.5)
    assert gated.gain_corrupted.mean == pytest.approx(0.15)  # .1 and .2
    assert gated.gain_corrupted.deviation == pytest.approx(0.005**0.5)
    assert gated.gain_corrupted.error == pytest.approx(0.05)
    assert gated.gain_clean.mean == 0
    assert (base.over_iaca, gated.over_iaca) == (None, None)
    assert (frozen.over_iaca.mean, frozen.gain_corrupted.mean) == (pytest.approx(-0.1), pytest.approx(0.05))


def test_one_seed_has_no_deviation(config, results):
    row = table.make_rows(list_variants(config.ablate), [r for r in results if r["seed"] == 100])[1]
    assert (row.corrupted.deviation, row.gain_corrupted.error) == (None, None)
    assert table.format_row(row)[1:4] == ("7", "0.600", "+0.100")


def test_the_table_is_formatted_for_people(config, results):
    rows = table.make_rows(list_variants(config.ablate), results)
    text = table.markdown(table.HEADINGS, map(table.format_row, rows))
    assert "| ca | 7 | 0.600 ± 0.141 |  |  |  | 0.800 ± 0.000 |  |  |" in text
    assert "| ca+iaca | 7 | 0.750 ± 0.212 | +0.150 ± 0.050 |" in text
    assert "| ca+iaca:frozen | 7 | 0.650 ± 0.212 | +0.050 ± 0.050 |  | -0.100 ± 0.000 |" in text
    assert text.count("\n") == 5


def test_gains_are_shares_of_what_the_oracle_gains_and_both_verdicts_are_compared():
    ablate = {"bases": "ca", "gates": "none,iaca", "extras": "", "fronts": "front+iaca,oracle", "num_seeds": 2}
    variants = list_variants(load(None, {"ablate": ablate}).ablate)
    results = [made_up(variant.name, seed) for seed in (100, 101) for variant in variants]
    rows = {row.variant: row for row in table.make_rows(variants, results)}
    assert rows["ca"].share_of_oracle is None
    assert rows["ca+iaca"].share_of_oracle == pytest.approx(0.15 / 0.3)
    assert rows["ca+front+iaca"].share_of_oracle == pytest.approx(0.225 / 0.3)
    assert rows["ca+oracle"].share_of_oracle == pytest.approx(1)
    assert rows["ca+front+iaca"].over_iaca.mean == pytest.approx(0.075)
    assert rows["ca+oracle"].over_iaca is None
    assert table.format_row(rows["ca+iaca"])[4] == "50%"
    assert list(rows["ca+front+iaca"].detection) == ["reliability", "modality"]
    lines = table.detection_lines(rows.values())
    assert [line[0] for line in lines] == ["ca+iaca, modality", "ca+front+iaca, reliability", "ca+front+iaca, modality"]
    assert {len(line) for line in lines} == {len(table.DETECTION_HEADINGS)}


@pytest.mark.parametrize(
    ("oracle_values", "share"),
    [
        ({100: 0.9, 101: 0.9}, 0.5),  # gains .4 and .2: .3 ± .1
        ({100: 0.9, 101: 0.8}, None),  # .4 and .1: .25 ± .15
        ({100: 0.9}, None),  # one seed has no error
        ({100: 0.4, 101: 0.6}, None),  # a loss
    ],
)
def test_a_gain_is_no_share_of_what_may_be_noise(oracle_values, share):
    oracle = [
        {**made_up("ca+oracle", seed), "ccc": {"corrupted": {"mean": value}, "clean": {"mean": 0.8}}}
        for seed, value in oracle_values.items()
    ]
    results = [made_up(variant, seed) for variant in ("ca", "ca+iaca") for seed in oracle_values] + oracle
    ablate = {"bases": "ca", "gates": "none,iaca", "extras": "", "fronts": "oracle"}
    row = table.make_rows(list_variants(load(None, {"ablate": ablate}).ablate), results)[1]
    assert row.share_of_oracle == (None if share is None else pytest.approx(share))


def test_both_dimensions_are_in_one_table(results):
    split_ccc = [{**result, "ccc": {**result["ccc"], "clean": {"valence": 0.25, "arousal": 0.5}}} for result in results]
    curves = [{**point, "percent": 90} for point in table.mean_curves(results) if point["percent"] == 100]
    lines = table.dimension_lines(split_ccc, curves)
    assert lines[0] == ("ca", "0.250 / 0.500", "", "", "", "", "", "0.600 / 0.600")
    assert [line[-1] for line in lines[1:]] == ["0.750 / 0.750", "0.650 / 0.650"]
    assert len(table.DIMENSION_HEADINGS) == len(lines[0])


def test_everything_is_published_and_the_marker_leads_to_it(config, results, tmp_path):
    uri = str(tmp_path / "made-up")
    report.publish(uri, config, list_variants(config.ablate), results, marker="done.json")
    record = json.loads(storage.read_text(f"{uri}/done.json"))
    assert {name for name in record["files"] if not storage.exists(f"{uri}/{name}")} == set()
    assert record["rows"][1]["gain_corrupted"]["mean"] == pytest.approx(0.15)
    assert {"curves.png", "detection.png", "gains.png", "report.html", "table.md"} <= set(record["files"])
    assert storage.read_bytes(f"{uri}/gains.png").startswith(b"\x89PNG")
    page = storage.read_text(f"{uri}/report.html")
    assert "<td>ca+iaca</td>" in page
    assert page.count("data:image/png;base64,") == 3
    assert "no upper bound: shares above 100 % occur" in page
    assert "@" not in page.replace("@media", "")


def test_every_verdict_is_published_behind_a_front_both(tmp_path):
    ablate = {"bases": "ca", "gates": "none,iaca", "extras": "", "fronts": "oracle,front+iaca", "num_seeds": 2}
    requested = load(None, {"name": "made-up", "ablate": ablate})
    variants = list_variants(requested.ablate)
    results = [made_up(variant.name, seed) for seed in (100, 101) for variant in variants]
    uri = str(tmp_path / "made-up")
    report.publish(uri, requested, variants, results, marker="done.json")
    text, page = (storage.read_text(f"{uri}/{name}") for name in ("table.md", "report.html"))
    for verdict in ("ca+iaca, modality", "ca+front+iaca, reliability", "ca+front+iaca, modality"):
        assert f"| {verdict} | 0.90 | 0.90 | 0.90 | 0.90 | 0.40 |" in text
        assert f"<td>{verdict}</td>" in page
    without = [variant for variant in variants if variant.name in ("ca", "ca+oracle")]
    report.publish(uri, requested, without, results, marker="done.json")
    assert "| verdict |" not in storage.read_text(f"{uri}/table.md")
    assert "<th>verdict</th>" not in storage.read_text(f"{uri}/report.html")


def test_the_curves_of_the_default_grid_compare_iaca_and_the_front_on_fewer_bases():
    names = [variant.name for variant in list_variants(Config().ablate)]
    shown = [base + kind for base in ("ca", "jca", "tca") for kind in ("", "+iaca", "+front")]
    assert figures.select_curves(names) == shown
    small = ["jca_paper", "jca_paper+iaca", "jca_paper+front", "jca_paper+front+iaca"]
    assert figures.select_curves(small) == small
    of_others = [f"{base}+{gate}" for base in ("ca", "jca", "tca") for gate in ("dca", "grjca", "hgrjca", "tagf")]
    assert figures.select_curves(of_others) == of_others[:10]


def test_the_files_for_machines_hold_every_trial_and_every_point(results):
    trials = list(csv.DictReader(io.StringIO(table.trials_csv(results).decode())))
    assert [(line["variant"], line["seed"]) for line in trials] == [(r["variant"], str(r["seed"])) for r in results]
    assert {line["corrupted_mean"] for line in trials} == {"0.5", "0.7", "0.6", "0.9", "0.8"}
    points = list(csv.DictReader(io.StringIO(table.to_csv(table.mean_curves(results)).decode())))
    assert len(points) == 3 * len(PATTERNS) * len(MASKS) * 2
    assert all(float(p["mean"]) == pytest.approx(sum(CCC[p["variant"]].values()) / 2) for p in points)


def test_the_page_describes_the_data(config, results):
    text = report.describe_data(config, results)
    assert "4,096 synthetic sequences to learn from and 384 to be measured on" in text
    assert "0.8 in training and 0.8 where measured" in text
    assert "Measured after the last update" in text
    assert report.title(config) == "Ablation made-up on the inconsistency benchmark"


def test_a_flattered_number_is_described_as_such(results):
    amounts = {"sequences": 12, "videos": 3, "labelled_frames": 4567}
    on_features = load(None, {"ablate": {"dataset": "s3://b/datasets/talkers-0123", "train_corrupted": 0.0}})
    counts = {"train": amounts, "val": amounts}
    text = report.describe_data(on_features, [{**results[0], "data": counts}])
    assert "the features talkers-0123; train 12 sequences, 3 videos, 4,567 labelled frames; val 12" in text
    assert "Measured on val" in text
    assert "every number here flatters its variant" in text
    assert "0 in training and 0.8 where measured" in text
    fair = report.describe_data(on_features, [{**results[0], "data": {**counts, "test": amounts}}])
    assert "best mean CCC on val, clean and corrupted" in fair
    assert "flatters" not in fair
    assert "Measured after the last update" in report.describe_data(
        on_features, [{**results[0], "data": {"train": amounts, "test": amounts}}]
    )
