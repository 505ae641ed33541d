"""The addresses of the explorer and what each answers.

Everything that touches the model or the session runs on one thread, in turn. Errors are JSON objects with one sentence,
``error``; no answer contains a path of the machine.
"""

import asyncio
import functools
import math
import sys
import time
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

from infogan.api.refine import refine_run, unrefine_run
from infogan.data.preprocess import Target
from infogan.explorer import requests
from infogan.explorer.app import Explorer
from infogan.explorer.image_index import Predictions, printable
from infogan.explorer.persistence import ConflictError, SaveError
from infogan.explorer.render import View, axis_labels, code_name, render_table, tiled_data_url
from infogan.explorer.requests import Parameters, Query, check_declared_length, parse, read_body
from infogan.explorer.run_summary import read_figure, run_summary
from infogan.reports import figures, html_page
from infogan.training.run_dir import RunFolder
from infogan.training.teacher import REFINED
from infogan.utils.errors import UserError, encodable

STATIC = Path(__file__).parent / "static"
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
MAX_FRAMES = 100  # of an animation, one way
MAX_ANIMATED = 400  # images in an animation
NEIGHBOURS = 8
SIMILAR = 6  # images of a group that are shown next to one to be corrected
MAP_STEPS = 4096  # places along a side of the map
UNREAD = -2  # group of an image that is not encoded yet

Answer = dict[str, Any] | Response | None  # values to send as JSON, a complete response, or None for the state
Handler = Callable[[Explorer, Request], Awaitable[Response]]
Compute = Callable[[Explorer, Parameters], Answer]

ROUTES: list[tuple[str, str, Handler]] = []  # method, path and handler of each address


def create_app(explorer: Explorer) -> Starlette:
    """Return the application that answers for an explorer, without access control."""
    handlers: dict[Any, Any] = {
        HTTPException: lambda _, error: _error(error.status_code, error.detail),
        UserError: functools.partial(_user_error, explorer),
        SaveError: lambda _, error: _error(507, str(error)),
        ConflictError: lambda _, error: _error(409, str(error)),
        ClientDisconnect: lambda _, error: _error(400, "the request ended early"),
        Exception: lambda _, error: _error(500, "internal error; see the terminal for details"),
    }
    routes = [Route(path, functools.partial(handler, explorer), methods=[method]) for method, path, handler in ROUTES]
    return Starlette(routes=routes, exception_handlers=handlers, lifespan=explorer.lifespan)


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status_code=status)


async def _user_error(explorer: Explorer, _: Request, error: Exception) -> Response:
    """Answer with the error's message, unless it names a path of the run, which only the terminal shows."""
    run = explorer.run
    paths = {path for path in (run.path, run.path.resolve()) if path.name.strip(".")} if run else set()
    if any(encodable(str(path)) in str(error) for path in paths):
        print(f"error: {error}", file=sys.stderr)
        return _error(500, "a file of the run cannot be read; see the terminal for its name")
    return _error(400, str(error))


def route(method: str, path: str) -> Callable[[Handler], Handler]:
    """Return a decorator that adds a handler to ``ROUTES``."""

    def register(handler: Handler) -> Handler:
        ROUTES.append((method, path, handler))
        return handler

    return register


def computed(method: str, path: str, kind: type[Parameters]) -> Callable[[Compute[Parameters]], Compute[Parameters]]:
    """Return a decorator that adds a function of the computing thread to ``ROUTES``.

    Args:
        method: ``GET`` or ``POST``.
        path: Path of the address.
        kind: What the query or the body is parsed as; the function receives the result.
    """

    def register(compute: Compute[Parameters]) -> Compute[Parameters]:
        @route(method, path)
        async def handler(explorer: Explorer, request: Request) -> Response:
            parameters = await parse(request, kind)
            channel = getattr(parameters, "channel", "")  # see `requests.TableQuery`
            answer = await explorer.compute.run(lambda: compute(explorer, parameters) or describe(explorer), channel)
            return answer if isinstance(answer, Response) else JSONResponse(answer)

        return compute

    return register


def describe(explorer: Explorer) -> dict[str, Any]:
    """Return the state that the page shows, see `Session.describe`."""
    return {
        "title": explorer.title,
        "evidence": explorer.run is not None,
        "originals": explorer.originals is not None,
        "refinable": explorer.space is not None,
        "mappable": explorer.map is not None,
        "refined": explorer.run is not None and (explorer.run.path / REFINED).is_file(),
        "error": explorer.error,
        "limitations": explorer.limitations,
        "max_frames": MAX_FRAMES,
        **explorer.session.describe(),
    }


