"""Several processes that train one run, as torchrun starts them: their ranks, collectives and errors.

In a single process every collective returns at once. Sums that a loss depends on can be differentiated any number of
times: the gradient with respect to a sample reaches the rank that has it.

If one rank cannot go on, none does, and one of them reports the error: rank 0, or the only one that knows.
"""

import os
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch

# Imported early on purpose: its functions keep the default group of the time of its import, and with it the group's
# threads, which abort Python while it ends (seen with PyTorch 2.13). PyTorch would import it at the first optimizer
# step; now there is no group yet.
import torch.distributed.nn.functional
from torch import Tensor, distributed, nn
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from infogan.utils.errors import SilentError, UserError

DEFAULT_TIMEOUT = 600.0  # seconds; INFOGAN_DIST_TIMEOUT overrides it

Value = TypeVar("Value")


# Ranks and shards.


def is_distributed() -> bool:
    """Return whether there are other processes."""
    return has_process_group() and distributed.get_world_size() > 1


def has_process_group() -> bool:
    """Return whether this process has joined others, or was alone to join, and has not left them."""
    return distributed.is_available() and distributed.is_initialized()


def rank() -> int:
    """Return this process's rank; 0 in a single process."""
    return distributed.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Return the number of processes; 1 in a single process."""
    return distributed.get_world_size() if is_distributed() else 1


def is_rank0() -> bool:
    """Return whether this process is rank 0, which writes files and prints."""
    return rank() == 0


def split_slice(count: int, part: int, parts: int) -> slice:
    """Return which of ``count`` samples are in one of several consecutive parts, which differ by one at most.

    Example:
        >>> split_slice(10, 1, 3)
        slice(3, 6, None)
    """
    return slice(part * count // parts, (part + 1) * count // parts)


def shard_slice(count: int) -> slice:
    """Return which of ``count`` samples belong to this rank."""
    return split_slice(count, rank(), world_size())


def local_shard_slice(count: int) -> slice:
    """Return which of ``count`` items belong to this process, if each machine must process all of them once."""
    if not is_distributed():
        return slice(0, count)
    return split_slice(count, int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"]))


def micro_batch_size(count: int, number: int, micro_batches: int) -> int:
    """Return the number of samples in a micro-batch of a batch of ``count``, over all ranks."""
    rows = split_slice(count, number, micro_batches)
    return int(rows.stop - rows.start)


def micro_batch_slice_of_rank(count: int, number: int, micro_batches: int, rank: int, world_size: int) -> slice:
    """Return which of a batch's ``count`` samples are a rank's shard of a micro-batch."""
    start = split_slice(count, number, micro_batches).start
    shard = split_slice(micro_batch_size(count, number, micro_batches), rank, world_size)
    return slice(start + shard.start, start + shard.stop)


# The process group.


def timeout_seconds() -> float:
    """Return the seconds that ranks wait for one another; raise UserError if the environment variable is invalid."""
    name = "INFOGAN_DIST_TIMEOUT" if "INFOGAN_DIST_TIMEOUT" in os.environ else "INFOGAN_PATIENCE"  # as in 0.1
    text = os.environ.get(name, str(DEFAULT_TIMEOUT))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 10**8:
        raise UserError(f"{name} is {text!r}; set it to a number of seconds above 0")
    return seconds


@contextmanager
def process_group(device: str) -> Iterator[str]:
    """Join the processes that torchrun started together with this one, if it did; yield the device of this rank.

    Raises:
        UserError: The others could not be reached in time, or were lost.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ or distributed.is_initialized():
        yield device
        return
    if not device.startswith(("cpu", "cuda")):
        raise UserError(f"several workers compute on cpu or cuda, not on {device}: pass --device cpu")
    if device == "cuda":
        device = f"cuda:{int(os.environ['LOCAL_RANK']) % max(1, torch.cuda.device_count())}"
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    # Messages on the CPU go over gloo in any case: NCCL would make each wait for all work queued on the GPU.
    backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
    timeout = timedelta(seconds=timeout_seconds())
    try:
        store, rank, world_size = next(rendezvous("env://", timeout=timeout))
        store = _unused_store(store, rank, world_size)
        with _stdout_to_stderr():
            distributed.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=timeout)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"the other workers cannot be reached: {str(error).splitlines()[0]}") from error
    with report_lost_workers():
        yield device
    # Not after an error: the others may be anywhere, and waiting for them would never end.
    distributed.destroy_process_group()


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Redirect what libraries print on standard output, as gloo of PyTorch 2.9 does, to standard error."""
    sys.stdout.flush()
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)


def _unused_store(store: Store, rank: int, world_size: int) -> Store:
    """Return a part of the store that earlier processes have not written to.

    torchrun may keep a store while it restarts the processes, and with it the addresses of the old ones, which the new
    ones would mistake for one another's (seen with PyTorch 2.13). So each rank writes a random token; rank 0 answers
    with all tokens, the first of which names the part; and each rank confirms it.

    Raises:
        UserError: Not all ranks came in time.
    """
    token = secrets.token_hex(8)
    store.set(f"infogan/here/{rank}", token)
    deadline = time.monotonic() + timeout_seconds()
    while time.monotonic() < deadline:
        if rank == 0:
            tokens = [_read_key(store, f"infogan/here/{other}") for other in range(world_size)]
            store.set("infogan/answer", " ".join(tokens))
            confirmed = [_read_key(store, f"infogan/confirmed/{other}") for other in range(1, world_size)]
        else:
            tokens, confirmed = _read_key(store, "infogan/answer").split(" "), []
        if len(tokens) == world_size and tokens[rank] == token and all(name == tokens[0] for name in confirmed):
            store.set(f"infogan/confirmed/{rank}", tokens[0])
            return PrefixStore(tokens[0], store)
        time.sleep(0.02)
    raise UserError(f"not all of {world_size} workers started within {timeout_seconds():g} s")


def _read_key(store: Store, key: str) -> str:
    return store.get(key).decode() if store.check([key]) else ""


@contextmanager
def report_lost_workers() -> Iterator[None]:
    """Turn what PyTorch raises if another worker is lost, or does not answer in time, into one sentence.

    Raises:
        UserError: Another worker was lost.
    """
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, distributed.DistError) or "gloo" in str(error)):
            raise
        reason = str(error).splitlines()[0].rpartition("] ")[2].partition(". ")[0][:200]
        raise rank0_error(UserError(f"another worker ended, or did not answer in time: {reason}")) from error


# Collectives for tensors.


class _AllReduceSum(torch.autograd.Function):
    """The sum over all ranks; its gradient is the sum of the ranks' gradients."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total: Tensor = _AllReduceSum.apply(gradients[0])  # type: ignore[no-untyped-call]
        return total


