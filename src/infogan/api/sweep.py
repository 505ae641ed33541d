"""Sweeps: train runs that differ in their seed or in some options, rank them without labels, and copy the best one.

A sweep is a folder. ``sweep.json`` holds what all runs share, every run has a folder of its own and a log in
``logs/``, and ``runs.jsonl`` has a line for each run that ended. `choose` writes ``ranking.json``, ``comparison.html``
and ``best/``, a copy of the best run. The same sweep resumes where it was stopped.

Each run is an ``infogan train`` process, started through joblib. Within ``joblib.parallel_config``, another backend,
such as Dask's or Ray's, starts them on other machines, which need infogan and access to the same files.
"""

import filecmp
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
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import joblib

from infogan.api.evaluate_run import load_images
from infogan.data import ImageSet, some_indices
from infogan.evaluation.model_selection import SAMPLES, Candidate, Ranking, rank_candidates
from infogan.models.infogan import InfoGAN
from infogan.models.serialization import WEIGHTS
from infogan.reports.compare import comparison_page, read_runs
from infogan.training.run_dir import LOCK, RunFolder, read_json, read_json_lines
from infogan.training.trackers import TRACKER_FILES
from infogan.utils import files
from infogan.utils.errors import UserError

MAX_COMPARED = 10  # runs in the comparison
DISTANCE = "frechet_pca64"
MAX_LABEL = 120  # characters of a run's name before its seed; file systems allow 255 in all
POLL_S = 0.05


@dataclass(frozen=True)
class Variation:
    """One run of a sweep.

    Attributes:
        name: Name of the run's folder.
        arguments: Arguments of ``infogan train`` except ``--out``.
    """

    name: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class RunRecord(Variation):
    """A run and how it ended: a line of ``runs.jsonl``.

    Attributes:
        exit_code: 0 = complete; negative = ended by that signal.
        seconds: Time since the run was started or resumed.
        error: The last line of the log if the run failed; otherwise empty.
    """

    exit_code: int
    seconds: float
    error: str = ""


class SweepFolder:
    """A sweep on disk.

    Args:
        path: The folder, which is created if it is missing.

    Raises:
        UserError: The folder cannot be created or holds something other than a sweep.

    Example:
        >>> SweepFolder(Path("sweep")).records()["seed-0"].exit_code
        0
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()  # runs may be started from another folder
        self.runs = self.path / "runs.jsonl"
        self.logs = self.path / "logs"
        self.ranking = self.path / "ranking.json"
        self.page = self.path / "comparison.html"
        self.best = self.path / "best"
        self._shared = self.path / "sweep.json"
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            names = {entry.name for entry in self.path.iterdir()} - {LOCK, self.logs.name}
        except OSError as error:
            raise UserError(f"cannot create the folder of the sweep, {path}: {error.strerror}") from error
        if not self._shared.is_file() and not all(map(files.TEMPORARY_NAME.fullmatch, names)):
            raise UserError(f"{path} is not empty and not the folder of a sweep: choose another --out")

    def lock(self) -> AbstractContextManager[None]:
        """Keep other processes from running this sweep; raise UserError if one does."""
        return files.file_lock(self.path / LOCK, str(self.path))

    def begin(self, data: str, arguments: Sequence[str]) -> None:
        """Write what all runs share, or check that it has not changed; raise UserError if it has."""
        shared = {"data": data, "arguments": list(arguments)}
        if not self._shared.is_file():
            files.write_json(self._shared, shared)
        before = read_json(self._shared)
        if before != shared:
            raise UserError(
                f"{self.path} holds a sweep of other runs ({json.dumps(before)}): choose another --out, or repeat its "
                "command; only seeds and varied options may differ"
            )

    def records(self) -> dict[str, RunRecord]:
        """Return the last record of each run that ended, by name, without invalid lines."""
        records = {}
        for entry in read_json_lines(self.runs):
            with suppress(TypeError, KeyError):
                records[entry["name"]] = RunRecord(**{**entry, "arguments": tuple(entry["arguments"])})
        return records

    def add(self, record: RunRecord) -> None:
        """Append a line to ``runs.jsonl``."""
        with files.folder_lock(self.path):
            files.append_line(self.runs, json.dumps(asdict(record)))

    def run_path(self, name: str) -> Path:
        """Return the folder of a run."""
        return self.path / name


def variations(
    data: str, seeds: Sequence[int], grid: Mapping[str, Sequence[str]], arguments: Sequence[str]
) -> list[Variation]:
    """Return a run for every seed with every combination of the values in ``grid``.

    Args:
        data: The images to train on.
        seeds: At least one seed.
        grid: Options and their values: ``section.key``, as for ``--set``, or a flag of ``infogan train`` without its
            dashes.
        arguments: Arguments of ``infogan train`` for all runs.

    Raises:
        UserError: Two runs would have the same folder.

    Example:
        >>> [run.name for run in variations("mnist", [0, 1], {"noise.size": ["16"]}, ["--recipe", "paper"])]
        ['noise.size-16-seed-0', 'noise.size-16-seed-1']
    """
    runs: dict[str, Variation] = {}
    for values in itertools.product(*grid.values()):
        choice = list(zip(grid, values, strict=True))
        flags = [word for key, value in choice for word in _to_arguments(key, value)]
        label = _shorten("".join(f"{_file_name(key)}-{_file_name(value)}-" for key, value in choice))
        for seed in seeds:
            run = Variation(f"{label}seed-{seed}", (data, *arguments, *flags, "--seed", str(seed)))
            if run.name.casefold() in runs:  # some file systems ignore case
                raise UserError(f"two runs of the sweep would be named {run.name}: a seed or a value is given twice")
            runs[run.name.casefold()] = run
    return list(runs.values())


def parse_seeds(text: str) -> list[int]:
    """Return the seeds in a text such as ``0-9`` or ``1,4``; raise UserError if it has another form.

    Example:
        >>> parse_seeds("0-2,7")
        [0, 1, 2, 7]
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not (last.isdecimal() and int(last) >= int(first))):
            raise UserError(f"--seeds {text!r} is not of the form 0-9 or 1,4")
        seeds += range(int(first), int(last) + 1) if dash else [int(first)]
    return seeds


