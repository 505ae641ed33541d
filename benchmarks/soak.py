"""The explorer under load for minutes: whether it grows, slows down or ever fails.

    python -m benchmarks.soak --minutes 10 --out benchmarks/results/soak.json

An explorer in a process of its own serves a small run. From this process two clients steer at ten pictures a second,
one sorts, one names and labels and undoes, one uploads pictures; beside them others send half a request and vanish, ask
and do not take the answer, or ask and hang up. Halfway the model in the run folder is replaced by another for a while.
Memory and latency are of the first and of the last minute.
"""

import argparse
import json
import shutil
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.accuracy import commit, machine
from benchmarks.exploring import ExplorerProcess, small_run
from benchmarks.faults import bars, picture

FRAME = 0.1  # seconds from picture to picture of a client that steers


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        found = {"commit": commit(), **machine(), **soaked(Path(folder), given.minutes * 60, given.seed)}
    print(json.dumps(found, indent=1))
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n")


def soaked(folder: Path, seconds: float, seed: int) -> dict[str, Any]:
    """What came of so many seconds of load."""
    run = small_run(folder / "run")
    other = small_run(folder / "other", seed=1)
    load = Load(run, folder, seed)
    window = min(60.0, seconds / 5)
    try:
        load.go_on(window)  # until everything was done at least once
        first = load.measured(window)
        load.go_on(max(0.0, seconds / 2 - 2 * window))
        load.replaced(other, window / 2)
        load.go_on(max(0.0, seconds / 2 - 1.5 * window))
        last = load.measured(window)
    finally:
        load.stop()
    return {
        "seconds_of_load": round(seconds),
        "requests": sum(load.statuses.values()),
        "statuses": {str(status): count for status, count in sorted(load.statuses.items())},
        "failures": list(load.failures),
        "hung_up_on": load.rude,
        "first": first,
        "last": last,
        "memory_growth": last["memory_mb"] / first["memory_mb"] - 1,
        "tracebacks": load.explored.errors().count("Traceback"),
    }


class Load:
    """Clients that go on until `stop`.

    Args:
        run: The run folder.
        folder: For what else is needed.
        seed: Of what they ask for.
    """

    def __init__(self, run: Path, folder: Path, seed: int) -> None:
        self.run = run
        self.explored = ExplorerProcess(run)
        self.explored.log_in()
        self.statuses: Counter[int] = Counter()
        self.failures: deque[str] = deque(maxlen=20)
        self.times: deque[float] = deque(maxlen=1_000_000)  # seconds, of what steers
        self.rude = 0
        self._over = threading.Event()
        picture(bars(1, np.random.default_rng(seed))[0], folder / "bar.png")
        self._picture = (folder / "bar.png").read_bytes()
        jobs: list[Callable[[np.random.Generator], None]] = [
            *[self._steer] * 2,
            self._sort,
            self._change,
            self._upload,
            self._vanish,
        ]
        self._threads = [
            threading.Thread(target=self._work, args=(job, np.random.default_rng([seed, number])))
            for number, job in enumerate(jobs)
        ]
        for thread in self._threads:
            thread.start()

    def go_on(self, seconds: float) -> None:
        """Lets them."""
        time.sleep(seconds)

    def measured(self, seconds: float) -> dict[str, float]:
        """Memory and latency over so many seconds: medians, and the latency that 19 of 20 stay under."""
        self.times.clear()
        memory = []
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            memory.append(self.explored.memory())
            time.sleep(0.5)
        times = np.array(self.times)
        return {
            "memory_mb": round(float(np.median(memory)) / 1e6, 2),
            "latency_ms": round(float(np.median(times)) * 1000, 1),
            "latency_95_ms": round(float(np.quantile(times, 0.95)) * 1000, 1),
        }

    def replaced(self, other: Path, seconds: float) -> None:
        """Puts another run's model in the place of the one that is served, and back."""
        kept = self.run.parent / "kept"
        shutil.copytree(self.run / "model", kept)
        self._put(other / "model")
        self.go_on(seconds)
        self._put(kept)

    def _put(self, model: Path) -> None:
        for name in ("config.json", "model.safetensors"):  # as whoever saves a model does: never half a file
            shutil.copy(model / name, self.run / "model" / "new")
            (self.run / "model" / "new").replace(self.run / "model" / name)

    def stop(self) -> None:
        """Ends clients and explorer."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        self.explored.stop()

    # Clients.

    def _work(self, job: Callable[[np.random.Generator], None], random: np.random.Generator) -> None:
        while not self._over.is_set():
            try:
                job(random)
            except Exception as error:
                self.failures.append(f"{job.__name__}: {type(error).__name__}: {error}")

    def _ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        status, answer = self.explored.exchange(self.explored.raw_request(method, path, body))
        self.statuses[status] += 1
        if status >= 500 or status == 0:
            self.failures.append(f"{method} {path}: {status} {answer[-200:]!r}")
        return status, answer

    def _view(self, random: np.random.Generator) -> str:
        knobs = ",".join(f"{value:.3f}" for value in random.uniform(-1, 1, 2))
        return f"codes={random.integers(10)},{knobs}&across=0&down=1&columns=10&rows=8&seed={random.integers(1000)}"

    def _steer(self, random: np.random.Generator) -> None:
        begun = time.perf_counter()
        status, _ = self._ask("GET", f"/api/lattice?{self._view(random)}")
        taken = time.perf_counter() - begun
        if status == 200:
            self.times.append(taken)
        self._over.wait(max(0.0, FRAME - taken))

    def _sort(self, random: np.random.Generator) -> None:
        place = int(random.integers(1437))
        self._ask("GET", f"/api/gallery?code=0&group={random.integers(10)}&count=60")
        self._ask("GET", f"/api/image?index={place}")
        self._ask("GET", f"/api/queue?count=20&from={place % 100}")
        self._ask("GET", "/api/evidence")
        self._ask("GET", f"/api/traversal.gif?{self._view(random)}&code=1")
        self._ask("GET", "/api/codes.csv")
        self._over.wait(0.5)

    def _change(self, random: np.random.Generator) -> None:
        name = f"name {random.integers(10_000)}"
        words = json.dumps({"code": 0, "value": int(random.integers(10)), "name": name}).encode()
        self._ask("POST", "/api/name", words)
        self._ask("POST", "/api/label", json.dumps({"index": int(random.integers(1437)), "label": name}).encode())
        status, answer = self._ask("GET", "/api/state")
        if status == 200 and (change := json.loads(answer.partition(b"\r\n\r\n")[2])["undo"]):
            self._ask("POST", "/api/undo", json.dumps({"id": change["id"]}).encode())
        self._over.wait(0.5)

    def _upload(self, random: np.random.Generator) -> None:
        self._ask("POST", "/api/read", self._picture if random.random() < 0.8 else self._picture[:50])
        self._over.wait(1.0)

    def _vanish(self, random: np.random.Generator) -> None:
        raw = self.explored.raw_request("GET", f"/api/lattice?{self._view(random)}")
        with socket.create_connection(("127.0.0.1", self.explored.port), timeout=5) as client:
            kind = int(random.integers(3))
            client.sendall(raw[: len(raw) // 2] if kind == 0 else raw)
            if kind == 1:  # the answer lies for a while
                self._over.wait(0.5)
        self.rude += 1
        self._over.wait(0.1)


if __name__ == "__main__":
    main()
