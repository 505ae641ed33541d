"""The training loop: images and a configuration in, a run folder with a model out.

`train` is the whole of it and can be read from top to bottom: a run is a list of stages, a stage a list of updates that
every step makes in order, an update some players that learn on some terms. Which recipe that amounts to, the loop does
not know.

Every random number of a step comes from (seed, step), and so do the step's images; a training state is therefore
nothing but weights, their averages, the optimisers' moments and the number of the step.

Where several workers train one run (`infogan.utils.distributed`) each has a share of every batch, and all have the same
weights. Batch norm, and whatever else depends on the whole batch, is computed over all shares; a worker's loss is its
part of the mean over the batch; and the parts' gradients are added up before every move.
"""

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Adam

from infogan.config.schema import Config, Stage, Update
from infogan.data.batches import Batches, check_enough, stream_seed
from infogan.data.dataset import ImageSet
from infogan.data.labels import FewLabels
from infogan.models.architectures import ImageShape
from infogan.models.infogan import InfoGAN
from infogan.models.latents import CodeLayout
from infogan.models.networks import Encoder, Networks, build_networks
from infogan.models.serialization import ModelConfig
from infogan.training.losses.terms import LOSSES, StepContext, Weight
from infogan.training.run_dir import Checkpoint, RunFolder
from infogan.training.stage_hooks import STAGE_HOOKS, Pixels
from infogan.utils import distributed
from infogan.utils.errors import UserError
from infogan.utils.memory import keep_freed_blocks
from infogan.utils.random import BatchRandom

# Streams of random numbers that must not meet, whatever the seed.
INITIAL, ORDER, STEP, BEGIN = 1, 2, 3, 4
VALUES = 10_000  # more than terms give in a step


class Interrupted(Exception):
    """Training was asked to stop and has written a checkpoint; ``step`` says after how many steps."""

    def __init__(self, step: int) -> None:
        super().__init__(f"interrupted after step {step}")
        self.step = step


@dataclass(frozen=True)
class Watcher:
    """What the caller of `train` hears and says; every part may be left out.

    Attributes:
        on_begin: Called once, before the first step, with the number of steps that earlier sessions did.
        on_report: Called with each line of ``stats.jsonl``.
        on_step: Called with the number of steps done.
        on_picture: Called with the number of steps done and the model as it is, when a sample grid is due.
        interrupted: Asked after each step whether to stop.
    """

    on_begin: Callable[[int], None] = lambda _: None
    on_report: Callable[[dict[str, Any]], None] = lambda _: None
    on_step: Callable[[int], None] = lambda _: None
    on_picture: Callable[[int, InfoGAN], None] = lambda _, __: None
    interrupted: Callable[[], bool] = lambda: False


