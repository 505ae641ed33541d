"""Measure what each part of the encoder's schedule contributes: the recipe without it, in the same time.

    python -m benchmarks.ablation mnist --seeds 30-31 --out benchmarks/results/ablation.jsonl

Only the stages before the GAN stage are run. Their steps are timed first, all variants in turns. Then each variant
makes as many steps as fit into the time of the full recipe, in the proportions of its remaining stages. The result is
the accuracy of the encoder's categories on the test split; the matching of categories to labels is fitted on 10,000
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
from infogan.data.batches import PixelSource, stream_seed
from infogan.data.labels import FewLabels
from infogan.evaluation.metrics.clustering import accuracy, hungarian_mapping, nmi
from infogan.models.encoder import Encoder
from infogan.training import time_budget
from infogan.training.loop import train
from infogan.training.run_dir import RunFolder
from infogan.training.stage_hooks import STAGE_HOOKS, cluster
from infogan.training.state import EncoderState
from infogan.training.time_budget import with_stages

FITTED_ON = 10_000  # training images
TURNS = 3  # of timing


def without(*left_out: str) -> Callable[[list[Options]], list[Options]]:
    """Return a function that removes losses; stages that lose their only loss are removed, too."""

    def edit(stages: list[Options]) -> list[Options]:
        remaining = []
        for stage in stages:
            (update,) = stage["updates"]
            losses = {name: weight for name, weight in update["losses"].items() if name not in left_out}
            if losses:
                remaining.append({**stage, "updates": [{**update, "losses": losses}]})
        return remaining

    return edit


def without_stage(name: str) -> Callable[[list[Options]], list[Options]]:
    """Return a function that removes a stage."""
    return lambda stages: [stage for stage in stages if stage["name"] != name]


def nt_xent_in_first_stage_only(stages: list[Options]) -> list[Options]:
    """Remove the loss nt_xent while categories form."""
    pretrain, *others = stages
    return [pretrain, *without("nt_xent")(others)]


def clusters_only(stages: list[Options]) -> list[Options]:
    """Pretrain for the whole time, and keep the clusters of the features: one step of the next stage sets them."""
    pretrain, clustering, _ = stages
    (update,) = clustering["updates"]
    return [pretrain, {**clustering, "share": 1e-6, "updates": [{**update, "learning_rate": 1e-12}]}]


# The names are those in the results.
AT_RANDOM, NO_FEATURES = "classes begun at random", "no features stage"
VARIANTS: dict[str, Callable[[list[Options]], list[Options]]] = {
    "all parts": lambda stages: stages,
    NO_FEATURES: without_stage("pretrain"),
    "features and their clusters alone": clusters_only,
    AT_RANDOM: lambda stages: stages,
    "no smoothness": without("vat"),
    "no consistency, so no refinement": without("uda", "fixmatch"),
    "no refinement": without_stage("self_train"),
    "no confidence": without("conditional_entropy"),
    "no balance": without("marginal_kl"),
    "no contrast while classes form": nt_xent_in_first_stage_only,
}


def start_at_random(
    encoder: Encoder, state: EncoderState, pixels: PixelSource, seed: int, few_labels: FewLabels | None = None
) -> None:
    """Do what `cluster` does, but start the categories in random directions."""
    start_at_full_rate(encoder, state, pixels, seed, few_labels)
    with torch.no_grad():
        encoder.directions.normal_(generator=torch.Generator().manual_seed(stream_seed(seed)))
        state.marginal.fill_(1 / len(state.marginal))
        encoder.prior.fill_(1 / len(encoder.prior))


def start_at_full_rate(
    encoder: Encoder, state: EncoderState, pixels: PixelSource, seed: int, few_labels: FewLabels | None = None
) -> None:
    """Do what `cluster` does, but keep the full learning rate even if the clusters are not compact."""
    cluster(encoder, state, pixels, seed, few_labels)
    state.lr_scale.fill_(1.0)


HOOKS = {AT_RANDOM: start_at_random, NO_FEATURES: start_at_full_rate}  # in place of `cluster`


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="a named data set with labels and a test split")
    parser.add_argument("--seeds", default="30-31", help="such as 0-9 or 1,4")
    parser.add_argument("--only", nargs="*", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--out", type=Path, required=True, help="JSON lines file to append to")
    arguments = parser.parse_args()
    images, test = load(arguments.data), load(arguments.data, split="test")
    configs = {name: variant(arguments.data, edit) for name, edit in VARIANTS.items()}
    step_seconds = time_steps(configs, images)
    stages = zip(configs["all parts"].stages, step_seconds["all parts"], strict=True)
    total = sum(stage.share * seconds for stage, seconds in stages)
    for seed in parse_seeds(arguments.seeds):
        for name in arguments.only:
            done = lines_of(arguments.out)
            if any((line["data"], line["seed"], line["variant"]) == (arguments.data, seed, name) for line in done):
                continue
            config = with_length(configs[name], step_seconds[name], total)
            config = config.with_train(seed=seed)
            line = {"data": arguments.data, "seed": seed, "variant": name, "commit": commit(), **machine()}
            with patch.dict(STAGE_HOOKS, {"cluster": HOOKS.get(name, cluster)}):
                line |= {"seconds_of_steps": round(total, 1)} | measure(config, images, test)
            add(arguments.out, line)
            print(line, flush=True)
    print(table(lines_of(arguments.out)))


def variant(data: str, edit: Callable[[list[Options]], list[Options]]) -> Config:
    """Return the stages of `robust` before the GAN stage, edited."""
    options = compose("robust", [{"data": {"source": data}, "train": {"steps": 1}}])
    return build({**options, "stages": edit(options["stages"][:-1])})


def time_steps(configs: dict[str, Config], images: ImageSet) -> dict[str, list[float]]:
    """Return the seconds of a step of each stage of each variant: the median of ``TURNS``, measured in turns."""
    turns: dict[str, list[tuple[float, ...]]] = {name: [] for name in configs}
    for _ in range(TURNS):
        for name, config in configs.items():
            turns[name].append(time_budget.seconds_per_step(config, images)[0])
    return {
        name: [statistics.median(seconds) for seconds in zip(*measured, strict=True)]
        for name, measured in turns.items()
    }


def with_length(config: Config, step_seconds: list[float], seconds: float) -> Config:
    """Return the configuration with as many steps as fit into a time, in the proportions of its shares."""
    factor = seconds / sum(stage.share * step for stage, step in zip(config.stages, step_seconds, strict=True))
    counts = [float(max(1, round(stage.share * factor))) for stage in config.stages]
    stages = zip(config.stages, counts, strict=True)
    return with_stages(config, tuple(stage.model_copy(update={"share": count}) for stage, count in stages))


def measure(config: Config, images: ImageSet, test: ImageSet) -> dict[str, Any]:
    """Train a variant; return its scores on the test split."""
    with TemporaryDirectory() as folder:
        model = train(config, images, RunFolder(Path(folder)))
    assert images.labels is not None
    assert test.labels is not None
    code = model.first_categorical()
    sample = np.sort(np.random.default_rng(config.train.seed).permutation(len(images))[:FITTED_ON])
    train_categories = model.encode(images.images[sample]).codes[code.name]
    mapping = hungarian_mapping(train_categories, images.labels[sample], code.size, len(images.label_names))
    categories = model.encode(test.images).codes[code.name]
    return {
        "steps": [int(stage.share) for stage in config.stages],
        "accuracy": accuracy(mapping, categories, test.labels),
        "nmi": nmi(categories, test.labels),
    }


def table(lines: list[dict[str, Any]]) -> str:
    """Return the accuracies as Markdown, with a column for each data set and seed."""
    columns = sorted({(line["data"], line["seed"]) for line in lines})
    by_cell = {(line["variant"], line["data"], line["seed"]): line for line in lines}
    rows = ["| | " + " | ".join(f"{data} {seed}" for data, seed in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name in VARIANTS:
        cells = [by_cell.get((name, *column)) for column in columns]
        rows.append(f"| {name} | " + " | ".join(f"{cell['accuracy']:.4f}" if cell else "-" for cell in cells) + " |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
