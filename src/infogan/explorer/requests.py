"""Parsing of requests to the explorer: parameters, bodies and their limits."""

import asyncio
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

MAX_UPLOAD_BYTES = 32 * 2**20  # of an image
MAX_JSON_BYTES = 64 * 2**10  # of a request that changes something
BODY_TIMEOUT_S = 60.0
MAX_SHOWN = 200  # real images in one answer


class RequestError(Exception):
    """A request that is answered with an error status and one sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Body(BaseModel):
    """JSON body of a request that changes something."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class NameBody(Body):
    """Name of a value of a code; without ``value``, of the code itself."""

    code: int
    value: int | None = None
    name: Annotated[str, Field(max_length=1000)]


class ValuesBody(Body):
    """Values of a code: all of them in a new order, or some to be merged."""

    code: int
    values: Annotated[list[int], Field(max_length=10_000)]


class LabelBody(Body):
    """Label of an image; None removes it."""

    index: int
    label: Annotated[str, Field(max_length=1000)] | None


class UndoBody(Body):
    """Number of the change to undo."""

    id: int


AnyBody = TypeVar("AnyBody", bound=Body)


async def parse_body(request: Request, kind: type[AnyBody]) -> AnyBody:
    """Parse a JSON body; raises RequestError if it is malformed or too large."""
    try:
        return kind.model_validate_json(await read_body(request, MAX_JSON_BYTES))
    except ValidationError as error:
        first = error.errors()[0]
        location = ".".join(str(part) for part in first["loc"])
        raise RequestError(400, f"{location}: {first['msg']}" if location else first["msg"]) from None


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Return the body of a request; raises RequestError if it is too large or takes longer than ``BODY_TIMEOUT_S``."""
    too_large = RequestError(413, f"the request is too large: at most {max_bytes:,} bytes are allowed")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes:
        raise too_large
    content = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                content += chunk
                if len(content) > max_bytes:  # a chunked body has no declared length
                    raise too_large
    except TimeoutError:
        raise RequestError(408, f"the request was not complete after {BODY_TIMEOUT_S:.0f} seconds") from None
    return bytes(content)


def int_parameter(request: Request, name: str, default: int | None = None) -> int:
    """Return a whole number from the query; raises RequestError if it is malformed, or missing without a default."""
    text = request.query_params.get(name)
    if text is None and default is not None:
        return default
    if text is None or len(text) > 15 or not text.isascii() or not text.isdecimal():
        raise RequestError(400, f"{name}: a whole number of at least 0 is needed")
    return int(text)


def count_parameter(request: Request) -> int:
    """Return the requested number of images; raises RequestError if it is out of range."""
    count = int_parameter(request, "count", 60)
    if not 1 <= count <= MAX_SHOWN:
        raise RequestError(400, f"count: 1 to {MAX_SHOWN} are allowed")
    return count
