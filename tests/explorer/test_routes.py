"""The explorer over HTTP: who may ask, what is refused and how, and that what it answers is the model's."""

import base64
import csv
import io
import json
import os
import signal
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.exploring import small_plan
from infogan.explorer.collection import SURE, Collection, Readings, groups_of
from infogan.explorer.decoding import Unreadable
from infogan.explorer.desk import Desk, codes_csv
from infogan.explorer.saved import Outdated, Unsaved
from infogan.explorer.uploads import Decoder
from infogan.explorer.views import NOISE, View, draw
from PIL import Image
from starlette.routing import Route

from infogan.api.train_run import train_run
from infogan.data import load
from infogan.data.labels import read_labels
from infogan.explorer.server import Explorer, as_data
from infogan.models.infogan import InfoGAN
from infogan.reports.figures import traversal_gif
from infogan.training.callbacks import Interrupted
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError
from tests.commands import infogan
from tests.explored import Explored, copy_of
from tests.helpers import Hooks, image_set, small_model

CODES = "3,0.5,-0.25"  # of a category and two knobs


@pytest.fixture(scope="module")
def served(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Explored]:
    with Explored(copy_of(digits_run, tmp_path_factory.mktemp("served") / "run")) as explored:
        explored.enter()
        yield explored


def pixels(data: str) -> Any:
    """The picture of a ``data:`` address."""
    content = base64.b64decode(data.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(content)))


# Who may ask.