# The page.


@functools.cache
def static_files() -> dict[str, Response]:
    """Return the page's files by name."""
    files = {path.name: path.read_text("utf-8") for path in STATIC.iterdir() if path.suffix in MEDIA_TYPES}
    files["index.html"] = Template(files["index.html"]).substitute(steer=files.pop("steer.html"))
    files["chart.css"] = html_page.static("chart.css")
    return {name: Response(text, media_type=MEDIA_TYPES[Path(name).suffix]) for name, text in files.items()}


@route("GET", "/")
@route("GET", "/static/{name}")
async def static(_: Explorer, request: Request) -> Response:
    """Answer with the page, or with one of its scripts, style sheets or its icon."""
    name = request.path_params.get("name", "index.html")
    if name not in static_files():
        raise HTTPException(404, "not found")
    return static_files()[name]


@computed("GET", "/api/state", Query)
def state(explorer: Explorer, _: Query) -> Answer:
    """Answer with the state that the page shows."""
    return describe(explorer)


# Generated images.


@computed("GET", "/api/lattice", requests.TableQuery)
def lattice(explorer: Explorer, view: requests.TableQuery) -> Answer:
    """Answer with the table of a view as PNG, and what varies along it."""
    model = explorer.session.model
    table = render_table(model, view)
    answer = {"image": tiled_data_url(table.images), "across": table.across, "down": table.down}
    if view.centre is not None:
        centre = View(codes=view.codes, seed=view.seed, pick=view.centre, towards=view.towards, way=view.way)
        answer["centre"] = tiled_data_url(render_table(model, centre).images)
    explorer.last_render = time.monotonic()
    return answer


@computed("GET", "/api/lattice.png", View)
def lattice_png(explorer: Explorer, view: View) -> Answer:
    """Answer with the table of a view as a PNG file with headings."""
    model = explorer.session.model
    table = render_table(model, view)
    sheet = figures.labelled_sheet(
        table.images,
        column_labels=axis_labels(model, view.across, table.across),
        row_labels=axis_labels(model, view.down, table.down),
    )
    return _download(html_page.png_bytes(sheet, optimize=False), "image/png")


