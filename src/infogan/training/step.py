"""One training step: draw its images, noise and codes, and let each update train its networks."""

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from infogan.config.schema import Config, Stage, Update
from infogan.data.batches import Batches, check_enough_images, stream_seed
from infogan.data.dataset import ImageSet
from infogan.data.labels import FewLabels
from infogan.training.losses import LOSSES, StepContext, needs_of
from infogan.training.optim import learning_rate_factor, loss_weight
from infogan.training.state import ORDER_STREAM, STEP_STREAM, TrainState
from infogan.utils import distributed
from infogan.utils.errors import UserError
from infogan.utils.random import BatchRandom


class StepSampler:
    """Draws the material of each step: real images, noise, codes and labels.

    All of it depends on the seed and the number of the step alone.

    Args:
        config: The run's configuration.
        images: The training images; their labels are used by a cgan alone.
        few_labels: Labels of a few images, for the loss ``supervised``.
        device: Where the tensors are to be.
        targets: The probability of each image's categories, for the loss ``distillation``.

    Raises:
        UserError: Too few images for a batch, a batch too small for the workers, or a cgan without labels.
    """

    def __init__(
        self,
        config: Config,
        images: ImageSet,
        few_labels: FewLabels | None,
        device: torch.device,
        targets: NDArray[np.float32] | None = None,
    ) -> None:
        check_enough_images(images, *config.largest_batch)
        _check_batch_size(config)
        self._config, self._images, self._device = config, images, device
        self._targets = None if targets is None else torch.from_numpy(targets).to(device)
        self._few_labels: tuple[Tensor, Tensor] | None = None
        if few_labels is not None:
            indices, values = torch.from_numpy(few_labels.indices), torch.from_numpy(few_labels.values)
            self._few_labels = indices.to(device), values.to(device)
        self.batches = Batches(
            images,
            stream_seed(config.train.seed, ORDER_STREAM),
            rank=distributed.rank(),
            world_size=distributed.world_size(),
            device=device,
            accumulation_steps=config.train.accumulation_steps,
        )

    @cached_property
    def _labels(self) -> Tensor | None:
        """The labels of a cgan's images; None for the other objectives, which must not read them."""
        if self._config.objective.kind != "cgan":
            return None
        if self._images.labels is None:
            raise UserError(f"a cgan needs a label for each image, but {self._images.source} has none")
        return torch.from_numpy(self._images.labels).to(self._device)

    def sample(self, state: TrainState, stage_index: int, first_step: int) -> list[StepContext]:
        """Return this worker's micro-batches of the current step, in the stage that began at ``first_step``."""
        config, stage, count = self._config, self._config.stages[stage_index], self._config.train.accumulation_steps
        batch_size, layout = config.batch_size(stage_index), state.model.layout
        indices, reals = self.batches.batch(stage_index, state.step - first_step, batch_size)
        seed = stream_seed(config.train.seed, STEP_STREAM, 0, state.step)
        rank, world_size = distributed.rank(), distributed.world_size()
        micro_batches = []
        for number in range(count):
            rows = distributed.micro_batch_slice_of_rank(batch_size, number, count, rank, world_size)
            samples = rows.stop - rows.start
            random = BatchRandom(torch.Generator(self._device).manual_seed(seed), rows, batch_size)
            noise = layout.sample_noise(samples, random)
            codes = layout.sample_codes(samples, random)
            if self._labels is not None:
                codes = {name: self._labels[indices[:samples]] for name in codes}
            micro_batch = StepContext(
                networks=state.networks,
                layout=layout,
                config=config,
                encoder_state=state.encoder_state,
                reals=reals[:samples],
                noise=noise,
                codes=codes,
                random=random,
                batch_size=distributed.micro_batch_size(batch_size, number, count),
                trains_generator=any("generator" in update.networks for update in stage.updates),
                labelled=self._labelled(stage, samples, random),
                targets=None if self._targets is None else self._targets[indices[:samples]],
            )
            micro_batches.append(micro_batch)
            indices, reals = indices[samples:], reals[samples:]
        return micro_batches

    def _labelled(self, stage: Stage, count: int, random: BatchRandom) -> tuple[Tensor, Tensor] | None:
        """Return labelled images and their categories if a loss of the stage needs them."""
        needs = needs_of(name for update in stage.updates for name in update.losses)
        if self._few_labels is None or "few_labels" not in needs:
            return None
        indices, values = self._few_labels
        rows = random.integers(0, len(indices), count)
        return self.batches.reals(indices[rows]), values[rows]


def update_networks(
    state: TrainState, number: int, update: Update, micro_batches: list[StepContext], batch_size: int, progress: float
) -> dict[str, Tensor]:
    """Make one optimizer step: forward, weighted sum of the losses, backward, all-reduce, step.

    The gradients of several micro-batches are accumulated. Each worker computes its share of the mean over the batch.

    Args:
        state: The state, whose networks are changed.
        number: Number of the update in its stage.
        update: The networks to train and the weighted losses.
        micro_batches: This worker's samples.
        batch_size: Samples of the whole batch, over all workers and micro-batches.
        progress: Progress of the stage, in [0, 1).

    Returns:
        This worker's share of the batch mean of each loss and statistic, by name, (). Empty if the networks are frozen.
    """
    lr_scale = state.lr_scale(update.networks)
    if lr_scale == 0:
        return {}
    optimizer = state.optimizers[number]
    optimizer.zero_grad(set_to_none=True)
    means: dict[str, Tensor] = {}
    for micro_batch in micro_batches:
        forward = micro_batch.begin_update(update)
        losses = {name: distributed.partial_mean(LOSSES[name].compute(forward), batch_size) for name in update.losses}
        weighted = [loss_weight(weight, progress) * losses[name] for name, weight in update.losses.items()]
        torch.autograd.backward(torch.stack(weighted).sum())
        partial = {f"{update.name}/{name}": loss.detach() for name, loss in losses.items()}
        partial |= {name: distributed.partial_mean(x, batch_size) for name, x in forward.statistics.items()}
        means = {name: means.get(name, 0) + mean for name, mean in partial.items()}
        if len(micro_batches) > 1:
            micro_batch.free()
    distributed.all_reduce_gradients(state.networks.parameters_of(update.networks))
    for group in optimizer.param_groups:
        group["lr"] = update.learning_rate * lr_scale * learning_rate_factor(update.decay, progress, update.warmup)
    optimizer.step()
    for micro_batch in micro_batches:
        micro_batch.end_update(update)
    return means


def _check_batch_size(config: Config) -> None:
    """Check that each worker gets enough samples of each micro-batch.

    Batch norm needs two samples: in a micro-batch, or in each worker's share of it if workers are not synchronised.
    Networks with batch norm refuse an undivided batch of one themselves.
    """
    workers, accumulation_steps = distributed.world_size(), config.train.accumulation_steps
    factor = min(stage.batch_factor for stage in config.stages)
    unsynchronised = workers > 1 and not config.train.sync_batchnorm
    samples = 2 if unsynchronised or accumulation_steps > 1 else 1
    least = accumulation_steps * max(workers, samples * (workers if unsynchronised else 1))
    if config.train.batch_size * factor < least:
        raise distributed.rank0_error(
            UserError(
                f"train.batch_size is {config.train.batch_size}; with {workers} worker(s) and {accumulation_steps} "
                f"accumulation step(s) it must be at least {-(-least // factor)}"
            )
        )
