"""Train one run on three hosts and disconnect one for a while: does the run end as if nothing had happened?

    sudo python -m benchmarks.cluster --out benchmarks/results/cluster.json    # Linux, minutes

A host is a network namespace with its own address on a bridge, which is created and removed here. All share this
machine's files, as hosts share a file system. On each host torchrun is restarted whenever it ends with an error, as a
service manager would do. A host is disconnected by taking its link down: no connection is closed, messages just do not
arrive.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.accuracy import commit, machine
from benchmarks.sessions import progress, same
from infogan.training.run_dir import RunFolder

HOSTS = 3
PORT = 29_400
NAME = "infogan{}"
BRIDGE = "infogan-br"
TIMEOUT = 5  # seconds that workers wait for one another
COMMAND = "train digits --recipe plain --set networks.width=8 --set train.batch_size=32 --set train.save_every=20"
ELASTIC = "join_timeout=120,keep_alive_interval=1,keep_alive_max_attempt=5,read_timeout=20"


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--cut", type=int, default=1, help="host that is disconnected; host 0 has the rendezvous")
    parser.add_argument("--away", type=float, default=10.0, help="seconds without a connection")
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder, hosts():
        first, second = Path(folder) / "undisturbed", Path(folder) / "disturbed"
        undisturbed = train(first, arguments.steps)
        disturbed = train(second, arguments.steps, cut=arguments.cut, away=arguments.away)
        result: dict[str, Any] = {
            "commit": commit(),
            **machine(),
            "hosts": HOSTS,
            "steps": arguments.steps,
            "host_cut_off": arguments.cut,
            "seconds_away": arguments.away,
            "seconds_of_patience": TIMEOUT,
            "undisturbed": undisturbed,
            "disturbed": disturbed,
            "bit_equal": same(first, second),
            "seconds_lost": disturbed["seconds"] - undisturbed["seconds"],
            "incidents": RunFolder(second).read_incidents(),
        }
    print(json.dumps(result, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    if not result["bit_equal"]:
        sys.exit("the disturbed run ended with other weights")


@contextmanager
def hosts() -> Iterator[None]:
    """Create hosts on a bridge, and remove them at the end."""
    remove()
    try:
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "link", "set", BRIDGE, "up")
        for number in range(HOSTS):
            name, link = NAME.format(number), f"{BRIDGE}{number}"
            run("ip", "netns", "add", name)
            run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
            run("ip", "link", "set", link, "master", BRIDGE, "up")
            run("ip", "-n", name, "addr", "add", f"{address(number)}/24", "dev", "eth0")
            run("ip", "-n", name, "link", "set", "eth0", "up")
            run("ip", "-n", name, "link", "set", "lo", "up")
        yield
    finally:
        remove()


def remove() -> None:
    """Remove the hosts, also those of a measurement that was killed."""
    for number in range(HOSTS):
        subprocess.run(["ip", "netns", "del", NAME.format(number)], stderr=subprocess.DEVNULL, check=False)
    subprocess.run(["ip", "link", "del", BRIDGE], stderr=subprocess.DEVNULL, check=False)


def run(*command: str) -> None:
    """Run a command that must succeed."""
    subprocess.run(command, check=True)


def address(host: int) -> str:
    """Return the address of a host on the bridge."""
    return f"10.77.0.{host + 1}"


def start(host: int, folder: Path, steps: int, log: Path) -> "subprocess.Popen[bytes]":
    """Start the command on a host."""
    launch = [sys.executable, "-m", "torch.distributed.run", f"--nnodes={HOSTS}", "--nproc-per-node=1"]
    launch += ["--rdzv-backend=c10d", f"--rdzv-endpoint={address(0)}:{PORT}", f"--rdzv-id={folder.name}"]
    launch += [f"--rdzv-conf={ELASTIC},is_host={int(host == 0)}", "--max-restarts=10", f"--local-addr={address(host)}"]
    command = ["-m", "infogan", *COMMAND.split(), "--steps", str(steps), "--out", str(folder)]
    settings = {"INFOGAN_DIST_TIMEOUT": str(TIMEOUT), "GLOO_SOCKET_IFNAME": "eth0", "OMP_NUM_THREADS": "1"}
    # Otherwise torchrun continues to use the store of the first round, whose addresses are wrong once ranks change.
    settings["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    namespace = ["ip", "netns", "exec", NAME.format(host)]
    with open(log, "ab") as file:
        return subprocess.Popen(
            [*namespace, *launch, *command], env={**os.environ, **settings}, stdout=file, stderr=file
        )


def train(folder: Path, steps: int, cut: int | None = None, away: float = 0.0) -> dict[str, Any]:
    """Train a run on all hosts, one of which may be disconnected for a while in the middle."""
    logs = [folder.parent / f"{folder.name}-{host}.log" for host in range(HOSTS)]
    started = time.monotonic()
    processes = {host: start(host, folder, steps, logs[host]) for host in range(HOSTS)}
    restarts = 0
    reconnection: float | None = None
    times: dict[str, float] = {}
    while processes and time.monotonic() < started + 600:
        now = time.monotonic()
        if cut is not None and reconnection is None and progress(folder) >= steps // 3:
            run("ip", "link", "set", f"{BRIDGE}{cut}", "down")
            reconnection, times["cut_off_at"] = now + away, now - started
        if reconnection is not None and now >= reconnection:
            run("ip", "link", "set", f"{BRIDGE}{cut}", "up")
            reconnection, cut = float("inf"), None
            times["back_at"] = now - started
        if "first_checkpoint_at" not in times and progress(folder):
            times["first_checkpoint_at"] = now - started
        for host, process in list(processes.items()):
            if process.poll() is None:
                continue
            if process.returncode == 0 or progress(folder) >= steps:
                del processes[host]
            else:
                restarts += 1
                processes[host] = start(host, folder, steps, logs[host])
        if progress(folder) >= steps and "trained_at" not in times:
            times["trained_at"] = now - started
        time.sleep(0.05)
    for process in processes.values():
        process.kill()
    if progress(folder) < steps:
        for log in logs:
            print(log.read_text()[-3000:], file=sys.stderr)
        sys.exit(f"the run did not end: {progress(folder)} of {steps} steps")
    return {"seconds": times["trained_at"], "started_again": restarts, **times}


if __name__ == "__main__":
    main()
