"""What each part of the encoder's schedule is worth: the recipe without it, at equal time.

    python -m benchmarks.ablation mnist --seeds 30-31 --out benchmarks/results/ablation.jsonl

Only the stages before the game are run. Their steps are timed first, all variants in turns; then a variant takes as
many steps as come to the time that the whole recipe needs, in the proportions that are left of it. What is reported is
the accuracy of the encoder's categories on the test split, with the matching of values to labels fitted on 10,000
training images. Runs that are in the file already are not repeated.
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.accuracy import add, commit, lines_of, machine
from infogan.api.resolve import compose
from infogan.api.sweep import parse_seeds
from infogan.config.load import build
from infogan.config.presets import Options
from infogan.config.schema import Config
from infogan.data import ImageSet, load
from infogan.data.batches import stream_seed
from infogan.data.labels import FewLabels
from infogan.evaluation.metrics.clustering import accuracy, hungarian_mapping, nmi
from infogan.models.encoder import Encoder
from infogan.training import time_budget
from infogan.training.loop import train
from infogan.training.run_dir import RunFolder
from infogan.training.stage_hooks import STAGE_HOOKS, Pixels, cluster
from infogan.training.time_budget import with_stages

FITTED_ON = 10_000  # training images
TURNS = 3  # of timing


def without(term: str) -> Callable[[list[Options]], list[Options]]:
    """The stages without a term; those that lose their only one go."""

    def edit(stages: list[Options]) -> list[Options]:
        left = []
        for stage in stages:
            (update,) = stage["updates"]
            terms = {name: weight for name, weight in update["losses"].items() if name != term}
            if terms:
                left.append({**stage, "updates": [{**update, "losses": terms}]})
        return left

    return edit


def stage_dropped(name: str) -> Callable[[list[Options]], list[Options]]:
    """The stages without one of them."""
    return lambda stages: [stage for stage in stages if stage["name"] != name]


def contrast_in_features_alone(stages: list[Options]) -> list[Options]:
    """No contrast while classes form."""
    features, *others = stages
    return [features, *without("nt_xent")(others)]


def clusters_alone(stages: list[Options]) -> list[Options]:
    """Features for the whole time, and their clusters as they are: one step of the classes reads them."""
    features, classes, _ = stages
    (update,) = classes["updates"]
    return [features, {**classes, "share": 1e-6, "updates": [{**update, "learning_rate": 1e-12}]}]


AT_RANDOM, NO_FEATURES = "classes begun at random", "no features stage"
VARIANTS: dict[str, Callable[[list[Options]], list[Options]]] = {
    "all parts": lambda stages: stages,
    NO_FEATURES: stage_dropped("pretrain"),
    "features and their clusters alone": clusters_alone,
    AT_RANDOM: lambda stages: stages,
    "no smoothness": without("vat"),
    "no consistency, so no refinement": without("uda"),
    "no refinement": stage_dropped("self_train"),
    "no confidence": without("conditional_entropy"),
    "no balance": without("marginal_kl"),
    "no contrast while classes form": contrast_in_features_alone,
}


def begun_at_random(encoder: Encoder, pixels: Pixels, seed: int, few: FewLabels | None = None) -> None:
    """All that is done before the classes, but that they begin in random directions."""
    at_full_pace(encoder, pixels, seed, few)
    with torch.no_grad():
        encoder.directions.normal_(generator=torch.Generator().manual_seed(stream_seed(seed)))
        encoder.marginal.fill_(1 / len(encoder.marginal))
        encoder.prior.fill_(1 / len(encoder.prior))


def at_full_pace(encoder: Encoder, pixels: Pixels, seed: int, few: FewLabels | None = None) -> None:
    """All that is done before the classes, but that the encoder goes on at full pace, whatever the clusters are."""
    cluster(encoder, pixels, seed, few)
    encoder.pace.fill_(1.0)


BEGUN = {AT_RANDOM: begun_at_random, NO_FEATURES: at_full_pace}  # in the place of `beginnings.cluster`


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="a named data set with labels and a test split")
    parser.add_argument("--seeds", default="30-31", help="such as 0-9 or 1,4")
    parser.add_argument("--only", nargs="*", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--out", type=Path, required=True, help="the JSON lines to add to")
    given = parser.parse_args()
    images, test = load(given.data), load(given.data, split="test")
    configs = {name: variant(given.data, edit) for name, edit in VARIANTS.items()}
    taken = seconds_a_step(configs, images)
    whole = sum(stage.share * step for stage, step in zip(configs["all parts"].stages, taken["all parts"], strict=True))
    for seed in parse_seeds(given.seeds):
        for name in given.only:
            done = lines_of(given.out)
            if any((line["data"], line["seed"], line["variant"]) == (given.data, seed, name) for line in done):
                continue
            config = of_length(configs[name], taken[name], whole)
            config = config.model_copy(update={"train": config.train.model_copy(update={"seed": seed})})
            line = {"data": given.data, "seed": seed, "variant": name, "commit": commit(), **machine()}
            with patch.dict(STAGE_HOOKS, {"cluster": BEGUN.get(name, cluster)}):
                line |= {"seconds_of_steps": round(whole, 1)} | measured(config, images, test)
            add(given.out, line)
            print(line, flush=True)
    print(table(lines_of(given.out)))


def variant(data: str, edit: Callable[[list[Options]], list[Options]]) -> Config:
    """The recipe's stages before the game, edited."""
    options = compose("robust", [{"data": {"source": data}, "train": {"steps": 1}}])
    return build({**options, "stages": edit(options["stages"][:-1])})


