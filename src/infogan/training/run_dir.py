"""The run folder: its numbering, configuration, environment, log and statistics.

``docs/run-folder.md`` lists the files. A run is never overwritten: the same configuration resumes it, another one is
refused.
"""

import json
import platform
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import infogan
from infogan.config.migrate import migrate_config, migrate_statistics
from infogan.config.schema import RUNTIME_OPTIONS, Config
from infogan.models.results import Answer, Part
from infogan.utils import distributed, files
from infogan.utils.determinism import reproducibility
from infogan.utils.errors import UserError

TIME, LOG_TIME = "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d %H:%M:%S"
MAX_SLUG = 100  # letters of a data set's name in the name of its run folder
LOCK = "writer.json"  # names the process that trains the run, or the last one
IMAGES = "images"  # shards of the images that a program passed


class _Trace(BaseModel):
    concerns: Part
    value: float
    limit: float
    answer: Answer
    meaning: str


class _Verdict(BaseModel):
    # Version 0.1 has one answer, and its evidence is numbers in this place.
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float | None] = Field(init=False)

    trust: bool
    groups: Answer | Literal[""] = ""
    pictures: Answer | Literal[""] = ""
    reason: str
    reasons: list[str] = []
    evidence: dict[str, _Trace] = {}
    advice: str = ""
    probability: float | None = None
    merged: list[int] = []
    split: list[list[int]] = []


class _Merge(BaseModel):
    first: int
    second: int
    separation: float


class _Evaluation(BaseModel):
    """The entries of a line of ``metrics.jsonl`` that are not single numbers."""

    information: dict[str, float] = {}
    information_estimate: dict[str, float] = {}
    entropy: dict[str, float] = {}
    ignored: list[str] = []
    disentanglement: dict[str, float] = {}
    intervals: dict[str, Annotated[list[float], Field(min_length=2, max_length=2)]] = {}
    verdict: _Verdict = _Verdict(trust=False, reason="")
    tree: list[_Merge] = []
    example: Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=2)] = []
    protocol: str = ""
    protocols: dict[str, str] = {}
    left_out: dict[str, str] = {}


