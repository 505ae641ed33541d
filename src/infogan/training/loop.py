"""The training loop.

A run is a list of stages, a stage a list of updates that every step makes in order, and an update trains some networks
on a weighted sum of losses. The loop knows no recipe: `config.presets` defines them.

Every random number of a step comes from the seed and the number of the step, and so do its images. The training state
is therefore nothing but weights, their averages, the optimizers' moments and the step number.

If several workers train a run (`utils.distributed`), each computes its share of every batch on the same weights. Batch
norm and losses that depend on the whole batch are computed over all shares, and the gradients are summed.
"""

import time
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from infogan.config.schema import Config
from infogan.data.dataset import ImageSet
from infogan.data.labels import FewLabels
from infogan.models.infogan import InfoGAN
from infogan.training.callbacks import Callback, CallbackList, Interrupted, NaNGuard, RunningMeans, StatisticsWriter
from infogan.training.checkpoint import CheckpointManager
from infogan.training.run_dir import RunFolder
from infogan.training.stage_hooks import run_stage_hooks
from infogan.training.state import TrainState
from infogan.training.step import StepSampler, update_networks
from infogan.utils.determinism import neutral_state


@neutral_state()
def train(
    config: Config,
    images: ImageSet,
    run: RunFolder,
    *,
    device: torch.device | str = "cpu",
    callbacks: Iterable[Callback] = (),
    few_labels: FewLabels | None = None,
    targets: NDArray[np.float32] | None = None,
) -> InfoGAN:
    """Train the run in a run folder to its end, or resume it; several workers do so together.

    Args:
        config: The configuration of the run, as `RunFolder.begin` wrote it.
        images: The training images. Their labels are read only if the objective is ``cgan``.
        run: The folder for checkpoints, statistics and the model; rank 0 alone touches it.
        device: The device to compute on.
        callbacks: Called as training proceeds, see `Callback`.
        few_labels: Labels of a few images, for the loss ``supervised`` and the order of the categories.
        targets: (images, categories), the probability of each image's categories, for the loss ``distillation``.

    Returns:
        The model with the averaged weights, which is also saved in the run's ``model/``.

    Raises:
        UserError: Too few images for a batch, a batch too small for the workers, a cgan without labels, a full disk,
            or a loss that is not finite.
        Interrupted: A callback requested a stop; a checkpoint was written.
    """
    state = TrainState.create(config, images, torch.device(device))
    sampler = StepSampler(config, images, few_labels, state.device, targets)
    means = RunningMeans(state.device)
    checkpoints = CheckpointManager(run)
    checkpoints.restore(state)
    hooks = CallbackList([NaNGuard(), StatisticsWriter(), *callbacks])
    hooks.call_on_all_ranks("on_train_begin", run, config, state.step)
    started = time.monotonic() - state.seconds

    while state.step < config.train.steps:
        index, stage_start, stage_end = config.stage_at(state.step)
        stage = config.stages[index]
        if state.step == stage_start:
            checkpoints.save_first_stage(state)
            run_stage_hooks(state, index, sampler.batches.pixels, few_labels)
            state.reset_optimizers(stage)
            hooks.call("on_stage_begin", stage, state.step)

        micro_batches = sampler.sample(state, index, stage_start)
        progress = (state.step - stage_start) / (stage_end - stage_start)
        for number, update in enumerate(stage.updates):
            losses = update_networks(state, number, update, micro_batches, config.batch_size(index), progress)
            means.add(losses, state.step)
        state.ema.update(state.step)
        state.step += 1
        state.seconds = time.monotonic() - started

        finished = state.step == config.train.steps
        stopping = not finished and hooks.stop_requested()
        saving = finished or stopping or state.step % config.train.save_every == 0
        if saving or state.step % config.train.log_every == 0:
            hooks.call_on_rank0("on_log", means.record(state, stage.name))
        if finished or state.step % config.train.sample_every == 0:
            hooks.call_on_rank0("on_sample", state.step, state.averaged_model)
        if saving:
            checkpoints.save(state)
        hooks.call("on_step_end", state.step)
        if stopping:
            raise Interrupted(state.step)
    return state.averaged_model