def is_option(key: str) -> bool:
    """Return whether ``--set`` takes a key (``section.key``, ``codes`` or ``stages``); if not, it is a flag."""
    return "." in key or key in ("codes", "stages")


def _to_arguments(key: str, value: str) -> tuple[str, str]:
    return ("--set", f"{key}={value}") if is_option(key) else (f"--{key}", value)


def _file_name(text: str) -> str:
    """Return the text with only characters that are allowed in file names on any system."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text).strip(".") or "none"


def _shorten(label: str) -> str:
    if len(label) <= MAX_LABEL:
        return label
    return f"{label[: MAX_LABEL - 10]}-{hashlib.sha256(label.encode()).hexdigest()[:8]}-"


# Training.


def run_all(
    folder: SweepFolder,
    runs: Sequence[Variation],
    *,
    jobs: int = 1,
    threads: int | None = None,
    retry: bool = False,
    stop_requested: Callable[[], bool] = lambda: False,
    on_wait: Callable[[str], None] = lambda _: None,
    on_end: Callable[[RunRecord], None] = lambda _: None,
) -> list[RunRecord]:
    """Train the runs that are not complete, several at a time.

    Args:
        folder: The folder of the sweep.
        runs: The runs, from `variations`.
        jobs: Number of runs at a time; a joblib backend may override it.
        threads: Threads per run; None = this machine's processors divided by ``jobs``.
        retry: Whether to train runs again that failed.
        stop_requested: Called often; once it returns True, the runs write their checkpoints and end, and no other is
            started.
        on_wait: Called with a message if a run is still being trained by a process that an earlier sweep left behind.
        on_end: Called with the record of each run that ends.

    Returns:
        The records of those of ``runs`` that have ended, in their order.

    Raises:
        UserError: Another process runs this sweep, a run was recorded with other arguments, or a run cannot be started
            or recorded.

    Example:
        >>> runs = variations("digits", range(4), {}, ["--budget", "60s"])
        >>> [record.exit_code for record in run_all(SweepFolder(Path("sweep")), runs, jobs=2)]
        [0, 0, 0, 0]
    """
    with folder.lock():
        files.remove_temporary_files(folder.path)
        records = folder.records()
        for run in runs:
            record = records.get(run.name)
            if record is not None and record.arguments != run.arguments:
                raise UserError(
                    f"{folder.run_path(run.name)} was trained with other arguments ({' '.join(record.arguments)}): "
                    "choose another --out"
                )
        incomplete = [run for run in runs if not _is_complete(folder, records.get(run.name), retry)]
        trainer = _Trainer(folder, threads or max(1, joblib.cpu_count() // jobs), stop_requested, on_wait, on_end)
        try:
            errors = joblib.Parallel(n_jobs=jobs, prefer="threads")(
                joblib.delayed(trainer.train)(run) for run in incomplete
            )
        finally:
            for process in trainer.processes:  # after an exception; otherwise all have ended
                process.terminate()
        if error := next(filter(None, errors), None):
            raise UserError(error)
        records = folder.records()
        return [records[run.name] for run in runs if run.name in records]


def _is_complete(folder: SweepFolder, record: RunRecord | None, retry: bool) -> bool:
    """Return whether a run need not be trained: it is complete, or it failed and is not to be tried again."""
    if record is None or record.exit_code:
        return record is not None and not retry
    run = RunFolder(folder.run_path(record.name))
    return run.metrics.is_file() and (run.model / WEIGHTS).is_file()


@dataclass
class _Trainer:
    """Trains the runs of a sweep.

    Attributes:
        folder: The folder of the sweep.
        threads: Threads per run.
        stop_requested: See `run_all`.
        on_wait: See `run_all`.
        on_end: See `run_all`.
        processes: Running processes that were started by this object, of which some joblib backends make copies.
    """

    folder: SweepFolder
    threads: int
    stop_requested: Callable[[], bool]
    on_wait: Callable[[str], None]
    on_end: Callable[[RunRecord], None]
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def train(self, run: Variation) -> str:
        """Train or resume a run and record how it ended, unless a stop was requested; return an error message or ""."""
        try:
            record = self._train(run)
            if record is not None:
                self.folder.add(record)
                self.on_end(record)
        except OSError as error:
            return f"{run.name} could not be run: {error.strerror or error}"
        except UserError as error:
            return str(error)
        return ""

    def _train(self, run: Variation) -> RunRecord | None:
        """Train a run once no process that an earlier, killed sweep left behind does; return None after a stop."""
        path, is_waiting = self.folder.run_path(run.name), False
        while not self.stop_requested():
            if not files.is_locked(path / LOCK):
                record = self._start(run)
                if record is None or files.BUSY not in record.error:  # it may have been locked since the check
                    return record
            elif not is_waiting:
                self.on_wait(f"waiting for the process that still trains {path}")
                is_waiting = True
            time.sleep(POLL_S)
        return None

    def _start(self, run: Variation) -> RunRecord | None:
        """Train a run in a process and wait for its end; return None if it was stopped on request."""
        log = self.folder.logs / f"{run.name}.txt"
        command = [sys.executable, "-m", "infogan", "train", *run.arguments]
        start, was_stopped = time.monotonic(), False
        with open(log, "ab") as output:
            # In a session of its own, Ctrl-C reaches the run once, from here. A second one would end it at once.
            process = subprocess.Popen(
                [*command, "--out", str(self.folder.run_path(run.name))],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={"OMP_NUM_THREADS": str(self.threads), **os.environ},
                start_new_session=True,
            )
            self.processes.append(process)
            while process.poll() is None:
                if self.stop_requested() and not was_stopped:
                    process.terminate()
                    was_stopped = True
                time.sleep(POLL_S)
            self.processes.remove(process)
        exit_code = process.returncode
        if was_stopped and exit_code:
            return None
        seconds = round(time.monotonic() - start, 1)
        return RunRecord(run.name, run.arguments, exit_code, seconds, _last_line(log, exit_code) if exit_code else "")


def _last_line(log: Path, exit_code: int) -> str:
    """Return why a run failed: the last line of its log, and the signal that ended it, if any."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    line = next((line for line in reversed(lines) if line.strip()), "no output").strip()
    number = -exit_code if exit_code < 0 else exit_code - 128
    if number in {member.value for member in signal.Signals}:
        return f"ended by {signal.Signals(number).name} ({line})"
    return line.removeprefix("error: ")