def test_a_token_serves_once_and_another_is_printed(digits_run: Path) -> None:
    with Explored(digits_run) as explored:
        first = explored.address.removeprefix(f"http://{explored.host}")
        assert explored.request("/")[0] == 401
        assert explored.request(f"{first}x")[0] == 401
        status, headers, _ = explored.request(first)
        assert (status, headers["location"]) == (303, "/")
        assert headers["set-cookie"].startswith(f"infogan-{explored.port}=")
        assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(headers["set-cookie"].split("; "))
        assert explored.request(first)[0] == 401
        explored.cookie = headers["set-cookie"].split(";")[0]
        assert explored.get("/api/state")[0] == 200
        # A link with a spent token in it still opens the page for who has the cookie.
        assert explored.request(first, headers={"Cookie": explored.cookie})[0] == 303
        while not explored.said:
            time.sleep(0.01)
        second = explored.said[0].split(explored.host)[1].strip()
        assert second != first
        assert explored.request(second)[0] == 303


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Cookie": "infogan-{port}=guessed"}, 401),
        ({"Cookie": "infogan-{port}=\xff; ,;=\x01"}, 401),
        ({"Cookie": "{cookie}", "Host": "evil.example"}, 403),
        ({"Cookie": "{cookie}", "Host": "127.0.0.1.evil.example:{port}"}, 403),
        ({"Cookie": "{cookie}", "Host": "[::1"}, 403),
        ({"Cookie": "{cookie}", "Host": ""}, 403),
        ({"Cookie": "{cookie}", "Origin": "http://evil.example"}, 403),
        ({"Cookie": "{cookie}", "Origin": "null"}, 403),
        ({"Cookie": "{cookie}", "Origin": "http://127.0.0.1:1"}, 403),
        ({"Cookie": "{cookie}", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Cookie": "{cookie}", "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Cookie": 'prefs={"theme":"dark"}; broken; {cookie}'}, 200),
        ({"Cookie": "{cookie}", "Origin": "http://127.0.0.1:{port}"}, 200),
        ({"Cookie": "other=1; {cookie}", "Host": "localhost:9999"}, 200),
    ],
)
def test_only_the_page_itself_may_ask(served: Explored, headers: dict[str, str], status: int) -> None:
    known = {"{port}": str(served.port), "{cookie}": served.cookie}
    for name, value in headers.items():
        for word, meant in known.items():
            value = value.replace(word, meant)
        headers = headers | {name: value}
    found, said, content = served.request("/api/state", headers=headers)
    assert found == status
    if status != 200:
        assert isinstance(json.loads(content)["error"], str)
    assert "default-src 'none'" in said["content-security-policy"]
    assert said["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in said
    assert "server" not in said


def addresses() -> list[tuple[str, str]]:
    """Every method and path that the explorer answers."""
    explorer = Explorer(Desk(small_model(), Path("none"), None, None), None, "")
    explorer.worker.stop()
    return [
        (method, route.path.format(name="main.js"))
        for route in explorer.app().routes
        if isinstance(route, Route)
        for method in sorted(route.methods or ())
    ]


def test_no_address_is_open_to_others(served: Explored) -> None:
    known = addresses()
    assert len(known) > 25
    before = served.settled()
    for method, path in known:
        for headers, status in (
            ({}, 401),
            ({"Cookie": served.cookie, "Host": "evil.example"}, 403),
            ({"Cookie": served.cookie, "Origin": "http://evil.example"}, 403),
            ({"Cookie": served.cookie, "Sec-Fetch-Site": "cross-site"}, 403),
        ):
            found, _, _ = served.request(path, method, b"{}" if method == "POST" else None, headers)
            assert (method, path, found) == (method, path, status)
    assert served.settled() == before


# What is refused.

LATTICE = f"/api/lattice?codes={CODES}"
REFUSED = [
    ("GET", "/api/lattice", None, 400),
    ("GET", "/api/lattice?codes=3,0.5", None, 400),
    ("GET", "/api/lattice?codes=3,nan,0", None, 400),
    ("GET", "/api/lattice?codes=3,inf,0", None, 400),
    ("GET", "/api/lattice?codes=3,1e999,0", None, 400),
    ("GET", "/api/lattice?codes=3,1.01,0", None, 400),
    ("GET", "/api/lattice?codes=10,0,0", None, 400),
    ("GET", "/api/lattice?codes=2.5,0,0", None, 400),
    ("GET", "/api/lattice?codes=1e300,0,0", None, 400),
    ("GET", "/api/lattice?codes=three,0,0", None, 400),
    ("GET", f"{LATTICE}&across=7", None, 400),
    ("GET", f"{LATTICE}&across=-2", None, 400),
    ("GET", f"{LATTICE}&across=1&down=1", None, 400),
    ("GET", f"{LATTICE}&columns=0", None, 400),
    ("GET", f"{LATTICE}&columns=257", None, 400),
    ("GET", f"{LATTICE}&columns=100&rows=100", None, 400),
    ("GET", f"{LATTICE}&seed=-1", None, 400),
    ("GET", f"{LATTICE}&seed=99999999999999999999999", None, 400),
    ("GET", f"{LATTICE}&way=nan", None, 400),
    ("GET", f"{LATTICE}&zoom=0", None, 400),
    ("GET", f"{LATTICE}&pick=1e9", None, 400),
    ("GET", f"{LATTICE}&asker={'x' * 65}", None, 400),
    ("GET", f"/api/lattice.png?codes={CODES}&rows=999", None, 400),
    ("GET", f"/api/traversal.gif?codes={CODES}&code=9", None, 400),
    ("GET", f"/api/traversal.gif?codes={CODES}", None, 400),
    ("GET", "/api/traversal.gif?codes=1&code=0", None, 400),
    ("GET", "/api/gallery?code=1&group=0", None, 400),
    ("GET", "/api/gallery?code=0", None, 400),
    ("GET", "/api/gallery?code=0&group=10", None, 400),
    ("GET", "/api/gallery?code=0&group=0&order=between&other=10", None, 400),
    ("GET", "/api/gallery?code=0&group=0&order=best", None, 400),
    ("GET", "/api/gallery?code=0&group=0&order=between&other=0", None, 400),
    ("GET", "/api/gallery?code=0&group=0&count=1000000", None, 400),
    ("GET", "/api/gallery?code=0&group=0&from=-1", None, 400),
    ("GET", "/api/queue?count=0", None, 400),
    ("GET", "/api/image?place=99999", None, 400),
    ("GET", "/api/image?place=%C2%B2", None, 400),
    ("GET", "/api/picture?step=3", None, 400),
    ("GET", "/api/picture?step=../../../../etc/passwd", None, 400),
    ("GET", "/static/../server.py", None, 404),
    ("GET", "/static/..%2f..%2fserver.py", None, 404),
    ("GET", "/static/%2e%2e/desk.py", None, 404),
    ("GET", "/api/nothing", None, 404),
    ("GET", "/api/undo", None, 405),
    ("POST", "/api/state", b"", 405),
    ("POST", "/api/undo", b"", 400),
    ("POST", "/api/undo", {"id": 0}, 400),
    ("POST", "/api/undo", {"id": 10**400}, 400),
    ("POST", "/api/name", b"", 400),
    ("POST", "/api/name", b"[" * 20_000, 400),
    ("POST", "/api/name", b"\xff\xfe", 400),
    ("POST", "/api/name", b"x" * 70_000, 413),
    ("POST", "/api/name", {"code": 0, "value": 0}, 400),
    ("POST", "/api/name", {"code": 0, "value": "0", "name": "a"}, 400),
    ("POST", "/api/name", {"code": 0, "value": True, "name": "a"}, 400),
    ("POST", "/api/name", {"code": 0, "value": 10, "name": "a"}, 400),
    ("POST", "/api/name", {"code": 9, "value": 0, "name": "a"}, 400),
    ("POST", "/api/name", {"code": 1, "value": 0, "name": "a"}, 400),
    ("POST", "/api/name", {"code": 0, "value": 0, "name": "a\nb"}, 400),
    ("POST", "/api/name", {"code": 0, "value": 0, "name": " a"}, 400),
    ("POST", "/api/name", {"code": 0, "value": 0, "name": "a" * 65}, 400),
    ("POST", "/api/name", {"code": 0, "name": ""}, 400),
    ("POST", "/api/name", {"code": 0, "name": "knob1"}, 400),
    ("POST", "/api/name", {"code": 0, "name": "../up"}, 400),
    ("POST", "/api/name", {"code": 0, "value": 0, "name": "a", "path": "/etc"}, 400),
    ("POST", "/api/order", {"code": 0, "values": [0, 1]}, 400),
    ("POST", "/api/order", {"code": 0, "values": [10**30]}, 400),
    ("POST", "/api/join", {"code": 0, "values": [1, 1]}, 400),
    ("POST", "/api/join", {"code": 0, "values": [1, 10]}, 400),
    ("POST", "/api/label", {"place": -1, "label": "a"}, 400),
    ("POST", "/api/label", {"place": 10**9, "label": "a"}, 400),
    ("POST", "/api/label", {"place": 0, "label": ""}, 400),
    ("POST", "/api/read", b"", 400),
    ("POST", "/api/read", b"GIF89a", 400),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), REFUSED)
def test_bad_requests_are_refused_with_one_sentence(
    served: Explored, method: str, path: str, body: Any, status: int
) -> None:
    before = served.settled()
    content = json.dumps(body).encode() if isinstance(body, dict) else body
    found, headers, answer = served.request(path, method, content, {"Cookie": served.cookie})
    assert found == status
    assert headers["content-type"] == "application/json"
    told = json.loads(answer)
    assert list(told) == ["error"]
    assert told["error"] and "\n" not in told["error"]
    for secret in ("Traceback", "site-packages", "/tmp", "run/"):
        assert secret not in told["error"]
    assert served.settled() == before  # alive, and nothing has changed


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG whose header says so much, with these chunks."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), *chunks, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


