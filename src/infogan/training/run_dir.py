"""The run folder: numbering, configuration, environment, log, statistics and checkpoints.

A run is a folder that tells all of itself: `docs/run-folder.md` lists its files. It is never overwritten: the same
configuration resumes it from its newest whole checkpoint, another one is refused.
"""

import json
import platform
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy
import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

import infogan
from infogan.config.schema import RUNTIME_OPTIONS, Config
from infogan.utils import distributed
from infogan.utils.determinism import reproducibility
from infogan.utils.errors import UserError
from infogan.utils.files import (
    TEMPORARY_NAME,
    append_line,
    file_lock,
    fsync_folder,
    make_folder,
    remove_temporary_files,
    write_bytes,
    write_json,
)

CHECKPOINTS_KEPT = 2
TIME, LOG_TIME = "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d %H:%M:%S"
WRITER = "writer.json"  # who trains the run, or did last
IMAGES = "images"  # those that a program gave, as shards
CHECKSUM, BLANK = "sha256", "0" * 64  # in a checkpoint's metadata, and what stands there while it is computed


class _Verdict(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float | None] = Field(init=False)

    trust: bool
    reason: str
    merged: list[int] = []
    split: list[list[int]] = []


class _Evaluation(BaseModel):
    """What is not a single number in a line of ``metrics.jsonl``, which `evaluation.evaluate` makes."""

    information: dict[str, float] = {}
    information_estimate: dict[str, float] = {}
    entropy: dict[str, float] = {}
    ignored: list[str] = []
    disentanglement: dict[str, float] = {}
    intervals: dict[str, Annotated[list[float], Field(min_length=2, max_length=2)]] = {}
    verdict: _Verdict = _Verdict(trust=False, reason="")
    protocol: str = ""
    protocols: dict[str, str] = {}
    left_out: dict[str, str] = {}


@dataclass(frozen=True)
class Checkpoint:
    """All of a training state.

    Attributes:
        step: How many steps were done.
        seconds: How long they took.
        tensors: Of networks, averages and optimisers, by dotted name.
    """

    step: int
    seconds: float
    tensors: dict[str, Tensor]


