"""What runs survive: faults injected into sessions of training, each followed by what a person would do next.

Every part counts how often it struck, how often the command ended in one sentence (or went on by itself), and whether
the run, once the fault was gone, ended with the same bits as one that nobody disturbed. `benchmarks.reliability` is the
command.

kills     SIGKILL at random moments, the same command after each, until the run ends
disk      a file system too small for the run, then one large enough
readonly  a run stopped halfway, its folder read-only, then writable
data      a run stopped halfway; an image changed, one removed, one more, all gone, then as they were
clock     an hour, a day or forty years back, between sessions and within one
terms     each term of each loss no number from some step on
memory    an address space so much larger than the process, from nothing to enough
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
from benchmarks.sessions import COMMAND, OFTEN, SMALL, Ended, Fault, begun, progress, same, session, wait_for
from infogan.training.run_dir import RunFolder

KILLED = "ended without a word"
Random = np.random.Generator
Found = dict[str, Any]


class Tally:
    """What came of one kind of fault."""

    def __init__(self) -> None:
        self.cases = self.refused = self.told = self.equal = 0
        self.odd: list[str] = []

    def add(self, run: Path, calm: Path, ended: Ended, after: Ended, *told: str) -> None:
        """Counts one case.

        Args:
            run: The run that was struck, and then ended.
            calm: The one that was not.
            ended: How the session ended that was struck.
            after: How the one ended that came after.
            told: What the run's incidents must say in the end, a phrase each.
        """
        self.cases += 1
        fine = ended.refused or ended.code == 0
        equal = after.code == 0 and same(run, calm)
        incidents = [incident["what"] for incident in RunFolder(run).read_incidents()]
        untold = [phrase for phrase in told if not any(phrase in what for what in incidents)]
        self.refused += fine
        self.told += not untold
        self.equal += equal
        if not fine:
            self.odd.append(f"{ended.code}: {' '.join(ended.said.splitlines()[-2:])[-300:]}")
        if untold:
            self.odd.append(f"{untold} is not among {incidents}: {' '.join(ended.said.splitlines()[-2:])[-300:]}")
        if not equal:
            self.odd.append(f"then {after.code}: {' '.join(after.said.splitlines()[-2:])[-300:]}")

    def found(self) -> Found:
        """The counts."""
        return {
            "cases": self.cases,
            "one_sentence_or_went_on": self.refused,
            "told_by_the_run": self.told,
            "bit_equal_in_the_end": self.equal,
            "odd": self.odd,
        }


def kills(folder: Path, count: int, random: Random) -> Found:
    """SIGKILL ``count`` times over one run."""
    struck, calm = folder / "struck", folder / "calm"
    pace = 20  # steps between kills, on average
    # With room to spare: where the machine is busy the kill comes late, and the run must not have ended before it.
    command = [*COMMAND, "--steps", str(int(count * pace * 1.2) + 10 * pace)]
    early, steps = 0, []
    for number in range(count):
        before = progress(struck) if struck.is_dir() else 0
        with begun(struck, command) as (process, _):
            if number % 5 == 4:  # while it begins
                time.sleep(float(random.uniform(0, 1.5)))
            else:
                wait_for(struck, before + int(random.integers(1, 2 * pace)), process)
                time.sleep(float(random.uniform(0, 0.03)))  # anywhere in a step, or in what it writes
            if not process.is_alive():
                break
        steps.append(progress(struck) if struck.is_dir() else 0)
        early += steps[-1] == before
    after = session(struck, command)
    session(calm, command)
    run = RunFolder(struck)
    text = [incident["what"] for incident in run.read_incidents()]
    return {
        "cases": len(steps),
        "before_the_first_new_checkpoint": early,
        "one_sentence_or_went_on": len(steps) if after.code == 0 else 0,
        "told_by_the_run": sum(KILLED in what for what in text),
        "checkpoints_found_damaged": sum("is damaged" in what for what in text),
        "steps": steps[-1] if steps else 0,
        "exit_code": after.code,
        "bit_equal_in_the_end": len(steps) if after.code == 0 and same(struck, calm) else 0,
    }


# Disks, in a mount namespace of their own.


def in_namespace(part: str, folder: Path, count: int, random: Random) -> Found:
    """The part ``disk`` or ``readonly``, where mounts end with the process."""
    inside = ["unshare", "--user", "--map-root-user", "--mount"]
    probe = [*inside, "mount", "-t", "tmpfs", "none", str(folder)]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True, check=False).returncode:
        return {"skipped": "no file systems can be mounted here"}
    words = [sys.executable, "-m", "benchmarks.faults", part, str(folder), str(count), str(random.integers(2**31))]
    done = subprocess.run([*inside, *words], stdout=subprocess.PIPE, text=True, check=True)
    found: Found = json.loads(done.stdout)
    return found


def _disk(folder: Path, count: int, random: Random) -> Found:
    command, calm = [*COMMAND, "--steps", "12"], folder / "calm"
    session(calm, command)
    whole = sum(path.stat().st_size for path in calm.rglob("*") if path.is_file())
    tally = Tally()
    for number, size in enumerate(random.integers(8 * 2**10, int(1.5 * whole), count)):
        with mounted(folder / f"full-{number}", f"size={size}") as place:
            run = place / "run"
            ended = session(run, command)
            # Before there is a session there is nothing that could tell.
            told = ["could be written"] if ended.code != 0 and (run / "environment.json").is_file() else []
            if told and any("cannot write" in incident["what"] for incident in RunFolder(run).read_incidents()):
                told = ["cannot write"]  # there was room for that
            remount(place, "size=1g")
            tally.add(run, calm, ended, session(run, command), *told)
    return tally.found() | {"sizes": f"8 kB to 1.5 times the {whole // 1024} kB of a run"}


def _readonly(folder: Path, count: int, random: Random) -> Found:
    command, calm = [*COMMAND, "--steps", "40"], folder / "calm"
    session(calm, command)
    tally, changed = Tally(), 0
    for number in range(count):
        with mounted(folder / f"read-{number}", "size=1g") as place:
            run = place / "run"
            with begun(run, command) as (process, _):
                wait_for(run, int(random.integers(1, 30)), process)
            before = content(run)
            remount(place, "ro")
            ended = session(run, command)
            changed += content(run) != before
            remount(place, "rw")
            tally.add(run, calm, ended, session(run, command), KILLED)  # of the other there was nothing to be written
    return tally.found() | {"changed_while_read_only": changed}


@contextlib.contextmanager
def mounted(place: Path, options: str) -> Iterator[Path]:
    """A file system in memory."""
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def remount(place: Path, options: str) -> None:
    """Changes how a file system is mounted."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)


