"""Many runs that differ in a seed or in some options, and which of them to keep: chosen without a label.

A sweep is a folder. ``sweep.json`` says what all its runs share; each run has a folder of its own, and what it said is
in ``logs/``; ``runs.jsonl`` has a line for each that ended. Once all have, ``ranking.json`` says in which order they
are to be preferred, ``comparison.html`` shows the first of them side by side, and ``best/`` is a copy of the first. The
same command goes on where it was stopped; a run that failed is recorded with its last words, and passed over.

Runs are commands in processes of their own, started by joblib. Within ``joblib.parallel_config`` with another backend,
such as Dask's or Ray's, they are spread over other machines, which need infogan and the same files.
"""

import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import joblib

from infogan.api.evaluate_run import load_images
from infogan.data import ImageSet, some_indices
from infogan.evaluation.model_selection import SAMPLES, Candidate, Ranking, rank
from infogan.models.infogan import InfoGAN
from infogan.reports import html_page
from infogan.reports.compare import comparison, read_runs
from infogan.training.run_dir import LOCK, RunFolder
from infogan.training.trackers import TRACKER_FILES
from infogan.utils.errors import UserError
from infogan.utils.files import (
    BUSY,
    TEMPORARY_NAME,
    append_line,
    file_lock,
    folder_lock,
    is_locked,
    remove_temporary_files,
    write_bytes,
    write_json,
)

COMPARED = 10  # runs on the page, at most
DISTANCE = "frechet_pca64"
LONGEST = 120  # letters of what a run's name says besides its seed; file systems take 255 for all of it
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
        exit_code: 0 = it is complete; negative = a signal.
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
        self.path = path.absolute()  # other processes may look from elsewhere
        self.runs = self.path / "runs.jsonl"
        self.logs = self.path / "logs"
        self.ranking = self.path / "ranking.json"
        self.page = self.path / "comparison.html"
        self.best = self.path / "best"
        self._shared = self.path / "sweep.json"
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            others = {entry.name for entry in self.path.iterdir()} - {LOCK, self.logs.name}
        except OSError as error:
            raise UserError(f"cannot make the folder of the sweep, {path}: {error.strerror}") from error
        if not self._shared.is_file() and not all(map(TEMPORARY_NAME.fullmatch, others)):
            raise UserError(f"{path} is not empty and not the folder of a sweep: choose another --out")

    def held(self) -> AbstractContextManager[None]:
        """Keeps other processes from this sweep meanwhile; raises UserError where one is at it."""
        return file_lock(self.path / LOCK, str(self.path))

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
        with folder_lock(self.path):
            append_line(self.runs, json.dumps(asdict(record)))

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
        UserError: two runs would have the same folder.
    """
    found: dict[str, Variation] = {}
    for values in itertools.product(*grid.values()):
        chosen = dict(zip(grid, values, strict=True))
        words = [word for key, value in chosen.items() for word in _words(key, value)]
        label = _short("".join(f"{_plain(key)}-{_plain(value)}-" for key, value in chosen.items()))
        for seed in seeds:
            run = Variation(f"{label}seed-{seed}", (data, *arguments, *words, "--seed", str(seed)))
            if run.name.casefold() in found:  # not every file system tells letters by their case
                raise UserError(f"two runs of the sweep would be called {run.name}: a seed or a value is named twice")
            found[run.name.casefold()] = run
    return list(found.values())


def seeds_of(text: str) -> list[int]:
    """The seeds that ``0-9`` or ``1,4`` names; raises UserError where it names none."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not (last.isdecimal() and int(last) >= int(first))):
            raise UserError(f"--seeds {text!r} is not of the form 0-9 or 1,4")
        seeds += range(int(first), int(last) + 1) if dash else [int(first)]
    return seeds


def is_option(key: str) -> bool:
    """Whether it is an option that ``--set`` takes, ``section.key`` or one of the lists; else a flag of `train`."""
    return "." in key or key in ("codes", "stages")


def _words(key: str, value: str) -> tuple[str, str]:
    return ("--set", f"{key}={value}") if is_option(key) else (f"--{key}", value)


