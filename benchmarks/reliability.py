"""Measure reliability: faults in training, damaged files, hostile input, the explorer under load.

    python -m benchmarks.reliability --out benchmarks/results/reliability.json    # `make reliability`: 15 minutes
    python -m benchmarks.reliability --only kills,disk --scale 0.1

Parts run in separate processes, two at a time, and the soak at the same time as all of them. `benchmarks.faults` has
the faults in training, `benchmarks.fuzz` the hostile input and `benchmarks.soak` the load. The part ``checkpoints`` is
here: each byte of the header and of the end of a run's latest checkpoint, and some in between, are changed one at a
time, and the file is cut to many lengths. Each time the checkpoint before must be used instead.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks import faults, fuzz, soak
from benchmarks.accuracy import commit, machine
from benchmarks.sessions import COMMAND, session
from infogan.training.checkpoint import latest_checkpoint_path, load_latest_checkpoint
from infogan.training.run_dir import RunFolder

Result = dict[str, Any]
Part = Callable[[Path, int, np.random.Generator], Result]
POSITIONS = 2000  # bytes of a checkpoint that are changed between its header and its end


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help=f"parts, with commas between: {', '.join(PARTS)}")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the number of cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    parser.add_argument("--here", action="store_true", help="run one part in this process, and print JSON")
    arguments = parser.parse_args()
    names = arguments.only.split(",") if arguments.only else list(PARTS)
    if arguments.here:
        print(json.dumps(measure(names[0], arguments.scale, arguments.seed)))
        return
    result: Result = {"commit": commit(), **machine(), "seed": arguments.seed, "scale": arguments.scale, "parts": {}}
    started = time.monotonic()

    def run_part(name: str) -> None:
        command = [sys.executable, "-m", "benchmarks.reliability", "--here", "--only", name]
        command += ["--scale", str(arguments.scale), "--seed", str(arguments.seed)]
        process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        result["parts"][name] = json.loads(process.stdout.splitlines()[-1])
        print(name, json.dumps(result["parts"][name]), flush=True)

    with ThreadPoolExecutor(1) as soak_lane, ThreadPoolExecutor(2) as lanes:
        jobs = [soak_lane.submit(run_part, name) for name in names if name == "soak"]
        jobs += [lanes.submit(run_part, name) for name in names if name != "soak"]
        for job in jobs:
            job.result()
    result["minutes"] = round((time.monotonic() - started) / 60, 1)
    result["parts"] = {name: result["parts"][name] for name in names}
    print(table(result["parts"]))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    if parts := failed(result["parts"]):
        sys.exit(f"guarantees are broken: {', '.join(parts)}")


def failed(parts: Result) -> list[str]:
    """Return the parts in which a guarantee of docs/reliability.md was broken."""
    failures = []
    for name, part in parts.items():
        if "skipped" in part:
            continue
        if name == "soak":
            passed = not part["failures"] and not part["tracebacks"] and part["memory_growth"] < 0.05
            passed = passed and all(int(status) < 500 for status in part["statuses"])
        elif name == "fuzz":
            passed = all(not reader["findings"] and not reader["traces"] for reader in part["readers"].values())
        elif name == "checkpoints":
            passed = all(kind["changed"] == kind["noticed"] for kind in part.values() if isinstance(kind, dict))
        else:
            passed = part["one_sentence_or_went_on"] == part["bit_equal_in_the_end"] == part["cases"] > 0
            passed = passed and (name == "kills" or part["told_by_the_run"] == part["cases"])
        if not passed:
            failures.append(name)
    return failures


def measure(name: str, scale: float, seed: int) -> Result:
    """Run a part; return its result and its time in seconds."""
    started = time.monotonic()
    part, count = PARTS[name]
    with TemporaryDirectory() as folder:
        result = part(Path(folder), max(1, round(count * scale)), np.random.default_rng(seed))
    return result | {"seconds": round(time.monotonic() - started)}


def checkpoints(folder: Path, count: int, random: np.random.Generator) -> Result:
    """Return how many changes of a checkpoint were noticed; ``count`` of each 100 are tried."""
    run = RunFolder(folder / "bytes")
    training = session(run.path, [*COMMAND, "--steps", "3"])
    path = latest_checkpoint_path(run.checkpoints)
    assert path is not None, training.stderr
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    stride = max(1, 100 // count)
    positions = {
        "header": range(0, header, stride),
        "between": sorted(set(random.integers(header, len(content), POSITIONS // stride).tolist())),
        "end": range(len(content) - 64, len(content)),
    }
    result: Result = {"bytes": len(content)}
    for kind, indices in positions.items():
        noticed = 0
        for index in indices:
            damaged = bytearray(content)
            damaged[index] ^= 1 << int(random.integers(8))
            path.write_bytes(damaged)
            noticed += is_skipped(run, path)
        result[kind] = {"changed": len(indices), "noticed": noticed}
    lengths = random.integers(0, len(content), 200 // stride)
    noticed = 0
    for length in lengths:
        path.write_bytes(content[: int(length)])
        noticed += is_skipped(run, path)
    return result | {"cut": {"changed": len(lengths), "noticed": noticed}}


def is_skipped(run: RunFolder, path: Path) -> bool:
    """Return whether the checkpoint before this one is loaded, with one warning."""
    checkpoint, warnings = load_latest_checkpoint(run.checkpoints)
    path.with_suffix(".damaged").unlink(missing_ok=True)
    return checkpoint is not None and checkpoint.step != int(path.stem) and len(warnings) == 1


def fuzz_readers(folder: Path, count: int, random: np.random.Generator) -> Result:
    """Give all readers damaged files, ``count`` together."""
    return fuzz.try_all(fuzz.targets(), count, int(random.integers(2**31)), folder)


def soak_explorer(folder: Path, count: int, random: np.random.Generator) -> Result:
    """Put the explorer under load for ``count`` seconds."""
    return soak.soak(folder, count, int(random.integers(2**31)))


# Each with its number of cases; the longest first, so that both lanes end at about the same time.
PARTS: dict[str, tuple[Part, int]] = {
    "soak": (soak_explorer, 600),
    "fuzz": (fuzz_readers, 100_000),
    "kills": (faults.kills, 100),
    "terms": (faults.terms, 11),
    "disk": (partial(faults.in_namespace, "disk"), 10),
    "readonly": (partial(faults.in_namespace, "readonly"), 6),
    "memory": (faults.memory, 10),
    "data": (faults.data, 10),
    "clock": (faults.clock, 6),
    "checkpoints": (checkpoints, 100),
}


def table(parts: Result) -> str:
    """Return the table of docs/reliability.md."""
    rows = [
        "| fault | cases | one sentence, or went on | told by the run | same bits in the end |",
        "|---|---|---|---|---|",
    ]
    for name in ("kills", "disk", "readonly", "data", "clock", "terms", "memory"):
        part = parts.get(name)
        if part is None:
            continue
        if "skipped" in part:
            rows.append(f"| {name} | {part['skipped']} | | | |")
            continue
        cells = [part[key] for key in ("cases", "one_sentence_or_went_on", "told_by_the_run", "bit_equal_in_the_end")]
        rows.append(f"| {name} | {' | '.join(map(str, cells))} |")
    if "checkpoints" in parts:
        kinds = [part for part in parts["checkpoints"].values() if isinstance(part, dict)]
        changed, noticed = (sum(kind[key] for kind in kinds) for key in ("changed", "noticed"))
        rows.append(f"\ncheckpoints: {noticed} of {changed} changes noticed")
    if "fuzz" in parts:
        readers = parts["fuzz"]["readers"].values()
        counts = {key: sum(reader[key] for reader in readers) for key in ("inputs", "read", "refused", "findings")}
        slowest = max(reader["slowest_seconds"] for reader in readers)
        rows.append(f"\nfuzz: {counts}, the slowest took {slowest:.1f} s")
    if "soak" in parts:
        part = parts["soak"]
        rows.append(
            f"\nsoak: {part['requests']} requests in {part['seconds_of_load']} s, {part['statuses']}, memory "
            f"{part['first']['memory_mb']} to {part['last']['memory_mb']} MB, latency {part['first']['latency_ms']} to "
            f"{part['last']['latency_ms']} ms"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    main()
