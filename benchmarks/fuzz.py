"""Files from strangers, broken in every way that chance finds: what is read, what is refused, what ends in a fault.

    python -m benchmarks.fuzz --inputs 100000 --out benchmarks/results/fuzz.json

Every reader is given valid files that were changed: bits and bytes, pieces cut, doubled or moved, the end cut off,
numbers made large, two files spliced. An input may be read or refused with a `UserError`. Anything else is a finding:
another exception, more than ``SECONDS``, or too much memory: beside what the process holds, more address space than
``MEMORY``, or (where Linux tells the peak) more than ``OVER`` times what the input honestly needs. That is what the
valid files took, with ``UNSEEN``, and the pixels of the largest picture that it declares. Findings are kept as files in
``--findings``, to become tests.
"""

import argparse
import contextlib
import copy
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
from benchmarks.sessions import address_space
from infogan.api import resolve
from infogan.config import schema as options_of
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
from infogan.training import loop
from infogan.training.checkpoint import Checkpoint, load_latest_checkpoint, save_checkpoint
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError

SECONDS = 5.0
MEMORY = 2**29  # bytes; the largest picture that is read at all takes half of that
OVER = 2
UNSEEN = 2**21  # bytes that are asked for without an input's doing: the allocators' steps, modules that are loaded late
PEAK, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
PNG = re.compile(rb"\x89PNG")
LARGE = (b"99999999999", b"-1", b"1e999", b"0", b"4294967296", b"NaN")
WORDS = (b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0", b"\0\0\0\x80")


class TooLong(BaseException):
    """A reader was at it for too long; no reader takes it for an error of the file."""


@dataclass(frozen=True)
class Target:
    """A reader and what it is given.

    Attributes:
        place: Where in a folder, which is fresh but for ``beside``, an input is put.
        corpus: Valid files.
        read: Reads what is in the folder.
        beside: Other files, by their place.
        declares: Bytes of the largest picture that an input says it has.
        begin: Makes corpus and reader anew, where both need something that runs while inputs are read.
    """

    place: str
    corpus: tuple[bytes, ...]
    read: Callable[[Path], object]
    beside: tuple[tuple[str, bytes], ...] = ()
    declares: Callable[[bytes], int] = lambda _: 0
    begin: "Callable[[], contextlib.AbstractContextManager[Target]] | None" = None


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000, help="of all readers together")
    parser.add_argument("--only", help="readers, with commas between")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    parser.add_argument("--findings", type=Path, default=Path("runs/findings"), help="where inputs with findings go")
    given = parser.parse_args()
    chosen = targets()
    if given.only:
        chosen = {name: chosen[name] for name in given.only.split(",")}
    found = all_tried(chosen, given.inputs, given.seed, given.findings)
    if given.out:
        given.out.write_text(json.dumps({"commit": commit(), **machine(), **found}, indent=1) + "\n")