def seconds_a_step(configs: dict[str, Config], images: ImageSet) -> dict[str, list[float]]:
    """Of each stage of each variant, the median of ``TURNS`` in turns."""
    turns: dict[str, list[list[float]]] = {name: [] for name in configs}
    for _ in range(TURNS):
        for name, config in configs.items():
            turns[name].append(time_budget.seconds_a_step(config, images)[0])
    return {name: [statistics.median(stage) for stage in zip(*of, strict=True)] for name, of in turns.items()}


def of_length(config: Config, a_step: list[float], seconds: float) -> Config:
    """The configuration with as many steps as take so long, in the proportions of its shares."""
    factor = seconds / sum(stage.share * step for stage, step in zip(config.stages, a_step, strict=True))
    counts = [float(max(1, round(stage.share * factor))) for stage in config.stages]
    stages = zip(config.stages, counts, strict=True)
    return with_stages(config, tuple(stage.model_copy(update={"share": count}) for stage, count in stages))


def measured(config: Config, images: ImageSet, test: ImageSet) -> dict[str, Any]:
    """What a variant comes to on the test split."""
    with TemporaryDirectory() as folder:
        model = train(config, images, RunFolder(Path(folder)))
    assert images.labels is not None
    assert test.labels is not None
    code = model.first_categorical()
    chosen = np.sort(np.random.default_rng(config.train.seed).permutation(len(images))[:FITTED_ON])
    fitted = model.encode(images.images[chosen]).codes[code.name]
    mapping = hungarian_mapping(fitted, images.labels[chosen], code.size, len(images.label_names))
    found = model.encode(test.images).codes[code.name]
    return {
        "steps": [int(stage.share) for stage in config.stages],
        "accuracy": accuracy(mapping, found, test.labels),
        "nmi": nmi(found, test.labels),
    }


def table(lines: list[dict[str, Any]]) -> str:
    """The variants as Markdown, a column a data set and seed."""
    columns = sorted({(line["data"], line["seed"]) for line in lines})
    found = {(line["variant"], line["data"], line["seed"]): line for line in lines}
    rows = ["| | " + " | ".join(f"{data} {seed}" for data, seed in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name in VARIANTS:
        cells = [found.get((name, *column)) for column in columns]
        rows.append(f"| {name} | " + " | ".join(f"{cell['accuracy']:.4f}" if cell else "-" for cell in cells) + " |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