ZEROS = zlib.compress(bytes(200 * 2**20), 9)  # 200 KB that unpack to 200 MiB


@pytest.mark.parametrize(
    ("content", "statuses"),
    [
        (png(10_000, 10_000, (b"IDAT", zlib.compress(bytes(10_001 * 10_000), 9))), {413}),
        (png(2**31 - 1, 2**31 - 1, (b"IDAT", ZEROS)), {400, 413}),
        # More pixels' worth of data than the header says, and a text that unpacks to far more than any text has.
        (png(8, 8, (b"IDAT", ZEROS)), {200, 400}),
        (png(8, 8, (b"zTXt", b"text\0\0" + ZEROS), (b"IDAT", zlib.compress(bytes(72)))), {200, 400}),
        (png(8, 8, (b"iCCP", b"profile\0\0" + ZEROS), (b"IDAT", zlib.compress(bytes(72)))), {200, 400}),
        (bytes(33 * 2**20), {413}),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", {400}),
    ],
    ids=["10000x10000", "2^31", "long data", "long text", "long profile", "33 MiB", "postscript"],
)
def test_pictures_that_unpack_to_too_much_are_refused(served: Explored, content: bytes, statuses: set[int]) -> None:
    before = served.memory()
    status, answer = served.post("/api/read", content)
    assert status in statuses
    assert status == 200 or list(answer) == ["error"]
    assert served.memory() - before < 100 * 2**20
    assert served.get("/api/state")[0] == 200


def test_a_body_that_never_ends_is_cut_off(served: Explored) -> None:
    headers = {"Cookie": served.cookie, "Content-Length": str(2**40)}
    assert served.request("/api/read", "POST", bytes(33 * 2**20), headers)[0] == 413


