"""The pages in a real browser: headless Chromium, driven by Playwright.

The pictures of ``docs/explorer.md`` are those of the last test, of a run worth looking at:
``pytest tests/test_browser.py --screenshots docs/images --run runs/00000-mnist``.
"""

import io
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from infogan.data import load
from infogan.data.labels import read_labels
from infogan.model import InfoGAN
from tests.explored import Explored, copy_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


class Tab:
    """A page whose console is listened to."""

    def __init__(self, browser: Any, **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on(
            "console", lambda message: self.complaints.append(message.text) if message.type == "error" else None
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def __enter__(self) -> Any:
        return self.page

    def __exit__(self, kind: object, *_: object) -> None:
        self.context.close()
        if kind is None:
            assert self.complaints == []


def until(page: Any, condition: str, argument: Any = None) -> None:
    """Waits for a condition; Playwright's own waiting needs eval, which the page's policy forbids."""
    end = time.monotonic() + 30
    while not page.evaluate(condition, argument):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(20)


def filled_group(page: Any) -> None:
    """Sorts by a group that has images: few steps of training leave some without."""
    for number in range(10):
        page.select_option("#group", str(number))
        name = page.locator("#group option").nth(number).text_content()
        until(page, "name => document.getElementById('sort-told').textContent.includes(` in ${name},`)", name)
        if page.locator("#gallery .thumb").count() > 20:
            return
    raise AssertionError("no group has images")


def drawn(page: Any, selector: str = "#lattice canvas") -> str:
    """The pixels of a canvas."""
    return str(page.eval_on_selector(selector, "canvas => canvas.toDataURL()"))


def until_changed(page: Any, before: str, selector: str = "#lattice canvas") -> str:
    """The pixels of a canvas once they are others."""
    until(page, "([selector, before]) => document.querySelector(selector)?.toDataURL() !== before", [selector, before])
    return drawn(page, selector)


def ready(page: Any, address: str) -> None:
    page.goto(address)
    page.wait_for_selector("#strips .frames button")
    until(page, "() => !/reading/.test(document.getElementById('progress').textContent)")


@pytest.fixture
def explored(digits_run: Path, tmp_path: Path) -> Iterator[Explored]:
    with Explored(copy_of(digits_run, tmp_path / "run")) as served:
        yield served


def test_codes_are_steered_and_named_and_the_name_is_kept(browser: Any, explored: Explored, tmp_path: Path) -> None:
    images = load("digits")
    with Tab(browser) as page:
        ready(page, explored.address)
        table, centre = drawn(page), drawn(page, "#centre")
        page.locator("#codes [data-value='5']").click()
        centre = until_changed(page, centre, "#centre")
        assert "category 5" in page.get_attribute("#centre", "aria-label")
        page.locator("[data-code='1']").fill("0.8")
        table = until_changed(page, table)
        assert "knob1 0.80" in page.locator("#lattice .cell").first.get_attribute("aria-label")
        # On the keyboard alone: a category, new noise, a cell of the table.
        page.keyboard.press("Escape")
        page.locator("body").click(position={"x": 1, "y": 1})
        page.keyboard.press("7")
        centre = until_changed(page, centre, "#centre")
        page.keyboard.press("r")
        table = until_changed(page, table)
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        until(page, "() => document.getElementById('centre').ariaLabel.includes('category 8')")
        until(page, "() => location.hash.includes('codes=8')")
        link = page.url
        seen = drawn(page, "#centre")

        page.get_by_role("button", name="Name", exact=True).click()
        # So few steps file nearly all images under a value or two: one of them is named as well.
        filed = int(np.bincount(InfoGAN.load(tmp_path / "run").encode(images.images).codes["category"]).argmax())
        for value, name in ((8, "snowman"), (filed, "frequent")):
            page.get_by_label(f"Name of value {value}").fill(name)
            page.get_by_label(f"Name of value {value}").press("Enter")
            page.get_by_role("button", name=f"Undo naming category {value}").wait_for()
        page.goto("about:blank")
        page.goto(link)  # a link holds the view, and the server the name
        page.wait_for_selector("#strips .frames button")
        assert "category snowman" in page.get_attribute("#centre", "aria-label") or filed == 8
        assert drawn(page, "#centre") == seen
    command = [sys.executable, "-m", "infogan", "encode", str(tmp_path / "run"), "digits", "--out", "codes.csv"]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
    found = InfoGAN.load(tmp_path / "run").encode(images.images).codes["category"]
    rows = (tmp_path / "codes.csv").read_text().splitlines()[1:]
    assert [row.split(",")[1] == "frequent" for row in rows] == [value == filed for value in found.tolist()]
    assert any(found == filed)


def test_a_dragged_slider_ends_at_the_newest_view(browser: Any, explored: Explored) -> None:
    with Tab(browser) as page:
        ready(page, explored.address)
        slider = page.locator("[data-code='1']")
        box = slider.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        for step in range(40):
            page.mouse.move(box["x"] + box["width"] * (0.5 + step / 100), box["y"] + box["height"] / 2)
        page.mouse.up()
        value = float(slider.input_value())
        assert value > 0.5
        until(page, "wanted => document.getElementById('centre').ariaLabel.includes(`knob1 ${wanted}`)", f"{value:.2f}")
        until(page, "wanted => decodeURIComponent(location.hash).includes(`,${wanted},`)", f"{value:g}")


def test_an_image_is_uploaded_and_its_codes_are_read(browser: Any, explored: Explored, tmp_path: Path) -> None:
    image = load("digits", split="test").images[11]
    buffer = io.BytesIO()
    Image.fromarray(image[0]).save(buffer, "PNG")
    tab = Tab(browser)
    with tab as page:
        ready(page, explored.address)
        page.set_input_files("#file", {"name": "mine.png", "mimeType": "image/png", "buffer": buffer.getvalue()})
        page.wait_for_selector("#uploaded meter")
        shares = page.eval_on_selector_all("#uploaded meter", "bars => bars.map(bar => bar.value)")
        probabilities = InfoGAN.load(tmp_path / "run").encode(image[None]).probabilities["category"][0]
        assert shares == pytest.approx(sorted(probabilities.tolist(), reverse=True)[:3], abs=1e-3)
        assert page.locator("#uploaded .gallery").count() == 2
        assert tab.complaints == []
        page.set_input_files("#file", {"name": "no.png", "mimeType": "image/png", "buffer": b"no picture"})
        page.get_by_role("alert").wait_for()
        assert "can not be read" in page.get_by_role("alert").text_content()
        assert all("400" in complaint for complaint in tab.complaints)  # the browser tells of the refusal itself
        tab.complaints.clear()


def test_images_are_sorted_and_doubts_are_settled(browser: Any, explored: Explored, tmp_path: Path) -> None:
    with Tab(browser) as page:
        ready(page, explored.address)
        page.get_by_role("button", name="Sort", exact=True).click()
        filled_group(page)
        page.locator("#gallery .thumb").first.click()
        page.wait_for_selector("#detail meter")
        page.select_option("#order", "between")
        until(page, "() => document.getElementById('sort-told').textContent.includes(' and ')")
        page.get_by_role("button", name="Correct", exact=True).click()
        until(page, "() => document.getElementById('doubt').ariaLabel")
        for key in "24":
            before = page.get_attribute("#doubt", "aria-label")
            page.keyboard.press(key)
            until(page, "before => document.getElementById('doubt').ariaLabel !== before", before)
        before = page.get_attribute("#doubt", "aria-label")
        page.keyboard.press(" ")
        until(page, "before => document.getElementById('doubt').ariaLabel !== before", before)
        page.get_by_label("another name").fill("smudge")
        page.get_by_label("another name").press("Enter")
        until(page, "() => document.getElementById('correct-told').textContent.startsWith('3 filed by you')")
    labels = read_labels(tmp_path / "run" / "labels.csv", load("digits"))
    assert sorted(labels.names[value] for value in labels.values.tolist()) == ["2", "4", "smudge"]


def test_evidence_is_drawn_and_training_is_scrubbed(browser: Any, explored: Explored) -> None:
    with Tab(browser) as page:
        ready(page, explored.address)
        page.get_by_role("button", name="Evidence", exact=True).click()
        page.wait_for_selector("#charts svg polyline")
        assert page.text_content("#verdict").startswith(("trust", "do not trust"))
        first = page.get_attribute("#picture", "src")
        page.locator("#step").press("ArrowLeft")
        until(page, "before => document.getElementById('picture').getAttribute('src') !== before", first)
        until(page, "() => document.getElementById('picture').naturalWidth > 0")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_window_scrolls_one_way_only(browser: Any, explored: Explored, scheme: str) -> None:
    with Tab(browser, viewport={"width": 400, "height": 800}, color_scheme=scheme) as page:
        ready(page, explored.address)
        for tab in ("Steer", "Sort", "Name", "Correct", "Evidence"):
            page.get_by_role("button", name=tab, exact=True).click()
            page.wait_for_timeout(300)
            assert page.evaluate("document.documentElement.scrollWidth") <= 400, tab
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (scheme == "light")


def test_the_report_opens_from_disk_without_a_network(browser: Any, digits_run: Path) -> None:
    tab = Tab(browser, offline=True)
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    with tab as page:
        page.goto((digits_run / "report.html").as_uri())
        slider = page.locator(".scrubbed input").first
        window = page.locator(".scrubbed .window").first
        before = window.screenshot()
        slider.press("ArrowLeft")
        slider.press("ArrowLeft")
        assert window.screenshot() != before
        assert page.locator(".scrubbed output").first.text_content() == slider.get_attribute("aria-valuetext")
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


LOADED = {
    "Steer": "() => document.querySelectorAll('#strips .frames').length === 3",
    "Sort": "() => document.getElementById('sort-told').textContent",
    "Name": "() => document.querySelectorAll('#images-2 .thumb').length === 10",
    "Correct": "() => document.querySelector('#next .thumb')",
    "Evidence": "() => document.getElementById('picture').naturalWidth && document.querySelector('#charts svg')",
}


@pytest.mark.parametrize(
    ("name", "scheme", "width", "tab"),
    [
        ("explorer-light", "light", 1280, "Steer"),
        ("explorer-dark", "dark", 1280, "Sort"),
        ("explorer-narrow", "light", 400, "Correct"),
        ("explorer-evidence", "light", 1280, "Evidence"),
        ("explorer-name", "dark", 1280, "Name"),
    ],
)
def test_screenshots(
    browser: Any, request: pytest.FixtureRequest, tmp_path: Path, digits_run: Path, name: str, scheme: str, width: int,
    tab: str,
) -> None:  # fmt: skip
    folder = Path(request.config.getoption("--screenshots") or tmp_path)
    run = Path(request.config.getoption("--run") or digits_run)
    with (
        Explored(copy_of(run, tmp_path / "run")) as served,
        Tab(browser, viewport={"width": width, "height": 900}, color_scheme=scheme) as page,
    ):
        ready(page, served.address)
        page.get_by_role("button", name=tab, exact=True).click()
        until(page, LOADED[tab])
        if tab == "Sort":
            filled_group(page)
            page.locator("#gallery .thumb").nth(20).click()
            page.wait_for_selector("#detail meter")
        page.screenshot(path=folder / f"{name}.png")
    picture = Image.open(folder / f"{name}.png").convert("L")
    assert picture.size == (width, 900)
    assert len(set(picture.get_flattened_data())) > 20
