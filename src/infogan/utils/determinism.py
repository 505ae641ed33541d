"""Whether the same command gives the same weights, bit for bit, and what that depends on.

On a CPU it does, with the same versions, instructions and number of threads: every random number is drawn from the seed
and the number of the step, and sums are taken in one order. On a GPU some sums are taken in whatever order their parts
arrive, unless `repeatable` forbids it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from infogan.utils.errors import UserError

LACKING = "does not have a deterministic implementation"  # says PyTorch of an operation


@contextmanager
def deterministic_algorithms(wanted: bool) -> Iterator[None]:
    """While this lasts, and if it is wanted, PyTorch computes by algorithms that give the same bits each time.

    To be entered before the first product on a GPU: cuBLAS reads its setting when it begins.

    Raises:
        UserError: an operation has no such algorithm on this device.
    """
    if not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as NVIDIA's manual of cuBLAS asks for
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False  # which would choose algorithms by the clock
    try:
        yield
    except RuntimeError as error:
        if LACKING not in str(error):
            raise
        raise UserError(f"not deterministic here: {str(error).partition(',')[0]}") from error
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]


def reproducibility(device: torch.device | str, *, deterministic: bool, timed: bool) -> dict[str, Any]:
    """What a session of training computed on, and what it takes to get the same weights again.

    Args:
        device: Of the networks.
        deterministic: Whether it was `repeatable`.
        timed: Whether a clock decided on the number of steps.
    """
    device = torch.device(device)
    threads = torch.get_num_threads()
    if device.type == "cpu":
        name = f"CPU with {torch.backends.cpu.get_cpu_capability()}"
        same = f"bit for bit with these versions, {threads} threads and a CPU with the same instructions"
    else:
        name = torch.cuda.get_device_name(device)
        cuda = f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"  # type: ignore[no-untyped-call]
        same = f"bit for bit with these versions, {cuda}, the same driver and a {name}"
        if not deterministic:
            same = "not bit for bit: sums on a GPU come in a varying order unless --deterministic is given"
    if timed:
        same += "; the length was found by the clock, --steps and --config with this config.json repeat it"
    return {"device": name, "threads": threads, "deterministic": deterministic, "same_again": same}