def test_a_hundred_renders_at_once_leave_memory_as_it_was(served: Explored) -> None:
    def all_at_once(asker: str) -> list[int]:
        found: list[int] = []

        def one(number: int) -> None:
            status, _ = served.get(
                "/api/lattice", codes=CODES, across=0, down=1, columns=10, rows=8, seed=number,
                asker=asker.format(number),
            )  # fmt: skip
            found.append(status)

        threads = [threading.Thread(target=one, args=(number,)) for number in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found

    all_at_once("warm {}")
    before = served.memory()
    of_one = all_at_once("one")
    assert set(of_one) <= {200, 409}
    assert of_one.count(409) > 50  # views that were already old when their turn came
    assert 200 in of_one
    assert all_at_once("many {}") == [200] * 100
    assert served.memory() - before < 20 * 2**20


# What is answered.


def test_the_picture_of_a_view_is_what_the_model_draws(served: Explored, digits_run: Path) -> None:
    model = InfoGAN.load(digits_run)
    status, answer = served.get(
        "/api/lattice", codes=CODES, across=0, down=1, columns=10, rows=3, seed=4, zoom=2
    )  # fmt: skip
    assert status == 200
    assert answer["across"] == list(range(10))
    assert answer["down"] == [0.0, 0.5, 1.0]  # half the range, around 0.5
    drawn = model.lattice("category", "knob1", rows=[0.0, 0.5, 1.0], codes={"knob2": -0.25}, seed=4)
    expected = drawn[:, :, 0].transpose(0, 2, 1, 3).reshape(3 * 8, 10 * 8)
    assert np.abs(pixels(answer["image"]).astype(int) - expected).max() <= 1
    # One sample: the centre.
    _, centre = served.get("/api/lattice", codes=CODES, seed=4)
    alone = model.sample(1, codes={"category": 3, "knob1": 0.5, "knob2": -0.25}, seed=4).images[0, 0]
    assert np.abs(pixels(centre["image"]).astype(int) - alone).max() <= 1


def test_images_lie_side_by_side_in_a_table() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 4), dtype=np.uint8)
    table = pixels(as_data(images, 3))
    assert table.shape == (8, 12, 3)
    for number in range(5):
        row, column = divmod(number, 3)
        part = table[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        assert np.array_equal(part.transpose(2, 0, 1), images[number])
    assert not table[4:, 8:].any()


def test_an_upload_is_read_as_encode_reads_it(served: Explored, digits_run: Path) -> None:
    served.settled()
    image = load("digits", split="test").images[5]
    buffer = io.BytesIO()
    Image.fromarray(image[0]).save(buffer, "PNG")
    status, answer = served.post("/api/read", buffer.getvalue())
    assert status == 200
    read = InfoGAN.load(digits_run).encode(image[None])
    np.testing.assert_allclose(answer["readings"][0], read.probabilities["category"][0], atol=1e-4)
    np.testing.assert_allclose(answer["readings"][1], [read.codes["knob1"][0]], atol=1e-4)
    assert np.array_equal(pixels(answer["image"]), image[0])
    assert pixels(answer["generated"]["image"]).shape == (8, 64)
    assert len(answer["generated"]["codes"]) == len(answer["similar"]["items"]) == 8


def test_a_generated_neighbour_is_drawn_again_exactly(served: Explored) -> None:
    served.settled()
    _, answer = served.get("/api/image", place=7)
    near = answer["generated"]
    row = pixels(near["image"])
    for number, (codes, pick) in enumerate(zip(near["codes"], near["picks"], strict=True)):
        said = ",".join(repr(value) for value in codes)
        status, alone = served.get("/api/lattice", codes=said, seed=near["seed"], pick=pick)
        assert status == 200
        assert np.abs(pixels(alone["image"]).astype(int) - row[:, 8 * number : 8 * number + 8]).max() <= 1
    assert len(set(near["picks"])) == 8


def test_names_orders_and_labels_are_saved_at_once_and_undone(served: Explored) -> None:
    state = served.settled()
    folder = served.run
    assert served.post("/api/name", {"code": 0, "value": 3, "name": "<b>three"})[0] == 200
    assert InfoGAN.load(folder).value_name("category", 3) == "<b>three"
    assert served.post("/api/name", {"code": 1, "name": "slant"})[0] == 200
    assert list(InfoGAN.load(folder).layout.codes) == ["category", "slant", "knob2"]
    order = [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert served.post("/api/order", {"code": 0, "values": order})[0] == 200
    assert InfoGAN.load(folder).values_of("category") == order
    status, told = served.post("/api/join", {"code": 0, "values": [3, 5]})
    assert status == 200
    assert [group["values"] for group in told["codes"][0]["groups"] if group["name"] == "<b>three"] == [[5, 3]]
    _, queue = served.get("/api/queue", count=2)
    place = queue["items"][0]["place"]
    status, told = served.post("/api/label", {"place": place, "label": "<b>three"})
    assert (status, told["images"]["labelled"]) == (200, 1)
    few = read_labels(folder / "labels.csv", load("digits"))
    assert (few.indices.tolist(), few.names) == ([place], ("<b>three",))
    assert served.get("/api/queue", count=2)[1]["items"][0]["place"] == queue["items"][1]["place"]
    assert served.get("/api/image", place=place)[1]["items"][0]["group"] == "<b>three"
    # A label that no group is called by can be looked at.
    other = queue["items"][1]["place"]
    _, told = served.post("/api/label", {"place": other, "label": "smudge"})
    assert told["images"]["strays"] == [{"label": "smudge", "count": 1}]
    assert told["undo"]["change"] == f"image {other} filed as 'smudge'"
    _, shown = served.get("/api/gallery", code=0, label="smudge")
    assert (shown["total"], shown["items"][0]["place"], shown["items"][0]["label"]) == (1, other, "smudge")
    assert served.get("/api/gallery", code=0, label="nobody says so")[1]["total"] == 0
    served.post("/api/undo", {"id": told["undo"]["id"]})
    # A label follows the name of its group.
    served.post("/api/name", {"code": 0, "value": 3, "name": "tre"})
    _, told = served.post("/api/join", {"code": 0, "values": [3, 5]})
    assert read_labels(folder / "labels.csv", load("digits")).names == ("tre",)
    for _ in range(7):
        status, told = served.post("/api/undo", {"id": told["undo"]["id"]})
        assert status == 200
    assert told["undone"] == "category 3 named '<b>three'"
    assert {**told, "undone": None} == {**state, "undone": None}
    assert InfoGAN.load(folder).config.names.get("category") is None
    assert (folder / "labels.csv").read_text() == "image,label\n"


def test_files_to_keep_open(served: Explored, digits_run: Path) -> None:
    def kept(path: str) -> bytes:
        status, headers, content = served.request(path, headers={"Cookie": served.cookie})
        assert status == 200
        assert headers["content-disposition"].startswith("attachment")
        return content

    served.settled()
    sheet = Image.open(io.BytesIO(kept(f"/api/lattice.png?codes={CODES}&across=0&down=2&columns=10&rows=4")))
    assert sheet.width > 10 * 64
    moving = Image.open(io.BytesIO(kept(f"/api/traversal.gif?codes={CODES}&code=1")))
    assert getattr(moving, "n_frames", 1) > 10
    rows = list(csv.DictReader(io.StringIO(kept("/api/codes.csv").decode())))
    model, images = InfoGAN.load(digits_run), load("digits")
    read = model.encode(images.images)
    assert [row["image"] for row in rows] == list(images.names)
    assert [row["category"] for row in rows] == [str(value) for value in read.codes["category"]]
    np.testing.assert_allclose([float(row["knob2"]) for row in rows], read.codes["knob2"], atol=1e-4)


def test_evidence_is_that_of_the_run(served: Explored, digits_run: Path) -> None:
    status, told = served.get("/api/evidence")
    assert status == 200
    metrics = json.loads((digits_run / "metrics.jsonl").read_text().splitlines()[-1])
    assert told["verdict"]["reason"] == metrics["verdict"]["reason"]
    low, high = metrics["intervals"]["accuracy"]
    assert ["accuracy", f"{metrics['accuracy']:.4f} ({low:.4f} to {high:.4f})"] == told["measured"][0][:2]
    stats = [json.loads(line) for line in (digits_run / "stats.jsonl").read_text().splitlines()]
    curve = told["charts"][0]["curves"]["category"]
    expected = [(line["step"], line["information/category"]) for line in stats if "information/category" in line]
    assert list(zip(curve["x"], curve["y"], strict=True)) == expected
    for step in told["pictures"]:
        _, _, content = served.request(f"/api/picture?step={step}", headers={"Cookie": served.cookie})
        assert content == (digits_run / "samples" / f"{step:08d}.png").read_bytes()
    assert told["traversals"] == {"0": [4, 8], "1": [4, 8], "2": [4, 8]}
    _, _, content = served.request("/api/picture?step=4&code=1", headers={"Cookie": served.cookie})
    assert content == (digits_run / "traversals" / "00000004" / "knob1.png").read_bytes()
    assert served.get("/api/picture?step=5&code=1")[0] == 400
    assert served.get("/api/picture?step=4&code=3")[0] == 400


def test_a_model_folder_alone_is_steered(digits_run: Path) -> None:
    with Explored(digits_run / "model") as explored:
        explored.enter()
        state = explored.settled()
        assert (state["images"], state["evidence"]) == (None, False)
        assert explored.get("/api/lattice", codes=CODES)[0] == 200
        assert [sentence.split(":")[0] for sentence in state["lacks"]] == [
            "The real images are not here",
            "This is a model without its run",
        ]
        buffer = io.BytesIO()
        Image.fromarray(load("digits", split="test").images[5][0]).save(buffer, "PNG")
        status, answer = explored.post("/api/read", buffer.getvalue())
        assert (status, len(answer["generated"]["codes"]), "similar" in answer) == (200, 8, False)
        assert explored.get("/api/evidence")[0] == 404
        assert explored.get("/api/queue")[0] == 400


# Others who write the same files.


def two_desks(folder: Path, text: str = "image,label\n3,owl\n") -> tuple[Desk, Desk]:
    model = small_model(codes=[{"kind": "categorical", "size": 4}, {"kind": "continuous"}])
    model.save(folder / "model")
    (folder / "labels.csv").write_text(text)
    one, other = (Desk(InfoGAN.load(folder), folder / "model", image_set(20), folder / "labels.csv") for _ in range(2))
    return one, other


def test_names_that_were_changed_elsewhere_are_taken_up_and_not_overwritten(tmp_path: Path) -> None:
    one, other = two_desks(tmp_path)
    one.name_value("category", 0, "owl")
    with pytest.raises(Outdated, match="changed elsewhere"):
        other.name_value("category", 0, "elk")
    assert other.model.value_name("category", 0) == InfoGAN.load(tmp_path).value_name("category", 0) == "owl"
    other.name_value("category", 0, "elk")  # who has seen it may change it
    assert InfoGAN.load(tmp_path).value_name("category", 0) == "elk"
    # What the page is told next is what is there; and what was done before can not undo what came after.
    assert one.undoable == (0, "category 0 named 'owl'")
    told = one.described()
    assert (told["codes"][0]["values"][0]["name"], told["undo"]) == ("elk", None)
    assert one.files().labels == {3: "elk"}  # which is the same group


def test_labels_that_were_changed_elsewhere_are_taken_up_and_not_overwritten(tmp_path: Path) -> None:
    one, other = two_desks(tmp_path)
    one.label(5, "elk")
    with pytest.raises(Outdated):
        other.label(6, "cat")
    assert other.files().labels == {3: "owl", 5: "elk"}
    other.label(6, "cat")
    (tmp_path / "labels.csv").write_text("image,label\n7,dog\n")  # an editor
    last = one.undoable
    assert last is not None
    with pytest.raises(Outdated):
        one.undo(last[0])
    assert one.files().labels == {7: "dog"}
    assert (tmp_path / "labels.csv").read_text() == "image,label\n7,dog\n"
    (tmp_path / "labels.csv").write_text("spoilt")
    with pytest.raises(UserError, match="no column"):
        one.label(8, "owl")
    assert (tmp_path / "labels.csv").read_text() == "spoilt"


def test_many_who_label_at_once_lose_nothing(tmp_path: Path) -> None:
    desks = two_desks(tmp_path, "")
    done: list[int] = []

    def label(number: int) -> None:
        for place in range(number, 20, 2):
            while place not in done:
                try:
                    desks[number].label(place, f"label {place}")
                    done.append(place)
                except Outdated:
                    pass

    threads = [threading.Thread(target=label, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    few = read_labels(tmp_path / "labels.csv", image_set(20))
    assert few.indices.tolist() == list(range(20))


def test_another_model_in_the_folder_is_not_named(tmp_path: Path) -> None:
    one, _ = two_desks(tmp_path)
    small_model(codes=[{"kind": "categorical", "size": 5}]).save(tmp_path / "model")
    with pytest.raises(Outdated, match="another model"):
        one.name_value("category", 0, "owl")
    (tmp_path / "model" / "config.json").write_text("{")
    with pytest.raises(Unsaved, match="can not be read"):
        one.name_value("category", 0, "owl")
    assert (tmp_path / "model" / "config.json").read_text() == "{"
    assert one.described()["codes"][0]["name"] == "category"


def test_the_name_command_does_not_overwrite_what_it_has_not_seen(tmp_path: Path) -> None:
    one, _ = two_desks(tmp_path)
    model = InfoGAN.load(tmp_path)
    since = model.config
    one.name_value("category", 0, "owl")
    model.name_codes({"category": {1: "elk"}})
    with pytest.raises(UserError, match="changed meanwhile"):
        model.save_names(tmp_path / "model", since)
    assert InfoGAN.load(tmp_path).value_names("category") == ["owl", "1", "2", "3"]


def test_a_stale_page_is_answered_409_and_then_sees_what_is_there(served: Explored) -> None:
    served.settled()
    config = served.run / "model" / "config.json"
    kept = config.read_bytes()
    assert infogan("name", served.run, "4=four").returncode == 0
    status, told = served.post("/api/name", {"code": 0, "value": 4, "name": "five"})
    assert (status, "changed elsewhere" in told["error"]) == (409, True)
    assert served.settled()["codes"][0]["values"][4]["name"] == "four"
    assert InfoGAN.load(served.run).value_name("category", 4) == "four"
    config.write_bytes(kept)


def test_undo_takes_back_the_change_that_is_meant_and_no_other(served: Explored) -> None:
    served.settled()
    _, first = served.post("/api/name", {"code": 0, "value": 1, "name": "one"})
    _, second = served.post("/api/order", {"code": 0, "values": [*range(9, -1, -1)]})
    assert (first["undo"]["change"], second["undo"]["change"]) == ("category 1 named 'one'", "the order of category")
    status, told = served.post("/api/undo", {"id": first["undo"]["id"]})  # from a page that has not seen the second
    assert (status, "another change" in told["error"]) == (409, True)
    assert served.settled() == second
    assert served.post("/api/undo", {"id": second["undo"]["id"]})[1]["undo"] == first["undo"]
    assert served.post("/api/undo", {"id": second["undo"]["id"]})[0] == 409
    assert served.post("/api/undo", {"id": first["undo"]["id"]})[0] == 200


def test_labels_of_images_that_are_not_here_stay_in_the_file(digits_run: Path, tmp_path: Path) -> None:
    run = copy_of(digits_run, tmp_path / "run")
    text = 'note,image,label\nsure,0,three\nfar,1,"a, b"\n,gone.png,owl\nno label yet,2,\n'
    (run / "labels.csv").write_text(text)
    with Explored(run, "--images", "2") as explored:  # the first and the last
        explored.enter()
        state = explored.settled()
        assert (state["images"]["labelled"], state["images"]["beside"]) == (1, 2)
        assert explored.post("/api/label", {"place": 1, "label": "owl"})[0] == 200
        kept = explored.request("/api/labels.csv", headers={"Cookie": explored.cookie})[2]
    assert "2 of the labels in labels.csv" in " ".join(explored.said), explored.said
    expected = 'note,image,label\nsure,0,three\n,1436,owl\nfar,1,"a, b"\n,gone.png,owl\nno label yet,2,\n'
    assert (run / "labels.csv").read_text() == kept.decode() == expected


# Decoding.


def slow_picture() -> bytes:
    """A JPEG of 200 KB that takes many seconds: the same scan again and again."""
    buffer = io.BytesIO()
    Image.new("L", (5600, 5600), 128).save(buffer, "JPEG", progressive=True)
    content = buffer.getvalue()
    begin = content.rindex(b"\xff\xda")
    return content[:begin] + content[begin:-2] * 3000 + content[-2:]


@pytest.mark.parametrize(
    "limits", [{"longest": 1, "patience": 200}, {"longest": 100, "patience": 4}], ids=["computing", "by the clock"]
)
def test_a_picture_that_takes_too_long_is_refused_and_the_next_is_decoded(limits: dict[str, int]) -> None:
    model, buffer = small_model(), io.BytesIO()
    Image.fromarray(image_set(1).images[0, 0]).save(buffer, "PNG")
    decoder = Decoder(**limits)
    try:
        with pytest.raises(Unreadable, match="seconds to decode") as caught:
            decoder.decode(slow_picture(), model)
        assert caught.value.status == 422
        assert np.array_equal(decoder.decode(buffer.getvalue(), model), image_set(1).images)
    finally:
        decoder.close()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this platform can not limit memory")
def test_a_picture_that_takes_too_much_memory_is_refused() -> None:
    content = png(5000, 5000, (b"IDAT", zlib.compress(bytes(5001 * 5000), 9)))
    decoder = Decoder(memory=2**24)
    try:
        for _ in range(2):
            with pytest.raises(Unreadable, match="more memory") as caught:
                decoder.decode(content, small_model())
            assert caught.value.status == 413
    finally:
        decoder.close()


def test_every_form_of_picture_is_decoded_within_the_memory_that_it_is_given() -> None:
    model, decoder = small_model(), Decoder(patience=200)  # by the clock, of a machine that does much else
    try:
        for mode, kind in (("RGBA", "PNG"), ("I;16", "PNG"), ("F", "TIFF")):
            buffer = io.BytesIO()
            Image.new(mode, (5600, 5600)).save(buffer, kind, **({"compress_level": 1} if kind == "PNG" else {}))
            content = buffer.getvalue()
            assert decoder.decode(content, model).shape == (1, 1, 8, 8)
    finally:
        decoder.close()


def test_a_decoder_that_ends_is_replaced(served: Explored) -> None:
    children = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children")
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "PNG")
    assert served.post("/api/read", buffer.getvalue())[0] == 200
    decoders = [
        int(child)
        for task in children.parent.parent.iterdir()
        for child in (task / "children").read_text().split()
        if b"infogan.explorer.decoding" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    assert len(decoders) == 1
    os.kill(decoders[0], signal.SIGKILL)
    status, _ = served.post("/api/read", buffer.getvalue())
    assert status in (200, 400)  # killed just then, it is one that could not be decoded
    assert served.post("/api/read", buffer.getvalue())[0] == 200


# The parts.


def test_noise_goes_along_an_axis_and_is_blended() -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 3}, {"kind": "continuous"}])
    held: dict[str, Any] = {"category": 1, "knob1": 0.5}
    samples = model.sample(9, codes=held, seed=2).images
    table = draw(model, View(codes=(1, 0.5), seed=2, across=NOISE, down=NOISE, columns=4, rows=2, pick=1)).images
    assert np.abs(table.reshape(8, 1, 8, 8).astype(int) - samples[1:9]).max() <= 1
    column = draw(model, View(codes=(1, 0.5), seed=2, across=0, down=NOISE, columns=3, rows=4)).images[:, 1]
    assert np.abs(column.astype(int) - samples[:4]).max() <= 1
    for way, seed in ((0.0, 2), (1.0, 6)):
        blended = draw(model, View(codes=(1, 0.5), seed=2, towards=6, way=way)).images[0, 0]
        assert np.abs(blended.astype(int) - model.sample(1, codes=held, seed=seed).images[0]).max() <= 1


def test_axes_stay_within_what_a_code_allows() -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 5}, {"kind": "continuous"}])
    model.order_values("category", [4, 3, 2, 1, 0])
    cases = [
        ({"across": 0, "columns": 3}, [3, 2, 1], (2.0, 0.0)),
        ({"across": 0, "columns": 3}, [4, 3, 2], (4.0, 0.0)),
        ({"across": 0, "columns": 9}, [4, 3, 2, 1, 0], (0.0, 0.0)),
        ({"across": 1, "columns": 3}, [-1, 0, 1], (0.0, 0.9)),
        ({"across": 1, "columns": 3, "zoom": 4}, [0.5, 0.75, 1], (0.0, 0.9)),
        ({"across": 1, "columns": 3, "zoom": 4}, [-1, -0.75, -0.5], (0.0, -1.0)),
        ({"across": 1, "columns": 1, "zoom": 4}, [0.9], (0.0, 0.9)),
    ]
    for words, expected, codes in cases:
        assert draw(model, View(codes=codes, **words)).across == pytest.approx(expected)


