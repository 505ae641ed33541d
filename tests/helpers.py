"""Small images, configurations, networks and callbacks that many tests use."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from infogan.api import resolve
from infogan.config.load import build, override
from infogan.config.schema import (
    CategoricalCode,
    Code,
    Config,
    NetworkName,
    NetworkSettings,
    NoiseSettings,
    Stage,
    Update,
)
from infogan.data.batches import to_network
from infogan.data.dataset import ImageSet
from infogan.models.architectures import ImageShape
from infogan.models.infogan import InfoGAN
from infogan.models.latents import CodeLayout
from infogan.models.networks import Networks, build_networks
from infogan.models.serialization import ModelConfig
from infogan.training.callbacks import Callback, LogRecord
from infogan.training.checkpoint import load_latest_checkpoint
from infogan.training.loop import train
from infogan.training.losses import ForwardCache, StepContext
from infogan.training.run_dir import RunFolder
from infogan.training.state import EncoderState
from infogan.utils.random import BatchRandom


class Hooks(Callback):
    """A callback made of functions; all of them are optional."""

    def __init__(
        self,
        *,
        on_begin: Callable[[int], object] = lambda _: None,
        on_stage: Callable[[str, int], object] = lambda _, __: None,
        on_log: Callable[[dict[str, Any]], object] = lambda _: None,
        on_step: Callable[[int], object] = lambda _: None,
        on_sample: Callable[[int, InfoGAN], object] = lambda _, __: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._on_begin, self._on_stage, self._on_log = on_begin, on_stage, on_log
        self._on_step, self._on_sample, self._stop = on_step, on_sample, stop

    def on_train_begin(self, run: RunFolder, config: Config, step: int) -> None:
        self._on_begin(step)

    def on_stage_begin(self, stage: Stage, step: int) -> None:
        self._on_stage(stage.name, step)

    def on_log(self, record: LogRecord) -> None:
        self._on_log(record.values)

    def on_step_end(self, step: int) -> None:
        self._on_step(step)

    def on_sample(self, step: int, model: InfoGAN) -> None:
        self._on_sample(step, model)

    def stop_requested(self) -> bool:
        return self._stop()


DISCRIMINATOR: tuple[NetworkName, ...] = ("discriminator",)
GENERATOR: tuple[NetworkName, ...] = ("generator",)


def bar_images(count: int = 64, size: int = 8, channels: int = 1, seed: int = 0) -> NDArray[np.uint8]:
    """Return images of one bright bar on noise: lying if the index is even, upright if it is odd."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 60, (count, channels, size, size), dtype=np.uint8)
    for index in range(count):
        start = int(random.integers(1, size - 2))
        bar = slice(start, start + 2)
        images[index][(slice(None), slice(None), bar) if index % 2 else (slice(None), bar)] = 230
    return images


def image_set(count: int = 64, size: int = 8, channels: int = 1, *, labelled: bool = True) -> ImageSet:
    """Return `bar_images` as a data set, with the label ``index % 2`` of each image if labelled."""
    labels = np.arange(count, dtype=np.int64) % 2 if labelled else None
    names = ("lying", "upright") if labelled else ()
    return ImageSet(bar_images(count, size, channels), [str(i) for i in range(count)], "bars", labels, names)


class NoLabelsAllowed(ImageSet):
    """A data set that fails if its labels are read."""

    def __getattribute__(self, name: str) -> Any:
        if name in ("labels", "label_names"):
            raise AssertionError("the labels were read")
        return super().__getattribute__(name)


def image_folder(root: Path, path_of: Callable[[int], str], count: int, broken: Collection[int]) -> Path:
    """Write `bar_images` as PNG files at the paths that a function gives their indices; some of them are damaged."""
    for index, image in enumerate(bar_images(count)):
        path = root / path_of(index)
        path.parent.mkdir(parents=True, exist_ok=True)
        if index in broken:
            path.write_bytes(b"no picture")
        else:
            Image.fromarray(image[0]).save(path)
    return root


# A separate recognizer that is trained together with the generator, which no preset but `post` has.
SEPARATE_RECOGNIZER: dict[str, Any] = {
    "codes": [{"kind": "categorical", "size": 10}, {"kind": "continuous"}, {"kind": "continuous"}],
    "networks": {"architecture": "conv", "recognizer": "separate", "spectral_norm": False},
    "stages": [
        {
            "updates": [
                {"networks": ["discriminator"], "losses": {"adversarial": 1.0}, "learning_rate": 5e-4},
                {
                    "networks": ["generator", "recognizer"],
                    "losses": {"adversarial": 1.0, "information": 1.0},
                    "learning_rate": 5e-4,
                },
            ]
        }
    ],
}


