"""What each worker of tests/test_distributed.py does.

torchrun -m tests.workers check COUNT              what workers tell each other, with so many samples in a batch
torchrun -m tests.workers train FOLDER PRESET ...  a run of each preset, in double precision
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
from infogan.utils import distributed
from infogan.utils.errors import SilentError, UserError
from infogan.utils.random import BatchRandom
from tests.helpers import image_set, small_config


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def chances(count: int) -> None:
    """Shares of the draws are rows of what one process draws."""

    def draw(source: BatchRandom, samples: int) -> list[Tensor]:
        return [
            source.normal(samples, 3),
            source.uniform(2 * samples),
            source.integers(-2, 3, samples, 1),
            source.multinomial(torch.tensor([0.2, 0.5, 0.3]), samples),
        ]

    mine = distributed.shard_slice(count)
    whole = draw(BatchRandom(torch.Generator().manual_seed(3)), count)
    own = draw(BatchRandom(torch.Generator().manual_seed(3), mine, count), mine.stop - mine.start)
    whole[1] = whole[1].reshape(2, count)
    for number, (all_rows, rows) in enumerate(zip(whole, own, strict=True)):
        expected = all_rows[:, mine].flatten() if number == 1 else all_rows[mine]
        assert torch.equal(rows, expected), number


def sums(count: int) -> None:
    """A loss of sums and gathered rows has the gradients that it has in one process, twice over."""
    rows, weights = numbers(count, 4), numbers(count, count, seed=1)

    def loss_of(everything: Tensor, mine: Tensor, own: slice) -> Tensor:
        products = mine @ everything.T * weights[own]
        return (products.sin().sum(dim=1) + everything.square().mean()).sum()

    alone = rows.clone().requires_grad_()
    loss = loss_of(alone, alone, slice(0, count))
    (expected,) = torch.autograd.grad(loss, alone, create_graph=True)
    (expected_second,) = torch.autograd.grad(expected.square().sum(), alone)

    own = distributed.shard_slice(count)
    mine = rows[own].clone().requires_grad_()
    part = loss_of(distributed.all_gather(mine, count), mine, own)
    (found,) = torch.autograd.grad(part, mine, create_graph=True)
    torch.testing.assert_close(found, expected[own])
    (second,) = torch.autograd.grad(found.square().sum(), mine)
    torch.testing.assert_close(second, expected_second[own])
    torch.testing.assert_close(distributed.all_reduce_sum(part.detach()), loss.detach())
    torch.testing.assert_close(distributed.batch_mean(mine, count), rows.mean(dim=0))
    torch.testing.assert_close(distributed.all_reduce_sum(distributed.partial_mean(mine, count)), rows.sum() / count)


def norms(count: int) -> None:
    """Batch norm over all shares is batch norm over the batch: values, gradients, running statistics."""
    for layer, shape in ((BatchNorm1d(5), (5,)), (BatchNorm2d(5), (5, 3, 3))):
        layer = layer.double()
        with torch.no_grad():
            layer.weight.copy_(numbers(5, seed=2))
        for parts in (1, 2):
            everything = [numbers(count, *shape, seed=7 + part) * 3 + 100 for part in range(parts)]
            weights = [numbers(count, *shape, seed=9 + part) for part in range(parts)]
            own, states, found = distributed.shard_slice(count), [], []
            for synchronised in (False, True):
                norm: SplitBatchNorm = type(layer)(5).double()
                norm.load_state_dict(layer.state_dict())
                norm.parts, norm.synchronised = parts, synchronised
                rows = own if synchronised else slice(0, count)
                inputs = torch.cat([part[rows] for part in everything]).requires_grad_()
                outputs = norm(inputs)
                loss = (outputs.sin() * torch.cat([part[rows] for part in weights])).sum()
                learned = [inputs, norm.weight, norm.bias]
                gradients = list(torch.autograd.grad(loss, learned, create_graph=True))
                # As a penalty on gradients asks for.
                gradients += torch.autograd.grad(gradients[0].square().sum(), [inputs, norm.weight])
                if synchronised:
                    for place in (1, 2, 4):
                        gradients[place] = distributed.all_reduce_sum(gradients[place])
                else:
                    picked = torch.cat([torch.arange(count)[own] + part * count for part in range(parts)])
                    outputs, gradients[0], gradients[3] = outputs[picked], gradients[0][picked], gradients[3][picked]
                found.append([outputs, *gradients])
                states.append(norm.state_dict())
            torch.testing.assert_close(found[1], found[0])
            torch.testing.assert_close(states[1], states[0])


def gradients(count: int) -> None:
    """Gradients are added up, also where a process has none."""
    one, two = (torch.nn.Parameter(numbers(3)) for _ in range(2))
    frozen = torch.nn.Parameter(numbers(2), requires_grad=False)
    last = torch.nn.Parameter(numbers(2, 2, 64, 256).contiguous(memory_format=torch.channels_last))  # in another order
    loss = (one * (distributed.rank() + 1)).sum() + frozen.sum() + (last * last.detach()).sum()
    if distributed.is_rank0():
        loss = loss + two.sum()
    loss.backward()
    distributed.all_reduce_gradients([one, two, frozen, last])
    assert one.grad is not None
    assert two.grad is not None
    assert last.grad is not None
    assert one.grad.tolist() == [sum(range(1, distributed.world_size() + 1))] * 3
    assert two.grad.tolist() == [1.0] * 3
    assert frozen.grad is None
    assert last.numel() == distributed.LARGE_GRADIENT
    torch.testing.assert_close(last.grad, last.detach() * distributed.world_size())


def words(count: int) -> None:
    """What one says all know, and who differs is named to all."""
    assert distributed.broadcast_from_rank0(lambda: f"from {distributed.rank()} \u00e9\udce9") == "from 0 \u00e9\udce9"
    distributed.assert_same_on_all_ranks("seed", "3")
    last = distributed.world_size() - 1
    try:
        distributed.assert_same_on_all_ranks("data set", "other" if distributed.rank() == last else "mine")
    except UserError as error:
        assert str(error) == f"worker {last} has another data set than worker 0"
        assert isinstance(error, SilentError) == (not distributed.is_rank0())
    else:
        raise AssertionError("nobody noticed")

    def refuse() -> str:
        raise UserError("no such file")

    try:
        distributed.on_rank0(refuse)
    except UserError as error:
        assert str(error) == "no such file"
        assert isinstance(error, SilentError) == (not distributed.is_rank0())
    else:
        raise AssertionError("nobody was told")
    for failing in ({last}, {0, last}):
        try:
            with distributed.all_or_none():
                if distributed.rank() in failing:
                    refuse()
        except UserError as error:
            speaks = distributed.rank() == min(failing)
            assert str(error) == ("no such file" if speaks else f"worker {min(failing)} can not go on")
            assert isinstance(error, SilentError) == (not speaks)
        else:
            raise AssertionError("nobody was told")
    assert distributed.any_rank(distributed.rank() == last)
    assert not distributed.any_rank(False)
    with distributed.all_or_none():
        pass
    layer = torch.nn.BatchNorm1d(2)
    with torch.no_grad():
        layer.weight.fill_(distributed.rank() + 5)
    distributed.broadcast_module(layer)
    assert layer.weight.tolist() == [5.0, 5.0]
    mine = {"a": torch.arange(3), "b": torch.ones(2, 0)} if distributed.is_rank0() else {}
    found = distributed.broadcast_tensors(mine)
    assert list(found) == ["a", "b"]
    assert torch.equal(found["a"], torch.arange(3))
    assert found["b"].shape == (2, 0)


# Training: all of a recipe's terms and stages.

FEW = FewLabels(np.array([3, 8, 20]), np.array([1, 0, 0]), ("lying", "upright"))
KNOBS: list[dict[str, Any]] = [{"kind": "categorical", "size": 2}, {"kind": "continuous"}]
TRAINED: dict[str, dict[str, Any]] = {
    "robust": {"preset": "robust", "codes": KNOBS, "networks": {"encoder_width": 4}, "data": {"labels": "few.csv"}},
    "plain": {"preset": "plain", "codes": KNOBS},
    "cgan": {"preset": "plain", "objective": {"kind": "cgan"}},
    "paper": {"preset": "paper", "codes": KNOBS},
    "post": {"preset": "post"},
    "apart": {"preset": "plain", "codes": KNOBS, "train": {"sync_batchnorm": False}},
    "thirds": {"preset": "plain", "codes": KNOBS, "train": {"sync_batchnorm": False, "accumulation_steps": 3}},
    "quarters": {"preset": "plain", "codes": KNOBS, "train": {"sync_batchnorm": False, "accumulation_steps": 4}},
    "halves": {"preset": "plain", "codes": KNOBS, "train": {"sync_batchnorm": False, "accumulation_steps": 2}},
    "disentangle": {"preset": "disentangle", "codes": [{"kind": "continuous"}] * 3},
}


def training(folder: Path, name: str) -> None:
    """A run of 20 steps of batches that neither two nor three workers share evenly."""
    length = {"steps": 20, "batch_size": 17, "save_every": 20, "log_every": 5, "budget": None, "precision": "fp32"}
    given = TRAINED[name]
    config = small_config(**{**given, "train": length | given.get("train", {})})
    if config.objective.kind == "cgan":
        config = build({**config.model_dump(), "codes": KNOBS[:1]})
    run = RunFolder(folder / name)
    if distributed.is_rank0():
        RunFolder.at(run.path)
    few = FEW if config.data.labels else None
    train(config, image_set(96), run, few_labels=few)


if __name__ == "__main__":
    what, *words_given = sys.argv[1:]
    with distributed.process_group("cpu") as device:
        assert device == "cpu"
        if what == "check":
            assert distributed.world_size() > 1
            for check in (chances, sums, norms, gradients, words):
                check(int(words_given[0]))
        else:
            torch.set_default_dtype(torch.double)
            for name in words_given[1:]:
                training(Path(words_given[0]), name)
    # Threads of the processes' group that live on can abort Python as it ends.
    threads = Path("/proc/self/task")
    left = [(thread / "comm").read_text().strip() for thread in threads.iterdir()] if threads.exists() else []
    assert not [name for name in left if "gloo" in name], left
