"""Measure how fast the explorer is: times to the groups and to the first table, and tables per second while steering.

    python -m benchmarks.explorer runs/00000-mnist --rounds 5 --out benchmarks/results/explorer.json

A headless Chromium (through Playwright) opens the page of a separate process. The time to the groups runs from the
navigation until every group in sight has a picture, while images are still read. The time to the first table runs from
the navigation until the table of 8 by 8 noises is painted. Then a slider moves with every frame of the browser, and the
painted tables are counted for three seconds.
"""

import argparse
import json
import shutil
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import sync_playwright

from benchmarks.accuracy import commit, machine
from benchmarks.exploring import ExplorerProcess

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
FIRST = """() => new Promise((resolve) => {
  const look = () => Number(document.querySelector('#lattice canvas')?.dataset.frame ?? 0) > 0
    ? resolve(performance.now()) : setTimeout(look, 2);
  look();
})"""
GROUPS = """() => new Promise((resolve) => {
  const look = () => {
    const isInSight = (card) => card.getBoundingClientRect().top < innerHeight;
    const cards = [...document.querySelectorAll('#groups-list li')].filter(isInSight);
    const isPictured = (card) => [...card.querySelectorAll('img')].some((image) => image.naturalWidth);
    if (cards.length && cards.every(isPictured)) resolve(performance.now());
    else setTimeout(look, 2);
  };
  look();
})"""
DRAGGED = """() => new Promise((resolve) => {
  const slider = document.querySelector('input[data-code]');
  const painted = () => Number(document.querySelector('#lattice canvas').dataset.frame);
  const start = performance.now(), before = painted();
  const move = () => {
    const passed = performance.now() - start;
    if (passed > 3000) return resolve((painted() - before) / passed * 1000);
    slider.value = Math.sin(passed / 300);
    slider.dispatchEvent(new Event('input'));
    requestAnimationFrame(move);
  };
  move();
})"""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run folder whose model has a continuous code")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    arguments = parser.parse_args()
    rounds = [measure(arguments.run) for _ in range(arguments.rounds)]
    result = {"commit": commit(), "run": arguments.run.name, **machine(), "rounds": rounds}
    for name in rounds[0]:
        values = [figures[name] for figures in rounds]
        result[name] = {"median": median(values), "lowest": min(values), "highest": max(values)}
        print(f"{name}: median {median(values):.2f}, {min(values):.2f} to {max(values):.2f}")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")


def measure(run: Path) -> dict[str, float]:
    """Measure one round with a new server and a new browser."""
    explorer = ExplorerProcess(run)
    with sync_playwright() as session:
        path = shutil.which("chromium") or shutil.which("google-chrome")
        browser = session.chromium.launch(executable_path=path, args=ARGUMENTS)
        figures = measure_page(browser.new_page(), explorer.address)
        browser.close()
    explorer.stop()
    return figures


def measure_page(page: Any, address: str) -> dict[str, float]:
    """Measure the figures of one page."""
    page.goto(address)
    groups = page.evaluate(GROUPS) / 1000
    page.goto("about:blank")
    page.goto(f"{address.partition('?')[0]}#steer?across=-1&down=-1")
    first = page.evaluate(FIRST) / 1000
    while_reading = page.evaluate(DRAGGED)
    while "reading" in (page.text_content("#progress") or ""):
        page.wait_for_timeout(200)
    page.wait_for_timeout(1000)
    return {
        "groups_s": groups,
        "first_picture_s": first,
        "while_reading_per_s": while_reading,
        "pictures_per_s": page.evaluate(DRAGGED),
    }


if __name__ == "__main__":
    main()