class RunFolder:
    """A run on disk.

    Args:
        path: The folder, which must exist; `at`, `numbered` and `existing` check or create it.

    Example:
        >>> RunFolder.at(Path("runs/digits")).read_config().train.seed
        0
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = path / "model"
        self.samples = path / "samples"
        self.traversals = path / "traversals"
        self.checkpoints = path / "checkpoints"
        self.stats = path / "stats.jsonl"
        self.metrics = path / "metrics.jsonl"
        self.incidents = path / "incidents.jsonl"
        self.report = path / "report.html"
        self.labels = path / "labels.csv"  # that a person gave in the explorer
        self.config = path / "config.json"

    def traversals_at(self, step: int) -> Path:
        """Return the folder for the traversals of a training step."""
        return self.traversals / f"{step:08d}"

    def lock(self, timeout: float = 0.0) -> AbstractContextManager[None]:
        """Keep other processes from training this run.

        Args:
            timeout: Seconds to wait for another process to finish.

        Raises:
            UserError: Another process trains it; the message names the process.
        """
        return files.file_lock(self.path / LOCK, str(self.path), timeout)

    # Creating and opening.

    @classmethod
    def numbered(cls, parent: Path, name: str) -> "RunFolder":
        """Create ``parent/00003-name`` with the next free number.

        Raises:
            UserError: It cannot be created.
        """
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:MAX_SLUG] or "run"
        try:
            files.make_folder(parent)
            numbers = [int(match[1]) for path in parent.iterdir() if (match := re.match(r"(\d{5,})-", path.name))]
            number = max(numbers, default=-1)
            while True:  # another process may take a number right now
                number += 1
                path = parent / f"{number:05d}-{slug}"
                with suppress(FileExistsError):
                    path.mkdir()
                    files.fsync_folder(parent)
                    return cls(path)
        except OSError as error:
            raise UserError(f"cannot create a run folder in {parent}: {error.strerror}") from error

    @classmethod
    def at(cls, path: Path) -> "RunFolder":
        """Return the run folder at ``path``; create it if it is missing or empty.

        Raises:
            UserError: ``path`` is a file, holds something other than a run, or cannot be written.
        """
        try:
            files.make_folder(path)
            # A run that was killed at its very start left nothing but its lock and temporary files.
            names = [entry.name for entry in path.iterdir() if entry.name not in (LOCK, IMAGES)]
            is_foreign = not (path / "config.json").is_file() and not all(map(files.TEMPORARY_NAME.fullmatch, names))
        except (FileExistsError, NotADirectoryError) as error:
            raise UserError(f"cannot create the run folder {path}: a file has that name") from error
        except OSError as error:
            raise UserError(f"cannot create the run folder {path}: {error.strerror}") from error
        if is_foreign:
            raise UserError(f"{path} is not empty and not a run folder: choose another --out")
        return cls(path)

    @staticmethod
    def is_at(path: Path) -> bool:
        """Return whether ``path`` is a run folder."""
        return (path / "config.json").is_file() and (path / "environment.json").is_file()

    @classmethod
    def existing(cls, path: Path) -> "RunFolder":
        """Return the run folder at ``path``.

        Raises:
            UserError: There is none.
        """
        if not cls.is_at(path):
            raise UserError(f"{path} is not a run folder: it has no config.json and environment.json")
        return cls(path)

    # Sessions.

    def begin(self, config: Config, data_digest: str, device: str = "cpu") -> None:
        """Start a session: write the configuration, or check that the run began with the same one.

        Temporary files of an earlier session are removed; if it ended without a record, that is an incident. Call it
        under `lock`; `end` is its counterpart.

        Args:
            config: The configuration, with the data's size and channels filled in.
            data_digest: Digest of the training images.
            device: The device to compute on.

        Raises:
            UserError: The run began with another configuration or other images; the message names the difference.
        """
        files.remove_temporary_files(self.path)
        sessions = []
        if self.config.is_file():
            # Options that did not exist when the run began have their defaults.
            difference = _first_difference(_identity(self.read_config()), _identity(config))
            if difference is not None:
                raise UserError(
                    f"{self.path} holds a run with another configuration ({difference}): "
                    "choose another --out, or repeat its command to resume it"
                )
            sessions = self.read_environment()
            if sessions and sessions[0].get("data_digest") != data_digest:
                message = f"the images of {config.data.source!r} are not those that {self.path} began with"
                self.incident(message)
                raise UserError(message)
            if sessions and self.read_config().data != config.data:
                self.log(f"the images are now at {config.data.source}")
                files.write_json(self.config, config.model_dump(mode="json"))
        else:
            files.write_json(self.config, config.model_dump(mode="json"))
        session = environment(config, data_digest, device)
        # In this order: a kill between the two reports an incident twice instead of never.
        for oddity in _oddities(sessions, session):
            self.incident(oddity)
        files.write_json(self.path / "environment.json", [*sessions, session])

    def end(self, reason: str) -> None:
        """Record in ``environment.json`` how this session ended; a session that was killed has no such record."""
        sessions = self.read_environment()
        if sessions:
            sessions[-1]["ended"] = reason
            files.write_json(self.path / "environment.json", sessions)

    # Reading and writing.

    def read_config(self) -> Config:
        """Return the run's configuration; raise UserError if it is damaged."""
        options = read_json(self.config)
        try:
            return Config.model_validate(migrate_config(options))
        except (ValueError, AttributeError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{self.config} is not the configuration of a run: {reason}") from error

    def read_environment(self) -> list[dict[str, Any]]:
        """Return what each session ran on, see `environment`; raise UserError if the file is damaged."""
        path = self.path / "environment.json"
        sessions: list[dict[str, Any]] = read_json(path, [])
        if not isinstance(sessions, list) or not all(isinstance(session, dict) for session in sessions):
            raise UserError(f"{path} is damaged: it is not a list of sessions")
        return sessions

    def data_digest(self) -> str | None:
        """Return the digest of the training images, as `ImageSet.digest`; None if it is not known."""
        sessions = self.read_environment()
        digest = sessions[0].get("data_digest") if sessions else None
        return digest.split()[0] if isinstance(digest, str) and digest else None  # that of labels may follow

    def command(self) -> list[str]:
        """Return the words of the command that trained the run last; empty if a program did."""
        sessions = self.read_environment()
        command = sessions[-1].get("command") if sessions else None
        words = [str(word) for word in command] if isinstance(command, list) else []
        program = Path(words[0]) if words else Path()
        is_infogan = program.stem == "infogan" or program.parts[-2:] == ("infogan", "__main__.py")
        return ["infogan", *words[1:]] if is_infogan else []

    def log(self, line: str) -> None:
        """Append a line with the time to ``log.txt``."""
        files.append_line(self.path / "log.txt", f"{time.strftime(LOG_TIME)}  {line}")

    def incident(self, sentence: str) -> None:
        """Append a sentence on what went wrong, or was repaired, to ``incidents.jsonl`` and to the log."""
        self.log(sentence)
        files.append_line(self.incidents, json.dumps({"when": time.strftime(TIME), "what": sentence}))

    def read_incidents(self) -> list[dict[str, Any]]:
        """Return what went wrong so far, each with ``when`` and ``what``."""
        return list(read_json_lines(self.incidents))

    def add_stats(self, record: Mapping[str, Any]) -> None:
        """Append a record to ``stats.jsonl``."""
        files.append_line(self.stats, json.dumps(record))

    def add_metrics(self, result: Mapping[str, Any]) -> None:
        """Append an evaluation to ``metrics.jsonl``."""
        files.append_line(self.metrics, json.dumps(result))

    def read_stats(self) -> list[dict[str, Any]]:
        """Return the records so far, without torn lines and without values that are not numbers."""
        return [
            {key: value for key, value in record.items() if key == "stage" or _is_number(value)}
            for record in map(migrate_statistics, read_json_lines(self.stats))
            if type(record.get("step")) is int and _is_number(record["step"])
        ]

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the evaluations so far, without invalid lines and without entries that a later version added."""
        evaluations = []
        for line in read_json_lines(self.metrics):
            with suppress(ValidationError):
                evaluation = _Evaluation.model_validate(line, strict=True)
                if evaluation.information.keys() <= evaluation.entropy.keys():
                    known = _Evaluation.model_fields
                    evaluations.append({key: line[key] for key in line if key in known or _is_number(line[key])})
        return evaluations

    def rewind_stats(self, step: int) -> None:
        """Remove the records after ``step``, which a run resumed there will write again."""
        if self.stats.is_file():
            records = [record for record in self.read_stats() if record["step"] <= step]
            files.write_bytes(self.stats, "".join(json.dumps(record) + "\n" for record in records).encode())


def environment(config: Config, data_digest: str, device: str) -> dict[str, Any]:
    """Return what a session runs on, and what it takes to get the same weights again (`reproducibility`)."""
    deterministic, timed = config.train.deterministic, config.train.budget is not None
    return {
        "started": time.strftime(TIME),
        "ended": None,
        "command": sys.argv,
        "data_digest": data_digest,
        "workers": distributed.world_size(),
        "accumulation_steps": config.train.accumulation_steps,
        "infogan": infogan.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "scipy", "scikit-learn")},
        "platform": platform.platform(),
        **reproducibility(device, deterministic=deterministic, timed=timed),
    }


def _oddities(sessions: list[dict[str, Any]], session: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for everything odd about a session that follows earlier ones."""
    last = sessions[-1] if sessions else {}
    if "ended" in last and last["ended"] is None:
        reasons = "it was killed, the machine stopped, or the disk was full"
        yield f"the session that started {last.get('started')} ended without a record: {reasons}"
    with suppress(KeyError, TypeError, ValueError):
        offset = datetime.fromisoformat(last["started"]) - datetime.fromisoformat(session["started"])
        if offset.total_seconds() > 0:
            yield f"the clock was set back: the session before started {offset} later than now"


def read_json(path: Path, default: Any = None) -> Any:
    """Return the content of a JSON file; raise UserError if it is damaged, or missing and has no default."""
    try:
        if path.exists() and not path.is_file():  # reading a pipe would never end
            raise OSError("it is not a file")
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if default is not None:
            return default
        raise UserError(f"{path} is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error}") from error


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects in a file of JSON lines, which may be missing, without invalid lines."""
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError, RecursionError):  # torn by a crash; its step is made again
                entry = json.loads(line)
                if isinstance(entry, dict):
                    yield entry


def _is_number(value: Any) -> bool:
    """Return whether a value can be computed with: JSON has integers of any length."""
    return type(value) is float or (type(value) is int and abs(value) < 2**63)


def _identity(config: Config) -> dict[str, Any]:
    """Return the options that make a run what it is."""
    return config.model_dump(mode="json", exclude=RUNTIME_OPTIONS)


def _first_difference(before: Any, now: Any, key: str = "") -> str | None:
    """Return the first difference between two trees as a clause; None if they are equal."""
    if isinstance(before, dict) and isinstance(now, dict):
        pairs = {name: (before.get(name), now.get(name)) for name in before | now}
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = dict(enumerate(zip(before, now, strict=True)))
    else:
        return None if before == now else f"{key} was {json.dumps(before)}, now {json.dumps(now)}"
    differences = (_first_difference(*pair, f"{key}.{name}" if key else str(name)) for name, pair in pairs.items())
    return next(filter(None, differences), None)
