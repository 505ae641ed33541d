"""Put the explorer under load for minutes: does it grow, slow down or fail?

    python -m benchmarks.soak --minutes 10 --out benchmarks/results/soak.json

An explorer in a separate process serves a small run. Two clients steer at ten tables per second, one sorts, one names,
labels and undoes, one uploads images. Another sends half a request and disconnects, does not read the answer, or
disconnects before it. Halfway, the model in the run folder is replaced by another one for a while. Memory and latency
are those of the first and of the last minute.
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
from benchmarks.faults import bars, save_image

FRAME = 0.1  # seconds between the tables of a client that steers


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        result = {"commit": commit(), **machine(), **soak(Path(folder), arguments.minutes * 60, arguments.seed)}
    print(json.dumps(result, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


def soak(folder: Path, seconds: float, seed: int) -> dict[str, Any]:
    """Put an explorer under load; return counts, memory and latency."""
    run = small_run(folder / "run")
    other = small_run(folder / "other", seed=1)
    load = Load(run, folder, seed)
    window = min(60.0, seconds / 5)
    try:
        time.sleep(window)  # until everything was done at least once
        first = load.measure(window)
        time.sleep(max(0.0, seconds / 2 - 2 * window))
        load.replace_model(other, window / 2)
        time.sleep(max(0.0, seconds / 2 - 1.5 * window))
        last = load.measure(window)
    finally:
        load.stop()
    return {
        "seconds_of_load": round(seconds),
        "requests": sum(load.statuses.values()),
        "statuses": {str(status): count for status, count in sorted(load.statuses.items())},
        "failures": list(load.failures),
        "hung_up_on": load.disconnects,
        "first": first,
        "last": last,
        "memory_growth": last["memory_mb"] / first["memory_mb"] - 1,
        "tracebacks": load.explorer.errors().count("Traceback"),
    }


class Load:
    """Clients that send requests until `stop`.

    Args:
        run: The run folder.
        folder: A folder for other files.
        seed: Random seed of the requests.
    """

    def __init__(self, run: Path, folder: Path, seed: int) -> None:
        self.run = run
        self.explorer = ExplorerProcess(run)
        self.explorer.log_in()
        self.statuses: Counter[int] = Counter()
        self.failures: deque[str] = deque(maxlen=20)
        self.times: deque[float] = deque(maxlen=1_000_000)  # seconds per table of the clients that steer
        self.disconnects = 0
        self._stopped = threading.Event()
        save_image(bars(1, np.random.default_rng(seed))[0], folder / "bar.png")
        self._image = (folder / "bar.png").read_bytes()
        jobs: list[Callable[[np.random.Generator], None]] = [
            *[self._steer] * 2,
            self._sort,
            self._change,
            self._upload,
            self._disconnect,
        ]
        self._threads = [
            threading.Thread(target=self._work, args=(job, np.random.default_rng([seed, number])))
            for number, job in enumerate(jobs)
        ]
        for thread in self._threads:
            thread.start()

    def measure(self, seconds: float) -> dict[str, float]:
        """Return the medians of memory and latency over some seconds, and the 95th percentile of the latency."""
        self.times.clear()
        memory = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            memory.append(self.explorer.memory())
            time.sleep(0.5)
        times = np.array(self.times)
        return {
            "memory_mb": round(float(np.median(memory)) / 1e6, 2),
            "latency_ms": round(float(np.median(times)) * 1000, 1),
            "latency_95_ms": round(float(np.quantile(times, 0.95)) * 1000, 1),
        }

    def replace_model(self, other: Path, seconds: float) -> None:
        """Replace the model that is served by another run's model for some seconds."""
        original = self.run.parent / "original"
        shutil.copytree(self.run / "model", original)
        self._copy_model(other / "model")
        time.sleep(seconds)
        self._copy_model(original)

    def _copy_model(self, model: Path) -> None:
        for name in ("config.json", "model.safetensors"):  # atomically, as a model is saved
            shutil.copy(model / name, self.run / "model" / "new")
            (self.run / "model" / "new").replace(self.run / "model" / name)

    def stop(self) -> None:
        """End the clients and the explorer."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        self.explorer.stop()

    # Clients.

    def _work(self, job: Callable[[np.random.Generator], None], random: np.random.Generator) -> None:
        while not self._stopped.is_set():
            try:
                job(random)
            except Exception as error:
                self.failures.append(f"{job.__name__}: {type(error).__name__}: {error}")

    def _request(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        status, answer = self.explorer.exchange(self.explorer.raw_request(method, path, body))
        self.statuses[status] += 1
        if status >= 500 or status == 0:
            self.failures.append(f"{method} {path}: {status} {answer[-200:]!r}")
        return status, answer

    def _view(self, random: np.random.Generator) -> str:
        knobs = ",".join(f"{value:.3f}" for value in random.uniform(-1, 1, 2))
        return f"codes={random.integers(10)},{knobs}&across=0&down=1&columns=10&rows=8&seed={random.integers(1000)}"

    def _steer(self, random: np.random.Generator) -> None:
        started = time.perf_counter()
        status, _ = self._request("GET", f"/api/lattice?{self._view(random)}")
        seconds = time.perf_counter() - started
        if status == 200:
            self.times.append(seconds)
        self._stopped.wait(max(0.0, FRAME - seconds))

    def _sort(self, random: np.random.Generator) -> None:
        index = int(random.integers(1437))
        self._request("GET", f"/api/gallery?code=0&group={random.integers(10)}&count=60")
        self._request("GET", f"/api/image?index={index}")
        self._request("GET", f"/api/queue?count=20&from={index % 100}")
        self._request("GET", "/api/evidence")
        self._request("GET", f"/api/traversal.gif?{self._view(random)}&code=1")
        self._request("GET", "/api/codes.csv")
        self._stopped.wait(0.5)

    def _change(self, random: np.random.Generator) -> None:
        name = f"name {random.integers(10_000)}"
        content = json.dumps({"code": 0, "value": int(random.integers(10)), "name": name}).encode()
        self._request("POST", "/api/name", content)
        self._request(
            "POST", "/api/label", json.dumps({"indices": [int(random.integers(1437))], "label": name}).encode()
        )
        status, answer = self._request("GET", "/api/state")
        if status == 200 and (change := json.loads(answer.partition(b"\r\n\r\n")[2])["undo"]):
            self._request("POST", "/api/undo", json.dumps({"id": change["id"]}).encode())
        self._stopped.wait(0.5)

    def _upload(self, random: np.random.Generator) -> None:
        self._request("POST", "/api/read", self._image if random.random() < 0.8 else self._image[:50])
        self._stopped.wait(1.0)

    def _disconnect(self, random: np.random.Generator) -> None:
        raw = self.explorer.raw_request("GET", f"/api/lattice?{self._view(random)}")
        with socket.create_connection(("127.0.0.1", self.explorer.port), timeout=5) as client:
            kind = int(random.integers(3))
            client.sendall(raw[: len(raw) // 2] if kind == 0 else raw)
            if kind == 1:  # the answer is not read for a while
                self._stopped.wait(0.5)
        self.disconnects += 1
        self._stopped.wait(0.1)


if __name__ == "__main__":
    main()
