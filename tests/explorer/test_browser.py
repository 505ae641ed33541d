"""The explorer's page, the report and the notebook in headless Chromium, driven by Playwright.

The last test makes the screenshots in ``docs/explorer.md``:
``pytest tests/explorer/test_browser.py --screenshots docs/images --run runs/00000-mnist``.
"""

import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from infogan.data import load
from infogan.data.labels import read_labels
from infogan.models.infogan import InfoGAN
from infogan.reports import figures, notebook
from infogan.training.run_dir import RunFolder
from tests.browser import NEEDS_BROWSER, Tab, until
from tests.commands import infogan
from tests.explorer_client import ExplorerClient, copy_run, explorer_thread, run_with_two_categories
from tests.helpers import model_without_recognizer, small_model

pytestmark = NEEDS_BROWSER


def test_categories_are_merged_in_the_tree(browser: Any, client: ExplorerClient) -> None:
    RunFolder(client.run).add_metrics({"step": 9, "tree": [{"first": 2, "second": 7, "separation": 0.1}]})
    with Tab(browser, client) as page:
        ready(page, client.home)
        open_tab(page, "Name")
        page.get_by_role("button", name="2 and 7: separation 0.10").click()
        page.get_by_role("button", name="Undo: category 2 and 7 as the same", exact=True).wait_for()
        page.get_by_role("button", name="2+7: separation 0.10").press("Enter")  # again, with the keyboard
        until(page, "() => !document.getElementById('error').textContent")
    names = InfoGAN.load(client.run).value_names("category")
    assert names[2] == names[7] == "2+7"


def select_filled_group(page: Any) -> None:
    """Select a group with images: after so short a training some groups are empty."""
    for number in range(10):
        page.select_option("#group", str(number))
        name = page.locator("#group option").nth(number).text_content()
        until(page, "name => document.getElementById('sort-summary').textContent.includes(` in ${name},`)", name)
        if page.locator("#gallery .thumb").count() > 20:
            return
    raise AssertionError("no group has images")


def drawn(page: Any, selector: str = "#lattice canvas") -> str:
    """Return the pixels of a canvas as a data URL."""
    return str(page.eval_on_selector(selector, "canvas => canvas.toDataURL()"))


def until_changed(page: Any, before: str, selector: str = "#lattice canvas") -> str:
    """Wait until the pixels of a canvas change, and return them."""
    until(page, "([selector, before]) => document.querySelector(selector)?.toDataURL() !== before", [selector, before])
    return drawn(page, selector)


def ready(page: Any, address: str) -> None:
    """Open the page, and on it the tab *Steer*."""
    page.goto(address)
    until(page, "() => document.querySelector('[aria-current=page]')")
    open_tab(page, "Steer")
    page.wait_for_selector("#strips .frames button")
    until(page, "() => !/reading/.test(document.getElementById('progress').textContent)")


