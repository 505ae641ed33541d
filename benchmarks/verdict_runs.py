"""Train encoders with right and with wrong numbers of categories, and measure what their verdicts are based on.

    python -m benchmarks.verdict_runs runs/verdicts --photographs FOLDER --seeds 1000
    python -m benchmarks.verdict_runs runs/verdicts --photographs FOLDER --measure benchmarks/results/verdicts.jsonl

For each set of images the first stage is trained once; the later stages of the encoder are trained from there for
each number of categories. A run that is kept already is not repeated, so that an interrupted measurement continues.
The second command measures the evidence of all kept runs; `benchmarks.verdicts` compares it with their accuracy, for
which alone labels are used. To use both cores of a small machine, start the first command twice, for different sets
and with OMP_NUM_THREADS=1.
"""

import argparse
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_images

from benchmarks.accuracy import add
from infogan.api.resolve import compose, resolve
from infogan.api.sweep import parse_seeds
from infogan.config.presets import STRENGTHS, usual_augmentations
from infogan.config.schema import Config
from infogan.data import ImageSet, load, some_indices
from infogan.data.augment import augment
from infogan.data.batches import to_network
from infogan.data.dataset import NumberedNames
from infogan.evaluation.group_evidence import GroupEvidence, measure_structure, unused_categories
from infogan.evaluation.metrics.clustering import accuracy, hungarian_mapping
from infogan.evaluation.verdict import SAMPLES, view_distance
from infogan.models.encoder import Encoder
from infogan.training.loop import train
from infogan.training.run_dir import RunFolder
from infogan.training.stage_hooks import run_stage_hooks
from infogan.training.state import TrainState
from infogan.training.step import StepSampler, update_networks
from infogan.training.time_budget import with_stages

CATEGORIES = (10, 8, 12, 5, 15, 6, 20, 4)
OF_CROPS = (2, 3)  # as well, because there are two kinds
KEPT = 5_000  # images of a set whose features and categories are kept
SMALLEST, LARGEST = 685, 6300  # of an imbalanced class, log-uniform
SIZE = 32  # pixels, of photographs
CROPS = 1_000  # of each photograph
CROP_SIDES = (100, 200)  # in pixels of the photograph


@dataclass(frozen=True)
class Condition:
    """How a run is trained.

    Attributes:
        augmentations: Other augmentations than the recommended ones.
        scale: Factor on the steps of the stages of the encoder.
        categories: Numbers of categories; () = all of `CATEGORIES`.
    """

    augmentations: dict[str, float] | None = None
    scale: float = 1.0
    categories: tuple[int, ...] = ()


CONDITIONS = {
    "recommended": Condition(),
    "short": Condition(scale=0.1, categories=(10, 6)),
    "colour": Condition({"colour": 0.4}, categories=(10, 6)),
    "unaugmented": Condition({"shift": 0.02, "colour": 0.0}, categories=(10, 6)),
    "geometric": Condition(
        {name: STRENGTHS[name] for name in ("shift", "rotate", "scale", "shear", "elastic")} | {"colour": 0.0},
        categories=(10,),
    ),
}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of what is kept")
    parser.add_argument("--photographs", type=Path, help="folder with cifar10.zip and clothing.zip")
    parser.add_argument("--sets", default="", help="names of sets, separated by commas; default: all")
    parser.add_argument("--conditions", default="recommended")
    parser.add_argument("--seeds", default="1000")
    parser.add_argument("--categories", default="", help="numbers, separated by commas")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the steps of the later stages")
    parser.add_argument("--measure", type=Path, help="JSON lines file for the evidence of all kept runs")
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.out, arguments.measure, arguments.photographs)
        return
    sets = arguments.sets.split(",") if arguments.sets else list_sets(arguments.photographs)
    for seed in parse_seeds(arguments.seeds):
        for condition in arguments.conditions.split(","):
            for name in sets:
                counts = tuple(map(int, arguments.categories.split(","))) if arguments.categories else ()
                collect(arguments.out, name, condition, seed, counts, arguments.scale, arguments.photographs)


