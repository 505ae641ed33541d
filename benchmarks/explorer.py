"""How fast the explorer answers: the first picture of the page, and pictures a second while a slider is dragged.

    python -m benchmarks.explorer runs/00000-mnist --rounds 5 --out benchmarks/results/explorer.json

A real browser (headless Chromium, by Playwright) opens the page of a real process. The first picture is timed from the
navigation to the table being painted. Then the table is 8 by 8 noises, a slider moves with every frame that the browser
draws, and the tables that are painted are counted for three seconds.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import sync_playwright

from benchmarks.accuracy import commit, machine

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
FIRST = """() => new Promise((resolve) => {
  const look = () => Number(document.querySelector('#lattice canvas')?.dataset.frame ?? 0) > 0
    ? resolve(performance.now()) : setTimeout(look, 2);
  look();
})"""
DRAGGED = """() => new Promise((resolve) => {
  const slider = document.querySelector('[data-code]');
  const painted = () => Number(document.querySelector('#lattice canvas').dataset.frame);
  const begun = performance.now(), before = painted();
  const move = () => {
    const passed = performance.now() - begun;
    if (passed > 3000) return resolve((painted() - before) / passed * 1000);
    slider.value = Math.sin(passed / 300);
    slider.dispatchEvent(new Event('input'));
    requestAnimationFrame(move);
  };
  move();
})"""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run folder whose model has a continuous code")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True, help="the JSON to write")
    given = parser.parse_args()
    rounds = [measured(given.run) for _ in range(given.rounds)]
    result = {"commit": commit(), "run": given.run.name, **machine(), "rounds": rounds}
    for name in ("first_picture_s", "pictures_per_s", "while_reading_per_s"):
        values = [round_[name] for round_ in rounds]
        result[name] = {"median": median(values), "lowest": min(values), "highest": max(values)}
        print(f"{name}: median {median(values):.2f}, {min(values):.2f} to {max(values):.2f}")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=2) + "\n")


def measured(run: Path) -> dict[str, float]:
    """One round: a new process and a new browser."""
    command = [sys.executable, "-m", "infogan", "explore", str(run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        with sync_playwright() as started:
            browser = started.chromium.launch(
                executable_path=shutil.which("chromium") or shutil.which("google-chrome"), args=ARGUMENTS
            )
            found = of_page(browser.new_page(), address)
            browser.close()
        process.send_signal(signal.SIGINT)
    return found


def of_page(page: Any, address: str) -> dict[str, float]:
    """The three figures of one page."""
    page.goto(f"{address}#steer?across=-1&down=-1")
    first = page.evaluate(FIRST) / 1000
    reading = page.evaluate(DRAGGED)
    while "reading" in (page.text_content("#progress") or ""):
        page.wait_for_timeout(200)
    page.wait_for_timeout(1000)
    return {"first_picture_s": first, "while_reading_per_s": reading, "pictures_per_s": page.evaluate(DRAGGED)}


if __name__ == "__main__":
    main()
