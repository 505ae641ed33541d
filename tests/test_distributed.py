"""Several processes, as torchrun starts them on this machine, compute what one would."""

import os
import subprocess
import sys

import pytest
import torch

from infogan import distributed


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_compute_what_one_process_does(workers: int) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={workers}"]
    count = "7"  # which neither two nor three share evenly
    done = subprocess.run(
        [*launch, "-m", "tests.workers", count],
        env={**os.environ, "OMP_NUM_THREADS": "1", "INFOGAN_PATIENCE": "60"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_alone_nothing_is_exchanged() -> None:
    values = torch.ones(3, requires_grad=True)
    assert distributed.total(values) is values
    assert distributed.gathered(values, 3) is values
    assert distributed.share(5) == slice(0, 5)
    assert distributed.from_first(lambda: "mine", torch.device("cpu")) == "mine"
    assert distributed.any_of(True, torch.device("cpu"))
    with distributed.joined("cpu") as device:
        assert (device, distributed.rank(), distributed.world_size()) == ("cpu", 0, 1)