class RunFolder:
    """One run on disk. Make one with `create` or `open_run`.

    Args:
        path: The folder, which exists.
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
        self.config = path / "config.json"

    def traversals_at(self, step: int) -> Path:
        """Where the traversals of the codes at a step of training go."""
        return self.traversals / f"{step:08d}"

    def held(self, patience: float = 0.0) -> AbstractContextManager[None]:
        """Keeps other processes from training this run meanwhile; raises UserError where one is at it.

        Args:
            patience: Seconds to wait for one that may be about to end.
        """
        return file_lock(self.path / WRITER, str(self.path), patience)

    # Beginning and resuming.

    @classmethod
    def numbered(cls, parent: Path, name: str) -> "RunFolder":
        """Makes ``parent/00003-name`` with the next free number; raises UserError where it can not."""
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "run"
        try:
            make_folder(parent)
            taken = [int(match[1]) for path in parent.iterdir() if (match := re.match(r"(\d{5,})-", path.name))]
            for number in range(max(taken, default=-1) + 1, sys.maxsize):  # another process may take one just now
                path = parent / f"{number:05d}-{slug}"
                try:
                    path.mkdir()
                except FileExistsError:
                    continue
                fsync_folder(parent)
                return cls(path)
        except OSError as error:
            raise UserError(f"cannot make a run folder in {parent}: {error.strerror}") from error
        raise AssertionError("unreachable")

    @classmethod
    def at(cls, path: Path) -> "RunFolder":
        """The run folder at ``path``, made if missing or empty.

        Raises:
            UserError: ``path`` is a file, holds something else than a run, or can not be written.
        """
        try:
            make_folder(path)
            # A run that was killed at its very beginning has left nothing but its lock and what was half-written.
            others = [entry.name for entry in path.iterdir() if entry.name not in (WRITER, IMAGES)]
            foreign = not (path / "config.json").is_file() and not all(map(TEMPORARY_NAME.fullmatch, others))
        except (FileExistsError, NotADirectoryError) as error:
            raise UserError(f"cannot make the run folder {path}: there is a file in its place") from error
        except OSError as error:
            raise UserError(f"cannot make the run folder {path}: {error.strerror}") from error
        if foreign:
            raise UserError(f"{path} is not empty and not a run folder: choose another --out")
        return cls(path)

    @staticmethod
    def is_at(path: Path) -> bool:
        """Whether there is a run."""
        return (path / "config.json").is_file() and (path / "environment.json").is_file()

    @classmethod
    def existing(cls, path: Path) -> "RunFolder":
        """An existing run; raises UserError where there is none."""
        if not cls.is_at(path):
            raise UserError(f"{path} is not a run folder: it has no config.json and environment.json")
        return cls(path)

    def begin(self, config: Config, data_digest: str, device: str = "cpu") -> None:
        """Writes the configuration, or checks that a run that is already here was begun with the same one.

        What an earlier session left half-written goes, and if it ended without a word, that is an incident. To be
        called while the run is `held`; `end` is its counterpart.

        Args:
            config: With the data's size and channels filled in.
            data_digest: Of the training images.
            device: What will compute.

        Raises:
            UserError: the folder holds a run with another configuration or other images; the first difference is named.
        """
        remove_temporary_files(self.path)
        mine = config.model_dump(mode="json")
        sessions = []
        if self.config.is_file():
            # Options that did not exist when the run was begun have their defaults.
            difference = _first_difference(_what(self.read_config()), _what(config))
            if difference is not None:
                raise UserError(
                    f"{self.path} holds a run with another configuration ({difference}): "
                    "choose another --out, or repeat its command to resume it"
                )
            sessions = self.read_environment()
            if sessions and sessions[0].get("data_digest") != data_digest:
                changed = f"the images of {config.data.source!r} are not those that {self.path} was begun with"
                self.incident(changed)
                raise UserError(changed)
        else:
            write_json(self.config, mine)
        mine_now = environment(config, data_digest, device)
        # In this order: a kill between the two has an incident told twice, and not never.
        for strange in _strange(sessions, mine_now):
            self.incident(strange)
        write_json(self.path / "environment.json", [*sessions, mine_now])

    def end(self, how: str) -> None:
        """Says in ``environment.json`` how this session ended; one that was killed has no such word.

        Raises:
            UserError: it can not be written.
        """
        sessions = self.read_environment()
        if sessions:
            sessions[-1]["ended"] = how
            write_json(self.path / "environment.json", sessions)

    def read_config(self) -> Config:
        """The run's configuration; raises UserError where it is damaged."""
        try:
            return Config.model_validate(self._read_json(self.config))
        except ValueError as error:
            raise UserError(f"{self.config} is not the configuration of a run: {str(error).splitlines()[0]}") from error

    # While it goes.

    def read_environment(self) -> list[dict[str, Any]]:
        """What each session of training ran on, `environment`; raises UserError where it is damaged."""
        path = self.path / "environment.json"
        known: list[dict[str, Any]] = self._read_json(path, [])
        if not isinstance(known, list) or not all(isinstance(session, dict) for session in known):
            raise UserError(f"{path} is damaged: it is no list of sessions")
        return known

    def command(self) -> list[str]:
        """The words of the command that trained it last, without the path of the program; none if no command did."""
        sessions = self.read_environment()
        told = sessions[-1].get("command") if sessions else None
        words = [str(word) for word in told] if isinstance(told, list) else []
        program = Path(words[0]) if words else Path()
        ours = program.stem == "infogan" or program.parts[-2:] == ("infogan", "__main__.py")
        return ["infogan", *words[1:]] if ours else []

    def log(self, line: str) -> None:
        """Adds a line, with the time, to ``log.txt``."""
        append_line(self.path / "log.txt", f"{time.strftime(LOG_TIME)}  {line}")

    def incident(self, what: str) -> None:
        """Adds a sentence on what went wrong, or what was mended, to ``incidents.jsonl`` and to the log.

        Raises:
            UserError: it can not be written.
        """
        self.log(what)
        append_line(self.incidents, json.dumps({"when": time.strftime(TIME), "what": what}))

    def read_incidents(self) -> list[dict[str, Any]]:
        """What went wrong so far, ``when`` and ``what``; nothing, if all went well."""
        return list(_json_lines(self.incidents))

    def add_stats(self, line: Mapping[str, Any]) -> None:
        """Adds one report to ``stats.jsonl``."""
        append_line(self.stats, json.dumps(line))

    def add_metrics(self, line: Mapping[str, Any]) -> None:
        """Adds one evaluation to ``metrics.jsonl``."""
        append_line(self.metrics, json.dumps(line))

    def read_stats(self) -> list[dict[str, Any]]:
        """The reports so far; a torn line is left out, and so is what is no number."""
        reports = []
        for line in _json_lines(self.stats):
            if type(line.get("step")) is int and _is_number(line["step"]):
                reports.append({key: told for key, told in line.items() if key == "stage" or _is_number(told)})
        return reports

    def read_metrics(self) -> list[dict[str, Any]]:
        """The evaluations so far; a line that is none is left out, and so is what a later version has added."""
        evaluations = []
        for line in _json_lines(self.metrics):
            with suppress(ValidationError):
                known = _Evaluation.model_validate(line, strict=True)
                if known.information.keys() <= known.entropy.keys():
                    kept = known.model_dump(exclude_unset=True)
                    kept |= {key: told for key, told in line.items() if _is_number(told)}
                    evaluations.append({key: kept[key] for key in line if key in kept})
        return evaluations

    def rewind_stats(self, step: int) -> None:
        """Drops reports past ``step``, which a run resumed there will make again."""
        if self.stats.is_file():
            kept = [line for line in self.read_stats() if line["step"] <= step]
            write_bytes(self.stats, "".join(json.dumps(line) + "\n" for line in kept).encode())

    # Checkpoints.

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Writes a checkpoint, reads it back, and then removes all but the newest two.

        Raises:
            UserError: it can not be written, or something else is read back; those of before are still there.
        """
        metadata = {"step": str(checkpoint.step), "seconds": repr(checkpoint.seconds), CHECKSUM: BLANK}
        tensors = {name: tensor.detach().contiguous() for name, tensor in checkpoint.tensors.items()}
        content = safetensors.torch.save(tensors, metadata)
        content = content.replace(BLANK.encode(), sha256(content).hexdigest().encode(), 1)
        path = self.checkpoints / f"{checkpoint.step:08d}.safetensors"
        write_bytes(path, content)
        try:
            _read_checkpoint(path)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path} is not read as it was written ({error}): is the disk failing? The checkpoint before is kept"
            ) from error
        for old in self._checkpoints()[CHECKPOINTS_KEPT:]:
            old.unlink(missing_ok=True)

    def load_checkpoint(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest whole checkpoint, if any, and a sentence for each damaged one that was passed over.

        Where there is a whole one the damaged ones are put aside, so that they are not counted among those that are
        kept.

        Raises:
            UserError: there are checkpoints, but none of them is whole.
        """
        complaints: list[str] = []
        damaged: list[Path] = []
        for path in self._checkpoints():
            try:
                found = _read_checkpoint(path)
            except (OSError, ValueError) as error:
                complaints.append(f"checkpoint {path.name} is damaged ({error}); trying the one before")
                damaged.append(path)
                continue
            for one in damaged:
                with suppress(OSError):  # a folder that can only be read
                    one.replace(one.with_suffix(".damaged"))
            return found, complaints
        if complaints:
            raise UserError(f"every checkpoint in {self.checkpoints} is damaged: remove the folder to start anew")
        return None, complaints

    def last_checkpoint(self) -> Path | None:
        """The newest checkpoint's path."""
        return next(iter(self._checkpoints()), None)

    def _checkpoints(self) -> list[Path]:
        """Newest first; names are numbers of steps."""
        found = [path for path in self.checkpoints.glob("*.safetensors") if re.fullmatch("[0-9]{1,18}", path.stem)]
        return sorted(found, key=lambda path: int(path.stem), reverse=True)

    # Helpers.

    def _read_json(self, path: Path, default: Any = None) -> Any:
        try:
            if path.exists() and not path.is_file():  # a pipe would never end
                raise UserError(f"{path} is damaged: it is no file")
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            if default is not None:
                return default
            raise UserError(f"{path} is missing") from None
        except UserError:
            raise
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{path} is damaged: {error}") from error


