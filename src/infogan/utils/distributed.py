"""Several processes that train one run, as torchrun starts them: who this one is, and what they tell each other.

Alone, a process is all of them, and nothing here costs anything. Sums that a loss depends on can be differentiated, as
often as it takes: what a worker's loss owes to the samples of the others comes back to them.

Where a worker can not go on, none does, and one of them says why: the first, or the only one that knows.
"""

import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch

# Imported for when, not for what: its functions keep, as a default, the group that is there at its import, and with the
# group its threads, which drop their last work while Python ends and abort it (seen with PyTorch 2.13). PyTorch imports
# it anyway once an optimizer steps; here there is no group yet.
import torch.distributed.nn.functional
from torch import Tensor, distributed, nn
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from infogan.utils.errors import SilentError, UserError

LARGE_GRADIENT = 2**16  # values of a gradient that is worth a message of its own
DEFAULT_TIMEOUT = 600.0  # seconds that workers wait for one another, unless INFOGAN_PATIENCE says otherwise


def is_distributed() -> bool:
    """Whether there are other processes."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def rank() -> int:
    """This process's number, 0 if it is alone."""
    return distributed.get_rank() if is_distributed() else 0


def world_size() -> int:
    """How many processes train together, 1 if alone."""
    return distributed.get_world_size() if is_distributed() else 1


def is_rank0() -> bool:
    """Whether this process is the one that writes and speaks."""
    return rank() == 0


def shard_slice(count: int) -> slice:
    """Which of ``count`` samples are this process's: shares follow on one another and differ by one at most."""
    return split_slice(count, rank(), world_size())


def split_slice(count: int, worker: int, workers: int) -> slice:
    """Which of ``count`` samples are those of one of several workers."""
    return slice(worker * count // workers, (worker + 1) * count // workers)


def micro_batch_slice(count: int, piece: int, pieces: int) -> slice:
    """Which of ``count`` samples, that are dealt with in pieces, are this process's share of one of the pieces."""
    return micro_batch_slice_of_rank(count, piece, pieces, rank(), world_size())


def local_shard_slice(count: int) -> slice:
    """Which of ``count`` things, that only one worker of each machine need do, are this process's."""
    local = ("LOCAL_RANK", "LOCAL_WORLD_SIZE")  # torchrun's
    return split_slice(count, *(int(os.environ[name]) for name in local)) if is_distributed() else slice(0, count)


def micro_batch_size(count: int, piece: int, pieces: int) -> int:
    """How many of ``count`` samples are in a piece, over all processes."""
    whole = split_slice(count, piece, pieces)
    return int(whole.stop - whole.start)


def micro_batch_slice_of_rank(count: int, piece: int, pieces: int, worker: int, workers: int) -> slice:
    """`rows_of` one of several workers."""
    whole = split_slice(count, piece, pieces)
    own = split_slice(whole.stop - whole.start, worker, workers)
    return slice(whole.start + own.start, whole.start + own.stop)


def timeout_seconds() -> float:
    """Seconds that workers wait for one another before they give up; raises UserError where none can be read."""
    told = os.environ.get("INFOGAN_PATIENCE", str(DEFAULT_TIMEOUT))
    try:
        seconds = float(told)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 10**8:
        raise UserError(f"INFOGAN_PATIENCE is {told!r}, which is no number of seconds")
    return seconds


@contextmanager
def process_group(device: str) -> Iterator[str]:
    """Joins the processes that torchrun started with this one, if it did; yields the device of this process.

    Raises:
        UserError: they could not be reached in time, or were lost.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ or distributed.is_initialized():
        yield device
        return
    if device == "cuda":
        device = f"cuda:{int(os.environ['LOCAL_RANK']) % max(1, torch.cuda.device_count())}"
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    # Words go over gloo in any case: over NCCL each would wait for all that was asked of the GPU.
    backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
    waits = timedelta(seconds=timeout_seconds())
    try:
        store, number, workers = next(rendezvous("env://", timeout=waits))
        place = _unused_store(store, number, workers)
        with _stdout_to_stderr():
            distributed.init_process_group(backend, store=place, rank=number, world_size=workers, timeout=waits)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"the other workers can not be reached: {str(error).splitlines()[0]}") from error
    with report_lost_workers():
        yield device
    # Not after an error: the others may be anywhere, and who waits for them would wait for ever.
    distributed.destroy_process_group()


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Has what libraries say on standard output, as gloo of PyTorch 2.9 does, go to standard error."""
    sys.stdout.flush()
    output = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(output, 1)
        os.close(output)


def _unused_store(store: Store, number: int, workers: int) -> Store:
    """A part of the store that workers of before have not written to.

    torchrun may keep a store while it starts workers anew, and with it the addresses of those that are gone, which the
    new ones would take for one another's (seen with PyTorch 2.13). So each says a word that nobody can have said
    before; the first answers all of them with the name of the place; and each confirms it.

    Raises:
        UserError: not all workers came in time.
    """
    mine = secrets.token_hex(8)
    store.set(f"infogan/here/{number}", mine)
    until = time.monotonic() + timeout_seconds()
    while time.monotonic() < until:
        if number == 0:
            here = [_read_key(store, f"infogan/here/{other}") for other in range(workers)]
            store.set("infogan/answer", " ".join(here))
            confirmed = [_read_key(store, f"infogan/confirmed/{other}") for other in range(1, workers)]
        else:
            here, confirmed = _read_key(store, "infogan/answer").split(" "), []
        if len(here) == workers and here[number] == mine and all(word == here[0] for word in confirmed):
            store.set(f"infogan/confirmed/{number}", here[0])
            return PrefixStore(here[0], store)
        time.sleep(0.02)
    raise UserError(f"not all of {workers} workers came within {timeout_seconds():g} s")


def _read_key(store: Store, key: str) -> str:
    return store.get(key).decode() if store.check([key]) else ""


@contextmanager
def report_lost_workers() -> Iterator[None]:
    """Turns what PyTorch raises where another worker is gone, or does not answer in time, into one sentence.

    Raises:
        UserError: other workers were lost meanwhile.
    """
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, distributed.DistError) or "gloo" in str(error)):
            raise
        reason = str(error).splitlines()[0].rpartition("] ")[2].partition(". ")[0][:200]
        raise rank0_error(UserError(f"another worker ended, or did not answer in time: {reason}")) from error


