"""The exported page in headless Chromium, from a file server and from the disk, and the runtime that it contains.

The last test makes the screenshot in ``docs/export.md``:
``pytest tests/models/export/test_site.py --screenshots docs/images --run runs/00000-mnist``.
"""

import base64
import functools
import http.server
import io
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from infogan.data import load
from infogan.data.preprocess import render
from infogan.models.export import export
from infogan.models.infogan import InfoGAN
from tests.browser import NEEDS_BROWSER, Tab, until
from tests.helpers import small_model

pytestmark = NEEDS_BROWSER
MARKUP = "<img src=x onerror=alert(1)>"  # a name that must be shown as text


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


class Site:
    """An exported page, in a subfolder of a served folder."""

    def __init__(self, model: InfoGAN, root: Path) -> None:
        self.model, self.folder = model, root / "some where" / "page"
        self.folder.parent.mkdir()
        export(model, "site", self.folder)
        handler = functools.partial(QuietHandler, directory=str(root))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    @property
    def addresses(self) -> dict[str, str]:
        served = f"http://127.0.0.1:{self.server.server_port}/some%20where/page/index.html"
        return {"served": served, "disk": (self.folder / "index.html").as_uri()}

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture(scope="module")
def site(digits_run: Path, runtime: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    model = InfoGAN.load(digits_run)
    model.rename_code("knob1", "a noise")  # not the model's noise
    model.name_codes({"category": {2: MARKUP, 5: "5"}})
    model.order_values("category", [9, 8, 7, 6, 5, 4, 3, 2, 1, 0])
    site = Site(model, tmp_path_factory.mktemp("sites"))
    yield site
    site.close()


def ready(page: Any, address: str) -> None:
    page.goto(address)
    wait_until_drawn(page)


def wait_until_drawn(page: Any) -> None:
    """Wait until the newest view is drawn."""
    until(page, "() => document.getElementById('lattice').ariaBusy === 'false'")


def pixels(page: Any, selector: str) -> NDArray[np.uint8]:
    """Return the pixels of a canvas, (height, width, 3)."""
    read = "canvas => [canvas.height, canvas.width, [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]]"  # noqa: E501
    height, width, values = page.eval_on_selector(selector, read)
    return np.array(values, np.uint8).reshape(height, width, 4)[:, :, :3]


def uploaded_pixels(page: Any) -> NDArray[np.int64]:
    """Return the grey pixels of the uploaded image as the model sees it, (height, width)."""
    url = page.locator("#uploaded .thumb").evaluate("button => button.style.backgroundImage.slice(5, -2)")
    content = base64.b64decode(url.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(content)).convert("L")).astype(np.int64)


def noise_of(page: Any, seed: int, pick: int) -> torch.Tensor:
    noise = page.evaluate("([seed, pick]) => [...infogan.noise(seed, pick)]", [seed, pick])
    return torch.tensor(noise, dtype=torch.float32).unsqueeze(0)


def assert_drawn(drawn: NDArray[np.uint8], expected: NDArray[np.uint8]) -> None:
    """Assert that pixels show an image (channels, height, width), but for rare differences in rounding."""
    difference = np.abs(drawn.astype(int) - np.broadcast_to(expected.transpose(1, 2, 0), drawn.shape))
    assert difference.max() <= 1 and (difference > 0).mean() < 0.01


@pytest.mark.parametrize("place", ["served", "disk"])
def test_the_page_draws_what_the_model_draws(browser: Any, site: Site, place: str) -> None:
    model, size = site.model, site.model.shape.size
    with Tab(browser) as page:
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        ready(page, site.addresses[place])
        assert page.evaluate("document.getElementById('error').hidden")
        page.locator("[data-value='3']").click()
        page.locator("[data-code='1']").fill("-0.7")
        page.locator("[data-code='2']").fill("0.25")
        wait_until_drawn(page)
        knobs = {"a noise": -0.7, "knob2": 0.25}
        expected = model.generate(noise_of(page, 0, 0), {"category": 3, **knobs})[0]
        assert_drawn(pixels(page, "#centre"), expected)
        # The whole table: a column for each value in the model's order, a row for each noise.
        table, order = pixels(page, "#lattice canvas"), model.values_of("category")
        assert table.shape == (8 * size, 10 * size, 3) and order[0] == 9
        for row in range(8):
            noise = noise_of(page, 0, row).expand(10, -1)
            images = model.generate(noise, {"category": order, **knobs})
            for column, image in enumerate(images):
                cell = table[row * size : (row + 1) * size, column * size : (column + 1) * size]
                assert_drawn(cell, image)
        strip = np.stack(
            [pixels(page, f"#strips .strip:nth-child(2) button:nth-child({i + 1}) canvas") for i in (0, 9)]
        )
        ends = model.generate(noise_of(page, 0, 0).expand(2, -1), {"category": 3, "a noise": [-1, 1], "knob2": 0.25})
        for drawn, image in zip(strip, ends, strict=True):
            assert_drawn(drawn, image)
        # Only the files of the folder were requested; the policy forbids all other requests.
        folder = site.addresses[place].removesuffix("index.html")
        requested = {address.removeprefix(folder).partition("#")[0] for address in requests}
        files = set(os.listdir(site.folder))
        assert files - {"export.json", "LICENSE.txt"} <= requested <= files
        policy = page.get_attribute("meta[http-equiv=Content-Security-Policy]", "content")
        assert "default-src 'none'" in policy and "unsafe-inline" not in policy and "http" not in policy
        assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|style=", page.content().split("<body>")[0])