def test_an_animation_of_thousands_of_values_is_bounded() -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 1000}])
    began = time.process_time()
    content = traversal_gif(model, "category", rows=1, limit=100)
    moving = Image.open(io.BytesIO(content))
    assert 1 < getattr(moving, "n_frames", 1) <= 198  # there and back
    assert len(content) < 2**20
    assert time.process_time() - began < 30
    seen: list[Any] = []

    class Seen(InfoGAN):
        def traverse(self, code: str, **words: Any) -> Any:
            seen.append(words["values"])
            return super().traverse(code, **words)

    model.order_values("category", [*range(999, -1, -1)])
    traversal_gif(Seen(model.config, model.networks), "category", rows=1, limit=4)
    assert seen == [[999, 666, 333, 0]]


def test_many_values_and_names_are_told_quickly() -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 2000}])
    model.name_codes({"category": [f"name {value}" if value % 2 else "" for value in range(2000)]})
    assert model.value_names("category")[:4] == ["0", "name 1", "2", "name 3"]
    assert model.value_names("category") == [model.value_name("category", value) for value in range(2000)]
    began = time.process_time()
    for _ in range(5):
        groups_of(model, "category")
        draw(model, View(codes=(0,), across=0, columns=200))
    assert time.process_time() - began < 5


def collection(count: int = 90) -> tuple[InfoGAN, Collection]:
    model = small_model(codes=[{"kind": "categorical", "size": 3}, {"kind": "continuous"}])
    files = Collection(model, image_set(count), {})
    while files.read_on():
        pass
    return model, files


