"""Optimizers, schedules of learning rates and loss weights, numeric precision, and the average of the weights."""

import math
from typing import Literal

import torch
from torch.optim import Adam

from infogan.config.schema import Config, Update
from infogan.models.networks import Networks
from infogan.utils.devices import multiplies_bfloat16

Weight = float | tuple[float, float]  # of a loss: constant, or (first, last) for a linear schedule


def learning_rate_factor(schedule: Literal["none", "linear", "cosine"], progress: float, warmup: float = 0.0) -> float:
    """Return the factor on the learning rate at a progress in [0, 1) of the stage.

    ``linear`` falls to zero over the second half, ``cosine`` to a twentieth over the whole stage. During the share
    ``warmup`` of the stage, the factor also rises linearly from a twentieth.

    Example:
        >>> learning_rate_factor("linear", 0.75), learning_rate_factor("linear", 0.1, warmup=0.2)
        (0.5, 0.525)
    """
    rise = min(1.0, 0.05 + 0.95 * progress / warmup) if warmup else 1.0
    if schedule == "cosine":
        return rise * (0.05 + 0.95 * (1 + math.cos(math.pi * progress)) / 2)
    return rise if schedule == "none" else rise * min(1.0, 2 * (1 - progress))


def loss_weight(weight: Weight, progress: float) -> float:
    """Return a loss's weight at a progress in [0, 1) of the stage."""
    first, last = weight if isinstance(weight, tuple) else (weight, weight)
    return first + (last - first) * progress


def make_optimizers(updates: tuple[Update, ...], networks: Networks) -> list[Adam]:
    """Return an optimizer for each update; updates of the same networks with the same settings share one."""
    optimizers: dict[tuple[object, ...], Adam] = {}
    for update in updates:
        if (settings := _optimizer_settings(update)) not in optimizers:
            parameters = networks.parameters_of(update.networks)
            betas = (update.beta1, update.beta2)
            optimizers[settings] = Adam(parameters, lr=update.learning_rate, betas=betas, fused=True)
    return [optimizers[_optimizer_settings(update)] for update in updates]


def _optimizer_settings(update: Update) -> tuple[object, ...]:
    return update.networks, update.learning_rate, update.beta1, update.beta2, update.decay, update.warmup


def computes_in_bfloat16(config: Config, device: torch.device) -> bool:
    """Return whether the networks compute in bfloat16: as configured; with ``auto``, if the hardware multiplies it."""
    if config.train.precision == "auto":
        return multiplies_bfloat16(device)
    return config.train.precision == "bf16"


def ema_decay(config: Config, step: int) -> float:
    """Return the share of the average that a step keeps.

    The half-life, in images, is at most a tenth of the images seen, so that the first weights are soon forgotten
    (Karras et al. 2020 use the same ramp).
    """
    batch_size = config.batch_size(config.stage_at(step)[0])
    half_life = min(config.train.ema_half_life, config.images_seen(step + 1) / 10)
    return float(0.5 ** (batch_size / half_life)) if half_life > 0 else 0.0


class EMA:
    """The exponential moving average of the networks' weights; buffers are copied.

    With a half-life of 0 the average is a copy of the weights, made when it is read.

    Args:
        networks: The networks in training.
        average: A copy of them, to hold the average.
        config: The run's configuration, with the half-life.
    """

    def __init__(self, networks: Networks, average: Networks, config: Config) -> None:
        self.average = average
        self._networks, self._config = networks, config
        self._outdated = False

    def update(self, step: int) -> None:
        """Add the weights after a step to the average."""
        decay = ema_decay(self._config, step)
        self._outdated = decay == 0
        if decay > 0:
            self._lerp(decay)

    def refresh(self) -> None:
        """Copy the weights if that is what the average is."""
        if self._outdated:
            self._lerp(0.0)
            self._outdated = False

    def _lerp(self, decay: float) -> None:
        """Set average <- decay · average + (1 - decay) · weights."""
        with torch.no_grad():
            weights: list[torch.Tensor] = list(self._networks.parameters())
            averages: list[torch.Tensor] = list(self.average.parameters())
            torch._foreach_lerp_(averages, weights, 1 - decay)
            for buffer, current in zip(self.average.buffers(), self._networks.buffers(), strict=True):
                buffer.copy_(current)