def test_codes_are_steered_by_mouse_keys_and_links(browser: Any, site: Site) -> None:
    with Tab(browser) as page:
        ready(page, site.addresses["disk"])
        buttons = page.locator("[data-code='0'] button")
        # In display order, with names as plain text, and a key for values that are not named by it.
        assert buttons.all_text_contents() == ["9", "8", "7 2", "6", "5", "4", "3", MARKUP, "1", "0"]
        assert page.locator("#codes img").count() == 0
        assert buttons.nth(0).get_attribute("aria-pressed") == "true"
        before = pixels(page, "#centre")
        page.locator("[data-code='2']").focus()
        page.keyboard.press("End")
        wait_until_drawn(page)
        assert page.locator("[data-code='2']").input_value() == "1"
        assert (pixels(page, "#centre") != before).any()
        page.keyboard.press("2")  # no value is named 2: the value at that position
        wait_until_drawn(page)
        assert "category 7" in page.get_attribute("#centre", "aria-label")
        page.keyboard.press("r")
        wait_until_drawn(page)
        seed = int(page.inner_text("#seed").split()[1])
        assert seed > 0
        page.locator("#redraw").press("ArrowDown")  # from a button into the table, below the centre
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        wait_until_drawn(page)
        assert page.evaluate("document.activeElement.getAttribute('aria-selected')") == "true"
        assert page.locator(".cell[aria-selected=true]").count() == 1
        label = page.get_attribute(".cell[aria-selected=true]", "aria-label")
        assert label == "category 6, a noise 0.00, knob2 1.00, noise 1"
        assert_drawn(
            pixels(page, "#centre"),
            site.model.generate(noise_of(page, seed, 1), {"category": 6, "a noise": 0, "knob2": 1})[0],
        )
        page.select_option("#down", "1")  # a knob along y
        wait_until_drawn(page)
        assert pixels(page, "#lattice canvas").shape[0] == 8 * site.model.shape.size
        page.select_option("#down", "0")  # the axes change places
        wait_until_drawn(page)
        assert page.input_value("#across") == "1"
        until(page, "() => location.hash.includes('down=0')")
        link, images = page.url, [pixels(page, "#centre"), pixels(page, "#lattice canvas")]
        page.goto("about:blank")
        ready(page, link)
        assert (pixels(page, "#centre") == images[0]).all() and (pixels(page, "#lattice canvas") == images[1]).all()
        page.goto("about:blank")
        ready(page, f"{site.addresses['disk']}#codes=77,x&seed=-1&across=9&down=9&pick=1e99")  # no such view
        assert page.inner_text("#centre-codes") == "category 9, a noise 0.00, knob2 0.00"


def test_noise_is_blended_as_the_model_blends_it(browser: Any, site: Site) -> None:
    with Tab(browser) as page:
        ready(page, f"{site.addresses['disk']}#codes=3,0,0&seed=5&towards=6")
        start, end = noise_of(page, 5, 0), noise_of(page, 6, 0)
        for way in (0.5, 1.0):
            page.locator("#way").fill(str(way))
            wait_until_drawn(page)
            noise = site.model.blended_noise(start, end, torch.tensor([way]))
            expected = site.model.generate(noise, {"category": 3, "a noise": 0, "knob2": 0})[0]
            assert_drawn(pixels(page, "#centre"), expected)


def test_zoom_narrows_the_axis_of_a_knob(browser: Any, site: Site) -> None:
    with Tab(browser) as page:
        ready(page, f"{site.addresses['disk']}#codes=3,0.9,0&across=1&zoom=4")
        headings = page.locator("#lattice .column").all_text_contents()
        assert (headings[0], headings[-1]) == ("0.50", "1.00")


def test_an_uploaded_image_is_read_as_the_model_reads_it(browser: Any, site: Site) -> None:
    image = load("digits", split="test").images[11]
    with Tab(browser) as page:
        ready(page, site.addresses["served"])
        send(page, Image.fromarray(image[0]))
        assert (uploaded_pixels(page) == image[0]).all()
        encoding = site.model.encode(image[None])
        shares = encoding.probabilities["category"][0]
        shown = page.locator("#uploaded .bars").inner_text().split("\n")
        best = np.argsort(-shares)[:3]
        names = site.model.value_names("category")
        assert [text for text in shown if text][::2] == [f"category {names[value]}" for value in best]
        values = page.eval_on_selector_all("#uploaded meter", "meters => meters.map(meter => Number(meter.value))")
        np.testing.assert_allclose(values, shares[best], atol=1e-4)
        mean, deviation = float(encoding.codes["a noise"][0]), float(encoding.deviations["a noise"][0])
        text = page.locator("#uploaded p").first.inner_text()
        assert text == f"a noise {mean:.2f} ± {deviation:.2f}".replace("-", "−")
        page.get_by_role("button", name="Generate with these codes").click()
        wait_until_drawn(page)
        assert f"category {names[best[0]]}," in page.inner_text("#centre-codes")
        page.set_input_files("#file", {"name": "x.png", "mimeType": "image/png", "buffer": b"no picture"})
        until(page, "() => !document.getElementById('error').hidden")
        assert "The image cannot be read" in page.inner_text("#error")