def _plain(text: str) -> str:
    """What a name of a folder can hold on any system."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text).strip(".") or "none"


def _short(label: str) -> str:
    if len(label) <= LONGEST:
        return label
    return f"{label[: LONGEST - 10]}-{hashlib.sha256(label.encode()).hexdigest()[:8]}-"


# Running.


@dataclass
class _Orders:
    """What the runs of a sweep go by.

    Attributes:
        threads: For each run.
        interrupted: Asked all the while.
        on_wait: Told whom a run waits for.
        on_end: Told of each that ended.
        children: Processes that were started here; another backend of joblib has copies of its own.
    """

    threads: int
    interrupted: Callable[[], bool]
    on_wait: Callable[[str], None]
    on_end: Callable[[Ended], None]
    children: list["subprocess.Popen[bytes]"] = field(default_factory=list)


def run_all(
    folder: SweepFolder,
    wanted: Sequence[Variation],
    *,
    jobs: int = 1,
    threads: int | None = None,
    retry: bool = False,
    interrupted: Callable[[], bool] = lambda: False,
    on_wait: Callable[[str], None] = lambda _: None,
    on_end: Callable[[Ended], None] = lambda _: None,
) -> list[Ended]:
    """Trains what has not been trained yet, several at a time.

    Args:
        folder: Of the sweep.
        wanted: The runs.
        jobs: How many run at a time. A joblib backend may know better.
        threads: For each run; None = its share of this machine's processors.
        retry: Try again those that failed.
        interrupted: Asked all the while; once it says so, runs write their checkpoints and end, and no more are begun.
        on_wait: Told in a sentence where a run is waited for that an earlier sweep has left to itself.
        on_end: Told of each that ended.

    Returns:
        The records of all wanted runs that have ended by now, in their order.

    Raises:
        UserError: another process is at this sweep, one of the runs was recorded with other arguments, or a run could
            not be started or recorded.
    """
    with folder.held():
        remove_temporary_files(folder.path)
        known = folder.ended()
        for variation in wanted:
            record = known.get(variation.name)
            if record is not None and record.arguments != variation.arguments:
                raise UserError(
                    f"{folder.of(variation.name)} was run with other arguments ({' '.join(record.arguments)}): "
                    "choose another --out"
                )
        missing = [variation for variation in wanted if _is_missing(folder, known.get(variation.name), retry)]
        share = max(1, joblib.cpu_count() // jobs)
        orders = _Orders(threads or share, interrupted, on_wait, on_end)
        try:
            troubles = joblib.Parallel(n_jobs=jobs, prefer="threads")(
                joblib.delayed(_run)(folder, variation, orders) for variation in missing
            )
        finally:
            for child in orders.children:  # after an exception; else all have ended
                child.terminate()
        if trouble := next(filter(None, troubles), None):
            raise UserError(trouble)
        known = folder.ended()
        return [known[variation.name] for variation in wanted if variation.name in known]


def _is_missing(folder: SweepFolder, record: Ended | None, retry: bool) -> bool:
    """Whether a run is to be trained: it was not, it failed and is to be tried again, or it has gone since."""
    if record is None or record.exit_code:
        return record is None or retry
    run = RunFolder(folder.of(record.name))
    return not (run.metrics.is_file() and (run.model / "model.safetensors").is_file())


def _run(folder: SweepFolder, variation: Variation, orders: _Orders) -> str:
    """One run, from where it stopped; recorded unless it was asked to stop. Returns what prevented that, or nothing."""
    try:
        while not orders.interrupted():
            _wait(folder.of(variation.name), orders)
            record = _one_try(folder, variation, orders)
            # In the moment between, or while it loads its images, one that was left to itself may take the folder.
            if record is not None and BUSY in record.error:
                time.sleep(POLL)
                continue
            if record is not None:
                folder.add(record)
                orders.on_end(record)
            break
    except OSError as error:
        return f"{variation.name} could not be run: {error.strerror or error}"
    except UserError as error:
        return str(error)
    return ""


def _wait(run: Path, orders: _Orders) -> None:
    """Waits until nobody trains a run: a sweep that was killed outright has left it to itself."""
    told = False
    while is_locked(run / LOCK) and not orders.interrupted():
        if not told:
            orders.on_wait(f"waiting for the process that still trains {run}")
        told = True
        time.sleep(POLL)


def _one_try(folder: SweepFolder, variation: Variation, orders: _Orders) -> Ended | None:
    """Starts a run's command and sees it to its end; None if it was asked to stop before."""
    if orders.interrupted():
        return None
    log = folder.logs / f"{variation.name}.txt"
    words = [sys.executable, "-m", "infogan", "train", *variation.arguments, "--out", str(folder.of(variation.name))]
    started, asked = time.monotonic(), False
    with open(log, "ab") as output:
        # Of a session of its own: the terminal's Ctrl-C is passed on once, and not twice, which would end it at once.
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={"OMP_NUM_THREADS": str(orders.threads), **os.environ},
            start_new_session=True,
        )
        orders.children.append(process)
        while process.poll() is None:
            if orders.interrupted() and not asked:
                process.terminate()
                asked = True
            time.sleep(POLL)
        orders.children.remove(process)
    code = process.returncode
    if asked and code:
        return None
    seconds = round(time.monotonic() - started, 1)
    return Ended(variation.name, variation.arguments, code, seconds, _last_words(log, code) if code else "")


