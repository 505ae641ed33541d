"""Give readers randomly damaged files, as strangers might send: they must read or refuse each of them.

    python -m benchmarks.fuzz --inputs 100000 --out benchmarks/results/fuzz.json

Every reader gets valid files that were changed: bits and bytes, parts removed, doubled or moved, the end cut off,
numbers made large, two files spliced. An input may be read, or refused with a `UserError`. Anything else is a finding:
another exception, more than ``SECONDS``, or too much memory. Too much is more address space than ``MEMORY`` in addition
to that of the process, or (on Linux, which knows the peak) more than ``FACTOR`` times what the input needs: the memory
of the valid files, ``UNRELATED``, and the pixels of the largest image that it declares. Inputs with findings are saved
in ``--findings``, to become tests.
"""

import argparse
import contextlib
import gzip
import io
import json
import re
import resource
import signal
import sys
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow
import torch
from PIL import Image
from pyarrow import parquet

from benchmarks.accuracy import commit, machine
from benchmarks.exploring import ExplorerProcess, judged, requests, small_run
from benchmarks.fuzz_sources import READERS
from benchmarks.sessions import address_space
from infogan.api import resolve
from infogan.config.load import build, read_options
from infogan.config.schema import Config
from infogan.data import ImageSet, has_test_split, load, prepare_shards
from infogan.data.labels import read_labels
from infogan.evaluation.descriptions import metric_rows
from infogan.explorer.persistence import LabelFile
from infogan.models.architectures import ImageShape
from infogan.models.infogan import InfoGAN
from infogan.models.latents import CodeLayout
from infogan.models.networks import Networks, build_networks
from infogan.models.serialization import ModelConfig
from infogan.reports.charts import loss_curves, select_curves
from infogan.reports.compare import ComparedRun, metric_table
from infogan.training.checkpoint import Checkpoint, load_latest_checkpoint, save_checkpoint
from infogan.training.run_dir import RunFolder
from infogan.training.state import TrainState
from infogan.utils.errors import UserError