def all_reduce_sum(values: Tensor) -> Tensor:
    """Return the sum of all ranks' tensors of one shape; differentiable."""
    if not is_distributed():
        return values
    total: Tensor = _AllReduceSum.apply(values)  # type: ignore[no-untyped-call]
    return total


def all_gather(rows: Tensor, count: int) -> Tensor:
    """Return the rows of all ranks in order; differentiable.

    Args:
        rows: (samples of this rank's `shard_slice`, ...).
        count: Samples of the whole batch.
    """
    if not is_distributed():
        return rows
    shard = shard_slice(count)
    # Each rank puts its rows into their positions and the sum has all of them: shards may differ in size.
    before = rows.new_zeros((shard.start, *rows.shape[1:]))
    after = rows.new_zeros((count - shard.stop, *rows.shape[1:]))
    return all_reduce_sum(torch.cat([before, rows, after]))


def stack_from_all_ranks(values: Tensor) -> Tensor:
    """Return all ranks' values of one length, (values,) to (ranks, values); differentiable."""
    return all_gather(values.unsqueeze(0), world_size())


def batch_mean(values: Tensor, count: int) -> Tensor:
    """Return the mean over the samples of all ranks, (samples, ...) to (...); differentiable.

    Args:
        values: A row per sample of this rank's `shard_slice`.
        count: Samples of the whole batch.
    """
    return all_reduce_sum(values.sum(dim=0)) / count if is_distributed() else values.mean(dim=0)


def partial_mean(values: Tensor, count: int) -> Tensor:
    """Return this rank's contribution to a mean over ``count`` values; the contributions of all ranks add up to it."""
    return values.mean() if len(values) == count else values.sum() / count


