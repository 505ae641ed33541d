"""The addresses of the explorer and what each answers.

Everything that touches the model or the session runs on one thread, in turn. Errors are JSON objects with one sentence,
``error``; no answer contains a path of the machine.
"""

import functools
import math
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infogan.explorer import requests as bodies
from infogan.explorer.app import Explorer
from infogan.explorer.decode_worker import UnreadableImage
from infogan.explorer.image_index import ImageIndex, Predictions
from infogan.explorer.neighbours import BANK_SEED
from infogan.explorer.persistence import ConflictError, SaveError
from infogan.explorer.render import View, axis_labels, render_table, tiled_data_url
from infogan.explorer.requests import RequestError, count_parameter, int_parameter, parse_body, read_body
from infogan.explorer.run_summary import read_figure, run_summary
from infogan.models.infogan import InfoGAN
from infogan.reports import figures, html_page
from infogan.reports.figures import traversal_gif
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError

STATIC = Path(__file__).parent / "static"
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
MAX_FRAMES = 100  # of an animation, one way
MAX_ANIMATED = 400  # images in an animation
NEIGHBOURS = 8


def create_app(explorer: Explorer) -> Starlette:
    """Return the application that answers for an explorer, without access control."""
    handlers: dict[Any, Any] = {
        RequestError: lambda _, error: _error(error.status, str(error)),
        UnreadableImage: lambda _, error: _error(error.status, str(error)),
        UserError: functools.partial(_user_error, explorer),
        SaveError: lambda _, error: _error(507, str(error)),
        ConflictError: lambda _, error: _error(409, str(error)),
        ClientDisconnect: lambda _, error: _error(400, "the request ended early"),
        HTTPException: lambda _, error: _error(error.status_code, error.detail),
        Exception: lambda _, error: _error(500, "internal error; see the terminal for details"),
    }
    routes = [
        Route(path, functools.partial(handler, explorer), methods=[method])
        for method, table in (("GET", GET), ("POST", POST))
        for path, handler in table.items()
    ]
    return Starlette(routes=routes, exception_handlers=handlers, lifespan=explorer.lifespan)


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status_code=status)


async def _user_error(explorer: Explorer, _: Request, error: Exception) -> Response:
    """Answer with the error's message, unless it names a path of the run, which only the terminal shows."""
    run = explorer.run
    paths = {path for path in (run.path, run.path.resolve()) if path.name.strip(".")} if run else set()
    if any(str(path) in str(error) for path in paths):
        print(f"error: {error}", file=sys.stderr)
        return _error(500, "a file of the run cannot be read; see the terminal for its name")
    return _error(400, str(error))


# The page.


@functools.cache
def static_files() -> dict[str, tuple[str, str]]:
    """Return content and media type of the page's files by name."""
    files = {path.name: path.read_text("utf-8") for path in STATIC.iterdir() if path.suffix in MEDIA_TYPES}
    files["index.html"] = Template(files["index.html"]).substitute(steer=files.pop("steer.html"))
    files["chart.css"] = html_page.static("chart.css")
    return {name: (content, MEDIA_TYPES[Path(name).suffix]) for name, content in files.items()}


async def page(_: Explorer, request: Request) -> Response:
    """Answer with the page."""
    return _file("index.html")


async def static(_: Explorer, request: Request) -> Response:
    """Answer with a script, a style sheet or the icon."""
    return _file(request.path_params["name"])


def _file(name: str) -> Response:
    if name not in static_files():
        raise RequestError(404, "not found")
    content, media_type = static_files()[name]
    return Response(content, media_type=media_type)


async def state(explorer: Explorer, _: Request) -> Response:
    """Answer with the state that the page shows, see `Session.describe`."""
    return await _state(explorer)


async def _state(explorer: Explorer, **extra: Any) -> Response:
    description = {
        "title": explorer.title,
        "evidence": explorer.run is not None,
        "error": explorer.error,
        "limitations": explorer.limitations,
        "max_frames": MAX_FRAMES,
        **await explorer.compute.run(explorer.session.describe),
    }
    return JSONResponse(description | extra)


# Generated images.


async def lattice(explorer: Explorer, request: Request) -> Response:
    """Answer with the table of a view as PNG, and what varies along it.

    If requests have a ``channel``, only the newest of each channel is answered and older ones get status 409: while a
    slider is dragged, views are requested faster than they are rendered.
    """
    view = View.from_query(dict(request.query_params))

    def job() -> dict[str, Any]:
        model = explorer.session.model
        table = render_table(model, view)
        rows, columns = table.images.shape[:2]
        image = tiled_data_url(table.images.reshape(-1, *table.images.shape[2:]), columns)
        answer = {"image": image, "columns": columns, "rows": rows, "across": table.across, "down": table.down}
        if view.centre is not None:
            answer["centre"] = tiled_data_url(render_table(model, view.of_centre()).images[0], 1)
        return answer

    channel = request.query_params.get("channel", "")
    if len(channel) > 64:
        raise RequestError(400, "channel: at most 64 characters are allowed")
    compute = explorer.compute
    answer = await (compute.run_newest(channel, job) if channel else compute.run(job))
    explorer.mark_rendered()
    return JSONResponse(answer)


