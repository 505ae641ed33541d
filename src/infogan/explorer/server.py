"""The explorer over HTTP: what each address answers, one computation at a time.

Everything that touches the model or the desk runs on one thread, in turn; reading the real images goes on between.
Of the views that one part of a page asks for only the newest is drawn: when a slider is dragged, those that wait behind
it are dropped with status 409. Every error is a JSON object with one sentence, ``error``; no answer names a path of the
machine.
"""

import asyncio
import base64
import contextlib
import io
import itertools
import math
import socket
import sys
import time
import traceback
import webbrowser
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import uvicorn
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infogan.api.train_run import load_for
from infogan.config.schema import CategoricalCode
from infogan.data import ImageSet
from infogan.explorer import evidence, uploads
from infogan.explorer.collection import Collection, Readings, printable, told_readings
from infogan.explorer.decoding import Unreadable
from infogan.explorer.desk import Desk, codes_csv
from infogan.explorer.guard import Guard
from infogan.explorer.neighbours import SEED, Neighbours
from infogan.explorer.patience import LONGEST_BODY, Impatient
from infogan.explorer.saved import Outdated, Unsaved
from infogan.explorer.views import NOISE, View, draw
from infogan.models.infogan import InfoGAN
from infogan.models.serialization import model_folder
from infogan.reports import figures
from infogan.reports.sheets import traversal_gif
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError

STATIC = Path(__file__).parent / "static"
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
MOST_AT_ONCE = 200  # connections; more are told that the server is busy
MOST_FRAMES = 100  # of an animation, one way
MOST_MOVING = 400  # images in it
MOST_SHOWN = 200  # real images in one answer
MOST_UPLOADS = 2  # bodies in memory at once; what else is sent waits in its socket
LONGEST_WAIT = 10.0  # seconds that it does
MOST_WORDS = 64 * 2**10  # bytes of a request that changes something
NEIGHBOURS = 8
BREATH = 0.2  # seconds that reading waits after a piece of images while the page keeps drawing
FIRST_LOOK = 1.5  # seconds that reading waits for the page to draw something: a browser that starts needs the processor

Result = TypeVar("Result")


class Refused(Exception):
    """A request that is answered with an error status and a sentence."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Words(BaseModel):
    """What a request that changes something says."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Naming(Words):
    """A value of a code and its name; of a whole code, without ``value``."""

    code: int
    value: int | None = None
    name: Annotated[str, Field(max_length=1000)]


class Ordering(Words):
    """All values of a code in an order, or some that mean the same."""

    code: int
    values: Annotated[list[int], Field(max_length=10_000)]


class Labelling(Words):
    """An image and what it shows; None takes back what was said."""

    place: int
    label: Annotated[str, Field(max_length=1000)] | None


class Undoing(Words):
    """The number of the change to be undone."""

    id: int


class Worker:
    """One thread that computes, and which view each part of a page asked for last."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="compute")
        self._numbers = itertools.count()
        self._newest: dict[str, int] = {}
        self._waiting: dict[str, int] = {}
        self._turns: dict[str, asyncio.Lock] = {}

    async def do(self, job: Callable[[], Result]) -> Result:
        """Runs a job when its turn comes."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, job)

    async def newest(self, asker: str, job: Callable[[], Result]) -> Result:
        """Runs a job unless the same asker asks for another while it waits; then raises `Refused`."""
        number = self._newest[asker] = next(self._numbers)
        turn = self._turns.setdefault(asker, asyncio.Lock())
        self._waiting[asker] = self._waiting.get(asker, 0) + 1
        try:
            async with turn:
                if self._newest[asker] != number:
                    raise Refused(409, "a newer view was asked for")
                return await self.do(job)
        finally:
            self._waiting[asker] -= 1
            if not self._waiting[asker]:
                del self._waiting[asker], self._turns[asker], self._newest[asker]

    def stop(self) -> None:
        """Lets the thread end after what it is doing."""
        self._thread.shutdown(wait=False, cancel_futures=True)


