"""Parsing of requests to the explorer: queries, bodies and their limits."""

import asyncio
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from infogan.explorer.image_index import Order
from infogan.explorer.render import MAX_INTEGER, View, split_list

MAX_UPLOAD_BYTES = 32 * 2**20  # of an image
MAX_JSON_BYTES = 64 * 2**10  # of a request that changes something
BODY_TIMEOUT_S = 60.0
MAX_THUMBNAIL = 1024  # pixels
MAX_SKIPPED = 200  # images that are named in a request
MAX_LABELLED = 5_000  # images that are labelled at once
MAX_SHOWN = 200  # real images in one answer

Number = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
ImageCount = Annotated[int, Field(ge=1, le=MAX_SHOWN)]
Name = Annotated[str, Field(max_length=1000)]


class Query(BaseModel):
    """Parameters of an address; unknown ones are ignored."""

    model_config = ConfigDict(frozen=True)


class TableQuery(View):
    """A view, and its channel.

    Only the newest request of a channel is answered, and older ones get status 409: while a slider is dragged, views
    are requested faster than they are rendered. Requests without a channel are all answered.
    """

    channel: Annotated[str, Field(max_length=64)] = ""


class TraversalQuery(View):
    """A view, and the position of the code that varies."""

    code: Number


class GalleryQuery(Query):
    """Some images of a group of a code, given by any of its values; or with an ungrouped label; or by their indices."""

    code: Number
    group: Number | None = None
    label: str | None = None
    order: Order = "surest"
    other: Number | None = None  # another group, for the order ``between``
    indices: Annotated[tuple[Number, ...], BeforeValidator(split_list), Field(max_length=MAX_SHOWN)] = ()
    start: Number = Field(0, alias="from")
    count: ImageCount = 60


class GroupsQuery(Query):
    """The code whose groups are meant; None = the first categorical one."""

    code: Number | None = None


class ThumbnailQuery(Query):
    """A real image, and the largest height and width of the answer in pixels."""

    index: Number
    side: Annotated[int, Field(ge=16, le=MAX_THUMBNAIL)] = 160


class QueueQuery(Query):
    """How many unlabelled images are requested, and which come first."""

    count: ImageCount = 60
    order: Literal["typical", "uncertain"] = "uncertain"
    skipped: Annotated[tuple[Number, ...], BeforeValidator(split_list), Field(max_length=MAX_SKIPPED)] = ()


class ImageQuery(Query):
    """Index of a real image."""

    index: Number


class WhyQuery(ImageQuery):
    """Index of a real image, and the channel, see `TableQuery`."""

    channel: Annotated[str, Field(max_length=64)] = ""


class FigureQuery(Query):
    """Step of training, and the position of a code for its traversal; without ``code``, the sample grid."""

    step: Number
    code: Number | None = None


class Body(BaseModel):
    """JSON body of a request that changes something."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class NameBody(Body):
    """Name of a value of a code; without ``value``, of the code itself."""

    code: int
    value: int | None = None
    name: Name


class ValuesBody(Body):
    """Values of a code: all of them in a new order, or some to be merged."""

    code: int
    values: Annotated[list[int], Field(max_length=10_000)]


class LabelBody(Body):
    """Label of some images; None removes it."""

    indices: Annotated[list[int], Field(max_length=MAX_LABELLED)]
    label: Name | None


class RefineBody(Body):
    """Whether to refine the groups, or to take it back."""

    undo: bool = False


class UndoBody(Body):
    """Number of the change to undo."""

    id: int


Parameters = TypeVar("Parameters", bound=BaseModel)


async def parse(request: Request, kind: type[Parameters]) -> Parameters:
    """Parse the JSON body of a POST request, or the query of a GET request.

    Raises:
        HTTPException: it is malformed, out of range or too large.
    """
    try:
        if request.method == "POST":
            return kind.model_validate_json(await read_body(request, MAX_JSON_BYTES))
        return kind.model_validate(dict(request.query_params))
    except ValidationError as error:
        first = error.errors()[0]
        location = "".join(f"{part}: " for part in first["loc"])
        raise HTTPException(400, location + first["msg"]) from None


def check_declared_length(request: Request, max_bytes: int) -> None:
    """Raise HTTPException if a request declares a body that is too large; uvicorn has refused invalid lengths."""
    if int(request.headers.get("content-length", 0)) > max_bytes:
        raise _too_large(max_bytes)


def _too_large(max_bytes: int) -> HTTPException:
    return HTTPException(413, f"the request is too large: at most {max_bytes:,} bytes are allowed")


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Return the body of a request; raises HTTPException if it is too large or takes longer than ``BODY_TIMEOUT_S``."""
    check_declared_length(request, max_bytes)
    content = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                content += chunk
                if len(content) > max_bytes:  # a chunked body has no declared length
                    raise _too_large(max_bytes)
    except TimeoutError:
        raise HTTPException(408, f"the request was not complete after {BODY_TIMEOUT_S:.0f} seconds") from None
    return bytes(content)


def close_if_unread(scope: Scope, receive: Receive, send: Send) -> tuple[Receive, Send]:
    """Return ``receive`` and ``send`` of a request that close its connection if it is answered before its body is read.

    uvicorn would read on and drop what arrives, and a client that sends 100 GB looks for the answer only at the end.
    """
    headers = Headers(scope=scope)
    is_unread = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"

    async def receive_part() -> Message:
        nonlocal is_unread
        message = await receive()
        is_unread = is_unread and message.get("more_body", False)
        return message

    async def send_part(message: Message) -> None:
        if is_unread and message["type"] == "http.response.start":
            MutableHeaders(scope=message)["connection"] = "close"
        await send(message)

    return receive_part, send_part
