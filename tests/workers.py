"""What each worker of tests/utils/test_distributed.py does.

torchrun -m tests.workers check COUNT               collectives, on a batch of COUNT samples
torchrun -m tests.workers train FOLDER PRESET ...   a run of each entry of `RUNS`, in double precision
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infogan.config.load import build
from infogan.data.labels import FewLabels
from infogan.models.batchnorm import BatchNorm1d, BatchNorm2d, SplitBatchNorm
from infogan.training.loop import train
from infogan.training.run_dir import RunFolder
from infogan.utils import determinism, distributed
from infogan.utils.errors import SilentError, UserError
from infogan.utils.random import BatchRandom
from tests.helpers import image_set, small_config


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Return the same random numbers on every rank."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def check_random(count: int) -> None:
    """Check that each rank draws the rows of its samples of what one process draws."""

    def draw(source: BatchRandom, samples: int) -> list[Tensor]:
        return [
            source.normal(samples, 3),
            source.uniform(2 * samples),
            source.integers(-2, 3, samples, 1),
            source.multinomial(torch.tensor([0.2, 0.5, 0.3]), samples),
        ]

    rows = distributed.shard_slice(count)
    batch = draw(BatchRandom(torch.Generator().manual_seed(3)), count)
    shard = draw(BatchRandom(torch.Generator().manual_seed(3), rows, count), rows.stop - rows.start)
    batch[1] = batch[1].reshape(2, count)
    for number, (all_rows, shard_rows) in enumerate(zip(batch, shard, strict=True)):
        expected = all_rows[:, rows].flatten() if number == 1 else all_rows[rows]
        assert torch.equal(shard_rows, expected), number


def check_sums(count: int) -> None:
    """Check that a loss of sums and gathered rows has the first and second gradients of a single process."""
    batch, weights = normal(count, 4), normal(count, count, seed=1)

    def loss_of(all_rows: Tensor, shard: Tensor, rows: slice) -> Tensor:
        products = shard @ all_rows.T * weights[rows]
        return (products.sin().sum(dim=1) + all_rows.square().mean()).sum()

    single = batch.clone().requires_grad_()
    loss = loss_of(single, single, slice(0, count))
    (expected,) = torch.autograd.grad(loss, single, create_graph=True)
    (expected_second,) = torch.autograd.grad(expected.square().sum(), single)

    rows = distributed.shard_slice(count)
    shard = batch[rows].clone().requires_grad_()
    partial = loss_of(distributed.all_gather(shard, count), shard, rows)
    (gradient,) = torch.autograd.grad(partial, shard, create_graph=True)
    torch.testing.assert_close(gradient, expected[rows])
    (second,) = torch.autograd.grad(gradient.square().sum(), shard)
    torch.testing.assert_close(second, expected_second[rows])
    torch.testing.assert_close(distributed.all_reduce_sum(partial.detach()), loss.detach())
    torch.testing.assert_close(distributed.batch_mean(shard, count), batch.mean(dim=0))
    torch.testing.assert_close(distributed.all_reduce_sum(distributed.partial_mean(shard, count)), batch.sum() / count)
    stacked = distributed.stack_from_all_ranks(torch.tensor([distributed.rank(), 5.0]))
    assert stacked.tolist() == [[rank, 5.0] for rank in range(distributed.world_size())]
    assert distributed.all_reduce_min(torch.tensor([distributed.rank() + 2])).tolist() == [2]


def check_batch_norm(count: int) -> None:
    """Check that synchronised batch norm is batch norm over the whole batch: values, gradients, running statistics."""
    for layer, shape in ((BatchNorm1d(5), (5,)), (BatchNorm2d(5), (5, 3, 3))):
        layer = layer.double()
        with torch.no_grad():
            layer.weight.copy_(normal(5, seed=2))
        for parts in (1, 2):
            batches = [normal(count, *shape, seed=7 + part) * 3 + 100 for part in range(parts)]
            weights = [normal(count, *shape, seed=9 + part) for part in range(parts)]
            shard, states, results = distributed.shard_slice(count), [], []
            for synchronised in (False, True):
                norm: SplitBatchNorm = type(layer)(5).double()
                norm.load_state_dict(layer.state_dict())
                norm.parts, norm.synchronised = parts, synchronised
                rows = shard if synchronised else slice(0, count)
                inputs = torch.cat([batch[rows] for batch in batches]).requires_grad_()
                outputs = norm(inputs)
                loss = (outputs.sin() * torch.cat([weight[rows] for weight in weights])).sum()
                sources = [inputs, norm.weight, norm.bias]
                gradients = list(torch.autograd.grad(loss, sources, create_graph=True))
                # As for a penalty on gradients.
                gradients += torch.autograd.grad(gradients[0].square().sum(), [inputs, norm.weight])
                if synchronised:
                    for index in (1, 2, 4):
                        gradients[index] = distributed.all_reduce_sum(gradients[index])
                else:
                    indices = torch.cat([torch.arange(count)[shard] + part * count for part in range(parts)])
                    outputs, gradients[0], gradients[3] = outputs[indices], gradients[0][indices], gradients[3][indices]
                results.append([outputs, *gradients])
                states.append(norm.state_dict())
            torch.testing.assert_close(results[1], results[0])
            torch.testing.assert_close(states[1], states[0])


def check_gradients(count: int) -> None:
    """Check that gradients are summed, also if a rank has none."""
    on_all, on_first = (torch.nn.Parameter(normal(3)) for _ in range(2))
    frozen = torch.nn.Parameter(normal(2), requires_grad=False)
    large = torch.nn.Parameter(normal(2, 2, 64, 256).contiguous(memory_format=torch.channels_last))
    loss = (on_all * (distributed.rank() + 1)).sum() + frozen.sum() + (large * large.detach()).sum()
    if distributed.is_rank0():
        loss = loss + on_first.sum()
    loss.backward()
    distributed.all_reduce_gradients([on_all, on_first, frozen, large])
    assert on_all.grad is not None
    assert on_first.grad is not None
    assert large.grad is not None
    assert on_all.grad.tolist() == [sum(range(1, distributed.world_size() + 1))] * 3
    assert on_first.grad.tolist() == [1.0] * 3
    assert frozen.grad is None
    torch.testing.assert_close(large.grad, large.detach() * distributed.world_size())


def check_messages(count: int) -> None:
    """Check that texts, flags and errors of one rank reach all, and that one rank alone prints an error."""
    message = distributed.broadcast_from_rank0(lambda: f"from {distributed.rank()} \u00e9\udce9")
    assert message == "from 0 \u00e9\udce9"
    distributed.assert_same_on_all_ranks("seed", "3")
    last = distributed.world_size() - 1
    error = error_of(
        lambda: distributed.assert_same_on_all_ranks("data set", "other" if distributed.rank() == last else "the same")
    )
    assert str(error) == f"worker {last} has another data set than worker 0"
    assert isinstance(error, SilentError) == (not distributed.is_rank0())

    def refuse() -> None:
        raise UserError("no such file")

    error = error_of(lambda: distributed.on_rank0(refuse))
    assert str(error) == "no such file"
    assert isinstance(error, SilentError) == (not distributed.is_rank0())

    def refuse_on(ranks: set[int]) -> None:
        with distributed.all_or_none():
            if distributed.rank() in ranks:
                refuse()

    for failing in ({last}, {0, last}):
        error = error_of(lambda failing=failing: refuse_on(failing))
        is_printed = distributed.rank() == min(failing)
        assert ("no such file" if is_printed else f"worker {min(failing)} ") in str(error)
        assert isinstance(error, SilentError) == (not is_printed)
    refuse_on(set())
    assert distributed.any_rank(distributed.rank() == last)
    assert not distributed.any_rank(False)


def error_of(action: Any) -> UserError:
    """Return the UserError that an action raises."""
    try:
        action()
    except UserError as error:
        return error
    raise AssertionError("no error was raised")


def check_broadcasts(count: int) -> None:
    """Check that weights and tensors of rank 0 reach all ranks."""
    layer = torch.nn.BatchNorm1d(2)
    with torch.no_grad():
        layer.weight.fill_(distributed.rank() + 5)
    distributed.broadcast_module(layer)
    assert layer.weight.tolist() == [5.0, 5.0]
    copies = distributed.broadcast_from_rank0(lambda: {"a": torch.arange(3), "b": torch.ones(2, 0)})
    assert list(copies) == ["a", "b"]
    assert torch.equal(copies["a"], torch.arange(3))
    assert copies["b"].shape == (2, 0)


CHECKS = (check_random, check_sums, check_batch_norm, check_gradients, check_messages, check_broadcasts)

# Training, with all losses and stages of the presets.

FEW_LABELS = FewLabels(np.array([3, 8, 20]), np.array([1, 0, 0]), ("lying", "upright"))
CODES: list[dict[str, Any]] = [{"kind": "categorical", "size": 2}, {"kind": "continuous"}]
UNSYNCHRONISED = {"preset": "plain", "codes": CODES, "train": {"sync_batchnorm": False}}
RUNS: dict[str, dict[str, Any]] = {
    "robust": {"preset": "robust", "codes": CODES, "networks": {"encoder_width": 4}, "data": {"labels": "few.csv"}},
    "plain": {"preset": "plain", "codes": CODES},
    "cgan": {"preset": "plain", "objective": {"kind": "cgan"}},
    "paper": {"preset": "paper", "codes": CODES},
    "post": {"preset": "post"},
    "disentangle": {"preset": "disentangle", "codes": [{"kind": "continuous"}] * 3},
    "unsynchronised": UNSYNCHRONISED,
    **{
        f"accumulated-{steps}": {**UNSYNCHRONISED, "train": {"sync_batchnorm": False, "accumulation_steps": steps}}
        for steps in (2, 3, 4)
    },
}


def train_run(folder: Path, name: str) -> None:
    """Train 20 steps with batches that neither two nor three workers share evenly."""
    length = {"steps": 20, "batch_size": 17, "save_every": 20, "log_every": 5, "budget": None, "precision": "fp32"}
    sections = RUNS[name]
    config = small_config(**{**sections, "train": length | sections.get("train", {})})
    if config.objective.kind == "cgan":
        config = build({**config.model_dump(), "codes": CODES[:1]})
    run = RunFolder(folder / name)
    if distributed.is_rank0():
        RunFolder.at(run.path)
    train(config, image_set(96), run, few_labels=FEW_LABELS if config.data.labels else None)


def main() -> None:
    """Run what the arguments name."""
    task, *arguments = sys.argv[1:]
    with distributed.process_group("cpu") as device:
        assert device == "cpu"
        if task == "check":
            assert distributed.world_size() > 1
            for check in CHECKS:
                check(int(arguments[0]))
        else:
            determinism.DTYPE = torch.double
            torch.set_default_dtype(torch.double)
            for name in arguments[1:]:
                train_run(Path(arguments[0]), name)
    # Threads of the process group that are still there can abort Python while it ends.
    threads = Path("/proc/self/task")
    names = [(thread / "comm").read_text().strip() for thread in threads.iterdir()] if threads.exists() else []
    assert not [name for name in names if "gloo" in name], names


if __name__ == "__main__":
    main()