def test_images_are_filed_as_encode_files_them_and_sorted_by_sureness() -> None:
    model, files = collection()
    read = model.encode(files.images.images)
    p = read.probabilities["category"]
    groups, found, _ = files.filed(0)
    assert [group.name for group in groups] == ["0", "1", "2"]
    assert np.array_equal(found, read.codes["category"])
    for value in range(3):
        members = np.flatnonzero(found == value)
        surest = files.ranked(0, value, "surest")
        assert sorted(surest.tolist()) == members.tolist()
        assert (np.diff(p[surest, value]) <= 1e-6).all()
        assert files.ranked(0, value, "least").tolist()[:1] == surest.tolist()[-1:]
    between = files.ranked(0, 0, "between", 1)
    assert (np.diff(np.minimum(p[between, 0], p[between, 1])) <= 1e-6).all()
    entropy = -(p * np.log(p)).sum(axis=1)
    assert (np.diff(entropy[files.doubted()]) <= 1e-5).all()


def test_values_with_one_name_are_one_group_and_a_persons_word_is_certain() -> None:
    model, files = collection()
    p = model.encode(files.images.images).probabilities["category"]
    model.name_codes({"category": {0: "owl", 2: "owl"}})
    groups, found, probabilities = files.filed(0)
    assert [(group.name, group.values, group.named) for group in groups] == [("owl", (0, 2), True), ("1", (1,), False)]
    np.testing.assert_allclose(probabilities, np.stack([p[:, 0] + p[:, 2], p[:, 1]], axis=1), atol=1e-6)
    owls = p.argmax(axis=1) != 1
    assert np.array_equal(found == 0, owls)
    assert files.sure() == int((owls & (probabilities.max(axis=1) >= SURE)).sum())
    one = int(np.flatnonzero(~owls)[0]) if (~owls).any() else 0
    files.labels[one] = "owl"
    assert files.filed(0)[1][one] == 0
    assert files.ranked(0, 0, "surest").tolist().count(one) == 1
    assert one not in files.doubted()
    files.labels[one] = "something else"
    assert files.filed(0)[1][one] == -1
    assert files.told([one])[0]["group"] == "something else"
    assert files.strays() == {"something else": [one]}
    assert all(one not in files.ranked(0, group, "surest") for group in (0, 1))
    assert files.sure() >= 1
    rows = list(csv.DictReader(io.StringIO(codes_csv(files))))
    assert (rows[one]["label"], rows[one]["by"], float(rows[one]["probability"])) == ("something else", "hand", 1)
    assert rows[(one + 1) % 90]["by"] == "model"