def all_tried(chosen: dict[str, Target], inputs: int, seed: int, findings: Path) -> dict[str, Any]:
    """Gives readers so many inputs together; says on standard error what came of each."""
    readers = {}
    for name, target in chosen.items():
        readers[name] = found = tried(target, -(-inputs // len(chosen)), seed, findings / name)
        told = {key: value for key, value in found.items() if key != "traces"}
        print(name, json.dumps(told), *found["traces"], sep="\n", file=sys.stderr, flush=True)
    return {"seed": seed, "readers": readers}


def tried(target: Target, count: int, seed: int, findings: Path) -> dict[str, Any]:
    """Gives a reader so many inputs."""
    if target.begin is not None:
        with target.begin() as begun:
            return tried(begun, count, seed, findings)
    random = np.random.default_rng([seed, *target.place.encode()])
    outcome = {"inputs": count, "read": 0, "refused": 0, "findings": 0}
    slowest, most, traces = 0.0, 0, set()
    with TemporaryDirectory() as scratch, limited():
        folder = Path(scratch)
        for place, content in target.beside:
            put(folder / place, content)
        needed = UNSEEN + _needed(target, folder)
        for number in range(count):
            content = changed(target.corpus, random)
            put(folder / target.place, content)
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
            most = max(most, taken := memory.taken())
            if taken > OVER * needed and taken > OVER * (needed + target.declares(content)):
                traces.add(f"more memory than {OVER} times what it needs: {target.place}")
                put(findings / f"{seed}-{number}", content)
    return {**outcome, "slowest_seconds": slowest, "most_memory": most, "traces": sorted(traces)}


class Memory:
    """How much memory the process comes to hold from here on; 0 where the system does not tell the peak."""

    def __init__(self) -> None:
        self._told = RESET.exists()
        if self._told:
            RESET.write_text("5")  # the peak is what is held now; proc(5)
            self._held = self._peak()

    def taken(self) -> int:
        """Bytes at the peak, beside those that were held at the beginning."""
        return self._peak() - self._held if self._told else 0

    def _peak(self) -> int:
        (line,) = (line for line in PEAK.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024


def _needed(target: Target, folder: Path) -> int:
    """Bytes that the valid files of a reader take, the most of them."""
    most = 0
    for content in target.corpus:
        put(folder / target.place, content)
        memory = Memory()
        with contextlib.suppress(UserError):  # some are there to be spliced only
            target.read(folder)
        most = max(most, memory.taken())
    return most


def _lacked_memory(error: BaseException | None) -> bool:
    """Whether a reader made a sentence of too little memory."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__
    return False


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """While this lasts, the process can have ``MEMORY`` more than it holds."""
    held = address_space()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextlib.contextmanager
def alarmed() -> Iterator[None]:
    """Raises `TooLong` after ``SECONDS``."""

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
    """Writes a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


# Changing.


def changed(corpus: tuple[bytes, ...], random: np.random.Generator) -> bytes:
    """A file of the corpus after one to four changes."""
    content = bytearray(corpus[random.integers(len(corpus))])
    for _ in range(random.integers(1, 5)):
        CHANGES[random.integers(len(CHANGES))](content, corpus, random)
    return bytes(content)


def _place(content: bytearray, random: np.random.Generator) -> int:
    # Headers are where structure is, so half of all changes are there.
    end = min(len(content), 256) if random.random() < 0.5 else len(content)
    return int(random.integers(end + 1))


def _flip(content: bytearray, corpus: tuple[bytes, ...], random: np.random.Generator) -> None:
    if content:
        content[min(_place(content, random), len(content) - 1)] ^= 1 << int(random.integers(8))


def _cut(content: bytearray, corpus: tuple[bytes, ...], random: np.random.Generator) -> None:
    at = _place(content, random)
    del content[at : at + int(random.integers(1, 64))]


def _end(content: bytearray, corpus: tuple[bytes, ...], random: np.random.Generator) -> None:
    del content[_place(content, random) :]


def _double(content: bytearray, corpus: tuple[bytes, ...], random: np.random.Generator) -> None:
    at = _place(content, random)
    content[at:at] = content[at : at + int(random.integers(1, 64))] * int(random.integers(1, 4))


def _word(content: bytearray, corpus: tuple[bytes, ...], random: np.random.Generator) -> None:
    at, word = _place(content, random), WORDS[random.integers(len(WORDS))]
    content[at : at + len(word)] = word


def _number(content: bytearray, corpus: tuple[bytes, ...], random: np.random.Generator) -> None:
    """In the place of a digit, if one is near."""
    at = _place(content, random)
    near = next((place for place in range(at, min(at + 200, len(content))) if chr(content[place]).isdigit()), None)
    if near is not None:
        content[near : near + 1] = LARGE[random.integers(len(LARGE))]


def _splice(content: bytearray, corpus: tuple[bytes, ...], random: np.random.Generator) -> None:
    other = corpus[random.integers(len(corpus))]
    content[_place(content, random) :] = other[int(random.integers(len(other) + 1)) :]


CHANGES = (_flip, _flip, _cut, _end, _double, _word, _number, _number, _splice)


# Readers.


def targets() -> dict[str, Target]:
    """Every reader of files that may be a stranger's."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (6, 8, 8), np.uint8)
    labels = np.arange(6, dtype=np.uint8) % 2
    config, weights = _model()
    run = _run_config()
    pictures = [_picture(images[0], form) for form in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")]
    packed = gzip.compress(_idx(images))
    index, shard = _shards(images, labels)
    few = b"image,label,note\n0,yes,\n1,no,x\n3,yes,\n"
    known = ImageSet(images[:, None], [str(i) for i in range(6)], "images")
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
            (_zip(pictures), _zip(pictures[:1], zipfile.ZIP_DEFLATED)),
            _load_at("a.zip"),
            declares=_largest_packed,
        ),
        "table": Target(
            "a.parquet",
            (_table(pictures, ["a", "b"] * 3), _table(pictures[:2], [1, 0])),
            _load_at("a.parquet"),
            declares=lambda content: max((_pixels(content[at.start() :]) for at in PNG.finditer(content)), default=0),
        ),
        "sample_grid": Target("in/a.png", tuple(pictures), _load_at("in"), declares=_pixels),
        "shards": Target("index.json", (index,), lambda at: [load(at).names[1], load(at).digest()], shard),
        "labels": Target("few.csv", (few, few.replace(b",", b";")), lambda at: read_labels(at / "few.csv", known)),
        "label book": Target("labels.csv", (few, few.replace(b"note", b"")), lambda at: _book(at, known)),
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
        "addresses": Target("words", (), bytes, begin=_addresses),
        "assignment": Target("a.txt", (b"codes=[{kind='continuous'}]", b"stages.0.share=2", b"noise.size=8"), _assign),
    }


@contextlib.contextmanager
def _explored() -> Iterator[tuple[ExplorerProcess, tuple[bytes, ...]]]:
    """An explorer, and a request for each of its addresses; the memory that it may come to hold is bounded as well."""
    picture = _picture(np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8), "PNG")
    with TemporaryDirectory() as folder:
        explored = ExplorerProcess(small_run(Path(folder) / "run"))
        explored.log_in()
        try:
            corpus = requests(explored, picture)
            for request in corpus:
                explored.exchange(request)
            held = explored.memory()
            yield explored, corpus
            assert explored.memory() < held + MEMORY, "the explorer holds far more than before"
            assert "Traceback" not in explored.errors(), explored.errors()
        finally:
            explored.stop()


@contextlib.contextmanager
def _raw_requests() -> Iterator[Target]:
    """What goes over the wire."""
    with _explored() as (explored, corpus):
        yield Target("raw", corpus, lambda at: judged(explored, (at / "raw").read_bytes()))


@contextlib.contextmanager
def _addresses() -> Iterator[Target]:
    """Well-formed requests of broken words: an address and, under it, a body."""

    def read(at: Path) -> object:
        address, _, body = (at / "words").read_bytes().partition(b"\n")
        method = "POST" if body else "GET"
        return judged(explored, explored.raw_request(method, quote(address, safe="/?&=,%+-._~") or "/", body))

    with _explored() as (explored, corpus):
        yield Target("words", tuple(_words(request) for request in corpus), read)


def _words(request: bytes) -> bytes:
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
    """As the report, the comparison and the explorer do."""
    whole: dict[str, Any] = {}
    lines = RunFolder(at).read_metrics()
    model = InfoGAN(ModelConfig.of(_small_config(), ImageShape(1, 8), {}), _small_networks())
    for line in lines:
        whole |= line
        metric_table([ComparedRun("one", model, line), ComparedRun("other", model, whole)])
        json.dumps(whole)
    if not lines:
        raise UserError("no line of them is an evaluation")
    return metric_rows(whole, {})


def _sessions(at: Path) -> object:
    for name in ("config.json", "incidents.jsonl", "log.txt"):
        (at / name).unlink(missing_ok=True)
    (at / "config.json").write_bytes(_run_config())
    run = RunFolder(at)
    run.begin(run.read_config(), "d")
    run.end("finished")
    return run.read_incidents()


def _forged() -> Callable[[Path], object]:
    """Reads a checkpoint whose checksum is right whatever is in it: a checksum is no signature."""
    networks = _small_networks()
    average = copy.deepcopy(networks)

    def read(at: Path) -> object:
        path = at / "checkpoints" / "00000001.safetensors"
        content = path.read_bytes()
        if found := re.search(rb'"sha256":"([0-9a-f]{64})"', content):
            blank = content.replace(found[1], b"0" * 64, 1)
            path.write_bytes(blank.replace(b"0" * 64, sha256(blank).hexdigest().encode(), 1))
        checkpoint, _ = load_latest_checkpoint(RunFolder(at).checkpoints)
        assert checkpoint is not None
        loop._restore(checkpoint, networks, average, [])
        return checkpoint

    return read


def _book(at: Path, known: ImageSet) -> object:
    """As the explorer does, which writes what it does not know as it was."""
    book = LabelFile(known)
    labels = book.parse((at / "labels.csv").read_bytes(), "labels.csv")
    again = LabelFile(known)
    assert again.parse(book.content(labels), "again") == labels
    assert again.unloaded == book.unloaded
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
    whole: dict[str, Any] = {"images": images, "labels": labels, **factors, **values, **named, "test_images": images}
    found = []
    for packed, arrays in ((False, whole), (True, whole), (False, {"x_train": images})):
        buffer = io.BytesIO()
        (np.savez_compressed if packed else np.savez)(buffer, **arrays)
        found.append(buffer.getvalue())
    return tuple(found)


def _shards(images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> tuple[bytes, tuple[tuple[str, bytes], ...]]:
    """An index of shards, and what lies beside it."""
    with TemporaryDirectory() as folder:
        Path(folder, "a.npz").write_bytes(_npzs(images, labels)[0])
        prepare_shards(Path(folder, "a.npz"), Path(folder, "shards"))
        files = {path.name: path.read_bytes() for path in Path(folder, "shards").iterdir()}
        return files.pop("index.json"), tuple(files.items())


def _picture(values: np.ndarray[Any, Any], form: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, form)
    return buffer.getvalue()


def _pixels(content: bytes) -> int:
    try:
        with Image.open(io.BytesIO(content)) as picture:
            return picture.width * picture.height * 4
    except Exception:  # what can not even be opened declares nothing
        return 0


def _largest_packed(content: bytes) -> int:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return max(_pixels(archive.read(name)) for name in archive.namelist())
    except Exception:
        return 0


def _zip(pictures: list[bytes], packing: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        for number, picture in enumerate(pictures):
            archive.writestr(f"{'ab'[number % 2]}/{number}.png", picture)
    return buffer.getvalue()


def _table(pictures: list[bytes], labels: list[Any]) -> bytes:
    table = pyarrow.table({"image": pyarrow.array(pictures, pyarrow.binary()), "label": labels[: len(pictures)]})
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, row_group_size=2)
    return buffer.getvalue()


def _model() -> tuple[bytes, bytes]:
    built = _small_config()
    networks = _small_networks()
    with torch.device("meta"):  # once in a process this takes 70 MB, which no input is to blame for
        _small_networks()
    with TemporaryDirectory() as folder:
        names = {"category": ("one", "two", "three")}
        InfoGAN(ModelConfig.of(built, ImageShape(1, 8), names), networks).save(folder)
        return tuple((Path(folder) / name).read_bytes() for name in ("config.json", "model.safetensors"))  # type: ignore[return-value]


def _small_config() -> Config:
    settings: dict[str, Any] = {
        "codes": [{"kind": "categorical", "size": 3}, {"kind": "continuous"}],
        "noise": {"size": 4},
    }
    layers = [settings, {"networks": {"architecture": "mlp", "width": 4}, "data": {"source": "x"}}]
    return options_of.build(resolve.compose("plain", layers))


def _small_networks() -> Networks:
    built = _small_config()
    layout = CodeLayout(built.noise, built.codes)
    return build_networks(built.networks, layout, ImageShape(1, 8), kind="infogan", seed=0)


def _run_config() -> bytes:
    options = resolve.compose("robust", [{"data": {"source": "x", "size": 8, "channels": 1}, "train": {"budget": 9.0}}])
    return options_of.build(options).model_dump_json(indent=2).encode()


def _checkpoint() -> bytes:
    with TemporaryDirectory() as folder:
        run = RunFolder(Path(folder))
        networks = _small_networks()
        save_checkpoint(run.checkpoints, Checkpoint(1, 0.5, loop._tensors(networks, copy.deepcopy(networks), [])))
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
    return options_of.build(resolve.compose("plain", [options_of.read(at / "a.toml")]))


def _assign(at: Path) -> object:
    text = (at / "a.txt").read_text(encoding="utf-8", errors="surrogateescape")
    return options_of.build(resolve.compose("plain", [{"data": {"source": "x"}}], [text]))


if __name__ == "__main__":
    main()