def _read_checkpoint(path: Path) -> Checkpoint:
    """A checkpoint whose every byte is as it was written.

    Raises:
        OSError: it can not be read.
        ValueError: a byte is another one, or some are missing; what was noticed.
    """
    if not path.is_file():
        raise ValueError("it is no file")
    content = path.read_bytes()
    try:
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
        checksum = metadata[CHECKSUM]
        # The checksum is of the file as it was before the checksum was put in, once, into its own place.
        if sha256(content.replace(checksum.encode(), BLANK.encode(), 1)).hexdigest() != checksum:
            raise ValueError("its checksum is another one")
        return Checkpoint(int(metadata["step"]), float(metadata["seconds"]), safetensors.torch.load(content))
    except (KeyError, TypeError, AttributeError, RecursionError, safetensors.SafetensorError) as error:
        raise ValueError(f"it is no checkpoint: {str(error).splitlines()[0]}") from error


def environment(config: Config, data_digest: str, device: str) -> dict[str, Any]:
    """What a session of training ran on, and what it takes to get the same weights again: see `coverage`."""
    deterministic, timed = config.train.deterministic, config.train.budget is not None
    return {
        "started": time.strftime(TIME),
        "ended": None,
        "command": sys.argv,
        "data_digest": data_digest,
        "workers": distributed.world_size(),
        "pieces": config.train.accumulation_steps,
        "infogan": infogan.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        **{name: version(name) for name in ("scipy", "scikit-learn")},
        "platform": platform.platform(),
        **reproducibility(device, deterministic=deterministic, timed=timed),
    }