def small_config(*assignments: str, preset: str = "plain", **sections: Any) -> Config:
    """Return a configuration that trains and is evaluated in a second: 8x8 images, narrow networks, few steps.

    For the preset ``plain`` networks and stages are those of `SEPARATE_RECOGNIZER`.
    """
    options = resolve.compose(
        preset,
        [
            SEPARATE_RECOGNIZER if preset == "plain" else {},
            {
                "data": {"source": "bars", "size": 8, "channels": 1},
                "networks": {"width": 4},
                "noise": {"size": 5},
                "train": {
                    "steps": 6,
                    "batch_size": 16,
                    "precision": "fp32",  # so that the hardware changes no numbers
                    "save_every": 2,
                    "log_every": 2,
                    "sample_every": 100,
                },
                "evaluation": {"samples": 200, "bootstrap_draws": 10},
            },
            sections,
        ],
    )
    for assignment in assignments:
        options = override(options, assignment)
    return build(options)


def small_model(
    *,
    codes: list[dict[str, Any]] | None = None,
    kind: str = "infogan",
    size: int = 8,
    channels: int = 1,
    distribution: str = "normal",
    seed: int = 0,
    architecture: str = "conv",
    data: dict[str, Any] | None = None,
) -> InfoGAN:
    """Return an untrained model."""
    sections: dict[str, Any] = {} if codes is None else {"codes": codes}
    sections |= {} if data is None else {"data": data}
    noise = {"size": 5, "distribution": distribution}
    config = small_config(noise=noise, networks={"architecture": architecture}, **sections)
    shape = ImageShape(channels, size)
    networks = build_networks(config.networks, CodeLayout(config.noise, config.codes), shape, kind=kind, seed=seed)
    return InfoGAN(ModelConfig.of(config, shape).model_copy(update={"kind": kind}), networks)


def model_without_recognizer(kind: str) -> InfoGAN:
    """Return an untrained gan, or a cgan with three labels."""
    codes: tuple[Code, ...] = (CategoricalCode(name="label", size=3),) if kind == "cgan" else ()
    noise, shape, settings = NoiseSettings(size=5), ImageShape(1, 8), NetworkSettings(width=4)
    networks = build_networks(settings, CodeLayout(noise, codes), shape, kind=kind, seed=0)
    config = {"kind": kind, "channels": 1, "size": 8, "noise": noise, "codes": codes, "networks": settings}
    return InfoGAN(ModelConfig.model_validate(config), networks)


@contextmanager
def capture_networks() -> Iterator[list[Networks]]:
    """Yield a list that holds the networks that are trained at the time."""
    networks: list[Networks] = []
    original = Networks.set_trainable

    def set_trainable(self: Networks, names: Collection[NetworkName]) -> None:
        networks[:] = [self]
        original(self, names)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Networks, "set_trainable", set_trainable)
        yield networks


def train_at(path: Path, config: Config, images: ImageSet | None = None, **hooks: Any) -> RunFolder:
    """Train or resume the run in a folder, on `image_set` by default, with `Hooks` of functions; return the run."""
    images = images or image_set()
    run = RunFolder.at(path)
    run.begin(config, images.digest())
    train(config, images, run, callbacks=[Hooks(**hooks)])
    return run


def saved_tensors(run: RunFolder) -> dict[str, Tensor]:
    """Return the tensors of a run's latest checkpoint, which must be intact."""
    checkpoint, warnings = load_latest_checkpoint(run.checkpoints)
    assert checkpoint is not None
    assert not warnings
    return checkpoint.tensors


def assert_same_tensors(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    """Check that two sets of tensors are equal bit for bit."""
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def make_context(config: Config, batch: int = 8, *, seed: int = 0) -> tuple[StepContext, Networks]:
    """Return one step's material of a run on 8x8 bars, and its untrained networks."""
    layout = CodeLayout(config.noise, config.codes)
    networks = build_networks(config.networks, layout, ImageShape(1, 8), kind=config.objective.kind, seed=seed)
    random = BatchRandom(torch.Generator().manual_seed(seed))
    context = StepContext(
        networks=networks,
        layout=layout,
        config=config,
        encoder_state=EncoderState.for_networks(networks),
        reals=to_network(torch.from_numpy(bar_images(batch))),
        noise=layout.sample_noise(batch, random),
        codes=layout.sample_codes(batch, random),
        random=random,
        batch_size=batch,
        trains_generator=True,
    )
    return context, networks


def begin_update(
    context: StepContext, networks: tuple[NetworkName, ...], losses: Mapping[str, float | tuple[float, float]]
) -> ForwardCache:
    """Start an update of some networks on some losses."""
    return context.begin_update(Update(networks=networks, losses=dict(losses), learning_rate=1e-3))
