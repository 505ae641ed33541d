"""Many runs that differ in a seed or in some options, and which of them to keep: chosen without a label.

A sweep is a folder. ``sweep.json`` says what all its runs share; each run has a folder of its own, and what it said is
in ``logs/``; ``runs.jsonl`` has a line for each that ended. Once all have, ``ranking.json`` says in which order they
are to be preferred, ``comparison.html`` shows the first of them side by side, and ``best/`` is a copy of the first. The
same command goes on where it was stopped; a run that failed is recorded with its last words, and passed over.

Runs are commands in processes of their own, started by joblib. Within ``joblib.parallel_config`` with another backend,
such as Dask's or Ray's, they are spread over other machines, which need infogan and the same files.
"""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from infogan import pages, workflows
from infogan.comparison import comparison, read_runs
from infogan.data import ImageSet
from infogan.errors import UserError
from infogan.files import claimed, write_bytes, write_json
from infogan.model import InfoGAN
from infogan.runs import RunFolder
from infogan.selection import SAMPLES, Candidate, Ranking, rank

COMPARED = 10  # runs on the page, at most
STOPPED = (130, 143, -2, -15)  # how a run ends that a signal stopped
POLL = 0.2  # seconds


@dataclass(frozen=True)
class Variation:
    """One run of a sweep.

    Attributes:
        name: Of its folder.
        arguments: Of ``infogan train``, all but ``--out``.
    """

    name: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Ended:
    """How a run of a sweep ended: a line of ``runs.jsonl``.

    Attributes:
        name: Of its folder.
        arguments: As of the variation.
        exit_code: 0 = it is complete.
        seconds: From its start, or from where it was resumed.
        error: Its last words if it failed; else empty.
    """

    name: str
    arguments: tuple[str, ...]
    exit_code: int
    seconds: float
    error: str = ""


class SweepFolder:
    """A sweep on disk.

    Args:
        path: The folder; made if missing.

    Raises:
        UserError: it can not be made, or holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runs = path / "runs.jsonl"
        self.logs = path / "logs"
        self.ranking = path / "ranking.json"
        self.page = path / "comparison.html"
        self.best = path / "best"
        self._shared = path / "sweep.json"
        try:
            path.mkdir(parents=True, exist_ok=True)
            foreign = any(path.iterdir()) and not self._shared.is_file()
        except OSError as error:
            raise UserError(f"cannot make the folder of the sweep, {path}: {error.strerror}") from error
        if foreign:
            raise UserError(f"{path} is not empty and not the folder of a sweep: choose another --out")

    def begin(self, data: str, arguments: Sequence[str]) -> None:
        """Writes what all runs share, or checks that it is what they shared before; raises UserError if it is not."""
        mine = {"data": data, "arguments": list(arguments)}
        if not self._shared.is_file():
            write_json(self._shared, mine)
        try:
            known = json.loads(self._shared.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{self._shared} is damaged: {error}") from error
        if known != mine:
            raise UserError(
                f"{self.path} holds a sweep of other runs ({json.dumps(known)}): choose another --out, or repeat its "
                "command; seeds and varied options may differ"
            )

    def ended(self) -> dict[str, Ended]:
        """The last record of each run that ended, by name; a torn line is left out."""
        found = {}
        for line in self.runs.read_text(encoding="utf-8").splitlines() if self.runs.is_file() else ():
            try:
                told = json.loads(line)
                record = Ended(**{**told, "arguments": tuple(told["arguments"])})
            except (ValueError, TypeError, KeyError):
                continue
            found[record.name] = record
        return found

    def add(self, record: Ended) -> None:
        """Adds a line to ``runs.jsonl``."""
        with claimed(self.path), open(self.runs, "a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(record)) + "\n")

    def of(self, name: str) -> Path:
        """A run's folder."""
        return self.path / name


