"""`deca evaluate compare`: paired differences with intervals that mean something."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from deca_cli.cli.evaluate import evaluate
from deca_cli.evaluate.compare import bootstrap_means


def write_run(folder, name, errors, benchmark="NoW"):
    folder.mkdir()
    images = [
        {"image": f"S{i // 4}/selfie/{i}.jpg", "subject": f"S{i // 4}", "state": "measured", "mean": float(e)}
        for i, e in enumerate(errors)
    ]
    content = {
        "benchmark": benchmark,
        "ranking": "non-metrical",
        "method": name,
        "unit": "mm",
        "images": images,
    }
    (folder / "results.json").write_text(json.dumps(content))
    return folder


def call(*arguments: object):
    return CliRunner().invoke(evaluate, ["compare", *(str(a) for a in arguments)])


def test_models_are_told_apart_only_when_the_data_allow(tmp_path):
    random = np.random.default_rng(0)
    base = random.uniform(0.8, 1.6, 80)
    better = write_run(tmp_path / "better", "better", base - 0.05 + random.normal(0, 0.02, 80))
    same = write_run(tmp_path / "same", "same", base + random.normal(0, 0.02, 80))
    first = write_run(tmp_path / "first", "first", base)
    done = call(first, better, same, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    rows = {m["name"]: m for m in json.loads((tmp_path / "out" / "compare.json").read_text())["models"]}
    assert rows["first"]["verdict"] == "reference"
    assert rows["better"]["verdict"] == "better"
    assert rows["same"]["verdict"] == "not decided"
    assert rows["better"]["low"] < rows["better"]["difference"] < rows["better"]["high"] < 0
    assert rows["better"]["difference"] == pytest.approx(-0.05, abs=0.01)
    assert (tmp_path / "out" / "cumulative.png").is_file()


def test_only_common_images_count(tmp_path):
    first = write_run(tmp_path / "a", "a", [1.0] * 8)
    second = write_run(tmp_path / "b", "b", [2.0] * 6)
    done = call(first, second)
    assert "over the 6 images that all models have (a: 8, b: 6)" in done.output
    assert "+1.000 to +1.000 | worse" in done.output


def test_interval_covers_the_truth_as_often_as_it_says():
    """95 % intervals of the mean of 40 independent subjects, over 200 repetitions."""
    covered = 0
    for seed in range(200):
        values = np.random.default_rng(seed).standard_normal((1, 40)) + 3
        low, high = np.percentile(bootstrap_means(values, [str(i) for i in range(40)], 500), [2.5, 97.5])
        covered += low <= 3 <= high
    assert 180 <= covered <= 200


def test_images_of_one_subject_widen_the_interval():
    values = np.repeat(np.random.default_rng(0).standard_normal(10), 10)[None]
    alone = np.ptp(np.percentile(bootstrap_means(values, [str(i) for i in range(100)], 2000), [2.5, 97.5]))
    together = np.ptp(
        np.percentile(bootstrap_means(values, [str(i // 10) for i in range(100)], 2000), [2.5, 97.5])
    )
    assert together > 2 * alone


def test_what_cannot_be_compared_is_named(tmp_path):
    first = write_run(tmp_path / "a", "a", [1.0] * 4)
    other = write_run(tmp_path / "b", "b", [1.0] * 4, benchmark="REALY")
    assert "only results of the same measurement" in call(first, other).output
    assert "at least two result folders" in call(first).output
    assert "no results at" in call(first, tmp_path).output


@pytest.mark.parametrize(
    "content",
    ["{}", "[1, 2]", "no json", '{"images": ["a"], "method": "m", "unit": "mm"}', '{"images": 3}', "\xff"],
)
def test_what_is_no_result_is_named(tmp_path, content):
    first = write_run(tmp_path / "a", "a", [1.0] * 4)
    (tmp_path / "results.json").write_bytes(content.encode("latin-1"))
    done = call(first, tmp_path)
    assert done.exit_code == 1
    assert (
        "is not a result of 'deca evaluate'" in done.output
        or "not valid JSON" in done.output
        or "no UTF-8" in done.output
    )


def test_runs_of_one_benchmark_with_different_options_are_not_compared(tmp_path):
    runs = [write_run(tmp_path / name, name, [1.0] * 4) for name in ("a", "b", "c", "d")]
    for folder, more in zip(
        runs,
        (
            {"radius_factor": 1.2},
            {"radius_factor": 1.5},
            {"radius_factor": 1.2, "forced": True},
            {"radius_factor": 1.2},
        ),
        strict=True,
    ):
        content = json.loads((folder / "results.json").read_text())
        (folder / "results.json").write_text(json.dumps(content | more))
    assert "NoW, non-metrical, radius factor 1.5" in call(*runs[:2]).output
    assert "radius factor 1.2, --force" in call(runs[0], runs[2]).output
    assert call(runs[0], runs[3]).exit_code == 0