def train(
    config: Config,
    images: ImageSet,
    run: RunFolder,
    *,
    device: torch.device | str = "cpu",
    watch: Watcher | None = None,
    few: FewLabels | None = None,
) -> InfoGAN:
    """Trains, or goes on training, the run in ``run`` to its end; several workers do it together.

    Args:
        config: The same as in the run folder, with which `RunFolder.begin` has compared it.
        images: The training images. Their labels are read only if the objective is ``cgan``.
        run: Where checkpoints, statistics and the model go. Of several workers the first alone touches it.
        device: What to compute on.
        watch: Who hears of the progress; of several workers only the first tells, but each is asked whether to stop.
        few: Labels of a few images, for ``supervision`` and for the order of the classes.

    Returns:
        The model with the averaged weights, which is also in the run's ``model/``.

    Raises:
        UserError: fewer images than a batch, a batch smaller than the workers are many, a cgan without labels, a full
            disk, or a term that stopped being finite.
        Interrupted: ``watch.interrupted`` said so; a checkpoint has been written.
    """
    # Set up.
    watch = watch or Watcher()
    rank, world_size = distributed.rank(), distributed.world_size()
    device = torch.device(device)
    seed, steps = config.train.seed, config.train.steps
    shape = ImageShape(images.channels, images.size)
    networks = build_networks(
        config.networks,
        CodeLayout(config.noise, config.codes),
        shape,
        kind=config.objective.kind,
        seed=stream_seed(seed, INITIAL),
    ).to(device)
    average = copy.deepcopy(networks).eval().requires_grad_(False)
    networks.compute_in_bfloat16(computes_in_bfloat16(config, device))
    networks.sync_batchnorm(world_size > 1 and config.train.sync_batchnorm)
    if config.train.compile:
        networks.compile_parts()
    model = InfoGAN(ModelConfig.of(config, shape, _label_names(config, images)), average)
    layout = model.layout
    pieces = config.train.accumulation_steps
    order = stream_seed(seed, ORDER)
    batches = Batches(images, order, rank=rank, world_size=world_size, device=device, pieces=pieces)
    check_enough(images, *config.largest_batch)
    _check_shares(config, world_size)
    labels = _labels(config, images, device)
    if few is not None:
        few_indices, few_values = (torch.from_numpy(part).to(device) for part in (few.indices, few.values))
    tally = RunningMeans(device)
    records = CheckpointManager(run, model, watch)
    optimisers: list[Adam] = []

    # Resume from the newest whole checkpoint.
    checkpoint = records.newest()
    first = checkpoint.step if checkpoint else 0
    seconds = checkpoint.seconds if checkpoint else 0.0
    if checkpoint:
        if first < steps and first > config.stage_at(first)[1]:  # a stage that begins here begins with new optimisers
            optimisers = _optimisers(config.stages[config.stage_at(first)[0]].updates, networks)
        _restore(checkpoint, networks, average, optimisers)
        model.adopt_prior()
        distributed.on_rank0(records.save_model)  # a kill may have come between the checkpoint and the model
    distributed.on_rank0(partial(watch.on_begin, first))

    keep_freed_blocks()
    clock = time.monotonic()
    for step in range(first, steps):
        # Begin a stage.
        index, start, end = config.stage_at(step)
        stage = config.stages[index]
        progress = (step - start) / (end - start)
        if step == start:
            if stage.on_start:
                assert networks.encoder is not None
                assert average.encoder is not None
                networks.encoder.load_state_dict(average.encoder.state_dict())
                begin = partial(_begin, stage, networks.encoder, batches.pixels, stream_seed(seed, BEGIN, index), few)
                distributed.on_rank0(begin)
                distributed.broadcast_module(networks.encoder)
                average.encoder.load_state_dict(networks.encoder.state_dict())
                model.adopt_prior()
            optimisers = _optimisers(stage.updates, networks)
        if step in (start, first):
            paces = [networks.lr_scale(update.networks) for update in stage.updates]

        # Draw images, noise and codes, for each piece of the batch.
        whole = config.batch_size(index)
        indices, reals = batches.batch(index, step - start, whole)
        plays, dealt = [], 0
        for piece in range(pieces):
            rows = distributed.micro_batch_slice(whole, piece, pieces)
            own = slice(dealt, dealt + rows.stop - rows.start)
            dealt = own.stop
            generator = torch.Generator(device).manual_seed(stream_seed(seed, STEP, 0, step))
            randomness = BatchRandom(generator, rows, whole)
            noise = layout.sample_noise(len(reals[own]), randomness)
            codes = layout.sample_codes(len(reals[own]), randomness)
            if labels is not None:
                codes = {name: labels[indices[own]] for name in codes}
            labelled = None
            if few is not None and any("supervised" in update.losses for update in stage.updates):
                chosen = randomness.integers(0, len(few.indices), len(reals[own]))
                labelled = batches.reals(few_indices[chosen]), few_values[chosen]
            play = StepContext(
                networks,
                layout,
                config,
                reals=reals[own],
                noise=noise,
                codes=codes,
                randomness=randomness,
                whole=distributed.micro_batch_size(whole, piece, pieces),
                generator_learns=any("generator" in update.networks for update in stage.updates),
                labelled=labelled,
            )
            plays.append(play)

        # Let each update's players learn on its terms.
        for update, optimiser, pace in zip(stage.updates, optimisers, paces, strict=True):
            if pace == 0:  # whoever rests is left as it is, running statistics and all
                continue
            optimiser.zero_grad(set_to_none=True)
            given: dict[str, Tensor] = {}
            for play in plays:
                seen = play.begin(update.networks, update.losses)
                values = {name: LOSSES[name].compute(seen) for name in update.losses}
                weights = {name: weight_at(weight, progress) for name, weight in update.losses.items()}
                means = {name: distributed.partial_mean(value, whole) for name, value in values.items()}
                torch.autograd.backward(torch.stack([weights[name] * mean for name, mean in means.items()]).sum())
                for name, mean in means.items():
                    given[f"{update.name}/{name}"] = given.get(f"{update.name}/{name}", 0) + mean.detach()
                if "information" in values:
                    for name, likelihood in seen.log_likelihoods.items():
                        bound = distributed.partial_mean(likelihood.detach() + layout.entropy(name), whole)
                        given[f"information/{name}"] = given.get(f"information/{name}", 0) + bound
                if pieces > 1:
                    play.let_go()
            distributed.all_reduce_gradients(networks.parameters_of(update.networks))
            for group in optimiser.param_groups:
                group["lr"] = update.learning_rate * pace * decay(update.decay, progress)
            optimiser.step()
            for play in plays:
                play.end(update.networks)
            for name, mean in given.items():
                tally.add(name, mean, step)
        done = step + 1
        stopping = done < steps and distributed.any_rank(watch.interrupted())
        saves = done == steps or done % config.train.save_every == 0 or stopping
        draws = done == steps or done % config.train.sample_every == 0
        kept = ema_decay(config, step)
        if kept > 0 or saves or draws or done == end:  # an average that keeps nothing is a copy, made where it is read
            update_average(average, networks, kept)

        # Report, draw, save.
        now = seconds + time.monotonic() - clock
        if done % config.train.log_every == 0 or saves:
            told = {"step": done, "images": config.images_seen(done), "seconds": round(now, 3), "stage": stage.name}
            means_told, bad = tally.read()
            distributed.on_rank0(partial(records.report, told | means_told, bad))
        if draws:
            distributed.on_rank0(partial(watch.on_picture, done, model))
        if saves:
            state = _tensors(networks, average, optimisers)
            distributed.on_rank0(partial(records.save, Checkpoint(done, now, state)))
        watch.on_step(done)
        if stopping:
            raise Interrupted(done)
    return model


