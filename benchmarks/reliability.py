"""What the system survives, as a table: faults in training, damaged files, strangers' input, the explorer under load.

    python -m benchmarks.reliability --out benchmarks/results/reliability.json    # `make reliability`: 15 minutes
    python -m benchmarks.reliability --only kills,disk --scale 0.1

Parts run in processes of their own, two at a time, and the soak beside them. See `benchmarks.faults` for those of
training, `benchmarks.fuzz` and `benchmarks.soak` for the others; ``checkpoints`` is here: of a run's newest checkpoint
each byte of the header and of the end, and others between, are changed one at a time, and the file is cut to many
lengths. Each time the checkpoint before it must be taken.
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
from infogan.training.run_dir import RunFolder

Found = dict[str, Any]
Part = Callable[[Path, int, np.random.Generator], Found]
PLACES = 2000  # bytes of a checkpoint that are changed between its header and its end


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help=f"parts, with commas between: {', '.join(PARTS)}")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    parser.add_argument("--here", action="store_true", help="one part, in this process, as JSON to standard output")
    given = parser.parse_args()
    names = given.only.split(",") if given.only else list(PARTS)
    if given.here:
        print(json.dumps(measured(names[0], given.scale, given.seed)))
        return
    found: Found = {"commit": commit(), **machine(), "seed": given.seed, "scale": given.scale, "parts": {}}
    begun = time.monotonic()

    def one(name: str) -> None:
        words = [sys.executable, "-m", "benchmarks.reliability", "--here", "--only", name]
        words += ["--scale", str(given.scale), "--seed", str(given.seed)]
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
        found["parts"][name] = json.loads(done.stdout.splitlines()[-1])
        print(name, json.dumps(found["parts"][name]), flush=True)

    with ThreadPoolExecutor(1) as beside, ThreadPoolExecutor(2) as lanes:
        waited = [beside.submit(one, name) for name in names if name == "soak"]
        waited += [lanes.submit(one, name) for name in names if name != "soak"]
        for job in waited:
            job.result()
    found["minutes"] = round((time.monotonic() - begun) / 60, 1)
    found["parts"] = {name: found["parts"][name] for name in names}
    print(table(found["parts"]))
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n")
    if bad := failed(found["parts"]):
        sys.exit(f"not as promised: {', '.join(bad)}")


def failed(parts: Found) -> list[str]:
    """The parts in which something was not as docs/reliability.md promises."""
    bad = []
    for name, part in parts.items():
        if "skipped" in part:
            continue
        if name == "soak":
            fine = not part["failures"] and not part["tracebacks"] and part["memory_growth"] < 0.05
            fine = fine and all(int(status) < 500 for status in part["statuses"])
        elif name == "fuzz":
            fine = all(not reader["findings"] and not reader["traces"] for reader in part["readers"].values())
        elif name == "checkpoints":
            fine = all(kind["changed"] == kind["noticed"] for kind in part.values() if isinstance(kind, dict))
        else:
            fine = part["one_sentence_or_went_on"] == part["bit_equal_in_the_end"] == part["cases"] > 0
            fine = fine and (name == "kills" or part["told_by_the_run"] == part["cases"])
        if not fine:
            bad.append(name)
    return bad


def measured(name: str, scale: float, seed: int) -> Found:
    """One part, and how long it took."""
    begun = time.monotonic()
    part, count = PARTS[name]
    with TemporaryDirectory() as folder:
        found = part(Path(folder), max(1, round(count * scale)), np.random.default_rng(seed))
    return found | {"seconds": round(time.monotonic() - begun)}


def checkpoints(folder: Path, count: int, random: np.random.Generator) -> Found:
    """How many changes of a checkpoint were noticed; ``count`` of each 100 are tried."""
    run = RunFolder(folder / "bytes")
    ended = session(run.path, [*COMMAND, "--steps", "3"])
    newest = run.last_checkpoint()
    assert newest is not None, ended.said
    content = newest.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    every = max(1, 100 // count)
    between = random.integers(header, len(content), PLACES // every)
    places = {
        "header": range(0, header, every),
        "between": sorted({int(place) for place in between}),
        "end": range(len(content) - 64, len(content)),
    }
    result: Found = {"bytes": len(content)}
    for kind, chosen in places.items():
        noticed = 0
        for place in chosen:
            damaged = bytearray(content)
            damaged[place] ^= 1 << int(random.integers(8))
            newest.write_bytes(damaged)
            noticed += passed_over(run, newest)
        result[kind] = {"changed": len(chosen), "noticed": noticed}
    lengths = random.integers(0, len(content), 200 // every)
    noticed = 0
    for length in lengths:
        newest.write_bytes(content[: int(length)])
        noticed += passed_over(run, newest)
    return result | {"cut": {"changed": len(lengths), "noticed": noticed}}


def passed_over(run: RunFolder, newest: Path) -> bool:
    """Whether another checkpoint is taken than this."""
    found, complaints = run.load_checkpoint()
    return found is not None and found.step != int(newest.stem) and len(complaints) == 1


def fuzzed(folder: Path, count: int, random: np.random.Generator) -> Found:
    """What came of strangers' input."""
    return fuzz.all_tried(fuzz.targets(), count, int(random.integers(2**31)), folder)


def soaked(folder: Path, count: int, random: np.random.Generator) -> Found:
    """``count`` seconds of load."""
    return soak.soaked(folder, count, int(random.integers(2**31)))


# Each with the number of its cases; the longest first, so that the lanes end together.
PARTS: dict[str, tuple[Part, int]] = {
    "soak": (soaked, 600),
    "fuzz": (fuzzed, 100_000),
    "kills": (faults.kills, 100),
    "terms": (faults.terms, 11),
    "disk": (partial(faults.in_namespace, "disk"), 10),
    "readonly": (partial(faults.in_namespace, "readonly"), 6),
    "memory": (faults.memory, 10),
    "data": (faults.data, 10),
    "clock": (faults.clock, 6),
    "checkpoints": (checkpoints, 100),
}


def table(parts: Found) -> str:
    """The table of docs/reliability.md."""
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
