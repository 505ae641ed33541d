"""Whether the same command gives the same weights bit for bit, and what that depends on.

On a CPU it does, with the same versions, instruction set and number of threads: every random number depends on the seed
and the step number, and sums have one order. On a GPU some sums have no fixed order unless `deterministic_algorithms`
enforces one. What a program has switched on around a call, such as another default type, is off in `neutral_state`.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from infogan.utils.devices import describe
from infogan.utils.errors import UserError

AUTOCAST_DEVICES = ("cpu", "cuda", "mps", "xpu")
DTYPE = torch.float32  # of weights and losses; tests against recorded numbers use another one
NOT_DETERMINISTIC = "does not have a deterministic implementation"  # in PyTorch's error for such an operation


@contextmanager
def neutral_state() -> Iterator[None]:
    """Compute in the state in which PyTorch starts, whatever the calling program has switched on.

    Within the block, gradients are recorded, inference mode and autocast are off, and new tensors are float32 and on
    the CPU. Afterwards everything is as before. Blocks may be nested.

    Example:
        >>> with torch.no_grad(), neutral_state():
        ...     torch.is_grad_enabled()
        True
    """
    with ExitStack() as stack:
        if torch.get_default_dtype() != DTYPE:
            stack.callback(torch.set_default_dtype, torch.get_default_dtype())
            torch.set_default_dtype(DTYPE)
        if torch.get_default_device().type != "cpu":  # otherwise not: it makes every operation slower
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(_without_autocast())
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        yield


@contextmanager
def _without_autocast() -> Iterator[None]:
    """Leave every autocast block of the calling program, and enter the same number of them again afterwards.

    To switch autocast off is not enough. PyTorch keeps weights that it has converted until the outermost block ends: a
    training within one would compute with its first weights to the end.
    """
    depth = torch.autocast_increment_nesting() - 1
    for _ in range(depth + 1):
        torch.autocast_decrement_nesting()
    enabled = {device: torch.is_autocast_enabled(device) for device in AUTOCAST_DEVICES}
    cached = torch.is_autocast_cache_enabled()
    torch.clear_autocast_cache()
    torch.set_autocast_cache_enabled(True)
    for device in enabled:
        torch.set_autocast_enabled(device, False)
    try:
        yield
    finally:
        torch.clear_autocast_cache()
        torch.set_autocast_cache_enabled(cached)
        for device, was_enabled in enabled.items():
            torch.set_autocast_enabled(device, was_enabled)
        for _ in range(depth):
            torch.autocast_increment_nesting()


@contextmanager
def deterministic_algorithms(enabled: bool) -> Iterator[None]:
    """Let PyTorch use only algorithms that give the same bits each time, within the block and if enabled.

    Enter it before the first product on a GPU: cuBLAS reads its setting when it starts.

    Raises:
        UserError: An operation has no such algorithm on this device.
    """
    if not enabled:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # required by NVIDIA's cuBLAS documentation
    settings = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False  # it would choose algorithms by the clock
    try:
        yield
    except RuntimeError as error:
        if NOT_DETERMINISTIC not in str(error):
            raise
        raise UserError(f"--deterministic is not possible here: {str(error).partition(',')[0]}") from error
    finally:
        torch.use_deterministic_algorithms(settings[0])
        torch.backends.cudnn.benchmark = settings[1]


def reproducibility(device: torch.device | str, *, deterministic: bool, timed: bool) -> dict[str, Any]:
    """Return what a session computes on, and what it takes to get the same weights again.

    Args:
        device: Device of the networks.
        deterministic: Whether `deterministic_algorithms` is enabled.
        timed: Whether a clock decided the number of steps.
    """
    device = torch.device(device)
    name, others = describe(device)
    condition = f"bit for bit with these versions, {others}"
    if device.type != "cpu" and not deterministic:
        condition = "not bit for bit: sums on a GPU have no fixed order without --deterministic"
    if timed:
        condition += "; a clock decided the length: repeat it with --steps, or with --config and this config.json"
    return {"device": name, "threads": torch.get_num_threads(), "deterministic": deterministic, "same_again": condition}