@computed("GET", "/api/traversal.gif", requests.TraversalQuery)
def traversal(explorer: Explorer, view: requests.TraversalQuery) -> Answer:
    """Answer with a GIF in which one code goes back and forth and the other codes are those of the view.

    At most ``MAX_FRAMES`` values of a category are shown, evenly spaced.
    """
    model = explorer.session.model
    code, codes = code_name(model, view.code), view.named_codes(model)
    del codes[code]
    frames = min(max(len(model.values_of(code)), 25), MAX_FRAMES)
    rows = math.isqrt(MAX_ANIMATED // frames)
    gif = figures.traversal_gif(model, code, rows=rows, seed=view.seed, codes=codes, limit=MAX_FRAMES)
    return _download(gif, "image/gif")


# Real images.


@computed("GET", "/api/gallery", requests.GalleryQuery)
def gallery(explorer: Explorer, query: requests.GalleryQuery) -> Answer:
    """Answer with ``count`` real images of a group in an order, or with an ungrouped label, from a position on."""
    index = explorer.session.images()
    if query.indices:
        members = [number for number in query.indices if number < index.encoded]
    elif query.label is not None:
        members = index.ungrouped_labels().get(query.label, [])
    else:
        members = index.ranked(query.code, query.group, query.order, query.other).tolist()
    images = index.describe(members[query.start : query.start + query.count], query.code)
    return {"total": len(members), **images}


@computed("GET", "/api/map", Query)
def collection_map(explorer: Explorer, _: Query) -> Answer:
    """Answer with a map of the real images: the place of each, in 4096ths, and the number of its group."""
    index = explorer.session.images()
    if explorer.map is None:
        raise UserError("this model has no encoder: there is no map of its images")
    method, numbers, points = explorer.map.points()
    groups, assigned = index.assignments(index.main_code)
    of_image = np.full(len(index.images), UNREAD)
    of_image[: len(assigned)] = assigned  # -1 for a label that is not the name of a group
    places = (points * (MAP_STEPS - 1)).round().astype(int)
    return {
        "method": method,
        "indices": numbers.tolist(),
        "x": places[:, 0].tolist(),
        "y": places[:, 1].tolist(),
        "numbers": of_image[numbers].tolist(),
        "groups": [printable(group.name) for group in groups],
        "of": len(index.images),
    }


@computed("GET", "/api/groups", requests.GroupsQuery)
def groups(explorer: Explorer, query: requests.GroupsQuery) -> Answer:
    """Answer with all groups of a code at a glance: their sizes, and images that represent them."""
    index = explorer.session.images()
    explorer.was_opened = True
    overviews = index.overview(index.main_code if query.code is None else query.code)
    return {
        "groups": [
            {
                "name": overview.group.name,
                "values": overview.group.values,
                "named": overview.group.named,
                "count": overview.size,
                "uncertain": overview.uncertain,
                "images": [{"index": i, "name": printable(index.images.names[i])} for i in overview.images],
            }
            for overview in overviews
        ],
        "encoded": index.encoded,
        "verdict": _verdict(explorer),
    }


def _verdict(explorer: Explorer) -> dict[str, Any] | None:
    """Return the verdict on the groups of a run, with its reasons; None if there is none yet."""
    metrics = explorer.run.read_metrics() if explorer.run is not None else []
    verdict: dict[str, Any] = next((line["verdict"] for line in reversed(metrics) if "verdict" in line), {})
    if "groups" not in verdict:  # none yet, or of version 0.1
        return None
    return {"groups": verdict["groups"], "reason": verdict["reason"]}


@route("GET", "/api/thumbnail")
async def thumbnail(explorer: Explorer, request: Request) -> Response:
    """Answer with one real image as PNG: of its file, with its own detail, or else as the model sees it."""
    query = await parse(request, requests.ThumbnailQuery)
    index = explorer.session.images()
    index.check_index(query.index)
    picture = None
    if explorer.originals is not None:
        picture = await explorer.originals.picture(query.index, query.side, explorer.decoder)
    if picture is None:
        pixels = explorer.session.model.shown(np.ascontiguousarray(index.images.images[query.index]))
        picture = html_page.png_bytes(figures.to_image(pixels), optimize=False)
    return Response(picture, media_type="image/png")


@computed("GET", "/api/queue", requests.QueueQuery)
def queue(explorer: Explorer, query: requests.QueueQuery) -> Answer:
    """Answer with unlabelled images: typical ones, or those that the recognizer is least sure of."""
    index = explorer.session.images()
    uncertain, typical = index.by_uncertainty(), list[int]()
    if query.order == "typical":
        if explorer.space is None:
            raise UserError("this model has no encoder: typical images are not known")
        typical = explorer.space.typical(index.labels.keys(), query.skipped, query.count)
    doubtful = uncertain[~np.isin(uncertain, query.skipped)][: query.count].tolist()
    images = [number for number in typical if number < index.encoded] or doubtful
    return {"total": len(uncertain), **index.describe(images)}


@computed("GET", "/api/why", requests.WhyQuery)
def why(explorer: Explorer, query: requests.WhyQuery) -> Answer:
    """Answer with the two most probable groups of an image, and the images of each that are most similar to it."""
    index = explorer.session.images()
    index.check_index(query.index)
    if explorer.space is None:
        raise UserError("this model has no encoder: similar images are not known")
    if query.index >= index.encoded:
        raise UserError(f"image {query.index} is not read yet; retry in a moment")
    groups, assigned = index.assignments(index.main_code)
    (probabilities,) = index.group_probabilities(index.main_code, np.array([query.index]))
    answer = []
    for number in np.argsort(-probabilities, kind="stable")[:2].tolist():
        similar = explorer.space.nearest(query.index, np.flatnonzero(assigned == number), SIMILAR)
        names = [{"index": i, "name": printable(index.images.names[i])} for i in similar]
        answer.append({"name": printable(groups[number].name), "images": names})
    return {"groups": answer}


@route("POST", "/api/refine")
async def refine(explorer: Explorer, request: Request) -> Response:
    """Let the corrections spread to similar images, or take that back, and answer with what has changed."""
    body = await parse(request, requests.RefineBody)
    run = _run(explorer)
    explorer.session.images()
    if body.undo:
        await asyncio.to_thread(unrefine_run, run.path)
        summary = "the model files the images again"
    else:
        refinement = await asyncio.to_thread(refine_run, run.path, data=explorer.data)
        summary = refinement.summary
    await explorer.refile()
    return JSONResponse({**await explorer.compute.run(lambda: describe(explorer)), "summary": summary})


@computed("GET", "/api/image", requests.ImageQuery)
def image(explorer: Explorer, query: requests.ImageQuery) -> Answer:
    """Answer with one real image and its neighbours among real and generated images."""
    index, number = explorer.session.images(), query.index
    index.check_index(number)
    if number >= index.encoded:
        raise UserError(f"image {number} is not read yet; retry in a moment")
    pixels = np.ascontiguousarray(index.images.images[number : number + 1])
    prediction = index.predictions[number : number + 1]
    return index.describe([number]) | _neighbours(explorer, pixels, prediction, exclude=number)


@route("POST", "/api/read")
async def read(explorer: Explorer, request: Request) -> Response:
    """Answer with the predicted codes of an uploaded image file, and its neighbours."""
    model = explorer.session.model
    model.require_recognizer()
    check_declared_length(request, requests.MAX_UPLOAD_BYTES)  # at once: a slot may be free only after a minute
    async with explorer.upload_slots:
        content = await read_body(request, requests.MAX_UPLOAD_BYTES)
        reading = model.config.reading
        target = Target(model.shape.size, model.shape.channels, reading.shape, reading.value_range)
        pixels = await explorer.decoder.decode(content, target)

    def encode() -> dict[str, Any]:
        prediction = Predictions.from_encoding(model.encode(pixels))
        answer = {"image": tiled_data_url(model.shown(pixels[np.newaxis])), "predictions": prediction.first_as_lists()}
        return answer | _neighbours(explorer, pixels, prediction)

    return JSONResponse(await explorer.compute.run(encode))


def _neighbours(
    explorer: Explorer, pixels: NDArray[np.uint8], prediction: Predictions, exclude: int | None = None
) -> dict[str, Any]:
    generated = explorer.neighbours.nearest(pixels, NEIGHBOURS)
    index = explorer.session.index
    if index is None:
        return {"generated": generated}
    similar = [i for i in index.nearest(prediction, NEIGHBOURS + 1) if i != exclude][:NEIGHBOURS]
    return {"generated": generated, "similar": index.describe(similar)}


# Changes.


@computed("POST", "/api/name", requests.NameBody)
def name(explorer: Explorer, body: requests.NameBody) -> None:
    """Name a value of a code, or a code."""
    session = explorer.session
    code = code_name(session.model, body.code)
    if body.value is None:
        session.rename_code(code, body.name)
    else:
        session.name_value(code, body.value, body.name)


@computed("POST", "/api/order", requests.ValuesBody)
def order(explorer: Explorer, body: requests.ValuesBody) -> None:
    """Set the order of the values of a code."""
    explorer.session.order_values(code_name(explorer.session.model, body.code), body.values)


@computed("POST", "/api/join", requests.ValuesBody)
def join(explorer: Explorer, body: requests.ValuesBody) -> None:
    """Merge values of a code that mean the same."""
    explorer.session.join(code_name(explorer.session.model, body.code), body.values)


@computed("POST", "/api/label", requests.LabelBody)
def label(explorer: Explorer, body: requests.LabelBody) -> None:
    """Label images."""
    explorer.session.label(body.indices, body.label)


@computed("POST", "/api/undo", requests.UndoBody)
def undo(explorer: Explorer, body: requests.UndoBody) -> None:
    """Undo the last change if it is the one that the page shows."""
    explorer.session.undo(body.id)


# Evidence and downloads.


@computed("GET", "/api/evidence", Query)
def evidence(explorer: Explorer, _: Query) -> Answer:
    """Answer with the evidence of the run."""
    return run_summary(_run(explorer), explorer.session.model)


@computed("GET", "/api/figure", requests.FigureQuery)
def figure(explorer: Explorer, query: requests.FigureQuery) -> Answer:
    """Answer with a figure drawn at a step of training: the sample grid, or the traversal of a code."""
    return Response(read_figure(_run(explorer), query.step, query.code), media_type="image/png")


def _run(explorer: Explorer) -> RunFolder:
    if explorer.run is None:
        raise HTTPException(404, "this is a model without its run")
    return explorer.run


@computed("GET", "/api/codes.csv", Query)
def codes_csv(explorer: Explorer, _: Query) -> Answer:
    """Answer with a CSV file of all real images with their groups and codes."""
    index = explorer.session.images()
    if index.encoded < len(index.images):
        raise HTTPException(409, f"only {index.encoded} of {len(index.images)} images are read; retry later")
    return _download(index.codes_csv(), "text/csv")


@computed("GET", "/api/labels.csv", Query)
def labels_csv(explorer: Explorer, _: Query) -> Answer:
    """Answer with the label file."""
    return _download(explorer.session.labels_csv(), "text/csv")


def _download(content: bytes, media_type: str) -> Response:
    """Return a file to save; the address, or the link in the page, names it."""
    return Response(content, media_type=media_type, headers={"content-disposition": "attachment"})