def measure(kept: Path, out: Path, photographs: Path | None) -> None:
    """Write a line with the accuracy and the evidence of each kept run."""
    out.unlink(missing_ok=True)
    for folder in sorted(kept.glob("*/*-*")):
        name, (condition, _, seed) = folder.parent.name, folder.name.rpartition("-")
        first = np.load(folder / "first.npz")
        features = first["features"][0].astype(np.float32)
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        rows = some_indices(len(features), SAMPLES)
        images = load_set(name, int(seed), photographs)[0]
        pixels = np.ascontiguousarray(images.images[first["kept"][rows]])
        for path in sorted(folder.glob("[0-9]*.npz"), key=lambda path: int(path.stem)):
            run, count = np.load(path), int(path.stem)
            probabilities = run["probabilities"].astype(np.float32)[:, rows]
            categories, *views = probabilities.argmax(axis=2)
            structure = measure_structure(features[rows], pixels, categories, count, seed=int(seed))
            evidence = GroupEvidence(
                views_apart=float(first["views_apart"]),
                view_agreement=float((views[0] == views[1]).mean()),
                sureness=float(probabilities[0].max(axis=1).mean()),
                unused=unused_categories(categories, count),
                structure=replace(structure, tree=(), example=None),
            )
            line = {"data": name, "condition": condition, "seed": int(seed), "categories": count}
            add(out, line | {"accuracy": float(run["accuracy"]), "evidence": asdict(evidence)})


def list_sets(photographs: Path | None) -> list[str]:
    """Return the names of the sets."""
    names = ["digits", "mnist", "fashion-mnist", "imbalanced", "crops", "glyphs", "shapes"]
    return names + (["cifar10", "clothing"] if photographs else [])


def load_set(name: str, seed: int, photographs: Path | None) -> tuple[ImageSet, ImageSet | None]:
    """Return the training images of a set, and its test images if there are any."""
    if name == "imbalanced":
        return imbalanced(load("mnist", split="train"), seed), load("mnist", split="test")
    if name == "crops":
        return crops(), None
    if name in ("cifar10", "clothing"):
        assert photographs is not None
        source = str(photographs / f"{name}.zip")
        test = load(source, split="test", size=SIZE, shape="crop") if name == "cifar10" else None
        return load(source, size=SIZE, shape="crop"), test
    return load(name, split="train"), load(name, split="test")


def imbalanced(images: ImageSet, seed: int) -> ImageSet:
    """Return as many images of each class as the seed draws, log-uniformly."""
    assert images.labels is not None
    random = np.random.default_rng(seed)
    sizes = np.exp(random.uniform(np.log(SMALLEST), np.log(LARGEST), len(images.label_names))).astype(int)
    classes = [random.permutation(np.flatnonzero(images.labels == k))[:size] for k, size in enumerate(sizes)]
    return images.subset(np.sort(np.concatenate(classes)))


def crops() -> ImageSet:
    """Return crops of the two photographs of scikit-learn, which differ in position and scale."""
    random, images = np.random.default_rng(0), []
    for photograph in load_sample_images().images:
        height, width = photograph.shape[:2]
        for _ in range(CROPS):
            side = int(random.integers(*CROP_SIDES))
            y, x = int(random.integers(height - side)), int(random.integers(width - side))
            crop = Image.fromarray(photograph[y : y + side, x : x + side]).resize((SIZE, SIZE), Image.Resampling.BOX)
            images.append(np.asarray(crop).transpose(2, 0, 1))
    names, labels = NumberedNames(2 * CROPS), np.repeat(np.arange(2), CROPS)
    return ImageSet(np.stack(images), names, "crops", labels, ("china", "flower"))


def collect(
    out: Path, name: str, condition: str, seed: int, counts: tuple[int, ...], scale: float, photographs: Path | None
) -> None:
    """Train what is missing of a set under a condition, and keep it."""
    settings = CONDITIONS[condition]
    counts = counts or settings.categories or CATEGORIES + (OF_CROPS if name == "crops" else ())
    folder = out / name / f"{condition}-{seed}"
    missing = [count for count in counts if not (folder / f"{count}.npz").is_file()]
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    images, test = load_set(name, seed, photographs)
    augmentations = settings.augmentations
    if augmentations is None:
        augmentations = usual_augmentations(images.channels, known_factors=images.factors is not None)
    if not (folder / "first.npz").is_file():
        started = time.monotonic()
        config = configure(images, augmentations, seed, 10, settings.scale)
        with TemporaryDirectory() as run:
            model = train(with_stages(config, config.stages[:1]), images, RunFolder(Path(run)))
        encoder = model.networks.encoder
        assert encoder is not None
        torch.save(encoder.trunk.state_dict(), folder / "trunk.pt")
        keep_first(folder, encoder, images, augmentations, seed)
        print(f"{name} {condition} {seed}: first stage {time.monotonic() - started:.0f} s", flush=True)
    for count in missing:
        started = time.monotonic()
        config = configure(images, augmentations, seed, count, settings.scale * scale)
        encoder = train_later_stages(config, images, torch.load(folder / "trunk.pt"))
        keep_run(folder / f"{count}.npz", encoder, images, test, augmentations, seed)
        result = np.load(folder / f"{count}.npz")
        print(
            f"{name} {condition} {seed} K={count}: accuracy {result['accuracy']:.3f}, "
            f"{time.monotonic() - started:.0f} s",
            flush=True,
        )


