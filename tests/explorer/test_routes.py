"""The explorer over HTTP: what it answers is what the model computes, and bad requests are refused."""

import base64
import contextlib
import csv
import io
import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from infogan.data import load
from infogan.data.labels import read_labels
from infogan.explorer import server
from infogan.models.infogan import InfoGAN
from tests.commands import infogan
from tests.explorer_client import ExplorerClient, copy_run, explorer_process, explorer_thread
from tests.helpers import small_model

CODES = "3,0.5,-0.25"  # of a category and two knobs


def pixels(url: str) -> Any:
    """The pixels of a ``data:`` URL."""
    content = base64.b64decode(url.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(content)))


def png_of(image: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


# Groups, and images at their own resolution.


def test_groups_are_described_with_images_that_are_theirs(client: ExplorerClient) -> None:
    model, images = InfoGAN.load(client.run), load("digits")
    encoding = model.encode(images.images)
    categories, sureness = encoding.codes["category"], encoding.probabilities["category"].max(axis=1)
    status, answer = client.get("/api/groups")
    assert status == 200
    assert answer["encoded"] == len(images)
    assert answer["verdict"]["groups"] in ("yes", "with care", "no")
    assert [group["name"] for group in answer["groups"]] == [str(value) for value in range(10)]
    for value, group in enumerate(answer["groups"]):
        members = categories == value
        assert group["count"] == members.sum()
        assert group["uncertain"] == (sureness[members] < 0.95).sum()
        shown = [item["index"] for item in group["images"]]
        assert len(set(shown)) == len(shown) == min(6, members.sum())
        assert all(categories[shown] == value)
        if members.sum() >= 12:  # of the more certain half, the most certain one first
            assert sureness[shown[0]] == pytest.approx(sureness[members].max(), abs=1e-5)
            assert min(sureness[shown]) >= np.median(sureness[members]) - 1e-5
    assert client.get("/api/groups", code=1)[0] == 400  # a knob has no groups


def test_a_thumbnail_of_an_array_is_the_image_itself(client: ExplorerClient) -> None:
    status, headers, content = client.request("/api/thumbnail?index=7&side=300", headers={"Cookie": client.cookie})
    assert status == 200
    assert headers["content-type"] == "image/png"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), load("digits").images[7, 0])


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photographs larger than those of the model, one of which is a link that leads out of it."""
    folder, random = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    (folder / "album").mkdir()
    for number in range(40):
        size = (60, 90) if number == 3 else (90, 60)
        image = Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8))
        image.save(folder / "album" / f"{number:02}.png")
    return folder / "album"


def test_thumbnails_have_the_detail_of_their_files(photographs: Path, tmp_path: Path) -> None:
    options = ["--size", "16", "--steps", "4", "--set", "networks.width=4", "--set", "train.batch_size=16"]
    options += ["--categorical", "3", "--out", str(tmp_path / "run")]
    assert infogan("train", photographs, *options).returncode == 0

    def thumbnail(client: ExplorerClient, index: int, side: int) -> Any:
        status, _, content = client.request(
            f"/api/thumbnail?index={index}&side={side}", headers={"Cookie": client.cookie}
        )
        assert status == 200, content
        return np.asarray(Image.open(io.BytesIO(content)))

    with explorer_thread(tmp_path / "run") as client:
        client.log_in()
        assert client.state()["originals"]
        with Image.open(photographs / "00.png") as image:
            square = np.asarray(image)[15:75]  # 60 x 90 (width x height): the centre, as the model sees it
        assert np.array_equal(thumbnail(client, 0, 1000), square)  # not enlarged
        assert thumbnail(client, 0, 32).shape == (32, 32, 3)
        assert thumbnail(client, 3, 500).shape == (60, 60, 3)
        before = thumbnail(client, 5, 40)
        (photographs / "05.png").unlink()
        assert np.array_equal(thumbnail(client, 5, 40), before)  # from the cache
        assert thumbnail(client, 5, 50).shape == (16, 16, 3)  # the file is gone: what the model sees
        (photographs / "06.png").unlink()
        secret = tmp_path / "secret.png"
        Image.new("RGB", (200, 200), "red").save(secret)
        (photographs / "06.png").symlink_to(secret)
        assert thumbnail(client, 6, 100).shape == (16, 16, 3)  # a link out of the folder is not followed
        (photographs / "07.png").write_bytes(b"no image")
        assert thumbnail(client, 7, 100).shape == (16, 16, 3)


def test_similar_images_of_both_groups_say_why_an_image_is_doubtful(client: ExplorerClient) -> None:
    model, digits = InfoGAN.load(client.run), load("digits")
    features = model.features(digits.images)
    number = client.get("/api/queue")[1]["items"][0]["index"]
    status, answer = client.get("/api/why", index=number)
    assert status == 200
    (item,) = client.get("/api/gallery", code=0, indices=number)[1]["items"]
    probabilities = item["predictions"][0]
    assert [group["name"] for group in answer["groups"]] == [str(k) for k in np.argsort(probabilities)[:-3:-1]]
    rows = {row["image"]: row["category"] for row in csv.DictReader(codes_csv(client).splitlines())}
    for group in answer["groups"]:
        members = [i for i, name in enumerate(digits.names) if rows[name] == group["name"] and i != number]
        nearest = sorted(members, key=lambda i: -float(features[i] @ features[number]))[:6]
        assert [image["index"] for image in group["images"]] == nearest
        assert [image["name"] for image in group["images"]] == [digits.names[i] for i in nearest]


def codes_csv(client: ExplorerClient) -> str:
    return client.request("/api/codes.csv", headers={"Cookie": client.cookie})[2].decode()


# Bad requests.

LATTICE = f"/api/lattice?codes={CODES}"
REFUSED = [
    ("GET", "/api/gallery?code=0&indices=1,x", None, 400),
    ("GET", f"/api/gallery?code=0&indices={','.join(['1'] * 201)}", None, 400),
    ("GET", "/api/gallery?code=0&indices=-1", None, 400),
    ("GET", "/api/why?index=99999", None, 400),
    ("GET", "/api/thumbnail", None, 400),
    ("GET", "/api/thumbnail?index=-1", None, 400),
    ("GET", "/api/thumbnail?index=99999", None, 400),
    ("GET", "/api/thumbnail?index=../../etc/passwd", None, 400),
    ("GET", "/api/thumbnail?index=1&side=15", None, 400),
    ("GET", "/api/thumbnail?index=1&side=1025", None, 400),
    ("GET", "/api/groups?code=7", None, 400),
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
    ("GET", f"{LATTICE}&centre=10000", None, 400),
    ("GET", f"{LATTICE}&channel={'x' * 65}", None, 400),
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
    ("GET", "/api/image?index=99999", None, 400),
    ("GET", "/api/image?index=%C2%B2", None, 400),
    ("GET", "/api/figure?step=3", None, 400),
    ("GET", "/api/figure?step=../../../../etc/passwd", None, 400),
    ("GET", "/static/../server.py", None, 404),
    ("GET", "/static/..%2f..%2fserver.py", None, 404),
    ("GET", "/static/%2e%2e/session.py", None, 404),
    ("GET", "/static/steer.html", None, 404),
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
    ("POST", "/api/label", {"indices": [-1], "label": "a"}, 400),
    ("POST", "/api/label", {"indices": [10**9], "label": "a"}, 400),
    ("POST", "/api/label", {"indices": [0], "label": ""}, 400),
    ("POST", "/api/read", b"", 400),
    ("POST", "/api/read", b"GIF89a", 400),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), REFUSED)
def test_bad_requests_are_refused_with_one_sentence(
    client: ExplorerClient, method: str, path: str, body: Any, status: int
) -> None:
    before = client.state()
    content = json.dumps(body).encode() if isinstance(body, dict) else body
    answered, headers, answer = client.request(path, method, content, {"Cookie": client.cookie})
    assert answered == status
    assert headers["content-type"] == "application/json"
    message = json.loads(answer)
    assert list(message) == ["error"]
    assert message["error"] and "\n" not in message["error"]
    for secret in ("Traceback", "site-packages", "/tmp", "run/"):
        assert secret not in message["error"]
    assert client.state() == before  # still running, and nothing has changed


def test_connections_beyond_the_limit_are_answered_503(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 3)
    small_model().save(tmp_path / "model")
    with explorer_thread(tmp_path / "model") as client:
        client.log_in()
        headers = {"Cookie": client.cookie}
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(socket.create_connection(("127.0.0.1", client.port)))
            assert client.request("/api/state", headers=headers)[0] == 503
        deadline = time.monotonic() + 10
        while client.request("/api/state", headers=headers)[0] != 200:
            assert time.monotonic() < deadline


@pytest.mark.parametrize("name", [b"run", b"caf\xe9"])
def test_no_answer_names_a_path_when_a_file_is_damaged(
    name: bytes, digits_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / os.fsdecode(name)  # on some platforms names are Unicode
    with explorer_thread(copy_run(digits_run, path), limit=100) as client:
        client.log_in()
        (path / "config.json").write_text("{")
        status, answer = client.get("/api/evidence")
        assert (status, str(tmp_path) in answer["error"]) == (500, False)
        assert str(tmp_path) in capsys.readouterr().err
        assert client.get("/api/state")[0] == 200


def render_at_once(client: ExplorerClient, channel: str, count: int = 100) -> list[int]:
    """Request tables from many threads at once; return the statuses."""
    statuses: list[int] = []

    def render(number: int) -> None:
        view = {"codes": CODES, "across": 0, "down": 1, "columns": 10, "rows": 8, "seed": number}
        statuses.append(client.get("/api/lattice", **view, channel=channel.format(number))[0])

    threads = [threading.Thread(target=render, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def test_only_the_newest_request_of_a_channel_is_rendered(client: ExplorerClient) -> None:
    statuses = render_at_once(client, "one", 50)
    assert set(statuses) == {200, 409}
    assert statuses.count(409) > 25
    assert render_at_once(client, "many {}", 20) == [200] * 20


@pytest.mark.integration
def test_a_hundred_renderings_at_once_leave_memory_unchanged(digits_run: Path) -> None:
    with explorer_process(digits_run) as (client, process):
        client.log_in()
        client.state()
        render_at_once(client, "warm {}")
        before = process.memory()
        render_at_once(client, "one")
        assert render_at_once(client, "many {}") == [200] * 100
        assert process.memory() - before < 20 * 2**20


# Generated images.


def test_a_table_shows_what_the_model_generates(client: ExplorerClient, digits_run: Path) -> None:
    model = InfoGAN.load(digits_run)
    view = {"codes": CODES, "across": 0, "down": 1, "columns": 10, "rows": 3, "seed": 4, "zoom": 2, "centre": 6}
    status, answer = client.get("/api/lattice", **view)
    assert status == 200
    assert answer["across"] == list(range(10))
    assert answer["down"] == [0.0, 0.5, 1.0]  # half the range around 0.5
    lattice = model.lattice("category", "knob1", rows=[0.0, 0.5, 1.0], codes={"knob2": -0.25}, seed=4)
    expected = lattice[:, :, 0].transpose(0, 2, 1, 3).reshape(3 * 8, 10 * 8)
    assert np.abs(pixels(answer["image"]).astype(int) - expected).max() <= 1
    # The centre has its own noise.
    samples = model.sample(7, codes={"category": 3, "knob1": 0.5, "knob2": -0.25}, seed=4).images[:, 0]
    assert np.abs(pixels(answer["centre"]).astype(int) - samples[6]).max() <= 1
    _, first = client.get("/api/lattice", codes=CODES, seed=4)
    assert np.abs(pixels(first["image"]).astype(int) - samples[0]).max() <= 1


def test_an_upload_is_read_as_encode_reads_it(client: ExplorerClient, digits_run: Path) -> None:
    image = load("digits", split="test").images[5]
    status, answer = client.post("/api/read", png_of(image[0]))
    assert status == 200
    encoding = InfoGAN.load(digits_run).encode(image[None])
    np.testing.assert_allclose(answer["predictions"][0], encoding.probabilities["category"][0], atol=1e-4)
    np.testing.assert_allclose(answer["predictions"][1], [encoding.codes["knob1"][0]], atol=1e-4)
    assert np.array_equal(pixels(answer["image"]), image[0])
    assert pixels(answer["generated"]["image"]).shape == (8, 64)
    assert len(answer["generated"]["codes"]) == len(answer["similar"]["items"]) == 8


def test_a_generated_neighbour_can_be_generated_again(client: ExplorerClient) -> None:
    _, answer = client.get("/api/image", index=7)
    assert 7 not in [item["index"] for item in answer["similar"]["items"]]
    near = answer["generated"]
    row = pixels(near["image"])
    for number, (codes, pick) in enumerate(zip(near["codes"], near["picks"], strict=True)):
        text = ",".join(repr(value) for value in codes)
        status, alone = client.get("/api/lattice", codes=text, seed=near["seed"], pick=pick)
        assert status == 200
        assert np.abs(pixels(alone["image"]).astype(int) - row[:, 8 * number : 8 * number + 8]).max() <= 1
    assert len(set(near["picks"])) == 8


# Changes.


def test_names_and_orders_are_saved_at_once_and_undone(client: ExplorerClient) -> None:
    state = client.state()
    assert client.post("/api/name", {"code": 0, "value": 3, "name": "<b>three"})[0] == 200
    assert InfoGAN.load(client.run).value_name("category", 3) == "<b>three"
    assert client.post("/api/name", {"code": 1, "name": "slant"})[0] == 200
    assert list(InfoGAN.load(client.run).layout.codes) == ["category", "slant", "knob2"]
    order = [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert client.post("/api/order", {"code": 0, "values": order})[0] == 200
    assert InfoGAN.load(client.run).values_of("category") == order
    status, answer = client.post("/api/join", {"code": 0, "values": [3, 5]})
    assert status == 200
    assert [group["values"] for group in answer["codes"][0]["groups"] if group["name"] == "<b>three"] == [[5, 3]]
    for _ in range(4):
        status, answer = client.post("/api/undo", {"id": answer["undo"]["id"]})
        assert status == 200
    assert answer == state
    assert InfoGAN.load(client.run).config.names.get("category") is None


def test_labels_are_saved_at_once_and_undone(client: ExplorerClient) -> None:
    labels, images = client.run / "labels.csv", load("digits")
    client.post("/api/name", {"code": 0, "value": 3, "name": "three"})
    first, second = (item["index"] for item in client.get("/api/queue", count=2)[1]["items"])
    status, answer = client.post("/api/label", {"indices": [first], "label": "three"})
    assert (status, answer["images"]["labelled"]) == (200, 1)
    assert client.get("/api/queue", count=2)[1]["items"][0]["index"] == second
    assert client.get("/api/image", index=first)[1]["items"][0]["group"] == "three"
    # Images with a label that is not the name of a group can be listed.
    _, answer = client.post("/api/label", {"indices": [second], "label": "smudge"})
    assert answer["images"]["ungrouped"] == [{"label": "smudge", "count": 1}]
    assert answer["undo"]["change"] == f"image {second} labelled 'smudge'"
    _, gallery = client.get("/api/gallery", code=0, label="smudge")
    assert (gallery["total"], gallery["items"][0]["index"], gallery["items"][0]["label"]) == (1, second, "smudge")
    assert client.get("/api/gallery", code=0, label="unknown")[1]["total"] == 0
    assert read_labels(labels, images).indices.tolist() == sorted([first, second])
    client.post("/api/undo", {"id": answer["undo"]["id"]})
    # A label follows the name of its group.
    client.post("/api/name", {"code": 0, "value": 3, "name": "tre"})
    assert read_labels(labels, images).names == ("tre",)
    client.undo_all()
    assert labels.read_text() == "image,label\n"


def test_undo_reverts_only_the_change_that_the_page_shows(client: ExplorerClient) -> None:
    _, first = client.post("/api/name", {"code": 0, "value": 1, "name": "one"})
    _, second = client.post("/api/order", {"code": 0, "values": [*range(9, -1, -1)]})
    assert (first["undo"]["change"], second["undo"]["change"]) == ("category 1 named 'one'", "the order of category")
    status, answer = client.post("/api/undo", {"id": first["undo"]["id"]})  # from a page that shows an older state
    assert (status, "another change" in answer["error"]) == (409, True)
    assert client.state() == second
    assert client.post("/api/undo", {"id": second["undo"]["id"]})[1]["undo"] == first["undo"]
    assert client.post("/api/undo", {"id": second["undo"]["id"]})[0] == 409
    assert client.post("/api/undo", {"id": first["undo"]["id"]})[0] == 200


def test_a_change_to_names_that_a_command_changed_is_refused(client: ExplorerClient) -> None:
    config = client.run / "model" / "config.json"
    content = config.read_bytes()
    assert infogan("name", client.run, "4=four").returncode == 0
    status, answer = client.post("/api/name", {"code": 0, "value": 4, "name": "five"})
    assert (status, "another program" in answer["error"]) == (409, True)
    assert client.state()["codes"][0]["values"][4]["name"] == "four"
    assert InfoGAN.load(client.run).value_name("category", 4) == "four"
    config.write_bytes(content)


def test_labels_of_images_that_are_not_loaded_stay_in_the_file(digits_run: Path, tmp_path: Path) -> None:
    run = copy_run(digits_run, tmp_path / "run")
    text = 'note,image,label\nsure,0,three\nfar,1,"a, b"\n,gone.png,owl\nno label yet,2,\n'
    (run / "labels.csv").write_text(text)
    with explorer_thread(run, limit=2) as client:  # the first and the last
        client.log_in()
        state = client.state()
        assert (state["images"]["labelled"], state["images"]["unloaded"]) == (1, 2)
        assert client.post("/api/label", {"indices": [1], "label": "owl"})[0] == 200
        content = client.request("/api/labels.csv", headers={"Cookie": client.cookie})[2]
        assert any("--limit" in line for line in client.log)
        assert any("2 labels in labels.csv" in line for line in client.log)
    expected = 'note,image,label\nsure,0,three\n,1436,owl\nfar,1,"a, b"\n,gone.png,owl\nno label yet,2,\n'
    assert (run / "labels.csv").read_text() == content.decode() == expected


# Downloads and evidence.


def test_downloads_can_be_opened(client: ExplorerClient, digits_run: Path) -> None:
    def download(path: str) -> bytes:
        status, headers, content = client.request(path, headers={"Cookie": client.cookie})
        assert status == 200
        assert headers["content-disposition"].startswith("attachment")
        return content

    sheet = Image.open(io.BytesIO(download(f"/api/lattice.png?codes={CODES}&across=0&down=2&columns=10&rows=4")))
    assert sheet.width > 10 * 64
    animation = Image.open(io.BytesIO(download(f"/api/traversal.gif?codes={CODES}&code=1")))
    assert getattr(animation, "n_frames", 1) > 10
    rows = list(csv.DictReader(io.StringIO(download("/api/codes.csv").decode())))
    images = load("digits")
    encoding = InfoGAN.load(digits_run).encode(images.images)
    assert [row["image"] for row in rows] == list(images.names)
    assert [row["category"] for row in rows] == [str(value) for value in encoding.codes["category"]]
    np.testing.assert_allclose([float(row["knob2"]) for row in rows], encoding.codes["knob2"], atol=1e-4)


def test_evidence_is_that_of_the_run(client: ExplorerClient, digits_run: Path) -> None:
    status, answer = client.get("/api/evidence")
    assert status == 200
    metrics = json.loads((digits_run / "metrics.jsonl").read_text().splitlines()[-1])
    assert answer["verdict"]["reason"] == metrics["verdict"]["reason"]
    low, high = metrics["intervals"]["accuracy"]
    assert ["accuracy", f"{metrics['accuracy']:.4f} ({low:.4f} to {high:.4f})"] == answer["measured"][0][:2]
    assert "category, knob1, knob2" in answer["charts"][0]

    def figure(query: str) -> bytes:
        return client.request(f"/api/figure?{query}", headers={"Cookie": client.cookie})[2]

    for step in answer["samples"]:
        assert figure(f"step={step}") == (digits_run / "samples" / f"{step:08d}.png").read_bytes()
    assert answer["traversals"] == {"0": [4, 8], "1": [4, 8], "2": [4, 8]}
    assert figure("step=4&code=1") == (digits_run / "traversals" / "00000004" / "knob1.png").read_bytes()
    assert client.get("/api/figure?step=5&code=1")[0] == 400
    assert client.get("/api/figure?step=4&code=3")[0] == 400


# Models without a run.


def test_a_model_folder_can_be_explored_without_its_run(digits_run: Path) -> None:
    with explorer_thread(digits_run / "model") as client:
        client.log_in()
        state = client.state()
        assert (state["images"], state["evidence"]) == (None, False)
        assert [sentence.split(":")[0] for sentence in state["limitations"]] == [
            "The real images are not available",
            "This is a model without its run",
        ]
        assert client.get("/api/lattice", codes=CODES)[0] == 200
        status, answer = client.post("/api/read", png_of(load("digits", split="test").images[5][0]))
        assert (status, len(answer["generated"]["codes"]), "similar" in answer) == (200, 8, False)
        assert client.get("/api/evidence")[0] == 404
        assert client.get("/api/queue")[0] == 400


def test_names_of_a_model_go_into_its_own_configuration(digits_run: Path, tmp_path: Path) -> None:
    copy_run(digits_run / "model", tmp_path / "model")
    (tmp_path / "config.json").write_text("{}")  # not the model's
    with explorer_thread(tmp_path) as client:
        client.log_in()
        assert client.post("/api/name", {"code": 0, "value": 1, "name": "owl"})[0] == 200
    assert (tmp_path / "config.json").read_text() == "{}"
    assert InfoGAN.load(tmp_path).value_name("category", 1) == "owl"