def variations(
    data: str, seeds: Sequence[int], grid: Mapping[str, Sequence[str]], arguments: Sequence[str]
) -> list[Variation]:
    """Every seed with every combination of the values in ``grid``.

    Args:
        data: What to train on.
        seeds: At least one.
        grid: Options and their values: ``section.key``, as ``--set`` takes it, or a flag of ``infogan train`` without
            its dashes.
        arguments: Of ``infogan train``, for all runs.

    Raises:
        UserError: two runs would be the same.
    """
    found = []
    for values in itertools.product(*grid.values()):
        chosen = dict(zip(grid, values, strict=True))
        words = [word for key, value in chosen.items() for word in _words(key, value)]
        label = "".join(f"{_plain(key.rpartition('.')[2])}-{_plain(value)}-" for key, value in chosen.items())
        for seed in seeds:
            found.append(Variation(f"{label}seed-{seed}", (data, *arguments, *words, "--seed", str(seed))))
    names = [variation.name for variation in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UserError(f"two runs of the sweep would both be called {min(twice)}: a seed or a value is named twice")
    return found


def _words(key: str, value: str) -> tuple[str, str]:
    return ("--set", f"{key}={value}") if "." in key else (f"--{key}", value)


def _plain(text: str) -> str:
    """What a name of a folder can hold on any system."""
    return re.sub(r"[^A-Za-z0-9.+]+", "-", text).strip("-.") or "none"


def run_all(
    folder: SweepFolder,
    wanted: Sequence[Variation],
    *,
    jobs: int = 1,
    retry: bool = False,
    interrupted: Callable[[], bool] = lambda: False,
    on_end: Callable[[Ended], None] = lambda _: None,
) -> list[Ended]:
    """Trains what has not been trained yet, several at a time.

    Args:
        folder: Of the sweep.
        wanted: The runs.
        jobs: How many run at a time; each has its share of the processors. A joblib backend may know better.
        retry: Try again those that failed.
        interrupted: Asked all the while; once it says so, runs write their checkpoints and end, and no more are begun.
        on_end: Told of each that ended.

    Returns:
        The records of all wanted runs that have ended by now, in their order.
    """
    known = folder.ended()
    ready = {name for name, record in known.items() if record.exit_code == 0 or not retry}
    missing = [variation for variation in wanted if variation.name not in ready]
    threads = max(1, joblib.cpu_count() // jobs)
    joblib.Parallel(n_jobs=jobs, prefer="threads")(
        joblib.delayed(_run)(folder, variation, threads, interrupted, on_end) for variation in missing
    )
    known = folder.ended()
    return [known[variation.name] for variation in wanted if variation.name in known]


def _run(
    folder: SweepFolder,
    variation: Variation,
    threads: int,
    interrupted: Callable[[], bool],
    on_end: Callable[[Ended], None],
) -> None:
    """One run, from where it stopped; recorded unless it was interrupted."""
    if interrupted():
        return
    log = folder.logs / f"{variation.name}.txt"
    log.parent.mkdir(exist_ok=True)
    words = [sys.executable, "-m", "infogan", "train", *variation.arguments, "--out", str(folder.of(variation.name))]
    started = time.monotonic()
    with open(log, "ab") as output:
        # Of a session of its own: the terminal's Ctrl-C is passed on once, and not twice, which would end it at once.
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={"OMP_NUM_THREADS": str(threads), **os.environ},
            start_new_session=True,
        )
        asked = False
        while process.poll() is None:
            if interrupted() and not asked:
                process.terminate()
                asked = True
            time.sleep(POLL)
    code = process.returncode
    if code in STOPPED:
        return
    seconds = round(time.monotonic() - started, 1)
    record = Ended(variation.name, variation.arguments, code, seconds, _last_words(log) if code else "")
    folder.add(record)
    on_end(record)


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
    return last.strip().removeprefix("error: ")


def choose(folder: SweepFolder, records: Sequence[Ended]) -> Ranking:
    """Ranks the complete runs without labels, and writes ``ranking.json``, ``comparison.html`` and ``best/``.

    Raises:
        UserError: no run is complete, or a file can not be written.
    """
    complete = [record.name for record in records if record.exit_code == 0]
    failed = {record.name: record.error for record in records if record.exit_code != 0}
    if not complete:
        raise UserError(f"no run of {folder.path} is complete: {next(iter(failed.values()), 'none has ended yet')}")
    ranking = rank(_candidates(folder, complete))
    names = [place.name for place in ranking.places]
    write_json(folder.ranking, {**asdict(ranking), "failed": failed})
    if len(names) > 1:
        shown = read_runs([folder.of(name) for name in names[:COMPARED]])
        write_bytes(folder.page, comparison(shown, lead=[_section(ranking, failed)]).encode())
    _copy(folder.of(names[0]), folder.best)
    return ranking


def _candidates(folder: SweepFolder, names: Sequence[str]) -> list[Candidate]:
    """What `selection.rank` looks at; models of one shape share the images."""
    loaded: dict[str, ImageSet] = {}
    found = []
    for name in names:
        run = RunFolder.existing(folder.of(name))
        config, model = run.read_config(), InfoGAN.load(run.path)
        key = config.data.model_dump_json()
        if key not in loaded:
            loaded[key] = workflows.load_for(model, config.data)
        images = np.ascontiguousarray(loaded[key].images[:SAMPLES])
        result: dict[str, Any] = measured[-1] if (measured := run.read_metrics()) else {}
        distance = next((result[of] for of in result if of.startswith("frechet") and not of.endswith("to_test")), None)
        found.append(Candidate(name, model, images, result.get("verdict", {}).get("trust"), distance))
    return found


def ranking_table(ranking: Ranking) -> tuple[list[str], list[list[str]]]:
    """The ranking as text: the head, and a row a run, best first."""
    head = ["run", "trusted", *ranking.scores]
    rows = [
        [
            place.name,
            {True: "yes", False: "no", None: "-"}[place.trusted],
            *("-" if score is None else f"{score:.4f}" for score in place.scores.values()),
        ]
        for place in ranking.places
    ]
    return head, rows


def _section(ranking: Ranking, failed: Mapping[str, str]) -> str:
    head, rows = ranking_table(ranking)
    rows += [[name, f"failed: {error}", *[""] * len(ranking.scores)] for name, error in failed.items()]
    return pages.section(
        "Ranked without labels", f"<p>{pages.sentence(ranking.criterion)}</p>{pages.table(head, rows)}"
    )


def _copy(run: Path, best: Path) -> None:
    """A copy of a run in the place of ``best``, without what only resuming needs."""
    fresh, old = best.with_name(".best.new"), best.with_name(".best.old")
    try:
        for left in (fresh, old):
            shutil.rmtree(left, ignore_errors=True)
        shutil.copytree(run, fresh, ignore=shutil.ignore_patterns("checkpoints"))
        if best.exists():
            best.rename(old)
        fresh.rename(best)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise UserError(f"cannot copy {run} to {best}: {error.strerror or error}") from error