def all_reduce_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Sum the gradients of all ranks in place.

    DistributedDataParallel expects one forward and one backward pass, which does not fit networks that train on each
    other's outputs and gradients of gradients. Nor are messages overlapped with the backward pass: on two cores that
    was slower.

    Args:
        parameters: Parameters; frozen ones are ignored.
    """
    if not is_distributed():
        return
    gradients = []
    for parameter in parameters:
        if parameter.requires_grad:
            if parameter.grad is None:  # if one rank has a gradient, all must have
                parameter.grad = torch.zeros_like(parameter)
            # A flat view in memory order: reshaping a channels-last gradient would copy it.
            gradients.append(parameter.grad.as_strided((parameter.numel(),), (1,)))
    flat = torch.cat(gradients)
    distributed.all_reduce(flat)
    torch._foreach_copy_(gradients, list(torch.split(flat, [len(gradient) for gradient in gradients])))


def all_reduce_min(values: Tensor) -> Tensor:
    """Return the elementwise minimum of all ranks' tensors; not differentiable."""
    if not is_distributed():
        return values
    minimum = values.clone()
    distributed.all_reduce(minimum, distributed.ReduceOp.MIN)
    return minimum


def broadcast_module(module: nn.Module) -> None:
    """Give every rank the weights and buffers of rank 0."""

    def state() -> dict[str, Tensor]:
        return {name: tensor.cpu() for name, tensor in module.state_dict().items()}

    module.load_state_dict(broadcast_from_rank0(state))


# Collectives for values, flags and errors.


def broadcast_from_rank0(compute: Callable[[], Value]) -> Value:
    """Return the value that a function has on rank 0; the other ranks do not call it.

    Args:
        compute: Returns a value that pickle can copy, with tensors on the CPU.

    Raises:
        UserError: The function of rank 0 raised it.
    """
    if not is_distributed():
        return compute()
    answer: list[Any] = [None, None]  # a value, or the message of an error
    failure: UserError | None = None
    if is_rank0():
        try:
            answer[0] = compute()
        except UserError as error:
            failure, answer[1] = error, str(error)
    distributed.broadcast_object_list(answer, 0, device=torch.device("cpu"))
    value, message = answer
    if message is not None:
        raise failure or SilentError(message)
    return value  # type: ignore[no-any-return]


def on_rank0(action: Callable[[], None]) -> None:
    """Run an action on rank 0 while the others wait; its UserError is raised on every rank."""
    broadcast_from_rank0(action)


def any_rank(flag: bool) -> bool:
    """Return whether the flag is set on any rank."""
    return bool(_ranks_with(flag))


def _ranks_with(flag: bool) -> list[int]:
    """Return the ranks on which the flag is set."""
    flags = torch.zeros(world_size(), dtype=torch.int64)
    flags[rank()] = int(flag)
    ranks: list[int] = all_reduce_sum(flags).nonzero().flatten().tolist()
    return ranks


def rank0_error(error: UserError) -> UserError:
    """Return the error on rank 0, and on other ranks one that is not printed."""
    return error if is_rank0() else SilentError(str(error))


@contextmanager
def errors_from_rank0() -> Iterator[None]:
    """Print the errors of a block once, for code that fails in the same way on every rank."""
    try:
        yield
    except SilentError:
        raise
    except UserError as error:
        raise rank0_error(error) from error


@contextmanager
def all_or_none() -> Iterator[None]:
    """End every rank if the block, which each rank runs for itself, fails on one.

    Raises:
        UserError: It failed here; a `SilentError` if it failed on another rank.
    """
    failure: UserError | None = None
    try:
        yield
    except UserError as error:
        failure = error
    failing = _ranks_with(failure is not None)
    if failing and failing[0] != rank():  # one of them prints
        raise SilentError(f"worker {failing[0]} cannot go on") from failure
    if failure is not None:
        raise failure


def assert_same_on_all_ranks(name: str, value: str) -> None:
    """Raise UserError on every rank unless all have the same value.

    Args:
        name: What the value is, for the message.
        value: This rank's value.
    """
    if not is_distributed():
        return
    expected = broadcast_from_rank0(lambda: value)
    if differing := _ranks_with(value != expected):
        raise rank0_error(UserError(f"worker {differing[0]} has another {name} than worker 0"))
