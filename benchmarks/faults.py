"""Inject faults into training sessions, and do after each fault what a person would do.

Every part counts the faults, the sessions that ended with one error message (or went on by themselves), and the runs
that, after the fault was removed, ended with the same bits as an undisturbed run. `benchmarks.reliability` is the
command.

kills     SIGKILL at random times, and the same command after each, until the run ends
disk      a file system that is too small for the run, then a larger one
readonly  a run stopped halfway, its folder read-only, then writable
data      a run stopped halfway; an image changed, removed or added, all removed, then as before
clock     the clock set back by an hour, a day or forty years, between sessions and within one
terms     each loss NaN from some step on
memory    a limit on the address space, from the size of the process to enough
"""

import contextlib
import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks import sessions
from benchmarks.sessions import (
    COMMAND,
    OFTEN,
    SMALL,
    Fault,
    SessionResult,
    progress,
    same,
    session,
    started_session,
    wait_for,
)
from infogan.training.run_dir import RunFolder

KILLED = "ended without a record"  # of incidents
DISK_FULL = "the disk was full"
Random = np.random.Generator
Result = dict[str, Any]


class FaultCounts:
    """Counts the outcomes of one kind of fault.

    Attributes:
        cases: Number of faults.
        handled: Sessions that ended with one error message, or finished.
        recorded: Runs whose incidents name the fault.
        equal: Runs that ended with the bits of an undisturbed run.
        problems: A sentence for everything that went wrong.
    """

    def __init__(self) -> None:
        self.cases = self.handled = self.recorded = self.equal = 0
        self.problems: list[str] = []

    def add(self, run: Path, undisturbed: Path, first: SessionResult, second: SessionResult, *incidents: str) -> None:
        """Count one case.

        Args:
            run: The disturbed run, after the second session.
            undisturbed: The same run without the fault.
            first: The session with the fault.
            second: The session after it.
            incidents: Phrases that the run's incidents must contain in the end.
        """
        self.cases += 1
        is_handled = first.refused or first.code == 0
        is_equal = second.code == 0 and same(run, undisturbed)
        recorded = [incident["what"] for incident in RunFolder(run).read_incidents()]
        missing = [phrase for phrase in incidents if not any(phrase in sentence for sentence in recorded)]
        self.handled += is_handled
        self.recorded += not missing
        self.equal += is_equal
        if not is_handled:
            self.problems.append(f"exit code {first.code}: {first.last_lines}")
        if missing:
            self.problems.append(f"{missing} is not among {recorded}: {first.last_lines}")
        if not is_equal:
            self.problems.append(f"exit code of the second session {second.code}: {second.last_lines}")

    def result(self) -> Result:
        """Return the counts under the names in the results."""
        return {
            "cases": self.cases,
            "one_sentence_or_went_on": self.handled,
            "told_by_the_run": self.recorded,
            "bit_equal_in_the_end": self.equal,
            "odd": self.problems,
        }


def kills(folder: Path, count: int, random: Random) -> Result:
    """Kill the sessions of one run with SIGKILL, ``count`` times."""
    disturbed, undisturbed = folder / "disturbed", folder / "undisturbed"
    interval = 20  # steps between kills, on average
    # With a reserve: on a busy machine the kill comes late, and the run must not end before it.
    command = [*COMMAND, "--steps", str(int(count * interval * 1.2) + 10 * interval)]
    early, steps = 0, []
    for number in range(count):
        before = progress(disturbed) if disturbed.is_dir() else 0
        with started_session(disturbed, command) as (process, _):
            if number % 5 == 4:  # while it starts
                time.sleep(float(random.uniform(0, 1.5)))
            else:
                wait_for(disturbed, before + int(random.integers(1, 2 * interval)), process)
                time.sleep(float(random.uniform(0, 0.03)))  # anywhere in a step or a write
            if not process.is_alive():
                break
        steps.append(progress(disturbed) if disturbed.is_dir() else 0)
        early += steps[-1] == before
    last = session(disturbed, command)
    session(undisturbed, command)
    incidents = [incident["what"] for incident in RunFolder(disturbed).read_incidents()]
    return {
        "cases": len(steps),
        "before_the_first_new_checkpoint": early,
        "one_sentence_or_went_on": len(steps) if last.code == 0 else 0,
        "told_by_the_run": sum(KILLED in sentence for sentence in incidents),
        "checkpoints_found_damaged": sum("is damaged" in sentence for sentence in incidents),
        "steps": steps[-1] if steps else 0,
        "exit_code": last.code,
        "bit_equal_in_the_end": len(steps) if last.code == 0 and same(disturbed, undisturbed) else 0,
    }