def _check_shares(config: Config, workers: int) -> None:
    """Raises UserError where a batch can not be dealt to the workers in so many pieces.

    Batch norm needs two samples: in a piece, or where it goes by each worker's own, in each worker's share of it. In a
    batch of one that is neither parted nor shared, networks with batch norm say so themselves.
    """
    smallest, pieces = min(map(config.batch_size, range(len(config.stages)))), config.train.accumulation_steps
    apart = workers > 1 and not config.train.sync_batchnorm
    least = 2 if apart or pieces > 1 else 1
    if smallest < pieces * max(workers, least * (workers if apart else 1)):
        of = f" in {pieces} pieces" if pieces > 1 else ""
        by = f" by {workers} workers" if workers > 1 else ""
        raise distributed.rank0_error(UserError(f"a batch of {smallest} can not be shared{by}{of}"))


def _begin(stage: Stage, encoder: Encoder, pixels: Pixels, seed: int, few: FewLabels | None) -> None:
    """What is done once, at the beginning of a stage."""
    for action in stage.on_start:
        STAGE_HOOKS[action](encoder, pixels, seed, few)


class CheckpointManager:
    """What the first worker, or the only one, reads and writes in the run folder.

    Args:
        run: The folder.
        model: To be saved.
        watch: Who hears of reports.
    """

    def __init__(self, run: RunFolder, model: InfoGAN, watch: Watcher) -> None:
        self._run, self._model, self._watch = run, model, watch

    def newest(self) -> Checkpoint | None:
        """The newest whole checkpoint, in every worker; what is damaged becomes an incident.

        Raises:
            UserError: there are checkpoints, but none of them is whole.
        """
        found: Checkpoint | None = None

        def look() -> str:
            nonlocal found
            found, complaints = self._run.load_checkpoint()
            for complaint in complaints:
                self._run.incident(complaint)
            self._run.rewind_stats(found.step if found else 0)
            return json.dumps((found.step, found.seconds) if found else None)

        told = json.loads(distributed.broadcast_from_rank0(look))
        if told is None:
            return None
        step, seconds = told
        return Checkpoint(step, seconds, distributed.broadcast_tensors(found.tensors if found else {}))

    def report(self, report: dict[str, Any], bad: tuple[int, str] | None) -> None:
        """Writes a line of ``stats.jsonl``, and tells it.

        Args:
            report: The line.
            bad: The step at which a term first was NaN or infinite, and its name.

        Raises:
            UserError: a term was, and which checkpoint is the last good one; or nothing can be written.
        """
        if bad is not None:
            step, name = bad
            good = _last_good(self._run)
            raise UserError(f"the term {name} stopped being finite at step {step}: {good}; lower its learning rate")
        self._run.add_stats(report)
        self._watch.on_report(report)

    def save(self, checkpoint: Checkpoint) -> None:
        """Writes checkpoint and model; raises UserError where a weight is no number or nothing can be written."""
        _check_finite(checkpoint.tensors, self._run, checkpoint.step)
        self._run.save_checkpoint(checkpoint)
        self.save_model()

    def save_model(self) -> None:
        """Writes the model, but for a configuration that is there: it holds names that were given meanwhile."""
        self._model.save_weights(self._run.model)
        if not (self._run.model / "config.json").is_file():
            self._model.save_config(self._run.model)