def configure(images: ImageSet, augmentations: Mapping[str, float], seed: int, count: int, scale: float) -> Config:
    """Return the configuration of the encoder's stages."""
    layers = [{"data": {"source": images.source}, "augment": dict(augmentations), "train": {"seed": seed}}]
    config = resolve(compose("robust", layers, categorical=count), images, timed=False).config
    stages = tuple(
        stage.model_copy(update={"share": float(max(20, round(stage.share * scale)))}) for stage in config.stages[:3]
    )
    return with_stages(config, stages)


def train_later_stages(config: Config, images: ImageSet, trunk: dict[str, Any]) -> Encoder:
    """Train all stages of the encoder but the first, from its weights at the end of that."""
    state = TrainState.create(config, images, torch.device("cpu"))
    average = state.ema.average.encoder
    assert state.networks.encoder is not None
    assert average is not None
    state.networks.encoder.trunk.load_state_dict(trunk)
    average.load_state_dict(state.networks.encoder.state_dict())
    sampler = StepSampler(config, images, None, state.device)
    state.step = config.stage_steps[0]
    while state.step < config.train.steps:
        index, start, end = config.stage_at(state.step)
        stage = config.stages[index]
        if state.step == start:
            run_stage_hooks(state, index, sampler.batches.pixels, None)
            state.reset_optimizers(stage)
        micro_batches = sampler.sample(state, index, start)
        progress = (state.step - start) / (end - start)
        for number, update in enumerate(stage.updates):
            update_networks(state, number, update, micro_batches, config.batch_size(index), progress)
        state.ema.update(state.step)
        state.step += 1
    state.ema.refresh()
    return average


def keep_first(folder: Path, encoder: Encoder, images: ImageSet, augmentations: Mapping[str, float], seed: int) -> None:
    """Keep the features of some images and of two views of each, and the labels."""
    kept = some_indices(len(images), KEPT)
    generator = torch.Generator().manual_seed(seed)
    parts = [
        torch.stack([encoder.features_in_batches(view) for view in (batch, *views(batch, augmentations, generator))])
        for batch in batches(encoder, images.images[kept])
    ]
    features = torch.cat(parts, dim=1).numpy().astype(np.float16)
    labels = images.labels[kept] if images.labels is not None else np.zeros(len(kept), np.int64)
    pixels = torch.cat([*batches(encoder, images.images[some_indices(len(images), SAMPLES)])])
    apart = view_distance(pixels, augmentations, generator)
    np.savez(folder / "first.npz", features=features, labels=labels, kept=kept, views_apart=apart)


def keep_run(
    path: Path,
    encoder: Encoder,
    images: ImageSet,
    test: ImageSet | None,
    augmentations: Mapping[str, float],
    seed: int,
) -> None:
    """Keep the probabilities of some images and of two views of each, and the accuracy on test images."""
    kept = some_indices(len(images), KEPT)
    generator = torch.Generator().manual_seed(seed + 1)
    parts = [
        torch.stack([posterior(encoder, view) for view in (batch, *views(batch, augmentations, generator))])
        for batch in batches(encoder, images.images[kept])
    ]
    probabilities = torch.cat(parts, dim=1).numpy()
    categories = probabilities[0].argmax(axis=1)
    assert images.labels is not None
    mapping = hungarian_mapping(categories, images.labels[kept], probabilities.shape[2], len(images.label_names))
    reported, predicted = images.labels[kept], categories
    if test is not None and test.labels is not None:
        rows = some_indices(len(test), KEPT)
        tested = torch.cat([posterior(encoder, batch) for batch in batches(encoder, test.images[rows])])
        reported, predicted = test.labels[rows], tested.numpy().argmax(axis=1)
    np.savez(
        path,
        probabilities=probabilities.astype(np.float16),
        kinds=encoder.kinds.numpy(),
        accuracy=accuracy(mapping, predicted, reported),
    )


def batches(encoder: Encoder, images: NDArray[np.uint8]) -> Iterator[torch.Tensor]:
    """Yield images at the encoder's size, in parts."""
    for part in np.array_split(images, max(1, len(images) // 500)):
        yield encoder.resize(to_network(torch.from_numpy(np.ascontiguousarray(part))))


def views(batch: torch.Tensor, augmentations: Mapping[str, float], generator: torch.Generator) -> list[torch.Tensor]:
    """Return two random views of each image."""
    return [augment(batch, augmentations, generator) for _ in range(2)]


def posterior(encoder: Encoder, batch: torch.Tensor) -> torch.Tensor:
    """Return the probability of each category."""
    encoder.eval()
    with torch.inference_mode():
        probabilities: torch.Tensor = encoder(batch).softmax(dim=1)
    return probabilities


if __name__ == "__main__":
    main()
