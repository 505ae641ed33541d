"""Three hosts that train one run, one of which is cut off for a while: does the run end as if nothing had happened?

    sudo python -m benchmarks.cluster --out benchmarks/results/cluster.json    # Linux, minutes

A host is a network namespace with an address of its own on a bridge, made and removed here; all share this machine's
files, as hosts share a file system. On each, torchrun is started as a service manager would: again, as often as it ends
with an error. A host is cut off by taking its link down, so that nobody is told: messages just stay away.
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
PATIENCE = 5  # seconds that workers wait for one another
COMMAND = "train digits --recipe plain --set networks.width=8 --set train.batch_size=32 --set train.save_every=20"
ELASTIC = "join_timeout=120,keep_alive_interval=1,keep_alive_max_attempt=5,read_timeout=20"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--cut", type=int, default=1, help="the host that is cut off; 0 keeps the rendezvous")
    parser.add_argument("--away", type=float, default=10.0, help="seconds that it is away")
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    given = parser.parse_args()
    with TemporaryDirectory() as folder, hosts():
        calm, struck = Path(folder) / "calm", Path(folder) / "struck"
        undisturbed = trained(calm, given.steps)
        disturbed = trained(struck, given.steps, cut=given.cut, away=given.away)
        found: dict[str, Any] = {
            "commit": commit(),
            **machine(),
            "hosts": HOSTS,
            "steps": given.steps,
            "host_cut_off": given.cut,
            "seconds_away": given.away,
            "seconds_of_patience": PATIENCE,
            "undisturbed": undisturbed,
            "disturbed": disturbed,
            "bit_equal": same(calm, struck),
            "seconds_lost": disturbed["seconds"] - undisturbed["seconds"],
            "incidents": RunFolder(struck).read_incidents(),
        }
    print(json.dumps(found, indent=1))
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n")
    if not found["bit_equal"]:
        sys.exit("the run that was disturbed did not end as the other one")


@contextmanager
def hosts() -> Iterator[None]:
    """While this lasts, there are hosts on a bridge."""
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
    """Removes the hosts, those of a run that was killed too."""
    for number in range(HOSTS):
        subprocess.run(["ip", "netns", "del", NAME.format(number)], stderr=subprocess.DEVNULL, check=False)
    subprocess.run(["ip", "link", "del", BRIDGE], stderr=subprocess.DEVNULL, check=False)


def run(*words: str) -> None:
    """A command that must succeed."""
    subprocess.run(words, check=True)


def address(host: int) -> str:
    """Of a host on the bridge."""
    return f"10.77.0.{host + 1}"


def started(host: int, folder: Path, steps: int, log: Path) -> "subprocess.Popen[bytes]":
    """The command on a host."""
    launch = [sys.executable, "-m", "torch.distributed.run", f"--nnodes={HOSTS}", "--nproc-per-node=1"]
    launch += ["--rdzv-backend=c10d", f"--rdzv-endpoint={address(0)}:{PORT}", f"--rdzv-id={folder.name}"]
    launch += [f"--rdzv-conf={ELASTIC},is_host={int(host == 0)}", "--max-restarts=10", f"--local-addr={address(host)}"]
    words = ["-m", "infogan", *COMMAND.split(), "--steps", str(steps), "--out", str(folder)]
    told = {"INFOGAN_PATIENCE": str(PATIENCE), "GLOO_SOCKET_IFNAME": "eth0", "OMP_NUM_THREADS": "1"}
    # Else torchrun goes on using the store of the first round, whose addresses do not hold once ranks change.
    told["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    within = ["ip", "netns", "exec", NAME.format(host)]
    with open(log, "ab") as file:
        return subprocess.Popen([*within, *launch, *words], env={**os.environ, **told}, stdout=file, stderr=file)


def trained(folder: Path, steps: int, cut: int | None = None, away: float = 0.0) -> dict[str, Any]:
    """Trains a run on all hosts, one of which may be cut off for a while in the middle."""
    logs = [folder.parent / f"{folder.name}-{host}.log" for host in range(HOSTS)]
    begun = time.monotonic()
    processes = {host: started(host, folder, steps, logs[host]) for host in range(HOSTS)}
    again = 0
    back: float | None = None
    reached: dict[str, float] = {}
    while processes and time.monotonic() < begun + 600:
        now = time.monotonic()
        if cut is not None and back is None and progress(folder) >= steps // 3:
            run("ip", "link", "set", f"{BRIDGE}{cut}", "down")
            back, reached["cut_off_at"] = now + away, now - begun
        if back is not None and now >= back:
            run("ip", "link", "set", f"{BRIDGE}{cut}", "up")
            back, cut = float("inf"), None
            reached["back_at"] = now - begun
        if "first_checkpoint_at" not in reached and progress(folder):
            reached["first_checkpoint_at"] = now - begun
        for host, process in list(processes.items()):
            if process.poll() is None:
                continue
            if process.returncode == 0 or progress(folder) >= steps:
                del processes[host]
            else:
                again += 1
                processes[host] = started(host, folder, steps, logs[host])
        if progress(folder) >= steps and "trained_at" not in reached:
            reached["trained_at"] = now - begun
        time.sleep(0.05)
    for process in processes.values():
        process.kill()
    if progress(folder) < steps:
        for log in logs:
            print(log.read_text()[-3000:], file=sys.stderr)
        sys.exit(f"the run did not end: {progress(folder)} of {steps} steps")
    return {"seconds": reached["trained_at"], "started_again": again, **reached}


if __name__ == "__main__":
    main()