# Ranking.


def choose(folder: SweepFolder) -> Ranking:
    """Rank all complete runs of a sweep without labels; write ``ranking.json``, ``comparison.html`` and ``best/``.

    If another run becomes the best, and names, labels or evaluations were added to the copy of the earlier one, that
    copy is kept as ``best-before-1/``.

    Raises:
        UserError: No run is complete, a file cannot be written, or another process runs this sweep.

    Example:
        >>> choose(SweepFolder(Path("sweep"))).places[0].name
        'seed-3'
    """
    with folder.lock():
        records = folder.records()
        failed = {name: record.error for name, record in records.items() if record.exit_code}
        candidates = []
        images: dict[str, ImageSet] = {}
        for name in [name for name in records if name not in failed]:
            try:
                candidates.append(_candidate(folder, name, images))
            except UserError as error:
                failed[name] = str(error)
        if not candidates:
            reason = next(iter(failed.values()), "none has ended yet")
            raise UserError(f"no run of {folder.path} is complete: {reason}")
        ranking = rank_candidates(candidates)
        names = [entry.name for entry in ranking.places]
        _copy_best(folder, names[0])
        if len(names) > 1:
            compared = read_runs([folder.run_path(name) for name in names[:MAX_COMPARED]])
            files.write_bytes(folder.page, comparison_page(compared, _comparison_table(ranking, failed)).encode())
        else:
            folder.page.unlink(missing_ok=True)
        files.write_json(folder.ranking, {**asdict(ranking), "failed": failed})
        return ranking


