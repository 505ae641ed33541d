"""What runs survive: killed at random moments until they end, and checkpoints with every kind of damage.

python -m benchmarks.reliability --out benchmarks/results/reliability.json
python -m benchmarks.reliability --only kills --kills 20

kills       a run is sent SIGKILL at random moments, and started again by the same command, ``--kills`` times over;
            then it ends, and its weights are those of a run that nobody disturbed, bit for bit
checkpoints of a run's newest checkpoint each byte of the header and of the last tensor, and others between, are
            changed one at a time, and the file is cut to many lengths: each time the one before is taken
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import safetensors.torch
import torch

from benchmarks.accuracy import commit, machine
from infogan.runs import RunFolder

# Saved at every step, so that many kills come while a checkpoint is being written.
COMMAND = [
    *("digits", "--recipe", "plain", "--steps", "5000", "--set", "networks.width=4", "--set", "train.batch_size=16"),
    *("--set", "train.save_every=1", "--set", "train.report_every=7", "--set", "train.picture_every=100000"),
]
PLACES = 2000  # bytes of a checkpoint that are changed


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    given = parser.parse_args()
    found: dict[str, Any] = {"commit": commit(), **machine(), "seed": given.seed}
    with TemporaryDirectory() as folder:
        for part in given.only.split(","):
            found[part] = PARTS[part](Path(folder), given.kills, np.random.default_rng(given.seed))
            print(json.dumps({part: found[part]}), flush=True)
            if given.out:
                given.out.write_text(json.dumps(found, indent=1) + "\n")


def kills(folder: Path, count: int, random: np.random.Generator) -> dict[str, Any]:
    """How many kills a run took, where they came, and whether it ended as it should."""
    struck, calm = folder / "struck", folder / "calm"
    started = time.monotonic()
    early, steps = 0, []
    for _ in range(count):
        process = start(struck)
        # Of the time that a start and some hundred steps take; a kill may come before there is a folder.
        time.sleep(float(random.uniform(0, 8)))
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        last = RunFolder(struck).last_checkpoint() if struck.is_dir() else None
        early += last is None
        steps.append(0 if last is None else int(last.stem))
    codes = [start(run).wait() for run in (struck, calm)]
    same = codes == [0, 0] and equal(struck, calm)
    log = (struck / "log.txt").read_text() if (struck / "log.txt").is_file() else ""
    return {
        "kills": len(steps),
        "before_the_first_checkpoint": early,
        "checkpoints_found_damaged": log.count("is damaged"),
        "steps_at_kills": steps,
        "exit_codes": codes,
        "bit_equal": same,
        "half_written_files_left": sum(1 for path in struck.rglob(".*") if path.is_file()),
        "seconds": round(time.monotonic() - started, 1),
    }


def checkpoints(folder: Path, count: int, random: np.random.Generator) -> dict[str, Any]:
    """How many changes of a checkpoint were noticed."""
    run = RunFolder(folder / "bytes")
    words = [*COMMAND, "--steps", "3"]
    subprocess.run([sys.executable, "-m", "infogan", "train", *words, "--out", str(run.path)], check=True, **QUIET)
    newest = run.last_checkpoint()
    assert newest is not None
    content = newest.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    ends = range(len(content) - 64, len(content))
    between = random.integers(header, len(content), PLACES)
    places = {"header": range(header), "end": ends, "between": sorted({int(place) for place in between})}
    result: dict[str, Any] = {"bytes": len(content)}
    for kind, chosen in places.items():
        noticed = 0
        for place in chosen:
            damaged = bytearray(content)
            damaged[place] ^= 1 << int(random.integers(8))
            newest.write_bytes(damaged)
            noticed += passed_over(run, newest)
        result[kind] = {"changed": len(chosen), "noticed": noticed}
    lengths = random.integers(0, len(content), 200)
    noticed = 0
    for length in lengths:
        newest.write_bytes(content[: int(length)])
        noticed += passed_over(run, newest)
    return result | {"cut": {"changed": len(lengths), "noticed": noticed}}


def passed_over(run: RunFolder, newest: Path) -> bool:
    """Whether another checkpoint is taken than this."""
    found, complaints = run.load_checkpoint()
    return found is not None and found.step != int(newest.stem) and len(complaints) == 1


QUIET: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def start(run: Path) -> "subprocess.Popen[bytes]":
    """The run's command in a process of its own."""
    words = [sys.executable, "-m", "infogan", "train", *COMMAND, "--out", str(run)]
    return subprocess.Popen(words, env={**os.environ, "OMP_NUM_THREADS": "1"}, **QUIET)


def equal(one: Path, other: Path) -> bool:
    """Whether two runs ended with the same weights, averages and moments."""
    states = []
    for run in (one, other):
        path = RunFolder(run).last_checkpoint()
        assert path is not None
        states.append(safetensors.torch.load_file(path))
    return states[0].keys() == states[1].keys() and all(
        torch.equal(tensor, states[1][name]) for name, tensor in states[0].items()
    )


PARTS: dict[str, Callable[[Path, int, np.random.Generator], dict[str, Any]]] = {
    "kills": kills,
    "checkpoints": checkpoints,
}


if __name__ == "__main__":
    main()