def test_an_image_is_resized_as_the_package_does_it(browser: Any, site: Site) -> None:
    with Tab(browser) as page:
        ready(page, site.addresses["disk"])
        for width, height in ((57, 31), (8, 8), (5, 300)):
            values = np.random.default_rng(width).integers(0, 256, (height // 4 + 1, width // 4 + 1, 4), np.uint8)
            picture = Image.fromarray(values, "RGBA").resize((width, height), Image.Resampling.BICUBIC)
            opaque = Image.linear_gradient("L").resize((width, height)).point(lambda value: 255 * (value > 99))
            picture.putalpha(opaque)
            expected = render(picture, 8, 1, "crop")[0].astype(int)
            send(page, picture)
            assert np.abs(uploaded_pixels(page) - expected).max() <= 1
            assert expected.max() - expected.min() > 50


def send(page: Any, picture: Image.Image) -> None:
    """Drop an image on the page."""
    picture.save(buffer := io.BytesIO(), "PNG")
    dropped = """bytes => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(bytes)], 'mine.png', { type: 'image/png' }));
      document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true }));
    }"""
    page.evaluate(dropped, list(buffer.getvalue()))
    until(page, "() => document.getElementById('uploaded').innerText !== 'reading …'")


def test_noise_follows_its_distribution(browser: Any, site: Site) -> None:
    with Tab(browser) as page:
        ready(page, site.addresses["disk"])
        draw = "() => [...Array(300).keys()].map((i) => [...infogan.noise(i % 3, Math.floor(i / 3))])"
        noise = np.array(page.evaluate(draw))
    assert noise.shape == (300, 32) and len(np.unique(noise)) > 9590
    # 9,600 draws: within five standard errors of the moments of the normal distribution.
    assert abs(noise.mean()) < 5 / 98 and abs(noise.std() - 1) < 5 / 138
    assert abs((noise**4).mean() - 3) < 5 * 9.8 / 98
    assert np.abs(np.corrcoef(noise, rowvar=False) - np.eye(32)).max() < 5 / 17.3
    assert np.abs(np.corrcoef(noise[:100].reshape(-1), noise[1:101].reshape(-1))[0, 1]) < 5 / 56


def test_a_colour_cgan_generates_and_reads_nothing(browser: Any, runtime: None, tmp_path: Path) -> None:
    codes = [{"kind": "categorical", "size": 60, "name": "label"}]
    site = Site(small_model(codes=codes, kind="cgan", channels=3, distribution="uniform"), tmp_path)
    try:
        with Tab(browser, viewport={"width": 390, "height": 800}, color_scheme="dark") as page:
            ready(page, site.addresses["served"])
            assert page.locator("#reader").is_hidden()
            page.locator("[data-value='31']").click()
            wait_until_drawn(page)
            noise = noise_of(page, 0, 0)
            assert float(noise.abs().max()) <= 1
            assert_drawn(pixels(page, "#centre"), site.model.generate(noise, {"label": 31})[0])
            # The values around the selected one; nothing is wider than the window.
            assert page.locator("#lattice .column").all_text_contents() == [str(value) for value in range(21, 41)]
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    finally:
        site.close()


@pytest.mark.parametrize("name", ["model.js", "runtime.js", "runtime.wasm.js"])
def test_a_missing_file_is_named(browser: Any, site: Site, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(site.folder, tmp_path / "page")
    (folder / name).unlink()
    tab = Tab(browser)
    with tab as page:
        page.goto((folder / "index.html").as_uri())
        until(page, "() => !document.getElementById('error').hidden")
        assert page.inner_text("#error") == f"The file {name}, which belongs next to this page, is missing or damaged."
        assert all("ERR_FILE_NOT_FOUND" in text for text in tab.console_errors)
        tab.console_errors.clear()


# The screenshot.


def test_screenshot(browser: Any, site: Site, pytestconfig: pytest.Config, tmp_path: Path) -> None:
    """With --screenshots FOLDER and --run RUN also write the screenshot of docs/export.md."""
    folder, run = pytestconfig.getoption("--screenshots"), pytestconfig.getoption("--run")
    other = Site(InfoGAN.load(run), tmp_path) if run else None
    pictured = other or site
    try:
        with Tab(browser) as page:
            ready(page, pictured.addresses["disk"])
            image = pictured.model.sample(1, seed=3).images[0]
            send(page, Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)))
            screenshot = page.screenshot(full_page=True)
        assert Image.open(io.BytesIO(screenshot)).width == 1280
        if folder:
            (Path(folder) / "site.png").write_bytes(screenshot)
    finally:
        if other:
            other.close()