class RunningMeans:
    """Means of what the terms gave since the last report, kept on the device so that no step waits for them.

    Args:
        device: Where the terms are computed.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._never = torch.tensor(torch.iinfo(torch.int64).max, device=device)
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._first_bad: dict[str, Tensor] = {}  # VALUES times the step, and which value of the step it was
        self._step = self._number = 0

    def add(self, name: str, mean: Tensor, step: int) -> None:
        """Adds one step's mean of a term, (), or what this worker has of it."""
        self._sums[name] = self._sums.get(name, 0) + mean
        self._counts[name] = self._counts.get(name, 0) + 1
        self._number = self._number + 1 if step == self._step else 0
        self._step = step
        bad = self._first_bad.get(name, self._never)
        self._first_bad[name] = torch.where(mean.isfinite(), bad, bad.clamp(max=step * VALUES + self._number))

    def read(self) -> tuple[dict[str, float], tuple[int, str] | None]:
        """The means by name; and if any was NaN or infinite in any worker, the first step of that, and whose mean.

        What went wrong first is named: the others may have it from there. The tally begins anew.
        """
        if not self._sums:  # nobody learned
            return {}, None
        names = list(self._sums)
        sums = distributed.all_reduce_sum(torch.stack([self._sums[name] for name in names]))
        places = distributed.all_reduce_min(torch.stack([self._first_bad[name] for name in names])).tolist()
        means = {name: float(told) / self._counts[name] for name, told in zip(names, sums, strict=True)}
        place, name = min(zip(places, names, strict=True))
        self._sums, self._counts, self._first_bad = {}, {}, {}
        return means, None if place == int(self._never) else (place // VALUES + 1, name)


def decay(kind: Literal["none", "linear", "cosine"], progress: float) -> float:
    """The factor on the learning rate when this share of the stage, in [0, 1), is done."""
    if kind == "cosine":
        return 0.05 + 0.95 * (1 + math.cos(math.pi * progress)) / 2
    return 1.0 if kind == "none" else min(1.0, 2 * (1 - progress))


def weight_at(weight: Weight, progress: float) -> float:
    """A term's weight when this share of the stage, in [0, 1), is done."""
    first, last = weight if isinstance(weight, tuple) else (weight, weight)
    return first + (last - first) * progress


def computes_in_bfloat16(config: Config, device: torch.device) -> bool:
    """Whether networks compute in bfloat16: as configured; ``auto``, where the hardware multiplies it."""
    if config.train.precision == "auto":
        return torch.cpu._is_avx512_bf16_supported() if device.type == "cpu" else torch.cuda.is_bf16_supported()
    return config.train.precision == "bf16"


def ema_decay(config: Config, step: int) -> float:
    """How much of the average is kept at a step.

    The half-life, in images, is held to a tenth of the images seen, so that the first weights are soon forgotten
    (Karras et al. 2020 ramp it up in the same way).
    """
    batch_size = config.batch_size(config.stage_at(step)[0])
    seen = config.images_seen(step + 1)
    half_life = min(config.train.ema_half_life, seen / 10)
    return float(0.5 ** (batch_size / half_life)) if half_life > 0 else 0.0


def update_average(average: Networks, networks: Networks, kept: float) -> None:
    """Average <- kept · average + (1 - kept) · networks for the weights; buffers are copied as they are."""
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(networks.parameters()), 1 - kept)
        for mine, current in zip(average.buffers(), networks.buffers(), strict=True):
            mine.copy_(current)