def test_distance_in_code_is_hellinger_and_half_the_difference() -> None:
    p = np.array([[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]], np.float32)
    many = Readings({0: p}, {1: np.array([0.0, 0.0, 1.0], np.float32)})
    one = many[1:2]
    hellinger = np.sqrt(((np.sqrt(p) - np.sqrt(p[1])) ** 2).sum(axis=1) / 2)
    expected = np.sqrt(hellinger**2 + np.array([0, 0, 0.25]))
    np.testing.assert_allclose(many.distance(one), expected, atol=1e-6)


def test_a_change_that_can_not_be_saved_does_not_happen(tmp_path: Path) -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 3}])
    folder = tmp_path / "model"
    model.save(folder)
    desk = Desk(model, folder, image_set(20), tmp_path / "labels.csv")
    desk.name_value("category", 0, "owl")
    desk.label(3, "owl")
    for path in [*folder.iterdir()]:
        path.unlink()
    folder.rmdir()
    folder.write_text("in the way")
    with pytest.raises(Unsaved) as caught:
        desk.name_value("category", 0, "elk")
    assert str(tmp_path) not in str(caught.value)
    assert model.value_name("category", 0) == "owl"
    assert read_labels(tmp_path / "labels.csv", image_set(20)).names == ("owl",)
    assert desk.undo(1) == "image 3 filed as 'owl'"
    with pytest.raises(Unsaved):
        desk.undo(0)
    assert desk.undoable == (0, "category 0 named 'owl'")
    folder.unlink()
    assert desk.undo(0) == "category 0 named 'owl'"
    with pytest.raises(UserError, match="nothing to undo"):
        desk.undo(0)


