"""The benchmarks of verdicts, of choices without labels, of disentanglement, and of the time to an accuracy."""

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks.until import until

from benchmarks import choosing, disentangling, verdicts
from infogan.evaluation.verdict import THRESHOLDS
from infogan.training.run_dir import RunFolder


def test_verdicts_are_compared_with_accuracies(tmp_path: Path) -> None:
    def line(data: str, count: int, accuracy: float, **changes: object) -> str:
        structure = {
            "predictable": 0.97,
            "agreement": 0.96,
            "halves": 0.97,
            "seeds": 0.98,
            "several": [],
            "several_share": 0.0,
        }
        structure |= {"alike": [[0, 1]], "alike_share": 0.02, "follows": {"brightness": 0.1}, "tree": []} | changes
        evidence = {"views_apart": 1.0, "view_agreement": 0.9, "sureness": 0.98, "unused": [], "structure": structure}
        run = {"data": data, "condition": "recommended", "seed": 0, "categories": count, "accuracy": accuracy}
        return json.dumps(run | {"evidence": evidence})

    lines = [line(data, 10, 0.96) for data in ("digits", "clothing")]
    lines += [line(data, 6, 0.58, several_share=0.4) for data in ("digits", "clothing")]
    lines += [line("digits", 5, 0.48), line("clothing", 12, 0.93, halves=0.1), line("digits", 8, 0.87)]
    (tmp_path / "runs.jsonl").write_text("\n".join(lines) + "\n")
    runs = verdicts.read_runs(tmp_path / "runs.jsonl")
    assert [run.is_right for run in runs] == [True, True, False, False, False, True, None]
    shipped = {name: verdicts.limits_of(threshold) for name, threshold in THRESHOLDS.items()}
    answers = [verdicts.answer(run, shipped) for run in runs]
    assert answers == ["yes", "yes", "no", "no", "yes", "no", "yes"]
    rows = verdicts.table(runs, answers).splitlines()
    assert rows[2:5] == ["| right | 2 | 0 | 1 |", "| in between | 1 | 0 | 0 |", "| wrong | 1 | 0 | 2 |"]
    assert rows[-2].startswith("- digits, recommended, seed 0, 5 categories")
    assert rows[-1].startswith("- clothing, recommended, seed 0, 12 categories")
    # Every right run passes the limits that are fitted to it, and a wrong one is refused if it is far beyond.
    fitted = verdicts.fit_limits([run for run in runs if run.data == "digits"])
    assert verdicts.answer(runs[0], fitted) == "yes"
    assert verdicts.answer(runs[3], fitted) == "no"
    probabilities = verdicts.leave_one_set_out(runs)
    assert probabilities[0] > probabilities[2]


def test_time_to_an_accuracy_excludes_pretraining(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.until.INTERVAL", 1)
    options = ["networks.width=4", "networks.encoder_width=4", "train.batch_size=16", "train.steps=4"]
    options += [f"stages.{stage}.share=1" for stage in range(4)]
    reached = until("digits", 1, 0.01, tmp_path / "reached", options)
    assert reached["step"] == 2  # the first step after the stage that learns features
    assert 0 < reached["seconds"] < 60
    assert until("digits", 1, 1.01, tmp_path / "never", options) == {"seconds": None, "step": 4}


def test_recipes_are_compared_seed_by_seed() -> None:
    def line(recipe: str, name: str, mig: float) -> dict[str, Any]:
        scores = {**dict.fromkeys(disentangling.SCORES, 0.5), "mig": mig}
        return {"recipe": recipe, "name": name, "seconds": 60, "scores": scores}

    lines = [line("disentangle", f"seed-{seed}", mig) for seed, mig in enumerate((0.3, 0.2, 0.4))]
    lines += [line("paper", "seed-1", 0.1), line("paper", "seed-0", 0.25)]
    lines.append({"recipe": "paper", "name": "seed-2", "seconds": 1, "failed": "why"})
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in disentangling.table(lines).splitlines()]
    cells = {(row[0], row[1]): row[2] for row in rows}
    assert cells["disentangle", "mean of 3"].startswith("0.300 (")
    assert cells["paper", "mean of 2"].startswith("0.175 (")
    assert cells["paper", "seed-2"] == "-"
    assert cells["disentangle - paper", "mean of 2"].startswith("0.075 (")
    assert cells["disentangle - paper", "lowest"] == "+0.050"


def test_choices_are_compared_with_the_mean_and_the_best(tmp_path: Path) -> None:
    places = []
    for number, (share, agreement, sureness, is_trusted) in enumerate(
        [(0.6, 0.5, 0.7, True), (0.5, 0.4, 0.8, True), (0.9, 0.9, 0.9, False), (0.4, 0.3, 0.6, True)]
    ):
        run = RunFolder(tmp_path / f"seed-{number}")
        run.path.mkdir()
        for name in ("config.json", "environment.json"):
            (run.path / name).write_text("{}")
        verdict = {"sureness": sureness, "trust": is_trusted, "reason": "why"}
        information = {"information": {"category": agreement}, "entropy": {"category": 1.0}}
        run.add_metrics({"accuracy": share, **information, "verdict": verdict})
        places.append({"name": f"seed-{number}", "trusted": is_trusted, "scores": {"agreement": agreement}})
    (tmp_path / "ranking.json").write_text(json.dumps({"places": places}))
    (tmp_path / "sweep.json").write_text("{}")
    result = choosing.evaluate_choices(tmp_path)
    assert result["best"] == 0.9
    assert result["choices"]["agreement"] == pytest.approx(
        {"chosen": "seed-0", "accuracy": 0.6, "above_mean": 0.0, "below_best": 0.3, "rank_correlation": 1.0}
    )
    assert result["choices"]["sureness"]["chosen"] == "seed-1"  # the most certain of the trusted ones
    assert "| agreement | seed-0 | 0.6000 | 0.0000 | 0.3000 | 1.0000 |" in choosing.table(result)