# Sums.


class _AllReduceSum(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        if values.numel() * distributed.get_world_size() <= LARGE_GRADIENT:  # one way to the others, not there and back
            told = [torch.empty_like(values, memory_format=torch.contiguous_format) for _ in range(world_size())]
            distributed.all_gather(told, values.contiguous())
            return torch.stack(told).sum(dim=0, dtype=values.dtype)
        summed = values.contiguous().clone()
        distributed.all_reduce(summed)
        return summed

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        found: Tensor = _AllReduceSum.apply(gradients[0])  # type: ignore[no-untyped-call]
        return found


def all_reduce_sum(values: Tensor) -> Tensor:
    """The sum of all processes' tensors of one shape, which can be differentiated."""
    if not is_distributed():
        return values
    summed: Tensor = _AllReduceSum.apply(values)  # type: ignore[no-untyped-call]
    return summed


def all_gather(rows: Tensor, count: int) -> Tensor:
    """The rows of all processes, in their order, which can be differentiated.

    Args:
        rows: (samples of this process's `share`, ...).
        count: Samples of the whole batch.
    """
    if not is_distributed():
        return rows
    mine = shard_slice(count)
    whole = rows.new_zeros((count, *rows.shape[1:]))
    # Each process puts its rows into their places, and the sum has all of them: shares may differ in size.
    before, after = whole[: mine.start], whole[mine.stop :]
    return all_reduce_sum(torch.cat([before, rows, after]))


def stack_from_all_ranks(values: Tensor) -> Tensor:
    """All processes' values, of one length each, which can be differentiated: (values,) to (processes, values)."""
    before = values.new_zeros(rank() * len(values))
    after = values.new_zeros((world_size() - 1 - rank()) * len(values))
    return all_reduce_sum(torch.cat([before, values, after])).view(world_size(), len(values))


def batch_mean(values: Tensor, count: int) -> Tensor:
    """The mean over the samples of all processes, which can be differentiated: (samples, ...) to (...).

    Args:
        values: A row for each sample of this process's `share`.
        count: Samples of the whole batch.
    """
    return all_reduce_sum(values.sum(dim=0)) / count if is_distributed() else values.mean(dim=0)


def partial_mean(values: Tensor, count: int) -> Tensor:
    """What these values are of a mean over ``count``, of which others have the rest: the sum of parts is the mean."""
    return values.mean() if len(values) == count else values.sum() / count


def all_reduce_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Adds up the gradients of all processes, in ``grad``: of a loss of which each has computed those of its part.

    Large ones are summed where they are, all others in one message. DistributedDataParallel would do the same, but its
    rule of one forward and one backward pass does not fit players that take turns on each other's outputs, nor
    gradients that are differentiated. Nor do messages begin before all gradients are known: on two cores, where that
    was measured, what carries them took more time from the backward pass than was saved.

    Args:
        parameters: Those that learn; others are left as they are.
    """
    if not is_distributed():
        return
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in learning:  # where one process has a gradient, all have
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [_flat_view(parameter.grad) for parameter in learning if parameter.grad is not None]
    large = [gradient for gradient in gradients if len(gradient) >= LARGE_GRADIENT]
    small = [gradient for gradient in gradients if len(gradient) < LARGE_GRADIENT]
    waited = [distributed.all_reduce(gradient, async_op=True) for gradient in large]
    if small:
        flat = torch.cat(small)
        distributed.all_reduce(flat)
        torch._foreach_copy_(small, list(torch.split(flat, [len(gradient) for gradient in small])))
    for work in waited:
        if work is not None:
            work.wait()


def _flat_view(tensor: Tensor) -> Tensor:
    """A flat view of a tensor that fills its part of the memory, in whatever order."""
    return tensor.as_strided((tensor.numel(),), (1,))


def all_reduce_min(values: Tensor) -> Tensor:
    """The least of all processes' values, element by element; without a gradient."""
    if not is_distributed():
        return values
    found = values.clone()
    distributed.all_reduce(found, distributed.ReduceOp.MIN)
    return found


# Words.


def rank0_error(error: UserError) -> UserError:
    """The error as the first process raises it, in the others one of which nothing is said."""
    return error if is_rank0() else SilentError(str(error))


@contextmanager
def errors_from_rank0() -> Iterator[None]:
    """What every process does in the same way: of its errors, which all of them meet, the first alone tells.

    Raises:
        UserError: as within.
    """
    try:
        yield
    except SilentError:
        raise
    except UserError as error:
        raise rank0_error(error) from error


def any_rank(flag: bool) -> bool:
    """Whether this is so in any process."""
    if not is_distributed():
        return flag
    number = torch.tensor(int(flag))
    distributed.all_reduce(number, distributed.ReduceOp.MAX)
    return bool(number)


def broadcast_from_rank0(words: Callable[[], str]) -> str:
    """What the first process says, in all of them; the others do not even ask for theirs.

    Raises:
        UserError: the first process could not say it, in every process.
    """
    if not is_distributed():
        return words()
    failed: UserError | None = None
    content = b""
    if is_rank0():
        try:
            content = b"+" + words().encode("utf-8", "surrogateescape")
        except UserError as error:
            failed, content = error, b"-" + str(error).encode("utf-8", "surrogateescape")
    length = torch.tensor(len(content))
    distributed.broadcast(length, 0)
    letters = torch.zeros(int(length), dtype=torch.uint8)
    if is_rank0():
        letters.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
    distributed.broadcast(letters, 0)
    if failed is not None:
        raise failed
    said = letters.numpy().tobytes()
    text = said[1:].decode("utf-8", "surrogateescape")
    if said[:1] == b"-":
        raise SilentError(text)
    return text


def on_rank0(action: Callable[[], object]) -> None:
    """Has the first process do something while the others wait; raises its UserError in every process."""

    def done() -> str:
        action()
        return ""

    broadcast_from_rank0(done)


@contextmanager
def all_or_none() -> Iterator[None]:
    """What every process does for itself, such as reading its images: where one can not, none goes on.

    Raises:
        UserError: it could not be done here; a `Silent` one where it could not be done elsewhere.
    """
    failed: UserError | None = None
    try:
        yield
    except UserError as error:
        failed = error
    if is_distributed():
        others = torch.zeros(world_size(), dtype=torch.int64)
        others[rank()] = int(failed is not None)
        distributed.all_reduce(others)
        failing = others.nonzero().flatten().tolist()
        if failing and failing[0] != rank():  # one of them speaks
            raise SilentError(f"worker {failing[0]} can not go on") from failed
    if failed is not None:
        raise failed


def assert_same_on_all_ranks(what: str, words: str) -> None:
    """Raises UserError in every process where not all say the same.

    Args:
        what: What the words are of.
        words: This process's.
    """
    if not is_distributed():
        return
    first = broadcast_from_rank0(lambda: words)
    differing = torch.zeros(world_size(), dtype=torch.int64)
    differing[rank()] = int(words != first)
    distributed.all_reduce(differing)
    if others := differing.nonzero().flatten().tolist():
        named = f"worker {others[0]} has" if len(others) == 1 else f"workers {', '.join(map(str, others))} have"
        raise rank0_error(UserError(f"{named} another {what} than worker 0"))


def broadcast_module(module: nn.Module) -> None:
    """Gives every process the first one's weights and buffers."""
    if is_distributed():
        state = module.state_dict()
        found = broadcast_tensors(state)
        with torch.no_grad():
            for name, tensor in state.items():
                tensor.copy_(found[name])


def broadcast_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The first process's tensors, by name, in all of them, on the CPU; those of the others are of no matter."""
    if not is_distributed():
        return dict(tensors)
    described = broadcast_from_rank0(
        lambda: json.dumps([(name, str(tensor.dtype), list(tensor.shape)) for name, tensor in tensors.items()])
    )
    found = {}
    for name, dtype, shape in json.loads(described):
        if is_rank0():
            found[name] = tensors[name].detach().cpu().contiguous()
        else:
            found[name] = torch.empty(shape, dtype=getattr(torch, dtype.removeprefix("torch.")))
        distributed.broadcast(found[name], 0)
    return found