async def lattice_png(explorer: Explorer, request: Request) -> Response:
    """Answer with the table of a view as a PNG file with headings."""
    view = View.from_query(dict(request.query_params))

    def job() -> bytes:
        model = explorer.session.model
        table = render_table(model, view)
        sheet = figures.labelled_sheet(
            table.images,
            column_labels=axis_labels(model, view.across, table.across),
            row_labels=axis_labels(model, view.down, table.down),
        )
        return html_page.png_bytes(sheet, optimize=False)

    return _download(await explorer.compute.run(job), "image/png", "lattice.png")


async def traversal(explorer: Explorer, request: Request) -> Response:
    """Answer with a GIF in which one code goes back and forth and the other codes are those of the view.

    At most ``MAX_FRAMES`` values of a category are shown, evenly spaced.
    """
    view, position = View.from_query(dict(request.query_params)), int_parameter(request, "code")

    def job() -> bytes:
        model = explorer.session.model
        code, codes = _code(model, position), view.named_codes(model)
        del codes[code]
        frames = min(max(len(model.values_of(code)), 25), MAX_FRAMES)
        rows = min(4, math.isqrt(MAX_ANIMATED // frames))
        return traversal_gif(model, code, rows=rows, seed=view.seed, codes=codes, limit=MAX_FRAMES)

    return _download(await explorer.compute.run(job), "image/gif")


# Real images.


async def gallery(explorer: Explorer, request: Request) -> Response:
    """Answer with real images of a ``group`` of a ``code``, in an ``order``, ``count`` of them starting at ``from``.

    A group is given by any of its values. With ``label`` instead, the images with an ungrouped label are meant.
    """
    code, label = int_parameter(request, "code"), request.query_params.get("label")
    group = None if label is not None else int_parameter(request, "group")
    other = int_parameter(request, "other") if "other" in request.query_params else None
    order, start = request.query_params.get("order", "surest"), int_parameter(request, "from", 0)
    count = count_parameter(request)

    def job() -> dict[str, Any]:
        index = explorer.session.images()
        if group is None:
            members = index.ungrouped_labels().get(label or "", [])
        else:
            other_group = None if other is None else index.group_with(code, other)
            members = index.ranked(code, index.group_with(code, group), order, other_group).tolist()
        return {"total": len(members), **_images(index, members[start : start + count], code)}

    return JSONResponse(await explorer.compute.run(job))


async def queue(explorer: Explorer, request: Request) -> Response:
    """Answer with the ``count`` unlabelled images that the recognizer is least sure of."""
    count = count_parameter(request)

    def job() -> dict[str, Any]:
        index = explorer.session.images()
        uncertain = index.by_uncertainty()
        return {"total": len(uncertain), **_images(index, uncertain[:count].tolist())}

    return JSONResponse(await explorer.compute.run(job))


async def image(explorer: Explorer, request: Request) -> Response:
    """Answer with one real image and its neighbours among real and generated images."""
    number = int_parameter(request, "index")

    def job() -> dict[str, Any]:
        index = explorer.session.images()
        index.check_index(number)
        if number >= index.encoded:
            raise UserError(f"image {number} is not read yet; retry in a moment")
        pixels = np.ascontiguousarray(index.images.images[number : number + 1])
        prediction = index.predictions[number : number + 1]
        return _images(index, [number]) | _neighbours(explorer, pixels, prediction, exclude=number)

    return JSONResponse(await explorer.compute.run(job))


async def read(explorer: Explorer, request: Request) -> Response:
    """Answer with the predicted codes of an uploaded image file, and its neighbours."""
    model = explorer.session.model
    if not model.networks.reads_codes:
        raise UserError(f"this is a {model.config.kind}: it has no recognizer and cannot read images")
    async with explorer.upload_slots:
        content = await read_body(request, bodies.MAX_UPLOAD_BYTES)
        pixels = await explorer.decoder.decode(content, model.shape.size, model.shape.channels)

    def job() -> dict[str, Any]:
        prediction = Predictions.from_encoding(model.encode(pixels))
        answer = {"image": tiled_data_url(pixels, 1), "predictions": prediction.first_as_lists()}
        return answer | _neighbours(explorer, pixels, prediction)

    return JSONResponse(await explorer.compute.run(job))


def _neighbours(
    explorer: Explorer, pixels: NDArray[np.uint8], prediction: Predictions, exclude: int | None = None
) -> dict[str, Any]:
    nearest = explorer.neighbours.nearest(pixels, NEIGHBOURS)
    url = tiled_data_url(nearest.images, NEIGHBOURS)
    generated = {"image": url, "codes": nearest.codes, "picks": nearest.picks, "seed": BANK_SEED}
    index = explorer.session.index
    if index is None:
        return {"generated": generated}
    similar = [i for i in index.nearest(prediction, NEIGHBOURS + 1) if i != exclude][:NEIGHBOURS]
    return {"generated": generated, "similar": _images(index, similar)}


def _images(index: ImageIndex, indices: list[int], code: int | None = None) -> dict[str, Any]:
    """Return the descriptions of real images, and all of them in one row."""
    if not indices:
        return {"items": [], "image": None}
    order = np.argsort(indices)  # a memory-mapped file is read front to back
    pixels = np.empty((len(indices), *index.images.images.shape[1:]), np.uint8)
    pixels[order] = index.images.images[np.asarray(indices)[order]]
    return {"items": index.describe(indices, code), "image": tiled_data_url(pixels, len(indices))}


# Changes.


async def name(explorer: Explorer, request: Request) -> Response:
    """Name a value of a code, or a code."""
    body = await parse_body(request, bodies.NameBody)
    session, value = explorer.session, body.value

    def job() -> None:
        code = _code(session.model, body.code)
        if value is None:
            session.rename_code(code, body.name)
        else:
            session.name_value(code, value, body.name)

    await explorer.compute.run(job)
    return await _state(explorer)


async def order(explorer: Explorer, request: Request) -> Response:
    """Set the order of the values of a code."""
    body, session = await parse_body(request, bodies.ValuesBody), explorer.session
    await explorer.compute.run(lambda: session.order_values(_code(session.model, body.code), body.values))
    return await _state(explorer)


async def join(explorer: Explorer, request: Request) -> Response:
    """Merge values of a code that mean the same."""
    body, session = await parse_body(request, bodies.ValuesBody), explorer.session
    await explorer.compute.run(lambda: session.join(_code(session.model, body.code), body.values))
    return await _state(explorer)


async def label(explorer: Explorer, request: Request) -> Response:
    """Label an image."""
    body = await parse_body(request, bodies.LabelBody)
    await explorer.compute.run(lambda: explorer.session.label(body.index, body.label))
    return await _state(explorer)


async def undo(explorer: Explorer, request: Request) -> Response:
    """Undo the last change if it is the one that the page shows."""
    body = await parse_body(request, bodies.UndoBody)
    change = await explorer.compute.run(lambda: explorer.session.undo(body.id))
    return await _state(explorer, undone=change)


def _code(model: InfoGAN, position: int) -> str:
    names = list(model.layout.codes)
    if not 0 <= position < len(names):
        raise UserError(f"there is no code {position}: the model has {len(names)}")
    return names[position]


# Evidence and downloads.


async def evidence(explorer: Explorer, _: Request) -> Response:
    """Answer with the evidence of the run."""
    run = _run(explorer)
    return JSONResponse(await explorer.compute.run(lambda: run_summary(run, explorer.session.model)))


async def figure(explorer: Explorer, request: Request) -> Response:
    """Answer with a figure drawn at a ``step`` of training: the sample grid, or the traversal of a ``code``."""
    run, step, code = _run(explorer), int_parameter(request, "step"), int_parameter(request, "code", -1)
    return Response(await explorer.compute.run(lambda: read_figure(run, step, code)), media_type="image/png")


def _run(explorer: Explorer) -> RunFolder:
    if explorer.run is None:
        raise RequestError(404, "this is a model without its run")
    return explorer.run


async def codes_csv(explorer: Explorer, _: Request) -> Response:
    """Answer with a CSV file of all real images with their groups and codes."""
    index = explorer.session.images()
    if index.encoded < len(index.images):
        raise RequestError(409, f"only {index.encoded} of {len(index.images)} images are read; retry later")
    text = await explorer.compute.run(index.codes_csv)
    return _download(text.encode("utf-8", "surrogateescape"), "text/csv", "codes.csv")


async def labels_csv(explorer: Explorer, _: Request) -> Response:
    """Answer with the label file."""
    return _download(await explorer.compute.run(explorer.session.labels_csv), "text/csv", "labels.csv")


def _download(content: bytes, media_type: str, name: str | None = None) -> Response:
    """Return a file to save; without a name, the link in the page names it."""
    disposition = "attachment" if name is None else f'attachment; filename="{name}"'
    return Response(content, media_type=media_type, headers={"content-disposition": disposition})


Handler = Callable[[Explorer, Request], Awaitable[Response]]
GET: dict[str, Handler] = {
    "/": page,
    "/static/{name}": static,
    "/api/state": state,
    "/api/lattice": lattice,
    "/api/lattice.png": lattice_png,
    "/api/traversal.gif": traversal,
    "/api/gallery": gallery,
    "/api/queue": queue,
    "/api/image": image,
    "/api/evidence": evidence,
    "/api/figure": figure,
    "/api/codes.csv": codes_csv,
    "/api/labels.csv": labels_csv,
}
POST: dict[str, Handler] = {
    "/api/name": name,
    "/api/order": order,
    "/api/join": join,
    "/api/label": label,
    "/api/undo": undo,
    "/api/read": read,
}