def _candidate(folder: SweepFolder, name: str, cache: dict[str, ImageSet]) -> Candidate:
    """Return what a run is ranked by; images are loaded once for all runs with the same data settings.

    Raises:
        UserError: The run is damaged.
    """
    run = RunFolder.existing(folder.run_path(name))
    config, model = run.read_config(), InfoGAN.load(run.path)
    key = config.data.model_dump_json()
    if key not in cache:
        images = load_images(model, config.data)
        cache[key] = images.subset(some_indices(len(images), SAMPLES))
    # The last value of each metric, because a later evaluation may have computed other ones only.
    metrics = {name: value for evaluation in run.read_metrics() for name, value in evaluation.items()}
    if not metrics:
        raise UserError(f"{run.path} has not been evaluated")
    trusted = metrics["verdict"]["trust"] if "verdict" in metrics else None
    return Candidate(name, model, cache[key].images, trusted=trusted, frechet=metrics.get(DISTANCE))


def ranking_table(ranking: Ranking) -> tuple[list[str], list[list[str]]]:
    """Return the head of the ranking and one row per run, best first."""
    rows = []
    for entry in ranking.places:
        scores = ["-" if score is None else f"{score:.4f}" for score in entry.scores.values()]
        rows.append([entry.name, {True: "yes", False: "no", None: "-"}[entry.trusted], *scores])
    return ["run", "trusted", *ranking.scores], rows


def _comparison_table(ranking: Ranking, failed: Mapping[str, str]) -> dict[str, Any]:
    """Return the ranking for the comparison page, failed runs last."""
    head, rows = ranking_table(ranking)
    rows += [[name, f"failed: {error}", *[""] * len(ranking.scores)] for name, error in failed.items()]
    return {"criterion": ranking.criterion, "head": head, "rows": rows}


def _copy_best(folder: SweepFolder, name: str) -> None:
    """Copy a run to ``best/``, without the files that only resuming needs; an unchanged copy stays as it is."""
    run, best, source = folder.run_path(name), folder.best, _best_name(folder)
    same_weights, *_ = filecmp.cmpfiles(best, run, [f"model/{WEIGHTS}"], shallow=False)
    if source == name and same_weights:
        return
    with files.atomic_folder(best) as temporary:
        ignore = shutil.ignore_patterns("checkpoints", LOCK, *TRACKER_FILES)
        shutil.copytree(run, temporary, ignore=ignore, dirs_exist_ok=True)
        if best.exists() and (source is None or _has_additions(best, folder.run_path(source))):
            backups = (best.with_name(f"best-before-{number}") for number in itertools.count(1))
            best.rename(next(path for path in backups if not path.exists()))


def _best_name(folder: SweepFolder) -> str | None:
    """Return the name of the run that ``best/`` is a copy of."""
    try:
        name: str = read_json(folder.ranking)["places"][0]["name"]
        return name
    except (UserError, LookupError, TypeError):
        return None


def _has_additions(copy: Path, run: Path) -> bool:
    """Return whether a copy has files that the run does not have: names, labels or further evaluations."""
    names = [str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()]
    _, changed, missing = filecmp.cmpfiles(copy, run, names, shallow=False)
    return bool(changed or missing)