def _strange(sessions: list[dict[str, Any]], now: Mapping[str, Any]) -> Iterator[str]:
    """What is odd, in a sentence each, about a session that follows upon these."""
    if not sessions:
        return
    last = sessions[-1]
    if "ended" in last and last["ended"] is None:
        why = "it was killed, the machine stopped, or nothing could be written"
        yield f"the session begun {last.get('started')} ended without a word: {why}"
    try:
        behind = datetime.fromisoformat(last["started"]) - datetime.fromisoformat(now["started"])
    except (KeyError, TypeError, ValueError):
        return
    if behind.total_seconds() > 0:
        yield f"the clock was set back: the session before began {behind} later than now"


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                told = json.loads(line)
            except (ValueError, RecursionError):
                continue  # torn by a crash; the step it told of is made again
            if isinstance(told, dict):
                yield told


def _is_number(told: Any) -> bool:
    """Whether a value of a file is a number that can be computed with: JSON has integers of any length."""
    return type(told) is float or (type(told) is int and abs(told) < 2**63)


def _what(config: Config) -> dict[str, Any]:
    return config.model_dump(mode="json", exclude=RUNTIME_OPTIONS)


def _first_difference(known: Any, mine: Any, key: str = "") -> str | None:
    """The first place where two trees differ, in words; None where they agree."""
    if isinstance(known, dict) and isinstance(mine, dict):
        for name in [*known, *(new for new in mine if new not in known)]:
            found = _first_difference(known.get(name), mine.get(name), f"{key}.{name}" if key else name)
            if found is not None:
                return found
        return None
    if isinstance(known, list) and isinstance(mine, list) and len(known) == len(mine):
        pairs = zip(known, mine, strict=True)
        return next((d for i, (a, b) in enumerate(pairs) if (d := _first_difference(a, b, f"{key}.{i}"))), None)
    return None if known == mine else f"{key} was {json.dumps(known)}, now {json.dumps(mine)}"