def _last_words(log: Path, code: int) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    last = next((line for line in reversed(lines) if line.strip()), "it said nothing").strip()
    number = -code if code < 0 else code - 128  # a signal's, where it was one
    if number in {member.value for member in signal.Signals}:
        return f"it was ended by {signal.Signals(number).name} ({last})"
    return last.removeprefix("error: ")


# Choosing.


def choose(folder: SweepFolder) -> Ranking:
    """Ranks all complete runs of a sweep without labels; writes ``ranking.json``, ``comparison.html`` and ``best/``.

    What was done with an earlier best run (names, labels) is kept: where another takes its place, under another name.

    Raises:
        UserError: no run is complete, a file can not be written, or another process is at this sweep.
    """
    with folder.held():
        failed = {name: record.error for name, record in folder.ended().items() if record.exit_code}
        candidates = []
        images: dict[str, ImageSet] = {}
        for name, record in folder.ended().items():
            if not record.exit_code:
                try:
                    candidates.append(_candidate(folder, name, images))
                except UserError as error:
                    failed[name] = str(error)
        if not candidates:
            raise UserError(f"no run of {folder.path} is complete: {next(iter(failed.values()), 'none has ended yet')}")
        ranking = rank(candidates)
        names = [place.name for place in ranking.places]
        _keep_best(folder, names[0])
        if len(names) > 1:
            shown = read_runs([folder.of(name) for name in names[:COMPARED]])
            write_bytes(folder.page, comparison(shown, lead=[_section(ranking, failed)]).encode())
        else:
            folder.page.unlink(missing_ok=True)
        write_json(folder.ranking, {**asdict(ranking), "failed": failed})
        return ranking


def _candidate(folder: SweepFolder, name: str, loaded: dict[str, ImageSet]) -> Candidate:
    """What `selection.rank` looks at of a run; images that were loaded for another serve again.

    Raises:
        UserError: the run is not whole any more.
    """
    run = RunFolder.existing(folder.of(name))
    config, model = run.read_config(), InfoGAN.load(run.path)
    key = config.data.model_dump_json()
    if key not in loaded:
        images = load_images(model, config.data)
        loaded[key] = images.subset(some_indices(len(images), SAMPLES))
    measured = run.read_metrics()
    if not measured:
        raise UserError(f"{run.path} was not measured")
    # The last of each: a later evaluation may have measured other things.
    verdicts = [line["verdict"]["trust"] for line in measured if "verdict" in line]
    distances = [line[DISTANCE] for line in measured if DISTANCE in line]
    return Candidate(
        name,
        model,
        loaded[key].images,
        trusted=verdicts[-1] if verdicts else None,
        distance=distances[-1] if distances else None,
    )


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
    return html_page.section(
        "Ranked without labels", f"<p>{html_page.sentence(ranking.criterion)}</p>{html_page.table(head, rows)}"
    )


def _keep_best(folder: SweepFolder, name: str) -> None:
    """Makes ``best/`` a copy of a run, without what only resuming needs, unless it is one already."""
    run, best = folder.of(name), folder.best
    fresh = best.with_name(f".{best.name}.new")
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        if best.exists():
            before = _source_of(folder)
            if before == name and _weights(best) == _weights(run):
                return
            if before is None or _was_changed(best, folder.of(before)):
                number = next(n for n in itertools.count(1) if not best.with_name(f"best-before-{n}").exists())
                best.rename(best.with_name(f"best-before-{number}"))
        shutil.copytree(run, fresh, ignore=shutil.ignore_patterns("checkpoints", LOCK, *TRACKER_FILES))
        shutil.rmtree(best, ignore_errors=True)
        fresh.rename(best)
    except OSError as error:
        raise UserError(f"cannot copy {run} to {best}: {error.strerror or error}") from error


def _source_of(folder: SweepFolder) -> str | None:
    """Which run ``best/`` is a copy of."""
    try:
        name: str = json.loads(folder.ranking.read_text(encoding="utf-8"))["places"][0]["name"]
        return name
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _weights(run: Path) -> bytes | None:
    path = run / "model" / "model.safetensors"
    return path.read_bytes() if path.is_file() else None


def _was_changed(copy: Path, run: Path) -> bool:
    """Whether a copy holds something that the run does not: names, labels, further evaluations."""
    files = [path.relative_to(copy) for path in copy.rglob("*") if path.is_file()]
    return any(not (run / path).is_file() or (run / path).read_bytes() != (copy / path).read_bytes() for path in files)