# Disks, in a separate mount namespace.


def in_namespace(part: str, folder: Path, count: int, random: Random) -> Result:
    """Run the part ``disk`` or ``readonly`` in a process whose mounts end with it."""
    inside = ["unshare", "--user", "--map-root-user", "--mount"]
    probe = [*inside, "mount", "-t", "tmpfs", "none", str(folder)]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True, check=False).returncode:
        return {"skipped": "no file systems can be mounted here"}
    command = [sys.executable, "-m", "benchmarks.faults", part, str(folder), str(count), str(random.integers(2**31))]
    process = subprocess.run([*inside, *command], stdout=subprocess.PIPE, text=True, check=True)
    result: Result = json.loads(process.stdout)
    return result


def _disk(folder: Path, count: int, random: Random) -> Result:
    command, undisturbed = [*COMMAND, "--steps", "12"], folder / "undisturbed"
    session(undisturbed, command)
    run_size = sum(path.stat().st_size for path in undisturbed.rglob("*") if path.is_file())
    counts = FaultCounts()
    for number, size in enumerate(random.integers(8 * 2**10, int(1.5 * run_size), count)):
        with mounted(folder / f"full-{number}", f"size={size}") as mount:
            run = mount / "run"
            first = session(run, command)
            # Without a recorded session there is nothing that an incident could be about.
            incidents = [DISK_FULL] if first.code != 0 and (run / "environment.json").is_file() else []
            if incidents and any("cannot write" in incident["what"] for incident in RunFolder(run).read_incidents()):
                incidents = ["cannot write"]  # there was room for this sentence
            remount(mount, "size=1g")
            counts.add(run, undisturbed, first, session(run, command), *incidents)
    return counts.result() | {"sizes": f"8 kB to 1.5 times the {run_size // 1024} kB of a run"}


def _readonly(folder: Path, count: int, random: Random) -> Result:
    command, undisturbed = [*COMMAND, "--steps", "40"], folder / "undisturbed"
    session(undisturbed, command)
    counts, changes = FaultCounts(), 0
    for number in range(count):
        with mounted(folder / f"read-{number}", "size=1g") as mount:
            run = mount / "run"
            with started_session(run, command) as (process, _):
                wait_for(run, int(random.integers(1, 30)), process)
            before = digest_of(run)
            remount(mount, "ro")
            first = session(run, command)
            changes += digest_of(run) != before
            remount(mount, "rw")
            counts.add(run, undisturbed, first, session(run, command), KILLED)  # the other error could not be written
    return counts.result() | {"changed_while_read_only": changes}


@contextlib.contextmanager
def mounted(path: Path, options: str) -> Iterator[Path]:
    """Mount a file system in memory."""
    path.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def remount(path: Path, options: str) -> None:
    """Change the options of a mounted file system."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(path)], check=True)


def digest_of(folder: Path) -> str:
    """Return a digest of all files in a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path} {path.stat().st_mtime_ns} ".encode() + path.read_bytes())
    return digest.hexdigest()


# Data, clock, terms, memory.