SECONDS = 5.0
MEMORY = 2**29  # bytes; the largest image that is accepted takes half of that
FACTOR = 2
UNRELATED = 2**21  # bytes that do not depend on the input: steps of the allocators, late imports
PEAK, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
PNG = re.compile(rb"\x89PNG")
LARGE = (b"99999999999", b"-1", b"1e999", b"0", b"4294967296", b"NaN")
INTEGERS = (b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0", b"\0\0\0\x80")


class TooLong(BaseException):
    """A reader took too long; no reader handles this as an error of the file."""


@dataclass(frozen=True)
class Target:
    """A reader and its inputs.

    Attributes:
        path: Path of an input in a folder that contains nothing but ``companions``.
        corpus: Valid files.
        read: Reads what is in the folder.
        companions: Other files by their path.
        declares: Returns the bytes of the largest image that an input declares.
        begin: Creates corpus and reader, if they need something that runs while inputs are read.
    """

    path: str
    corpus: tuple[bytes, ...]
    read: Callable[[Path], object]
    companions: tuple[tuple[str, bytes], ...] = ()
    declares: Callable[[bytes], int] = lambda _: 0
    begin: "Callable[[], contextlib.AbstractContextManager[Target]] | None" = None


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000, help="number of inputs of all readers together")
    parser.add_argument("--only", help="readers, separated by commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    parser.add_argument("--findings", type=Path, default=Path("runs/findings"), help="folder for inputs with findings")
    arguments = parser.parse_args()
    readers = targets()
    if arguments.only:
        readers = {name: readers[name] for name in arguments.only.split(",")}
    result = try_all(readers, arguments.inputs, arguments.seed, arguments.findings)
    if arguments.out:
        arguments.out.write_text(json.dumps({"commit": commit(), **machine(), **result}, indent=1) + "\n")


def try_all(readers: dict[str, Target], inputs: int, seed: int, findings: Path) -> dict[str, Any]:
    """Give all readers together a number of inputs; print each reader's result on standard error."""
    results = {}
    for name, target in readers.items():
        results[name] = result = try_reader(target, -(-inputs // len(readers)), seed, findings / name)
        counts = {key: value for key, value in result.items() if key != "traces"}
        print(name, json.dumps(counts), *result["traces"], sep="\n", file=sys.stderr, flush=True)
    return {"seed": seed, "readers": results}


def try_reader(target: Target, count: int, seed: int, findings: Path) -> dict[str, Any]:
    """Give a reader a number of inputs; return what became of them."""
    if target.begin is not None:
        with target.begin() as running:
            return try_reader(running, count, seed, findings)
    random = np.random.default_rng([seed, *target.path.encode()])
    outcome = {"inputs": count, "read": 0, "refused": 0, "findings": 0}
    slowest, peak, traces = 0.0, 0, set()
    with TemporaryDirectory() as scratch, limited():
        folder = Path(scratch)
        for path, content in target.companions:
            put(folder / path, content)
        needed = UNRELATED + _needed(target, folder)
        for number in range(count):
            content = damage(target.corpus, random)
            put(folder / target.path, content)
            started = time.perf_counter()
            memory = Memory()
            try:
                with alarmed():
                    target.read(folder)
                outcome["read"] += 1
            except UserError as error:
                outcome["refused"] += 1
                if "\n" in str(error):
                    traces.add(f"more than one line: {error}")
                if _lacked_memory(error):
                    traces.add(f"more than {MEMORY} bytes: {error}")
                    put(findings / f"{seed}-{number}", content)
            except (Exception, TooLong):
                trace = traceback.format_exc(limit=-3)
                outcome["findings"] += 1
                if trace not in traces:
                    put(findings / f"{seed}-{number}", content)
                traces.add(trace)
            slowest = max(slowest, time.perf_counter() - started)
            peak = max(peak, growth := memory.growth())
            if growth > FACTOR * needed and growth > FACTOR * (needed + target.declares(content)):
                traces.add(f"more memory than {FACTOR} times what it needs: {target.path}")
                put(findings / f"{seed}-{number}", content)
    return {**outcome, "slowest_seconds": slowest, "most_memory": peak, "traces": sorted(traces)}


class Memory:
    """Measures the growth of the process's memory; 0 if the system does not know the peak."""

    def __init__(self) -> None:
        self._is_known = RESET.exists()
        if self._is_known:
            RESET.write_text("5")  # sets the peak to the present; proc(5)
            self._start = self._peak()

    def growth(self) -> int:
        """Return the bytes at the peak above those at the start."""
        return self._peak() - self._start if self._is_known else 0

    def _peak(self) -> int:
        (line,) = (line for line in PEAK.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024


def _needed(target: Target, folder: Path) -> int:
    """Return the bytes that a reader needs for its largest valid file."""
    largest = 0
    for content in target.corpus:
        put(folder / target.path, content)
        memory = Memory()
        with contextlib.suppress(UserError):  # some serve to be spliced only
            target.read(folder)
        largest = max(largest, memory.growth())
    return largest


def _lacked_memory(error: BaseException | None) -> bool:
    """Return whether a reader reported a lack of memory."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__
    return False


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Limit the address space of the process to ``MEMORY`` above the present."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextlib.contextmanager
def alarmed() -> Iterator[None]:
    """Raise `TooLong` after ``SECONDS``."""

    def ring(number: int, frame: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def put(path: Path, content: bytes) -> None:
    """Write a file, and create the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


# Damage.


def damage(corpus: tuple[bytes, ...], random: np.random.Generator) -> bytes:
    """Return a file of the corpus after one to four changes."""
    content = bytearray(corpus[random.integers(len(corpus))])
    for _ in range(random.integers(1, 5)):
        CHANGES[random.integers(len(CHANGES))](content, corpus, random)
    return bytes(content)


def _position(content: bytearray, random: np.random.Generator) -> int:
    # The structure is in the headers, so half of all changes are there.
    end = min(len(content), 256) if random.random() < 0.5 else len(content)
    return int(random.integers(end + 1))


def _flip(content: bytearray, corpus: tuple[bytes, ...], random: np.random.Generator) -> None:
    if content:
        content[min(_position(content, random), len(content) - 1)] ^= 1 << int(random.integers(8))


def _cut(content: bytearray, corpus: tuple[bytes, ...], random: np.random.Generator) -> None:
    at = _position(content, random)
    del content[at : at + int(random.integers(1, 64))]


def _end(content: bytearray, corpus: tuple[bytes, ...], random: np.random.Generator) -> None:
    del content[_position(content, random) :]


def _double(content: bytearray, corpus: tuple[bytes, ...], random: np.random.Generator) -> None:
    at = _position(content, random)
    content[at:at] = content[at : at + int(random.integers(1, 64))] * int(random.integers(1, 4))


def _word(content: bytearray, corpus: tuple[bytes, ...], random: np.random.Generator) -> None:
    at, word = _position(content, random), INTEGERS[random.integers(len(INTEGERS))]
    content[at : at + len(word)] = word


def _number(content: bytearray, corpus: tuple[bytes, ...], random: np.random.Generator) -> None:
    """Replace a digit, if there is one nearby."""
    start = _position(content, random)
    digits = (index for index in range(start, min(start + 200, len(content))) if chr(content[index]).isdigit())
    digit = next(digits, None)
    if digit is not None:
        content[digit : digit + 1] = LARGE[random.integers(len(LARGE))]


def _splice(content: bytearray, corpus: tuple[bytes, ...], random: np.random.Generator) -> None:
    other = corpus[random.integers(len(corpus))]
    content[_position(content, random) :] = other[int(random.integers(len(other) + 1)) :]


CHANGES = (_flip, _flip, _cut, _end, _double, _word, _number, _number, _splice)


# Readers.


NAMES = (
    "idx",
    "idx labels",
    "gzip",
    "npy",
    "npz",
    "zip",
    "table",
    "picture",
    "shards",
    "labels",
    "label book",
    "model config",
    "model weights",
    "run config",
    "checkpoint",
    "forged checkpoint",
    "stats",
    "metrics",
    "sessions",
    "options",
    "requests",
    "addresses",
    "assignment",
    *READERS,
)


def targets() -> dict[str, Target]:
    """Return every reader of files that may come from a stranger."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (6, 8, 8), np.uint8)
    labels = np.arange(6, dtype=np.uint8) % 2
    config, weights = _model()
    run = _run_config()
    encoded = [_encode(images[0], form) for form in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")]
    packed = gzip.compress(_idx(images))
    index, shard = _shards(images, labels)
    few = b"image,label,note\n0,yes,\n1,no,x\n3,yes,\n"
    tables = (few, few.replace(b",", b";"), few.decode().encode("utf-16"))
    image_set = ImageSet(images[:, None], [str(i) for i in range(6)], "images")
    return {
        "idx": Target("a-images-idx3-ubyte", (_idx(images),), lambda at: load(at / "a-images-idx3-ubyte")),
        "idx labels": Target(
            "a-labels-idx1-ubyte",
            (_idx(labels),),
            lambda at: load(at / "a-images-idx3-ubyte"),
            (("a-images-idx3-ubyte", _idx(images)),),
        ),
        "gzip": Target("a-idx3-ubyte.gz", (packed,), lambda at: load(at / "a-idx3-ubyte.gz")),
        "npy": Target("a.npy", (_npy(images), _npy(images / 255)), lambda at: load(at / "a.npy")),
        "npz": Target("a.npz", _npzs(images, labels), _load_both),
        "zip": Target(
            "a.zip",
            (_zip(encoded), _zip(encoded[:1], zipfile.ZIP_DEFLATED)),
            _load_at("a.zip"),
            declares=_largest_packed,
        ),
        "table": Target(
            "a.parquet",
            (_table(encoded, ["a", "b"] * 3), _table(encoded[:2], [1, 0])),
            _load_at("a.parquet"),
            declares=lambda content: max((_pixels(content[at.start() :]) for at in PNG.finditer(content)), default=0),
        ),
        "picture": Target("in/a.png", tuple(encoded), _load_at("in"), declares=_pixels),
        "shards": Target("index.json", (index,), lambda at: [load(at).names[1], load(at).digest()], shard),
        "labels": Target("few.csv", tables, lambda at: read_labels(at / "few.csv", image_set)),
        "label book": Target("labels.csv", (few, few.replace(b"note", b"")), lambda at: _label_file(at, image_set)),
        "model config": Target("config.json", (config,), InfoGAN.load, (("model.safetensors", weights),)),
        "model weights": Target("model.safetensors", (weights,), InfoGAN.load, (("config.json", config),)),
        "run config": Target(
            "config.json", (run,), lambda at: RunFolder.existing(at).read_config(), (("environment.json", b"[]"),)
        ),
        "checkpoint": Target(
            "checkpoints/00000001.safetensors",
            (_checkpoint(),),
            lambda at: load_latest_checkpoint(RunFolder(at).checkpoints)[0],
        ),
        "forged checkpoint": Target("checkpoints/00000001.safetensors", (_checkpoint(),), _forged()),
        "stats": Target("stats.jsonl", (STATS,), _stats),
        "metrics": Target("metrics.jsonl", (METRICS,), _metrics),
        "sessions": Target("environment.json", (SESSIONS,), _sessions),
        "options": Target("a.toml", (TOML.encode(),), _read_options),
        "requests": Target("raw", (), bytes, begin=_raw_requests),
        "addresses": Target("content", (), bytes, begin=_addresses),
        "assignment": Target("a.txt", (b"codes=[{kind='continuous'}]", b"stages.0.share=2", b"noise.size=8"), _assign),
        **{name: Target(*reader) for name, reader in READERS.items()},
    }


@contextlib.contextmanager
def _running_explorer() -> Iterator[tuple[ExplorerProcess, tuple[bytes, ...]]]:
    """Start an explorer, and yield it with a request for each of its addresses; its memory is limited as well."""
    image = _encode(np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8), "PNG")
    with TemporaryDirectory() as folder:
        explorer = ExplorerProcess(small_run(Path(folder) / "run"))
        explorer.log_in()
        try:
            corpus = requests(explorer, image)
            for request in corpus:
                explorer.exchange(request)
            before = explorer.memory()
            yield explorer, corpus
            assert explorer.memory() < before + MEMORY, "the explorer uses far more memory than before"
            assert "Traceback" not in explorer.errors(), explorer.errors()
        finally:
            explorer.stop()


@contextlib.contextmanager
def _raw_requests() -> Iterator[Target]:
    """Yield the target of raw requests."""
    with _running_explorer() as (explorer, corpus):
        yield Target("raw", corpus, lambda at: judged(explorer, (at / "raw").read_bytes()))


@contextlib.contextmanager
def _addresses() -> Iterator[Target]:
    """Yield the target of well-formed requests with damaged content: an address and, below it, a body."""

    def read(at: Path) -> object:
        address, _, body = (at / "content").read_bytes().partition(b"\n")
        method = "POST" if body else "GET"
        return judged(explorer, explorer.raw_request(method, quote(address, safe="/?&=,%+-._~") or "/", body))

    with _running_explorer() as (explorer, corpus):
        yield Target("content", tuple(_content(request) for request in corpus), read)


def _content(request: bytes) -> bytes:
    head, _, body = request.partition(b"\r\n\r\n")
    return head.split(b" ")[1] + (b"\n" + body if body else b"")


STATS = b"".join(
    b'{"step": %d, "seconds": 1.5, "stage": "gan", "generator/adversarial": 0.7, "information/category": 2.1}\n' % step
    for step in (100, 200, 300)
)
METRICS = b"".join(
    json.dumps({"step": 3, "accuracy": 0.5, "frechet_pca64": 2.5, "information": {"category": bound}, **rest}).encode()
    + b"\n"
    for bound, rest in (
        (1.5, {"entropy": {"category": 2.3}, "information_estimate": {"category": 1.4}, "ignored": []}),
        (0.0, {"entropy": {"category": 2.3}, "ignored": ["category"], "disentanglement": {"mig": 0.2, "sap": 0.1}}),
        (
            1.0,
            {
                "entropy": {"category": 2.3, "knob1": 0.7},
                "intervals": {"accuracy": [0.4, 0.6], "information/category": [0.9, 1.1]},
                "verdict": {"trust": True, "reason": "trust: x", "kinds": None, "sureness": 0.9, "split": [[1, 2]]},
                "protocol": "images, fitted on train",
                "protocols": {"clusters": "360 images"},
            },
        ),
    )
)
SESSIONS = b"""[
  {"started": "2026-01-01T00:00:00+0000", "ended": "finished", "command": ["infogan", "train"], "data_digest": "d"},
  {"started": "2026-01-02T00:00:00+0000", "ended": null, "command": ["infogan", "train"], "data_digest": "d"}
]"""


def _stats(at: Path) -> object:
    run = RunFolder(at)
    run.rewind_stats(200)
    stats = run.read_stats()
    return loss_curves(stats), select_curves(stats, {"category": "information/category"})


def _metrics(at: Path) -> object:
    """Read evaluations as the report, the comparison and the explorer do."""
    merged: dict[str, Any] = {}
    lines = RunFolder(at).read_metrics()
    model = InfoGAN(ModelConfig.of(_small_config(), ImageShape(1, 8), {}), _small_networks())
    for line in lines:
        merged |= line
        metric_table([ComparedRun("one", model, line), ComparedRun("other", model, merged)])
        json.dumps(merged)
    if not lines:
        raise UserError("no line is an evaluation")
    return metric_rows(merged, {})


def _sessions(at: Path) -> object:
    for name in ("config.json", "incidents.jsonl", "log.txt"):
        (at / name).unlink(missing_ok=True)
    (at / "config.json").write_bytes(_run_config())
    run = RunFolder(at)
    run.begin(run.read_config(), "d")
    run.end("finished")
    return run.read_incidents()


def _forged() -> Callable[[Path], object]:
    """Return a reader of checkpoints whose checksum is corrected first: a checksum is not a signature."""
    state = _small_state()

    def read(at: Path) -> object:
        path = at / "checkpoints" / "00000001.safetensors"
        content = path.read_bytes()
        if checksum := re.search(rb'"sha256":"([0-9a-f]{64})"', content):
            blank = content.replace(checksum[1], b"0" * 64, 1)
            path.write_bytes(blank.replace(b"0" * 64, sha256(blank).hexdigest().encode(), 1))
        checkpoint, _ = load_latest_checkpoint(RunFolder(at).checkpoints)
        assert checkpoint is not None
        state.load_state_dict(checkpoint.tensors)
        return checkpoint

    return read


def _label_file(at: Path, images: ImageSet) -> object:
    """Read and write labels as the explorer does, which keeps what it does not know."""
    file, copy_of_file = LabelFile(images), LabelFile(images)
    labels = file.parse((at / "labels.csv").read_bytes(), "labels.csv")
    assert copy_of_file.parse(file.content(labels), "copy") == labels
    assert copy_of_file.unloaded == file.unloaded
    return labels


def _load_both(at: Path) -> object:
    splits = ("train", "test") if has_test_split(at / "a.npz") else ("train",)
    return [load(at / "a.npz", split=split) for split in splits]


def _load_at(name: str) -> Callable[[Path], object]:
    return lambda at: load(at / name, size=8, channels=1)


def _idx(values: np.ndarray[Any, Any]) -> bytes:
    header = bytes((0, 0, 8, values.ndim)) + b"".join(size.to_bytes(4) for size in values.shape)
    return header + values.tobytes()


def _npy(values: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def _npzs(images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> tuple[bytes, ...]:
    factors = {"factors": np.stack([labels, labels], axis=1).astype(int), "factor_names": np.array(["a", "b"])}
    values = {"factor_sizes": np.array([2, 2]), "factor_values": np.array(["x", "y", "1", "2"])}
    named = {"names": np.array(list("abcdef")), "label_names": np.array(["no", "yes"])}
    everything: dict[str, Any] = {
        "images": images,
        "labels": labels,
        **factors,
        **values,
        **named,
        "test_images": images,
    }
    files = []
    for is_packed, arrays in ((False, everything), (True, everything), (False, {"x_train": images})):
        buffer = io.BytesIO()
        (np.savez_compressed if is_packed else np.savez)(buffer, **arrays)
        files.append(buffer.getvalue())
    return tuple(files)


def _shards(images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> tuple[bytes, tuple[tuple[str, bytes], ...]]:
    """Return an index of shards and the files next to it."""
    with TemporaryDirectory() as folder:
        Path(folder, "a.npz").write_bytes(_npzs(images, labels)[0])
        prepare_shards(Path(folder, "a.npz"), Path(folder, "shards"))
        files = {path.name: path.read_bytes() for path in Path(folder, "shards").iterdir()}
        return files.pop("index.json"), tuple(files.items())


def _encode(values: np.ndarray[Any, Any], form: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, form)
    return buffer.getvalue()


def _pixels(content: bytes) -> int:
    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.width * image.height * 4
    except Exception:  # a file that cannot be opened declares nothing
        return 0


def _largest_packed(content: bytes) -> int:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return max(_pixels(archive.read(name)) for name in archive.namelist())
    except Exception:
        return 0


def _zip(images: list[bytes], packing: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        for number, image in enumerate(images):
            archive.writestr(f"{'ab'[number % 2]}/{number}.png", image)
    return buffer.getvalue()


def _table(images: list[bytes], labels: list[Any]) -> bytes:
    table = pyarrow.table({"image": pyarrow.array(images, pyarrow.binary()), "label": labels[: len(images)]})
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, row_group_size=2)
    return buffer.getvalue()


def _model() -> tuple[bytes, bytes]:
    config = _small_config()
    networks = _small_networks()
    with torch.device("meta"):  # the first time this takes 70 MB, which do not depend on any input
        _small_networks()
    with TemporaryDirectory() as folder:
        names = {"category": ("one", "two", "three")}
        InfoGAN(ModelConfig.of(config, ImageShape(1, 8), names), networks).save(folder)
        return tuple((Path(folder) / name).read_bytes() for name in ("config.json", "model.safetensors"))  # type: ignore[return-value]


def _small_config() -> Config:
    settings: dict[str, Any] = {
        "codes": [{"kind": "categorical", "size": 3}, {"kind": "continuous"}],
        "noise": {"size": 4},
    }
    layers = [settings, {"networks": {"architecture": "mlp", "width": 4}, "data": {"source": "x"}}]
    return build(resolve.compose("plain", layers))


def _small_networks() -> Networks:
    config = _small_config()
    layout = CodeLayout(config.noise, config.codes)
    return build_networks(config.networks, layout, ImageShape(1, 8), kind="infogan", seed=0)


def _small_state() -> TrainState:
    images = ImageSet(np.zeros((2, 1, 8, 8), np.uint8), ["0", "1"], "zeros")
    return TrainState.create(_small_config(), images, torch.device("cpu"))


def _run_config() -> bytes:
    options = resolve.compose("robust", [{"data": {"source": "x", "size": 8, "channels": 1}, "train": {"budget": 9.0}}])
    return build(options).model_dump_json(indent=2).encode()


def _checkpoint() -> bytes:
    with TemporaryDirectory() as folder:
        run = RunFolder(Path(folder))
        save_checkpoint(run.checkpoints, Checkpoint(1, 0.5, _small_state().state_dict()))
        (path,) = run.checkpoints.iterdir()
        return path.read_bytes()


TOML = """
[[codes]]
kind = "categorical"
name = "digit"
size = 10
prior = [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]

[[codes]]
kind = "continuous"
weight = 0.1

[train]
steps = 1000
batch_size = 64

[networks]
width = 8
"""


def _read_options(at: Path) -> object:
    return build(resolve.compose("plain", [read_options(at / "a.toml")]))


def _assign(at: Path) -> object:
    text = (at / "a.txt").read_text(encoding="utf-8", errors="surrogateescape")
    return build(resolve.compose("plain", [{"data": {"source": "x"}}], [text]))


if __name__ == "__main__":
    main()