class Explorer:
    """The answers.

    Args:
        desk: What is explored.
        run: Where evidence is; None for a model folder alone.
        title: Of the page.
    """

    def __init__(self, desk: Desk, run: RunFolder | None, title: str) -> None:
        self.desk, self.run, self.title = desk, run, title
        self.private = {path for path in (run.path, run.path.resolve()) if path.name.strip(".")} if run else set()
        self.lacks = _lacks(desk, run)
        self.looked = asyncio.Event()  # something was drawn for the page
        self.drawn_at = -math.inf  # when the last was, by the monotonic clock
        self.failed: str | None = None  # what ended the reading of real images early
        self.worker = Worker()
        self.uploading = asyncio.Semaphore(MOST_UPLOADS)
        self.neighbours = Neighbours(desk.model)
        self.decoder = uploads.Decoder()
        self.decoding = ThreadPoolExecutor(max_workers=1, thread_name_prefix="decode")
        self.pages = {
            path.name: (path.read_bytes(), KINDS[path.suffix]) for path in STATIC.iterdir() if path.suffix in KINDS
        }

    def app(self) -> Starlette:
        """The application, unguarded."""
        get: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "/": self.page,
            "/static/{name}": self.static,
            "/api/state": self.state,
            "/api/lattice": self.lattice,
            "/api/lattice.png": self.lattice_png,
            "/api/traversal.gif": self.traversal,
            "/api/gallery": self.gallery,
            "/api/queue": self.queue,
            "/api/image": self.image,
            "/api/evidence": self.evidence,
            "/api/picture": self.picture,
            "/api/codes.csv": self.codes,
            "/api/labels.csv": self.labels,
        }
        post: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "/api/name": self.name,
            "/api/order": self.order,
            "/api/join": self.join,
            "/api/label": self.label,
            "/api/undo": self.undo,
            "/api/read": self.read,
        }
        routes = [Route(path, answer, methods=["GET"]) for path, answer in get.items()]
        routes += [Route(path, answer, methods=["POST"]) for path, answer in post.items()]
        handlers: dict[Any, Any] = {
            Refused: lambda _, error: _error(error.status, str(error)),
            Unreadable: lambda _, error: _error(error.status, str(error)),
            UserError: self._mistaken,
            Unsaved: lambda _, error: _error(507, str(error)),
            Outdated: lambda _, error: _error(409, str(error)),
            ClientDisconnect: lambda _, error: _error(400, "the request ended early"),
            HTTPException: lambda _, error: _error(error.status_code, error.detail),
            Exception: lambda _, error: _error(500, "something went wrong here: the terminal says what"),
        }
        return Starlette(routes=routes, exception_handlers=handlers, lifespan=self._lifespan)

    def _mistaken(self, _: Request, error: UserError) -> Response:
        """A user's mistake in words; but those of files name paths, which are for the terminal."""
        text = str(error)
        if any(str(part) in text for part in self.private):
            print(f"error: {text}", file=sys.stderr)
            return _error(500, "a file of the run can not be read: the terminal says which")
        return _error(400, text)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        reading = asyncio.create_task(self._read_all())
        yield
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
        self.worker.stop()
        self.decoder.stop()
        self.decoding.shutdown(cancel_futures=True)  # which waits: what was being decoded has just ended
        self.decoder.close()

    async def _read_all(self) -> None:
        """Reads the real images a piece at a time, after the first picture, so that what is drawn comes between."""
        files = self.desk.collection
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.looked.wait(), FIRST_LOOK)
        try:
            while files is not None and await self.worker.do(files.read_on):
                if time.monotonic() - self.drawn_at < BREATH:  # whoever steers has the processor first
                    await asyncio.sleep(BREATH)
        except Exception:  # nobody waits for this: the page must be told, or it would wait for ever
            traceback.print_exc(file=sys.stderr)
            self.failed = "reading the images failed: the terminal says why"
        if self.desk.model.networks.reads_codes:
            self.decoding.submit(self.decoder.start)  # so that it is warm when a picture comes

    # The page.

    async def page(self, _: Request) -> Response:
        """The page itself."""
        content, kind = self.pages["index.html"]
        return Response(content, media_type=kind)

    async def static(self, request: Request) -> Response:
        """One of its parts."""
        found = self.pages.get(request.path_params["name"])
        if found is None:
            raise Refused(404, "there is nothing here")
        return Response(found[0], media_type=found[1])

    async def state(self, _: Request) -> Response:
        """What the page must know; see `Desk.described`."""
        return await self._described()

    async def _described(self, **more: Any) -> Response:
        told = await self.worker.do(self.desk.described)
        known = {
            "title": self.title,
            "evidence": self.run is not None,
            "failed": self.failed,
            "lacks": self.lacks,
            "frames": MOST_FRAMES,
        }
        return JSONResponse({**known, **told, **more})

    # Steering.

    async def lattice(self, request: Request) -> Response:
        """A view, see `View`: ``image`` as PNG, what varies ``across`` and ``down``, and on request its ``centre``.

        With an ``asker``, a part of a page, only the newest view it asks for is drawn.
        """
        view = View.read(dict(request.query_params))

        def job() -> dict[str, Any]:
            table = draw(self.desk.model, view)
            rows, columns = table.images.shape[:2]
            image = as_data(table.images.reshape(-1, *table.images.shape[2:]), columns)
            answer = {"image": image, "columns": columns, "rows": rows, "across": table.across, "down": table.down}
            if "centre" in request.query_params:
                if view.across != NOISE or view.down != NOISE:  # else it is the first of the table
                    alone = view.model_copy(update={"across": NOISE, "down": NOISE, "columns": 1, "rows": 1})
                    table = draw(self.desk.model, alone)
                answer["centre"] = as_data(table.images[0, :1], 1)
            return answer

        asker = request.query_params.get("asker", "")
        if len(asker) > 64:
            raise Refused(400, "asker: at most 64 characters")
        answer = await (self.worker.newest(asker, job) if asker else self.worker.do(job))
        self.looked.set()
        self.drawn_at = time.monotonic()
        return JSONResponse(answer)

    async def lattice_png(self, request: Request) -> Response:
        """A view as a sheet with headings, to keep."""
        view = View.read(dict(request.query_params))

        def job() -> bytes:
            model, table = self.desk.model, draw(self.desk.model, view)
            sheet = figures.labelled_sheet(
                table.images,
                column_labels=_headings(model, view.across, table.across),
                row_labels=_headings(model, view.down, table.down),
            )
            return _png(sheet)

        return _download(await self.worker.do(job), "image/png", "lattice.png")

    async def traversal(self, request: Request) -> Response:
        """A code going there and back, as a GIF: other codes as the view has them, noises of its seed.

        Of a category with more than ``MOST_FRAMES`` values so many are shown, evenly chosen.
        """
        view, place = View.read(dict(request.query_params)), _number(request, "code")

        def job() -> bytes:
            model, code = self.desk.model, self._code(place)
            names = list(model.layout.codes)
            if len(view.codes) != len(names):
                raise UserError(f"the model has {len(names)} codes, and {len(view.codes)} values were given")
            held = {name: value for name, value in zip(names, view.codes, strict=True) if name != code}
            frames = min(max(len(model.values_of(code)), 25), MOST_FRAMES)
            rows = min(4, math.isqrt(MOST_MOVING // frames))
            return traversal_gif(model, code, rows=rows, seed=view.seed, codes=held, most=MOST_FRAMES)

        return _download(await self.worker.do(job), "image/gif")

    # Sorting.

    async def gallery(self, request: Request) -> Response:
        """Real images of a group: ``code``, ``group``, ``order``, ``other``, ``from`` and ``count``.

        A group is meant by any of its values. With ``label`` instead of ``group``, those that a person called so, which
        are in no group.
        """
        code, label = _number(request, "code"), request.query_params.get("label")
        group = None if label is not None else _number(request, "group")
        other = _number(request, "other") if "other" in request.query_params else None
        order, start = request.query_params.get("order", "surest"), _number(request, "from", 0)
        count = _count(request)

        def job() -> dict[str, Any]:
            files = self.desk.files()
            if group is None:
                members = files.strays().get(label or "", [])
            else:
                against = None if other is None else files.group_of(code, other)
                members = files.ranked(code, files.group_of(code, group), order, against).tolist()
            shown = members[start : start + count]
            return {"total": len(members), "read": files.read} | _shown(files, shown, code)

        return JSONResponse(await self.worker.do(job))

    async def queue(self, request: Request) -> Response:
        """The images that are most in doubt."""
        count = _count(request)

        def job() -> dict[str, Any]:
            files = self.desk.files()
            doubted = files.doubted()
            return {"total": len(doubted), "read": files.read} | _shown(files, doubted[:count].tolist())

        return JSONResponse(await self.worker.do(job))

    async def image(self, request: Request) -> Response:
        """One real image, with its neighbours in code and among generated images."""
        place = _number(request, "place")

        def job() -> dict[str, Any]:
            files = self.desk.files()
            files.check(place)
            if place >= files.read:
                raise UserError(f"image {place} is not read yet")
            image = np.ascontiguousarray(files.images.images[place : place + 1])
            reading = files.readings[place : place + 1]
            return _shown(files, [place]) | self._neighbours(image, reading, but=place)

        return JSONResponse(await self.worker.do(job))

    async def read(self, request: Request) -> Response:
        """The codes of a picture that is sent as it is, with its neighbours."""
        model = self.desk.model
        if not model.networks.reads_codes:
            raise UserError(f"this is a {model.config.kind}: it has no recognizer and can not read images")
        try:
            await asyncio.wait_for(self.uploading.acquire(), LONGEST_WAIT)
        except TimeoutError:
            raise Refused(429, "too many pictures are sent at once: try again") from None
        try:
            content = await _body(request, uploads.MOST_BYTES)
            # On a thread of its own, one at a time: what is drawn need not wait, and memory is bounded.
            loop = asyncio.get_running_loop()
            image = await loop.run_in_executor(self.decoding, self.decoder.decode, content, model)
        finally:
            self.uploading.release()

        def job() -> dict[str, Any]:
            reading = Readings.of(model.encode(image))
            return {"image": as_data(image, 1), "readings": told_readings(reading)} | self._neighbours(image, reading)

        return JSONResponse(await self.worker.do(job))

    def _neighbours(self, image: NDArray[np.uint8], reading: Readings, but: int | None = None) -> dict[str, Any]:
        found = self.neighbours.nearest(image, NEIGHBOURS)
        generated = {
            "image": as_data(found.images, NEIGHBOURS),
            "codes": found.codes,
            "picks": found.picks,
            "seed": SEED,
        }
        files = self.desk.collection
        if files is None:
            return {"generated": generated}
        near = [place for place in files.nearest(reading, NEIGHBOURS + 1) if place != but][:NEIGHBOURS]
        return {"generated": generated, "similar": _shown(files, near)}

    # Changing.

    async def name(self, request: Request) -> Response:
        """Names a value of a code, or a code: `Naming`."""
        said = await _words(request, Naming)
        if said.value is None:
            return await self._changed(lambda: self.desk.rename_code(self._code(said.code), said.name))
        value = said.value
        return await self._changed(lambda: self.desk.name_value(self._code(said.code), value, said.name))

    async def order(self, request: Request) -> Response:
        """Orders the values of a code: `Ordering`."""
        said = await _words(request, Ordering)
        return await self._changed(lambda: self.desk.order_values(self._code(said.code), said.values))

    async def join(self, request: Request) -> Response:
        """Says that values of a code mean the same: `Ordering`."""
        said = await _words(request, Ordering)
        return await self._changed(lambda: self.desk.join(self._code(said.code), said.values))

    async def label(self, request: Request) -> Response:
        """Says what an image shows: `Labelling`."""
        said = await _words(request, Labelling)
        return await self._changed(lambda: self.desk.label(said.place, said.label))

    async def undo(self, request: Request) -> Response:
        """Takes back the last change, if it is the one that is meant: `Undoing`."""
        said = await _words(request, Undoing)
        undone = await self.worker.do(lambda: self.desk.undo(said.id))
        return await self._described(undone=undone)

    async def _changed(self, job: Callable[[], None]) -> Response:
        await self.worker.do(job)
        return await self._described()

    def _code(self, place: int) -> str:
        names = list(self.desk.model.layout.codes)
        if not 0 <= place < len(names):
            raise UserError(f"there is no code {place}: the model has {len(names)}")
        return names[place]

    # Evidence, and files to keep.

    async def evidence(self, _: Request) -> Response:
        """What speaks for the run and against it."""
        run = self._run()
        return JSONResponse(await self.worker.do(lambda: evidence.evidence(run, self.desk.model)))

    async def picture(self, request: Request) -> Response:
        """What was drawn at a ``step`` of training: samples, or the traversal of a ``code``."""
        run, step, code = self._run(), _number(request, "step"), _number(request, "code", -1)
        return Response(await self.worker.do(lambda: evidence.picture(run, step, code)), media_type="image/png")

    def _run(self) -> RunFolder:
        if self.run is None:
            raise Refused(404, "this is a model without its run")
        return self.run

    async def codes(self, _: Request) -> Response:
        """Every image with its group and its codes."""
        files = self.desk.files()
        if files.read < len(files.images):
            raise Refused(409, f"only {files.read} of {len(files.images)} images are read yet")
        text = await self.worker.do(lambda: codes_csv(files))
        return _download(text.encode("utf-8", "surrogateescape"), "text/csv", "codes.csv")

    async def labels(self, _: Request) -> Response:
        """The corrections."""
        return _download(await self.worker.do(self.desk.labels_csv), "text/csv", "labels.csv")


def explorer_of(path: Path, most_images: int, say: Callable[[str], None]) -> Explorer:
    """What there is to explore of a run folder or a model folder.

    Args:
        path: The folder.
        most_images: How many of the training images are read at most, evenly chosen.
        say: Told why there are no real images, if there are none.

    Raises:
        UserError: there is no model, or corrections that can not be read.
    """
    model = InfoGAN.load(path)
    if not (path / "environment.json").is_file():
        title = printable(f"{model.config.kind} in {path.resolve().name}")
        return Explorer(Desk(model, model_folder(path), None, None), None, title)
    run = RunFolder.existing(path)
    config = run.read_config()
    try:
        images: ImageSet | None = load_for(model, config.data)
    except UserError as error:
        say(f"the real images are not to be had, so there is nothing to sort or correct: {error}")
        images = None
    if images is not None and len(images) > most_images:
        say(f"{most_images} of the {len(images)} images are read: --images says how many")
        images = images.subset(np.linspace(0, len(images) - 1, most_images).astype(int))
    source = config.data.source or ""
    title = printable(f"{model.config.kind} on {Path(source).name}")
    desk = Desk(model, run.model, images, path / "labels.csv")
    if desk.beside:
        say(f"{desk.beside} of the labels in labels.csv are of images that are not read here: they stay as they are")
    return Explorer(desk, run, title)


def serve(explorer: Explorer, port: int, *, open_browser: bool, announce: Callable[[str], None]) -> None:
    """Serves until a signal comes.

    Args:
        explorer: What.
        port: On 127.0.0.1; 0 = any that is free.
        open_browser: Whether to show the page.
        announce: Told of every address, each of which serves once.

    Raises:
        UserError: the port is taken.
    """
    try:
        listening = socket.create_server(("127.0.0.1", port), backlog=128)
    except (OSError, OverflowError) as error:
        raise UserError(f"cannot listen on port {port}: {getattr(error, 'strerror', None) or error}") from None
    with listening:
        guard = Guard(explorer.app(), listening.getsockname()[1], announce)
        # The first computation sets up much that later ones reuse: the page should not wait for it.
        explorer.desk.model.sample(64)
        announce(guard.address)
        if open_browser:
            webbrowser.open(guard.address)
        server_of(guard).run(sockets=[listening])


def server_of(guard: Guard) -> uvicorn.Server:
    """What speaks HTTP, within bounds."""
    config = uvicorn.Config(
        guard,
        http=Impatient,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        limit_concurrency=MOST_AT_ONCE,
        timeout_graceful_shutdown=2,
    )
    return uvicorn.Server(config)


# Pieces of requests and answers.


def _lacks(desk: Desk, run: RunFolder | None) -> list[str]:
    """What can not be done here and why, a sentence each."""
    model, lacks = desk.model, []
    if not model.layout.codes:
        lacks.append(f"This {model.config.kind} has no codes: only its noise can be steered.")
    if not model.networks.reads_codes:
        lacks.append(f"This {model.config.kind} has no recognizer: it can not read, sort or correct images.")
    elif not model.layout.categorical:
        lacks.append("This model has no categories: there is nothing to sort or correct.")
    elif desk.collection is None:
        lacks.append("The real images are not here: there is nothing to sort or correct.")
    if run is None:
        lacks.append("This is a model without its run: there is no evidence of its training.")
    return lacks


def as_data(images: NDArray[np.uint8], columns: int) -> str:
    """Images (count, channels, height, width) as a table without gaps, a ``data:`` address of a PNG."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    table = np.zeros((rows * columns, channels, height, width), np.uint8)
    table[:count] = images
    joined = table.reshape(rows, columns, channels, height, width).transpose(0, 3, 1, 4, 2)
    pixels = np.ascontiguousarray(joined).reshape(rows * height, columns * width, channels)
    picture = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    return f"data:image/png;base64,{base64.b64encode(_png(picture)).decode()}"


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _shown(files: Collection, places: list[int], code: int | None = None) -> dict[str, Any]:
    """Real images: what is known of each, see `Collection.told`, and all of them in one row."""
    if not places:
        return {"items": [], "image": None}
    order = np.argsort(places)  # a mapped file is read in its order
    images = np.empty((len(places), *files.images.images.shape[1:]), np.uint8)
    images[order] = files.images.images[np.asarray(places)[order]]
    return {"items": files.told(places, code), "image": as_data(images, len(places))}


def _headings(model: InfoGAN, axis: int, values: list[float]) -> list[str]:
    if axis == NOISE:
        return [f"noise {value:.0f}" for value in values]
    name = list(model.layout.codes)[axis]
    if isinstance(model.layout.code(name), CategoricalCode):
        return [model.value_name(name, int(value)) for value in values]
    return [f"{name} {value:+.2f}" for value in values]


def _number(request: Request, name: str, default: int | None = None) -> int:
    text = request.query_params.get(name)
    if text is None and default is not None:
        return default
    if text is None or len(text) > 15 or not text.isascii() or not text.isdecimal():
        raise Refused(400, f"{name}: a whole number from 0 on is needed")
    return int(text)


def _count(request: Request) -> int:
    count = _number(request, "count", 60)
    if not 1 <= count <= MOST_SHOWN:
        raise Refused(400, f"count: 1 to {MOST_SHOWN} are allowed")
    return count


async def _body(request: Request, most: int) -> bytes:
    """What was sent, at most so many bytes; the rest is not waited for."""
    content = bytearray()
    try:
        async with asyncio.timeout(LONGEST_BODY):
            async for piece in request.stream():
                content += piece
                if len(content) > most:
                    raise Refused(413, f"more than {most:,} bytes were sent")
    except TimeoutError:
        raise Refused(408, f"nothing whole was sent in {LONGEST_BODY:.0f} seconds") from None
    return bytes(content)


Said = TypeVar("Said", bound=Words)


async def _words(request: Request, kind: type[Said]) -> Said:
    try:
        return kind.model_validate_json(await _body(request, MOST_WORDS))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Refused(400, f"{where}: {first['msg']}" if where else first["msg"]) from None


def _download(content: bytes, kind: str, name: str | None = None) -> Response:
    """An answer to keep; without a name the page that links to it says how it is called."""
    disposition = "attachment" if name is None else f'attachment; filename="{name}"'
    return Response(content, media_type=kind, headers={"content-disposition": disposition})


def _error(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status_code=status)