def test_labels_go_with_a_group_that_is_renamed_and_with_no_other(tmp_path: Path) -> None:
    def desk_with(names: dict[int, str], labels: dict[int, str]) -> Desk:
        folder = tmp_path / str(len([*tmp_path.iterdir()]))
        model = small_model(codes=[{"kind": "categorical", "size": 4}, {"kind": "continuous"}])
        model.name_codes({"category": names})
        desk = Desk(model, folder / "model", image_set(20), folder / "labels.csv")
        desk.files().labels = labels
        return desk

    # Exchanging two names moves no label: both names still mean what they meant.
    desk = desk_with({0: "owl", 1: "elk"}, {3: "owl", 4: "elk"})
    desk.name_value("category", 0, "elk")
    desk.name_value("category", 1, "owl")
    assert desk.files().labels == {3: "owl", 4: "elk"}
    # What is shown of an unnamed value changes when its number becomes another's name, and with the code's name.
    desk = desk_with({}, {3: "2", 4: "1"})
    desk.name_value("category", 1, "2")
    assert desk.files().labels == {3: "category 2", 4: "2"}
    desk.rename_code("category", "kind")
    assert desk.files().labels == {3: "kind 2", 4: "2"}
    # A group that is joined takes all of its values along.
    desk = desk_with({0: "owl", 2: "owl", 1: "elk", 3: "elk"}, {5: "elk"})
    desk.join("category", [0, 1])
    assert {group.name: group.values for group in groups_of(desk.model, "category")} == {"owl": (0, 1, 2, 3)}
    assert desk.files().labels == {5: "owl"}


def test_a_model_beside_a_foreign_configuration_is_named_in_its_own(digits_run: Path, tmp_path: Path) -> None:
    copy_of(digits_run / "model", tmp_path / "model")
    (tmp_path / "config.json").write_text("{}")
    with Explored(tmp_path) as explored:
        explored.enter()
        assert explored.post("/api/name", {"code": 0, "value": 1, "name": "owl"})[0] == 200
    assert (tmp_path / "config.json").read_text() == "{}"
    assert InfoGAN.load(tmp_path).value_name("category", 1) == "owl"


def test_names_given_while_a_run_trains_are_kept(tmp_path: Path) -> None:
    planned, run = small_plan(), RunFolder.at(tmp_path / "run")
    steps: list[int] = []
    with pytest.raises(Interrupted):
        train_run(planned, run, callbacks=[Hooks(on_step=steps.append, stop=lambda: len(steps) > 3)])
    model = InfoGAN.load(run.path)
    model.name_codes({"category": {1: "owl"}})
    model.save_config(run.model)
    finished, _ = train_run(planned, run)
    assert finished.value_name("category", 1) == InfoGAN.load(run.path).value_name("category", 1) == "owl"


def test_no_answer_names_a_path_when_a_file_is_damaged(digits_run: Path, tmp_path: Path) -> None:
    with Explored(copy_of(digits_run, tmp_path / "run")) as explored:
        explored.enter()
        (tmp_path / "run" / "config.json").write_text("{")
        status, told = explored.get("/api/evidence")
        assert (status, str(tmp_path) in told["error"]) == (500, False)
        assert explored.get("/api/state")[0] == 200


def test_corrections_are_read_back_and_spoilt_ones_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("image,label\n3,owl\n")
    desk = Desk(small_model(), tmp_path / "model", image_set(20), path)
    assert desk.files().labels == {3: "owl"}
    for text, reason in (("picture,label\n3,owl\n", "no column image"), ("image,label\n3,owl\n3,elk\n", "second time")):
        path.write_text(text)
        with pytest.raises(UserError, match=reason):
            Desk(small_model(), tmp_path / "model", image_set(20), path)


def test_groups_come_in_the_order_that_is_shown() -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 3}])
    model.order_values("category", [2, 0, 1])
    model.name_codes({"category": {1: "owl", 2: "owl"}})
    assert [(group.name, group.values) for group in groups_of(model, "category")] == [("owl", (2, 1)), ("0", (0,))]