def content(folder: Path) -> str:
    """A digest of all that is in a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path} {path.stat().st_mtime_ns} ".encode() + path.read_bytes())
    return digest.hexdigest()


# Data, clock, terms, memory.


def data(folder: Path, count: int, random: Random) -> Found:
    """Images that change between the sessions of a run."""
    source, calm = folder / "bars", folder / "calm"
    images = bars(64, random)
    for number in range(len(images)):
        picture(images[number], source / f"{number}.png")
    command = [str(source), "--recipe", "plain", "--size", "8", "--channels", "1", *SMALL, *OFTEN, "--steps", "20"]
    session(calm, command)
    changes = ("pixel", "removed", "more", "broken", "all gone")
    tally = Tally()
    for number in range(count):
        run, kind = folder / f"data-{number}", changes[number % len(changes)]
        with begun(run, command) as (process, _):
            wait_for(run, int(random.integers(1, 15)), process)
        path = source / f"{random.integers(len(images))}.png"
        kept = path.read_bytes()
        if kind == "pixel":
            values = np.asarray(Image.open(path)).copy()
            values[tuple(random.integers(8, size=2))] ^= 1
            picture(values, path)
        elif kind == "removed":
            path.unlink()
        elif kind == "more":
            picture(images[0] // 2, source / "more.png")
        elif kind == "broken":
            path.write_bytes(kept[: len(kept) // 2])
        else:
            source.rename(folder / "away")
        ended = session(run, command)
        if kind == "all gone":
            (folder / "away").rename(source)
        path.write_bytes(kept)
        (source / "more.png").unlink(missing_ok=True)
        said = "no file or folder" if kind == "all gone" else "are not those that"
        tally.add(run, calm, ended, session(run, command), KILLED, said)
    return tally.found() | {"changes": list(changes)}


def clock(folder: Path, count: int, random: Random) -> Found:
    """A clock that is set back, between two sessions and within the second."""
    command, calm = [*COMMAND, "--steps", "30"], folder / "calm"
    session(calm, command)
    tally = Tally()
    for number in range(count):
        run, back = folder / f"clock-{number}", (3600, 86_400, 40 * 365 * 86_400)[number % 3]
        with begun(run, command) as (process, _):
            wait_for(run, int(random.integers(1, 20)), process)
        fault = partial(sessions.clock, -back, -2 * back, int(random.integers(1, 60)))
        ended = session(run, command, fault)
        tally.add(run, calm, ended, ended, KILLED, "the clock was set back")
    return tally.found()


def terms(folder: Path, count: int, random: Random) -> Found:
    """Each term of every loss becomes NaN, in a recipe that has it."""
    few = folder / "few.csv"
    few.write_text("image,label\n" + "".join(f"{number},{'ab'[number % 2]}\n" for number in range(20)))
    narrow = [*SMALL, *OFTEN, "--steps", "24", "--set", "networks.encoder_width=4"]
    evenly = [word for stage in range(4) for word in ("--set", f"stages.{stage}.share=1")]
    robust = ["digits", "--set", "train.precision=fp32", *narrow, *evenly]
    plain = ["digits", "--recipe", "plain", *narrow, "--set", "stages.0.updates.0.losses.r1=0.1"]
    apart = ["digits", "--recipe", "disentangle", *narrow, *evenly[:4]]
    terms_of = {1: "{sharing=1.0}", 2: "{adversarial=1.0,sharing=1.0}", 3: "{adversarial=1.0,sharing=1.0}"}
    shared = [*apart, *(w for n, told in terms_of.items() for w in ("--set", f"stages.1.updates.{n}.terms={told}"))]
    commands = {
        **dict.fromkeys(("adversarial", "information", "r1"), plain),
        **dict.fromkeys(("nt_xent", "vat", "uda", "conditional_entropy", "marginal_kl"), robust),
        "supervised": [*robust, "--labels", str(few)],
        "variation_predictability": apart,
        "infogan_cr": shared,
    }
    from infogan.training.losses.terms import LOSSES

    assert commands.keys() == LOSSES.keys()
    tally, named, calms = Tally(), 0, dict[str, Path]()
    for number in range(count):
        term = list(commands)[number % len(commands)]
        command, run = commands[term], folder / f"term-{number}"
        if (key := " ".join(command)) not in calms:
            calms[key] = folder / f"calm-{len(calms)}"
            session(calms[key], command)
        ended = session(run, command, partial(sessions.no_number, term, int(random.integers(1, 6))))
        named += f"/{term} stopped being finite" in ended.said
        tally.add(run, calms[key], ended, session(run, command), "stopped being finite")
    return tally.found() | {"terms": list(commands), "named": named}


def memory(folder: Path, count: int, random: Random) -> Found:
    """Less memory than a run needs, by a limit on the address space."""
    command, calm = [*COMMAND, "--steps", "30"], folder / "calm"
    session(calm, command)
    tally, finished = Tally(), 0
    for number, more in enumerate(np.linspace(0, 300 * 2**20, count)):
        run = folder / f"memory-{number}"
        fault: Fault = partial(sessions.little_memory, int(more))
        ended = session(run, command, fault)
        finished += ended.code == 0
        told = ["not enough memory"] if ended.code != 0 and (run / "environment.json").is_file() else []
        tally.add(run, calm, ended, session(run, command), *told)
    return tally.found() | {"limits": "0 to 300 MiB more than the process had", "finished_all_the_same": finished}


def bars(count: int, random: Random) -> NDArray[np.uint8]:
    """Images of 8x8 with a bright bar on noise."""
    images = random.integers(0, 60, (count, 8, 8)).astype(np.uint8)
    for number, place in enumerate(random.integers(0, 7, count)):
        target = images[number] if number % 2 else images[number].T
        target[place : place + 2] = 230
    return images


def picture(values: NDArray[np.uint8], path: Path) -> None:
    """Writes a grey picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


if __name__ == "__main__":
    part, *words = sys.argv[1:]
    inside = {"disk": _disk, "readonly": _readonly}[part]
    print(json.dumps(inside(Path(words[0]), int(words[1]), np.random.default_rng(int(words[2])))))