def _optimisers(updates: tuple[Update, ...], networks: Networks) -> list[Adam]:
    """One for each update; updates of the same players at the same rates are moves of one optimiser."""
    made: dict[tuple[object, ...], Adam] = {}
    for update in updates:
        if (alike := _rates(update)) not in made:
            betas = (update.beta1, update.beta2)
            made[alike] = Adam(
                networks.parameters_of(update.networks), lr=update.learning_rate, betas=betas, fused=True
            )
    return [made[_rates(update)] for update in updates]


def _rates(update: Update) -> tuple[object, ...]:
    return update.networks, update.learning_rate, update.beta1, update.beta2, update.decay


def _labels(config: Config, images: ImageSet, device: torch.device) -> Tensor | None:
    """The labels of a cgan's images; for the other objectives they are not even looked at."""
    if config.objective.kind != "cgan":
        return None
    if images.labels is None:
        raise UserError(f"a cgan needs a label for each image, and {images.source} has none")
    return torch.from_numpy(images.labels).to(device)


def _label_names(config: Config, images: ImageSet) -> dict[str, tuple[str, ...]]:
    return {code.name: images.label_names for code in config.codes} if config.objective.kind == "cgan" else {}


def _tensors(networks: Networks, average: Networks, optimisers: list[Adam]) -> dict[str, Tensor]:
    """A training state by dotted name."""
    tensors = {f"networks.{name}": tensor for name, tensor in networks.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in average.state_dict().items()}
    for number, optimiser in enumerate(dict.fromkeys(optimisers)):
        for parameter, moments in optimiser.state_dict()["state"].items():
            tensors |= {f"optimisers.{number}.{parameter}.{name}": tensor for name, tensor in moments.items()}
    return tensors


def _check_finite(state: dict[str, Tensor], run: RunFolder, step: int) -> None:
    """Raises UserError where a weight or moment is no number: a gradient may overflow where its loss does not."""
    bad = [name for name, tensor in state.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if bad:
        raise UserError(f"{bad[0]} stopped being finite by step {step}: {_last_good(run)}; lower its learning rate")


def _last_good(run: RunFolder) -> str:
    last = run.last_checkpoint()
    return f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"


def _restore(checkpoint: Checkpoint, networks: Networks, average: Networks, optimisers: list[Adam]) -> None:
    """Puts a checkpoint's tensors back where `_tensors` took them from.

    Raises:
        UserError: it is whole, but of other networks, or made by somebody.
    """
    try:
        _put_back(checkpoint, networks, average, optimisers)
    except (LookupError, ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the checkpoint after {checkpoint.step} steps is none of this run: {reason}") from error


def _put_back(checkpoint: Checkpoint, networks: Networks, average: Networks, optimisers: list[Adam]) -> None:
    parts: dict[str, dict[str, Tensor]] = {"networks": {}, "average": {}, "optimisers": {}}
    for name, tensor in checkpoint.tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    networks.load_state_dict(parts["networks"])
    average.load_state_dict(parts["average"])
    for number, optimiser in enumerate(dict.fromkeys(optimisers)):
        weights = optimiser.param_groups[0]["params"]
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in parts["optimisers"].items():
            owner, parameter, moment = name.split(".")
            if int(owner) == number:
                if tensor.ndim:
                    # A checkpoint keeps no memory layout, and the fused step goes through weights and moments abreast.
                    tensor = torch.empty_like(weights[int(parameter)]).copy_(tensor)
                state.setdefault(int(parameter), {})[moment] = tensor
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
