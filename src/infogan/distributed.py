"""Several processes that train one run, as torchrun starts them: who this one is, and what they tell each other.

Alone, a process is all of them, and nothing here costs anything. Sums that a loss depends on can be differentiated, as
often as it takes: what a worker's loss owes to the samples of the others comes back to them.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn

from infogan.errors import UserError

PATIENCE = 600.0  # seconds that workers wait for one another, unless INFOGAN_PATIENCE says otherwise


def active() -> bool:
    """Whether there are other processes."""
    return distributed.is_available() and distributed.is_initialized()


def rank() -> int:
    """This process's number, 0 if it is alone."""
    return distributed.get_rank() if active() else 0


def world_size() -> int:
    """How many processes train together, 1 if alone."""
    return distributed.get_world_size() if active() else 1


def is_first() -> bool:
    """Whether this process is the one that writes and speaks."""
    return rank() == 0


def share(count: int) -> slice:
    """Which of ``count`` samples are this process's: shares follow on one another and differ by one at most."""
    return share_of(count, rank(), world_size())


def share_of(count: int, worker: int, workers: int) -> slice:
    """Which of ``count`` samples are those of one of several workers."""
    return slice(worker * count // workers, (worker + 1) * count // workers)


@contextmanager
def joined(device: str) -> Iterator[str]:
    """Joins the processes that torchrun started with this one, if it did; yields the device of this process.

    Raises:
        UserError: they could not be reached in time, or were lost.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ or active():
        yield device
        return
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    waits = timedelta(seconds=float(os.environ.get("INFOGAN_PATIENCE", PATIENCE)))
    try:
        distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=waits)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"the other workers can not be reached: {str(error).splitlines()[0]}") from error
    try:
        yield device
    finally:
        # After an error the others may be anywhere: who waits for them would wait for ever.
        if sys.exc_info()[0] is None:
            distributed.destroy_process_group()


# Sums.


class _Total(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        summed = values.contiguous().clone()
        distributed.all_reduce(summed)
        return summed

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        found: Tensor = _Total.apply(gradients[0])  # type: ignore[no-untyped-call]
        return found


def total(values: Tensor) -> Tensor:
    """The sum of all processes' tensors of one shape, which can be differentiated."""
    if not active():
        return values
    summed: Tensor = _Total.apply(values)  # type: ignore[no-untyped-call]
    return summed


def gathered(rows: Tensor, count: int) -> Tensor:
    """The rows of all processes, in their order, which can be differentiated.

    Args:
        rows: (samples of this process's `share`, ...).
        count: Samples of the whole batch.
    """
    if not active():
        return rows
    mine = share(count)
    whole = rows.new_zeros((count, *rows.shape[1:]))
    # Each process puts its rows into their places, and the sum has all of them: shares may differ in size.
    before, after = whole[: mine.start], whole[mine.stop :]
    return total(torch.cat([before, rows, after]))


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Adds up all processes' gradients, in as few messages as there are types."""
    if not active():
        return
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in learning:  # where one process has a gradient, all have
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in learning if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    pieces = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, piece in zip(gradients, pieces, strict=True):
        gradient.copy_(piece.view_as(gradient))


# Words.


def any_of(flag: bool, device: torch.device) -> bool:
    """Whether this is so in any process."""
    if not active():
        return flag
    number = torch.tensor(int(flag), device=device)
    distributed.all_reduce(number, distributed.ReduceOp.MAX)
    return bool(number)


def from_first(words: Callable[[], str], device: torch.device) -> str:
    """What the first process says, in all of them.

    Raises:
        UserError: the first process could not say it, in every process.
    """
    if not active():
        return words()
    failed: Exception | None = None
    content = b""
    if is_first():
        try:
            content = b"+" + words().encode()
        except UserError as error:
            failed, content = error, b"-" + str(error).encode()
    length = torch.tensor(len(content), device=device)
    distributed.broadcast(length, 0)
    letters = torch.zeros(int(length), dtype=torch.uint8, device=device)
    if is_first():
        letters.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
    distributed.broadcast(letters, 0)
    if failed is not None:
        raise failed
    said = bytes(letters.tolist())
    if said[:1] == b"-":
        raise UserError(said[1:].decode())
    return said[1:].decode()


def agreed(what: str, words: str, device: torch.device) -> None:
    """Raises UserError in every process where not all say the same.

    Args:
        what: What the words are of.
        words: This process's.
        device: Where messages are kept.
    """
    if not active():
        return
    first = from_first(lambda: words, device)
    differing = torch.zeros(world_size(), dtype=torch.int64, device=device)
    differing[rank()] = int(words != first)
    distributed.all_reduce(differing)
    if others := differing.nonzero().flatten().tolist():
        raise UserError(f"workers {', '.join(map(str, others))} have another {what} than worker 0")


def spread(module: nn.Module) -> None:
    """Gives every process the first one's weights and buffers."""
    if active():
        with torch.no_grad():
            for tensor in module.state_dict().values():
                kept = tensor.contiguous()
                distributed.broadcast(kept, 0)
                tensor.copy_(kept)