def data(folder: Path, count: int, random: Random) -> Result:
    """Change images between the sessions of a run."""
    source, undisturbed = folder / "bars", folder / "undisturbed"
    images = bars(64, random)
    for number in range(len(images)):
        save_image(images[number], source / f"{number}.png")
    command = [str(source), "--recipe", "plain", "--size", "8", "--channels", "1", *SMALL, *OFTEN, "--steps", "20"]
    session(undisturbed, command)
    changes = ("pixel", "removed", "more", "broken", "all gone")
    counts = FaultCounts()
    for number in range(count):
        run, change = folder / f"data-{number}", changes[number % len(changes)]
        with started_session(run, command) as (process, _):
            wait_for(run, int(random.integers(1, 15)), process)
        path = source / f"{random.integers(len(images))}.png"
        original = path.read_bytes()
        if change == "pixel":
            values = np.asarray(Image.open(path)).copy()
            values[tuple(random.integers(8, size=2))] ^= 1
            save_image(values, path)
        elif change == "removed":
            path.unlink()
        elif change == "more":
            save_image(images[0] // 2, source / "more.png")
        elif change == "broken":
            path.write_bytes(original[: len(original) // 2])
        else:
            source.rename(folder / "away")
        first = session(run, command)
        if change == "all gone":
            (folder / "away").rename(source)
        path.write_bytes(original)
        (source / "more.png").unlink(missing_ok=True)
        incident = str(source) if change == "all gone" else "are not those that"
        counts.add(run, undisturbed, first, session(run, command), KILLED, incident)
    return counts.result() | {"changes": list(changes)}


def clock(folder: Path, count: int, random: Random) -> Result:
    """Set the clock back between two sessions, and within the second."""
    command, undisturbed = [*COMMAND, "--steps", "30"], folder / "undisturbed"
    session(undisturbed, command)
    counts = FaultCounts()
    for number in range(count):
        run, seconds = folder / f"clock-{number}", (3600, 86_400, 40 * 365 * 86_400)[number % 3]
        with started_session(run, command) as (process, _):
            wait_for(run, int(random.integers(1, 20)), process)
        fault = partial(sessions.wrong_clock, -seconds, -2 * seconds, int(random.integers(1, 60)))
        second = session(run, command, fault)
        counts.add(run, undisturbed, second, second, KILLED, "the clock was set back")
    return counts.result()


def terms(folder: Path, count: int, random: Random) -> Result:
    """Make each loss NaN, in a recipe that has it."""
    few_labels = folder / "few.csv"
    few_labels.write_text("image,label\n" + "".join(f"{number},{'ab'[number % 2]}\n" for number in range(20)))
    narrow = [*SMALL, *OFTEN, "--steps", "24", "--set", "networks.encoder_width=4"]
    equal_shares = [word for stage in range(4) for word in ("--set", f"stages.{stage}.share=1")]
    robust = ["digits", "--set", "train.precision=fp32", *narrow, *equal_shares]
    plain = ["digits", "--recipe", "plain", *narrow, "--set", "stages.0.updates.0.losses.r1=0.1"]
    varying = ["digits", "--recipe", "disentangle", *narrow, *equal_shares[:4]]
    pairs = {1: "{infogan_cr=1.0}", 2: "{adversarial=1.0,infogan_cr=1.0}", 3: "{adversarial=1.0,infogan_cr=1.0}"}
    sharing = [*varying]
    for number, losses in pairs.items():
        sharing += ["--set", f"stages.1.updates.{number}.losses={losses}"]
    commands = {
        **dict.fromkeys(("adversarial", "information", "r1"), plain),
        **dict.fromkeys(("nt_xent", "vat", "uda", "fixmatch", "conditional_entropy", "marginal_kl"), robust),
        "supervised": [*robust, "--labels", str(few_labels)],
        "variation_predictability": varying,
        "infogan_cr": sharing,
    }
    from infogan.training.losses import LOSSES

    assert commands.keys() == LOSSES.keys()
    counts, named, undisturbed = FaultCounts(), 0, dict[str, Path]()
    for number in range(count):
        loss = list(commands)[number % len(commands)]
        command, run = commands[loss], folder / f"loss-{number}"
        if (key := " ".join(command)) not in undisturbed:
            undisturbed[key] = folder / f"undisturbed-{len(undisturbed)}"
            session(undisturbed[key], command)
        first = session(run, command, partial(sessions.nan_loss, loss, int(random.integers(1, 6))))
        named += f"/{loss} is NaN or infinite" in first.stderr
        counts.add(run, undisturbed[key], first, session(run, command), "is NaN or infinite")
    return counts.result() | {"terms": list(commands), "named": named}


def memory(folder: Path, count: int, random: Random) -> Result:
    """Limit the address space to less than a run needs."""
    command, undisturbed = [*COMMAND, "--steps", "30"], folder / "undisturbed"
    session(undisturbed, command)
    counts, finished = FaultCounts(), 0
    for number, extra in enumerate(np.linspace(0, 300 * 2**20, count)):
        run = folder / f"memory-{number}"
        fault: Fault = partial(sessions.limit_memory, int(extra))
        first = session(run, command, fault)
        finished += first.code == 0
        incidents = ["not enough memory"] if first.code != 0 and (run / "environment.json").is_file() else []
        counts.add(run, undisturbed, first, session(run, command), *incidents)
    return counts.result() | {"limits": "0 to 300 MiB more than the process had", "finished_all_the_same": finished}


def bars(count: int, random: Random) -> NDArray[np.uint8]:
    """Return 8x8 images of a bright bar on noise."""
    images = random.integers(0, 60, (count, 8, 8)).astype(np.uint8)
    for number, row in enumerate(random.integers(0, 7, count)):
        target = images[number] if number % 2 else images[number].T
        target[row : row + 2] = 230
    return images


def save_image(values: NDArray[np.uint8], path: Path) -> None:
    """Write a grey image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


if __name__ == "__main__":
    part, folder, count, seed = sys.argv[1:]
    inside = {"disk": _disk, "readonly": _readonly}[part]
    print(json.dumps(inside(Path(folder), int(count), np.random.default_rng(int(seed)))))
