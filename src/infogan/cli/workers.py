"""Commands that torchrun starts on several workers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infogan.models.infogan import InfoGAN


@contextmanager
def join_workers(device: str, threads: int | None = None) -> Iterator[str]:
    """Join the other workers, if there are any, and silence all but rank 0; yield the device of this worker.

    Args:
        device: Name of a device, or ``auto``.
        threads: Number of CPU threads; None = one per core.

    Raises:
        UserError: The device is not available, or another worker cannot be reached.
    """
    import torch

    from infogan.api import progress
    from infogan.utils import distributed
    from infogan.utils.devices import pick_device

    if threads is not None:
        torch.set_num_threads(threads)
    with distributed.process_group(pick_device(device)) as own_device:
        if distributed.is_rank0():
            yield own_device
            return
        progress.ERR.quiet = True
        with open(os.devnull, "w") as null, redirect_stdout(null):
            yield own_device


def load_sharded(run: str | Path, device: str) -> "InfoGAN":
    """Load a model with which all workers draw and encode; raise UserError as `InfoGAN.load`."""
    from infogan.models.infogan import InfoGAN
    from infogan.utils import distributed

    with distributed.all_or_none():
        model = InfoGAN.load(run).to(device)
    distributed.assert_same_on_all_ranks("model", model.digest())
    model.sharded = distributed.is_distributed()
    return model