def open_tab(page: Any, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def grey(data: str) -> Any:
    """Return the grey pixels of a ``data:`` URL, (height, width)."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert("L")).astype(int)


def test_the_page_opens_on_all_groups(browser: Any, client: ExplorerClient) -> None:
    categories = InfoGAN.load(client.run).encode(load("digits").images).codes["category"]
    counts = np.bincount(categories, minlength=10)
    with Tab(browser, client) as page:
        page.goto(client.home)
        until(page, "() => document.querySelectorAll('#groups-list li').length === 10")
        summaries = page.locator("#groups-list p").all_text_contents()
        assert [int(text.split()[0].replace("no", "0")) for text in summaries] == counts.tolist()
        until(page, LOADED["Groups"])
        assert page.text_content("#groups-verdict").startswith("Rely on these groups: ")
        # In another order, and only some.
        page.select_option("#groups-order", "largest")
        first = page.locator("#groups-list input:not([type=checkbox])").first
        assert first.get_attribute("placeholder") == str(counts.argmax())
        page.get_by_label("find").fill(str(counts.argmax()))
        assert page.locator("#groups-list li").count() == 1
        assert "1 of 10 groups" in page.text_content("#groups-summary")
        # Named with the keyboard, and opened.
        first.fill("frequent")
        first.press("Enter")
        page.get_by_role("button", name=f"Undo: category {counts.argmax()} named 'frequent'", exact=True).wait_for()
        page.get_by_label("find").fill("freq")
        page.get_by_role("button", name=f"Open group frequent: {counts.max()} images").press("Enter")
        until(page, "() => document.getElementById('sort-summary').textContent.includes(' in frequent,')")
        # Two groups are merged.
        open_tab(page, "Groups")
        page.get_by_label("find").fill("")
        assert page.get_by_role("button", name="Merge the selected groups").is_disabled()
        for name in ("frequent", str(counts.argmin())):
            page.get_by_label(f"Select group {name}", exact=True).check()
        page.get_by_role("button", name="Merge 2 groups").click()
        until(page, "() => document.querySelectorAll('#groups-list li').length === 9")
        merged = page.get_by_role("button", name=re.compile("Open group frequent: "))
        assert merged.get_attribute("aria-label").endswith(f": {counts.max() + counts.min()} images")
        page.get_by_role("link", name="Why?").click()
        page.wait_for_selector("#evidence:not([hidden])")


def test_codes_are_steered_and_named(browser: Any, client: ExplorerClient, tmp_path: Path) -> None:
    images = load("digits")
    with Tab(browser) as page:
        ready(page, client.addresses[-1])
        table, centre = drawn(page), drawn(page, "#centre")
        page.locator("#codes [data-value='5']").click()
        centre = until_changed(page, centre, "#centre")
        assert "category 5" in page.get_attribute("#centre", "aria-label")
        page.locator("[data-code='1']").fill("0.8")
        table = until_changed(page, table)
        assert "knob1 0.80" in page.locator("#lattice .cell").first.get_attribute("aria-label")
        # With the keyboard: a category, new noise, a cell of the table.
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
        centre = drawn(page, "#centre")

        page.get_by_role("button", name="Name", exact=True).click()
        # After so few steps nearly all images are in one or two groups: one of them is named, too.
        frequent = int(np.bincount(InfoGAN.load(client.run).encode(images.images).codes["category"]).argmax())
        for value, name in ((8, "snowman"), (frequent, "frequent")):
            page.get_by_label(f"Name of value {value}").fill(name)
            page.get_by_label(f"Name of value {value}").press("Enter")
            page.get_by_role("button", name=f"Undo: category {value} named '{name}'", exact=True).wait_for()
        page.goto("about:blank")
        page.goto(link)  # the link contains the view, and the server the name
        page.wait_for_selector("#strips .frames button")
        assert "category snowman" in page.get_attribute("#centre", "aria-label") or frequent == 8
        assert drawn(page, "#centre") == centre
    assert infogan("encode", client.run, "digits", "--out", "codes.csv", cwd=tmp_path).returncode == 0
    categories = InfoGAN.load(client.run).encode(images.images).codes["category"]
    rows = (tmp_path / "codes.csv").read_text().splitlines()[1:]
    assert [row.split(",")[1] == "frequent" for row in rows] == [value == frequent for value in categories.tolist()]
    assert any(categories == frequent)


def test_a_dragged_slider_ends_at_the_newest_view(browser: Any, client: ExplorerClient) -> None:
    with Tab(browser, client) as page:
        ready(page, client.home)
        slider = page.locator("[data-code='1']")
        box = slider.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        for step in range(40):
            page.mouse.move(box["x"] + box["width"] * (0.5 + step / 100), box["y"] + box["height"] / 2)
        page.mouse.up()
        value = float(slider.input_value())
        assert value > 0.5
        until(page, "text => document.getElementById('centre').ariaLabel.includes(`knob1 ${text}`)", f"{value:.2f}")
        until(page, "text => decodeURIComponent(location.hash).includes(`,${text},`)", f"{value:g}")


def test_the_codes_of_an_uploaded_image_are_shown(browser: Any, client: ExplorerClient) -> None:
    image = load("digits", split="test").images[11]
    buffer = io.BytesIO()
    Image.fromarray(image[0]).save(buffer, "PNG")
    tab = Tab(browser, client)
    with tab as page:
        ready(page, client.home)
        page.set_input_files("#file", {"name": "mine.png", "mimeType": "image/png", "buffer": buffer.getvalue()})
        page.wait_for_selector("#uploaded meter")
        shares = page.eval_on_selector_all("#uploaded meter", "bars => bars.map(bar => bar.value)")
        # A selected neighbour becomes the centre: exactly that image, not one with the same codes.
        for number in (0, 5):
            thumb = page.locator("#uploaded .gallery").first.locator("button").nth(number)
            row = grey(thumb.evaluate("button => button.style.backgroundImage.slice(5, -2)"))
            frame = page.get_attribute("#centre", "data-frame")
            thumb.click()
            until(page, "before => document.getElementById('centre').dataset.frame !== before", frame)
            until(page, "() => location.hash.includes('seed=1&')")
            until(page, "() => document.querySelectorAll('#strips .frames').length === 3")
            assert np.abs(grey(drawn(page, "#centre")) - row[:, 8 * number : 8 * number + 8]).max() <= 1
        probabilities = InfoGAN.load(client.run).encode(image[None]).probabilities["category"][0]
        assert shares == pytest.approx(sorted(probabilities.tolist(), reverse=True)[:3], abs=1e-3)
        assert page.locator("#uploaded .gallery").count() == 2
        assert tab.console_errors == []
        page.set_input_files("#file", {"name": "no.png", "mimeType": "image/png", "buffer": b"no picture"})
        page.get_by_role("alert").wait_for()
        assert "cannot be read" in page.get_by_role("alert").text_content()
        assert all("400" in complaint for complaint in tab.console_errors)  # the browser logs the status itself
        tab.console_errors.clear()


def test_images_are_sorted_and_labelled(browser: Any, client: ExplorerClient) -> None:
    with Tab(browser, client) as page:
        ready(page, client.home)
        page.get_by_role("button", name="Sort", exact=True).click()
        select_filled_group(page)
        page.locator("#gallery .thumb").first.click()
        page.wait_for_selector("#detail meter")
        page.select_option("#order", "between")
        until(page, "() => document.getElementById('sort-summary').textContent.includes(' and ')")
        page.get_by_role("button", name="Correct", exact=True).click()
        until(page, "() => document.getElementById('uncertain').ariaLabel")
        for key in "24":
            before = page.get_attribute("#uncertain", "aria-label")
            page.keyboard.press(key)
            until(page, "before => document.getElementById('uncertain').ariaLabel !== before", before)
        before = page.get_attribute("#uncertain", "aria-label")
        page.keyboard.press(" ")
        until(page, "before => document.getElementById('uncertain').ariaLabel !== before", before)
        page.get_by_label("another name").fill("smudge")
        page.get_by_label("another name").press("Enter")
        until(page, "() => document.getElementById('correct-summary').textContent.startsWith('3 labelled by you')")
        # Images whose label is not a group can be listed, and a link leads back to them and to one of them.
        open_tab(page, "Sort")
        page.select_option("#group", label="smudge")
        summary = "1 images in no group, labelled smudge, 1 of them shown"
        until(page, "text => document.getElementById('sort-summary').textContent === text", summary)
        index = page.get_attribute("#gallery .thumb", "data-index")
        page.locator("#gallery .thumb").click()
        until(page, "() => document.querySelector('#detail p')?.textContent === 'smudge, labelled by you'")
        until(page, "index => location.hash.includes(`label=smudge&order=between&image=${index}&`)", index)
        title, link = page.text_content("#detail h2"), page.url
        page.goto("about:blank")
        page.goto(link)
        until(page, "name => document.querySelector('#detail h2')?.textContent === name", title)
        assert page.eval_on_selector("#group", "select => select.selectedOptions[0].text") == "smudge"
    labels = read_labels(client.run / "labels.csv", load("digits"))
    assert sorted(labels.names[value] for value in labels.values.tolist()) == ["2", "4", "smudge"]


def test_labels_of_typical_images_refine_the_groups(browser: Any, digits_run: Path, tmp_path: Path) -> None:
    digits = load("digits")
    assert digits.labels is not None
    number_of = {name: number for number, name in enumerate(digits.names)}
    with explorer_thread(copy_run(digits_run, tmp_path / "run")) as other, Tab(browser) as page:
        ready(page, other.addresses[-1])
        open_tab(page, "Correct")
        assert page.locator("#correct-order").input_value() == "typical"
        until(page, "() => document.getElementById('uncertain').ariaLabel")
        assert page.get_by_role("button", name="Refine, after 10 labels").is_disabled()
        labelled = []
        for count in range(30):
            title = page.get_attribute("#uncertain", "aria-label")
            labelled.append(int(digits.labels[number_of[title.partition(":")[0]]]))
            page.keyboard.press(str(labelled[-1]))
            text = f"{count + 1} labelled by you"
            until(page, "text => document.getElementById('correct-summary').textContent.startsWith(text)", text)
            until(page, "before => document.getElementById('uncertain').ariaLabel !== before", title)
        assert len(set(labelled)) >= 7  # of nearly all digits, though nobody said which image is which
        page.get_by_role("button", name="Refine by your 30 labels").click()
        until(page, "() => document.getElementById('refine-summary').textContent.includes('have another group')")
        until(page, "() => !/reading/.test(document.getElementById('progress').textContent)")
        open_tab(page, "Groups")
        until(page, "() => !document.getElementById('groups').hidden")
        (cookie,) = page.context.cookies()
        other.cookie = f"{cookie['name']}={cookie['value']}"
        categories = np.array([int(row.split(",")[1]) for row in codes_of(other)])
        assert (categories == digits.labels).mean() > 0.5
        open_tab(page, "Correct")
        page.get_by_role("button", name="Take the refinement back").click()
        until(page, "() => document.getElementById('unrefine').hidden")
        assert not (tmp_path / "run" / "refined.safetensors").exists()


def codes_of(client: ExplorerClient) -> list[str]:
    """Return the rows of the explorer's table of all images."""
    status, _, content = client.request("/api/codes.csv", headers={"Cookie": client.cookie})
    assert status == 200
    return content.decode().splitlines()[1:]


def test_selected_images_are_moved_together(browser: Any, client: ExplorerClient) -> None:
    def selected(page: Any) -> list[int]:
        places = "thumbs => thumbs.flatMap((t, i) => (t.classList.contains('selected') ? [i] : []))"
        return [int(place) for place in page.eval_on_selector_all("#gallery .thumb", places)]

    in_gallery = "[...document.querySelectorAll('#gallery .thumb')].map((thumb) => Number(thumb.dataset.index))"
    with Tab(browser, client) as page:
        ready(page, client.home)
        until(page, "() => !document.getElementById('progress').textContent.includes('reading')")
        open_tab(page, "Sort")
        select_filled_group(page)
        thumbs = page.locator("#gallery .thumb")
        indices = page.evaluate(in_gallery)
        assert page.locator("#selection").is_hidden()
        # With the mouse: single images, a range, a rectangle.
        thumbs.nth(1).click(modifiers=["ControlOrMeta"])
        thumbs.nth(4).click(modifiers=["Shift"])
        thumbs.nth(2).click(modifiers=["ControlOrMeta"])
        assert selected(page) == [1, 3, 4]
        boxes = [thumbs.nth(place).bounding_box() for place in (7, 9)]
        page.mouse.move(boxes[0]["x"] + 5, boxes[0]["y"] + 5)
        page.mouse.down()
        page.mouse.move(boxes[1]["x"] + 9, boxes[1]["y"] + 9, steps=4)
        assert page.locator(".frame").is_visible()
        page.mouse.up()
        assert selected(page) == [1, 3, 4, 7, 8, 9]
        until(page, "() => document.querySelector('.frame').hidden")
        assert page.locator("#detail h2").count() == 0  # a drag opens no image
        assert page.text_content("#selection-count") == "6 selected"
        # To a new group.
        page.select_option("#selection-group", "")
        page.locator("#selection-new").fill("odd ones")
        page.get_by_role("button", name="Move", exact=True).click()
        page.get_by_role("button", name="Undo: 6 images labelled 'odd ones'", exact=True).wait_for()
        until(page, "() => document.getElementById('selection').hidden")
        labels = read_labels(client.run / "labels.csv", load("digits"))
        assert sorted(labels.indices.tolist()) == sorted(indices[place] for place in (1, 3, 4, 7, 8, 9))
        page.locator("#undo").click()
        until(page, f"(before) => String({in_gallery}) === String(before)", indices)
        # With the keyboard: two images in a row, to a group.
        thumbs.nth(0).focus()
        page.keyboard.press("x")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Shift+X")
        assert selected(page) == [0, 1, 2]
        page.keyboard.press("Escape")
        assert selected(page) == []
        page.keyboard.press("Control+a")
        assert len(selected(page)) == thumbs.count()
        page.keyboard.press("Escape")
        page.keyboard.press("x")
        page.select_option("#selection-group", "3")
        # What is selected stays when the page shows a new state, as at the end of reading images.
        chosen = int(page.evaluate("document.activeElement.dataset.index"))
        with page.expect_response("**/api/gallery*") as response:
            page.evaluate("document.dispatchEvent(new Event('state'))")
        response.value.finished()
        page.wait_for_timeout(100)
        assert [page.evaluate(in_gallery)[place] for place in selected(page)] == [chosen]
        assert page.input_value("#selection-group") == "3"
        page.get_by_role("button", name="Move", exact=True).click()
        page.get_by_role("button", name=re.compile("Undo: image .* labelled '3'")).wait_for()
        # A plain click shows an image, and selects none.
        thumbs.first.click()
        page.wait_for_selector("#detail h2")
        assert selected(page) == []


def test_the_selected_image_stays_in_view_in_a_narrow_window(browser: Any, client: ExplorerClient) -> None:
    with Tab(browser, client, viewport={"width": 400, "height": 800}) as page:
        ready(page, client.home)
        open_tab(page, "Steer")
        until(page, "() => Number(document.getElementById('centre').dataset.frame) > 0")
        slider = page.locator("#codes input[type=range]").last
        slider.scroll_into_view_if_needed()
        page.mouse.wheel(0, 300)
        page.wait_for_timeout(200)
        box = page.locator("#centre").bounding_box()
        assert 0 <= box["y"] < 300
        assert page.evaluate("window.scrollY") > 300


def test_doubtful_images_are_explained_and_enlarged(browser: Any, client: ExplorerClient) -> None:
    with Tab(browser, client) as page:
        ready(page, client.home)
        until(page, "() => !document.getElementById('progress').textContent.includes('reading')")
        open_tab(page, "Correct")
        page.wait_for_selector("#why .thumb")
        headings = page.locator("#why h2").all_text_contents()
        assert 1 <= len(headings) <= 2  # an untrained group may be empty
        assert all(heading.startswith("Most similar images of ") for heading in headings)
        before = page.text_content("#uncertain-summary")
        page.locator("#enlarge").click()
        until(page, "() => document.querySelector('#large[open] img').naturalWidth > 0")
        page.keyboard.press("3")  # labels nothing while the image is large
        page.keyboard.press("Escape")
        until(page, "() => !document.getElementById('large').open")
        assert page.text_content("#uncertain-summary") == before
        page.locator("#why .thumb").first.click()
        until(page, "() => document.getElementById('large').open")
        page.locator("#large").get_by_role("button", name="Close").click()
        page.locator("#skip").click()
        until(page, "(before) => document.getElementById('uncertain-summary').textContent !== before", before)


def test_images_are_selected_on_the_map_and_moved(browser: Any, client: ExplorerClient) -> None:
    with Tab(browser, client) as page:
        ready(page, client.home)
        until(page, "() => !document.getElementById('progress').textContent.includes('reading')")
        open_tab(page, "Map")
        until(page, "() => Number(document.getElementById('map-canvas').dataset.frame) > 0")
        assert page.text_content("#map-summary").startswith("1437 of 1437 images")
        counts = [group["count"] for group in client.get("/api/groups")[1]["groups"]]
        legend = page.locator("#map-groups button")
        assert [int(text.split("(")[1].rstrip(")")) for text in legend.all_text_contents()] == counts
        # A group, by its button; and back.
        largest = counts.index(max(counts))
        legend.nth(largest).click()
        assert page.text_content("#map-count") == f"{counts[largest]} selected"
        until(page, "() => document.querySelectorAll('#map-gallery .thumb').length === 60")
        page.locator("#map-in").click()
        page.locator("#map-out").click()
        page.locator("#map-clear").click()
        assert page.locator("#map-selection").is_hidden()
        # A rectangle over the upper left quarter selects what lies there.
        answer = client.get("/api/map")[1]
        box = page.locator("#map-canvas").bounding_box()
        page.mouse.move(box["x"] + 2, box["y"] + 2)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
        page.mouse.up()
        inside = sum(x < 2048 and y < 2048 for x, y in zip(answer["x"], answer["y"], strict=True))
        chosen = int(page.text_content("#map-count").split()[0])
        assert abs(chosen - inside) <= 0.02 * len(answer["x"])
        page.select_option("#map-group", "")
        page.locator("#map-new").fill("corner")
        page.locator("#map-selection").get_by_role("button", name="Move", exact=True).click()
        page.get_by_role("button", name=f"Undo: {chosen} images labelled 'corner'", exact=True).wait_for()
        assert len(read_labels(client.run / "labels.csv", load("digits")).indices) == chosen
        # An image of the selection opens in the tab Sort.
        page.locator("#map-gallery .thumb").first.click()
        page.wait_for_selector("#detail h2")
        assert page.locator("#sort").is_visible()


def test_evidence_and_figures_of_training_are_shown(browser: Any, client: ExplorerClient) -> None:
    with Tab(browser, client) as page:
        ready(page, client.home)
        page.get_by_role("button", name="Evidence", exact=True).click()
        page.wait_for_selector("#charts svg polyline")
        assert page.text_content("#verdict p").startswith("Rely on the groups of images: ")
        assert page.locator("#verdict li").count() > 0  # after so few steps
        first = page.get_attribute("#figure", "src")
        page.locator("#step").press("ArrowLeft")
        until(page, "before => document.getElementById('figure').getAttribute('src') !== before", first)
        until(page, "() => document.getElementById('figure').naturalWidth > 0")
        samples = page.get_attribute("#figure", "src")
        page.select_option("#drawn", label="knob2")
        until(page, "before => document.getElementById('figure').getAttribute('src') !== before", samples)
        until(page, "() => document.getElementById('figure').naturalWidth > 0")
        assert "each value of knob2 at step" in page.get_attribute("#figure", "alt")
        # Curves differ in their dashes, and references are labelled.
        dashes = page.eval_on_selector_all(
            "#charts figure:first-child > svg > polyline",
            "lines => lines.map(line => line.getAttribute('stroke-dasharray'))",
        )
        assert len(set(dashes)) == len(dashes) == 3
        names = page.eval_on_selector_all(
            "#charts figure:first-child .name", "texts => texts.map(text => text.textContent)"
        )
        assert [name.partition(":")[0] for name in names] == [
            "entropy of category",
            "entropy of knob1, entropy of knob2",
        ]
        figure = page.get_attribute("#figure", "src")
        until(page, "() => /step=[0-9]+&drawn=2/.test(location.hash)")
        link = page.url
        page.goto("about:blank")
        page.goto(link)
        page.wait_for_selector("#charts svg polyline")
        assert page.get_attribute("#figure", "src") == figure != first


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_window_scrolls_only_vertically(browser: Any, client: ExplorerClient, scheme: str) -> None:
    with Tab(browser, client, viewport={"width": 400, "height": 800}, color_scheme=scheme) as page:
        ready(page, client.home)
        for tab in ("Groups", "Sort", "Steer", "Name", "Correct", "Evidence"):
            page.get_by_role("button", name=tab, exact=True).click()
            page.wait_for_timeout(300)
            assert page.evaluate("document.documentElement.scrollWidth") <= 400, tab
        until(page, "() => document.querySelector('#measured td')")
        heights = "cells => cells.map((cell) => cell.getBoundingClientRect().height)"
        assert max(page.eval_on_selector_all("#measured td:nth-child(2)", heights)) < 50  # no number is wrapped
        # The elements of one value are in one row.
        open_tab(page, "Name")
        for value in (0, 5):
            page.locator(f"#value-0-{value}").wait_for()
            top = "document.getElementById(`${part}-0-${value}`).getBoundingClientRect().top"
            tops = f"value => ['value', 'same'].map((part) => {top})"
            first, second = page.evaluate(tops, value)  # both at once: the layout moves while images load
            assert abs(first - second) < 10
        # The images come before the controls, for the eye and for the Tab key.
        open_tab(page, "Steer")
        before = """() => {
            const [images, controls] = ['lattice', 'codes'].map((id) => document.getElementById(id));
            return [images.getBoundingClientRect().top < controls.getBoundingClientRect().top,
                Boolean(images.compareDocumentPosition(controls) & Node.DOCUMENT_POSITION_FOLLOWING)];
        }"""
        assert page.evaluate(before) == [True, True]
        page.set_viewport_size({"width": 1280, "height": 800})
        until(page, f"() => !({before})()[1]")
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (scheme == "light")


def test_the_report_works_from_disk_without_a_network(browser: Any, digits_run: Path) -> None:
    tab = Tab(browser, offline=True)
    requests: list[str] = []
    tab.page.on("request", lambda request: requests.append(request.url))
    with tab as page:
        page.goto((digits_run / "report.html").as_uri())
        slider = page.locator(".scrubber input").first
        window = page.locator(".scrubber .window").first
        before = window.screenshot()
        slider.press("ArrowLeft")
        slider.press("ArrowLeft")
        assert window.screenshot() != before
        assert page.locator(".scrubber output").first.text_content() == slider.get_attribute("aria-valuetext")
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []


def test_names_changed_elsewhere_are_shown_and_not_overwritten(browser: Any, client: ExplorerClient) -> None:
    tab = Tab(browser, client)
    with tab as page:
        ready(page, client.home)
        open_tab(page, "Name")
        field = page.get_by_label("Name of value 6")
        field.wait_for()
        model = InfoGAN.load(client.run)
        config = model.config
        model.name_codes({"category": {6: "from elsewhere"}})
        model.save_config(client.run / "model")
        field.fill("from here")
        field.press("Enter")
        page.get_by_role("alert").wait_for()
        assert "another program" in page.get_by_role("alert").text_content()
        until(page, "() => document.getElementById('value-0-6').value === 'from elsewhere'")
        assert all("409" in complaint for complaint in tab.console_errors)  # the browser logs the status itself
        tab.console_errors.clear()
        model.replace_config(config)
        model.save_config(client.run / "model")


def test_undo_names_its_change_and_an_outdated_page_undoes_nothing(browser: Any, client: ExplorerClient) -> None:
    tab = Tab(browser, client)
    with Tab(browser, client) as page, tab as stale:

        def name(value: int, text: str) -> Any:
            page.get_by_label(f"Name of value {value}").fill(text)
            page.get_by_label(f"Name of value {value}").press("Enter")
            button = page.get_by_role("button", name=f"Undo: category {value} named '{text}'", exact=True)
            button.wait_for()
            return button

        ready(page, client.home)
        open_tab(page, "Name")
        undo = name(3, "three")
        assert undo.get_attribute("title") == "Undo: category 3 named 'three'"
        ready(stale, client.home)
        undo.click()
        until(page, "() => document.getElementById('undo').hidden")
        name(4, "four")
        stale.get_by_role("button", name="Undo: category 3 named 'three'", exact=True).click()
        stale.get_by_role("alert").wait_for()
        assert "another change is the last" in stale.get_by_role("alert").text_content()
        stale.get_by_role("button", name="Undo: category 4 named 'four'", exact=True).wait_for()
        assert all("409" in complaint for complaint in tab.console_errors)  # the browser logs the status itself
        tab.console_errors.clear()
    assert InfoGAN.load(client.run).value_names("category")[3:5] == ["3", "four"]


def test_the_gallery_is_one_stop_for_the_tab_key(browser: Any, client: ExplorerClient) -> None:
    with Tab(browser, client) as page:
        ready(page, client.home)
        open_tab(page, "Sort")
        select_filled_group(page)
        stops = "() => [...document.querySelectorAll('#gallery .thumb')].filter((thumb) => thumb.tabIndex === 0).length"
        focused = "() => [...document.querySelectorAll('#gallery .thumb')].indexOf(document.activeElement)"
        assert page.evaluate(stops) == 1
        page.locator("#gallery .thumb").first.focus()
        for key, place in (("ArrowRight", 1), ("End", page.locator("#gallery .thumb").count() - 1), ("Home", 0)):
            page.keyboard.press(key)
            assert page.evaluate(focused) == place
        page.keyboard.press("ArrowLeft")  # there is none before the first
        page.keyboard.press("ArrowDown")
        below = page.evaluate(focused)
        assert below > 1
        page.keyboard.press("ArrowUp")
        assert page.evaluate(focused) == 0
        page.keyboard.press("ArrowDown")
        assert page.evaluate(stops) == 1
        page.keyboard.press("Enter")
        page.wait_for_selector("#detail meter")
        until(page, "() => /image=[0-9]/.test(location.hash)")
        assert page.locator("#gallery .thumb[aria-pressed=true]").count() == 1


def test_screen_readers_announce_progress_in_quarters(browser: Any, client: ExplorerClient) -> None:
    counts = iter([*range(0, 1797, 225), *[1797] * 1000])

    def slowly(route: Any) -> None:
        answer = route.fetch()
        state = answer.json()
        state["images"]["encoded"] = next(counts)
        route.fulfill(response=answer, json=state)

    with Tab(browser, client) as page:
        page.route("**/api/state", slowly)
        page.add_init_script(
            "const texts = []; window.announced = () => texts; new MutationObserver(() => {"
            "  const text = document.getElementById('announcement')?.textContent;"
            "  if (text && text !== texts.at(-1)) texts.push(text);"
            "}).observe(document, { subtree: true, childList: true, characterData: true });"
        )
        page.goto(client.home)
        until(page, "() => document.getElementById('announcement').textContent === 'All images are read.'")
        assert page.evaluate("announced()") == [
            "Images are being read.",
            *(f"{share} percent of the images are read." for share in (25, 50, 75)),
            "All images are read.",
        ]
        assert page.get_attribute("#announcement", "role") == "status"
        assert page.get_attribute("#progress", "role") is None


def shown_frame(page: Any, window: Any) -> Any:
    """Return the pixels of the frame that a window shows enlarged, (side, side)."""
    shown = np.asarray(Image.open(io.BytesIO(window.screenshot())).convert("L")).astype(int)
    side = round(page.evaluate("(pane) => pane.firstChild.naturalHeight", window.element_handle()))
    places = ((np.arange(side) + 0.5) * shown.shape[0] / side).astype(int)
    return shown[np.ix_(places, places)]


@pytest.mark.parametrize("layout", [(2, 5, True), (2, 5, False)])
def test_the_notebook_explorer_is_steered_by_mouse_and_keyboard(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: tuple[int, int, bool]
) -> None:
    model = small_model()
    model.name_codes({"category": {7: "</script> seven"}})
    monkeypatch.setattr(notebook, "LAYOUTS", [layout])
    output = notebook.explore(model)
    outputs = output._repr_html_() + output._repr_html_()
    (tmp_path / "page.html").write_text(f"<!doctype html><meta charset=utf-8>{outputs}")

    def expected(**codes: float) -> Any:
        held = {"category": 0, "knob1": 0.0, "knob2": 0.0} | codes
        grid = figures.image_grid(model.sample(4, codes=held).images, 2, padding=1, scale=1)
        return np.asarray(grid.convert("L")).astype(int)

    with Tab(browser) as page:
        page.goto((tmp_path / "page.html").as_uri())
        first, second = (page.locator(".scrubber").nth(place) for place in range(2))
        window = first.locator(".window")
        assert np.array_equal(shown_frame(page, window), expected())
        first.get_by_text("</script> seven").click()
        assert np.array_equal(shown_frame(page, window), expected(category=7))
        first.get_by_label("knob1").fill("4")
        assert np.array_equal(shown_frame(page, window), expected(category=7, knob1=1.0))
        first.get_by_label("knob2").focus()
        page.keyboard.press("ArrowLeft")
        assert first.locator("output").all_text_contents()[1] == "-0.50"
        knob1 = 1.0 if layout[2] else 0.0  # alone, it went back
        assert first.locator("output").all_text_contents()[0] == f"{knob1:+.2f}"
        assert np.array_equal(shown_frame(page, window), expected(category=7, knob1=knob1, knob2=-0.5))
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("ArrowRight")  # among the buttons
        assert np.array_equal(shown_frame(page, window), expected(category=8, knob1=knob1, knob2=-0.5))
        assert np.array_equal(shown_frame(page, second.locator(".window")), expected())  # shown twice, it moves once
        assert page.locator("img:visible").count() == 2
    with Tab(browser, java_script_enabled=False) as page:
        page.goto((tmp_path / "page.html").as_uri())
        assert page.locator("img:visible").count() == 2  # the sheets
        assert page.locator("input").count() == 0


@pytest.mark.parametrize("kind", ["gan", "cgan"])
def test_limitations_of_a_model_without_recognizer_are_shown(browser: Any, tmp_path: Path, kind: str) -> None:
    model_without_recognizer(kind).save(tmp_path / kind)
    with explorer_thread(tmp_path / kind) as other, Tab(browser) as page:
        page.goto(other.addresses[-1])
        until(page, "() => document.getElementById('centre').width === 8")
        limitations = page.locator("#limitations li").all_text_contents()
        assert f"This {kind} has no recognizer: it cannot read, sort or label images." in limitations
        assert (f"This {kind} has no codes: only its noise can be changed." in limitations) == (kind == "gan")
        shown = page.eval_on_selector_all(
            "#tabs button", "all => all.filter((b) => !b.hidden).map((b) => b.textContent)"
        )
        assert shown == (["Steer"] if kind == "gan" else ["Steer", "Name"])
        assert page.locator("#reader").is_hidden()
        before = drawn(page)
        page.keyboard.press("r")
        until_changed(page, before)
        if kind == "cgan":
            page.keyboard.press("2")
            until(page, "() => document.getElementById('centre').ariaLabel === 'Generated: label 2'")
            open_tab(page, "Name")
            until(page, "() => document.querySelectorAll('#namer .thumb').length === 3")


def test_images_are_sorted_by_either_of_two_categories(browser: Any, tmp_path: Path) -> None:
    run = run_with_two_categories(tmp_path / "run")
    with explorer_thread(run) as other, Tab(browser) as page:
        ready(page, other.addresses[-1])
        until(page, "() => document.querySelectorAll('#strips .strip').length === 3")
        open_tab(page, "Sort")
        page.select_option("#sort-code", label="weight")
        until(page, "() => document.querySelectorAll('#group option').length === 2")
        page.select_option("#group", "1")
        until(page, "() => document.getElementById('sort-summary').textContent.includes('images in 1,')")
        page.select_option("#order", "between")
        until(page, "() => document.getElementById('sort-summary').textContent.includes('images in 1 and 0,')")
        # A link refers to a group by its value, not by its position.
        until(page, "() => /code=1&group=1&.*order=between/.test(location.hash)")
        link = page.url
        open_tab(page, "Name")
        page.get_by_label("1 earlier").last.click()
        page.get_by_role("button", name="Undo: the order of weight", exact=True).wait_for()
        page.goto("about:blank")
        page.goto(link)
        until(page, "() => document.getElementById('sort-summary').textContent.includes('images in 1 and 0,')")
        for tab in ("Correct", "Evidence", "Name"):
            open_tab(page, tab)
            page.wait_for_timeout(200)


def test_a_thousand_values_can_be_named(browser: Any, tmp_path: Path) -> None:
    small_model(codes=[{"kind": "categorical", "size": 1000}]).save(tmp_path / "model")
    requests: list[str] = []
    tab = Tab(browser)
    tab.page.on("request", lambda request: requests.append(request.url))
    with explorer_thread(tmp_path / "model") as other, tab as page:
        page.goto(other.addresses[-1])
        until(page, "() => document.getElementById('centre').width === 8")
        assert "category as GIF, 100 of 1000 values" in page.text_content("#downloads")
        requests.clear()
        open_tab(page, "Name")
        until(page, "() => document.querySelectorAll('#namer .thumb').length > 10")
        assert page.locator("#namer input").count() < 200
        assert page.locator("#namer option").count() < 200
        assert len(requests) < 100
        for _ in range(60):  # rows are added while scrolling
            page.locator("#namer .end").scroll_into_view_if_needed()
            if page.locator("#value-0-300").count():
                break
            page.wait_for_timeout(50)
        assert page.locator("#namer input").count() < 1001
        page.locator("#same-0-300").focus()
        assert page.locator("#same-0-300 option").count() == 1000
        page.locator("#same-0-300").select_option("5")
        page.get_by_role("button", name=re.compile("Undo: category 5 and 300 as the same")).wait_for()
        until(page, "() => document.getElementById('value-0-300').value === '5+300'")


@pytest.fixture(scope="module")
def pictured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExplorerClient]:
    """The run of the screenshots: the one given by ``--run``, or a short one."""
    run = request.config.getoption("--run")
    if not run:
        yield request.getfixturevalue("_client")
        return
    with explorer_thread(copy_run(Path(run), tmp_path_factory.mktemp("pictured") / "run")) as client:
        client.log_in()
        client.state()
        yield client


LOADED = {
    "Groups": "() => [...document.querySelectorAll('#groups-list img')].some((image) => image.naturalWidth)",
    "Steer": "() => document.querySelectorAll('#strips .frames').length === 3",
    "Sort": "() => document.getElementById('sort-summary').textContent",
    "Name": "() => document.querySelectorAll('#images-2 .thumb').length === 10",
    "Correct": "() => document.querySelector('#next .thumb')",
    "Evidence": "() => document.getElementById('figure').naturalWidth && document.querySelector('#charts svg')",
}


@pytest.mark.parametrize(
    ("name", "scheme", "width", "tab"),
    [
        ("explorer-groups", "light", 1280, "Groups"),
        ("explorer-light", "light", 1280, "Steer"),
        ("explorer-dark", "dark", 1280, "Sort"),
        ("explorer-narrow", "light", 400, "Correct"),
        ("explorer-evidence", "light", 1280, "Evidence"),
        ("explorer-name", "dark", 1280, "Name"),
    ],
)
def test_screenshots(
    browser: Any,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    pictured: ExplorerClient,
    name: str,
    scheme: str,
    width: int,
    tab: str,
) -> None:
    folder = Path(request.config.getoption("--screenshots") or tmp_path)
    with Tab(browser, pictured, viewport={"width": width, "height": 900}, color_scheme=scheme) as page:
        ready(page, pictured.home)
        open_tab(page, tab)
        until(page, LOADED[tab])
        if tab == "Sort":
            select_filled_group(page)
            page.locator("#gallery .thumb").nth(20).click()
            page.wait_for_selector("#detail meter")
        page.screenshot(path=folder / f"{name}.png")
    picture = Image.open(folder / f"{name}.png").convert("L")
    assert picture.size == (width, 900)
    assert len(np.unique(np.asarray(picture))) > 20
