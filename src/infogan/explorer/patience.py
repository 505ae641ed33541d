"""How long a connection may take: to say what it wants, and to take what it asked for.

Whoever opens connections and says nothing, or lets an answer lie, would otherwise hold one of the few that are served
at once for ever.
"""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

LONGEST_HEADERS = 10.0  # seconds
LONGEST_BODY = 60.0  # seconds; who waits for a body says so by then
LONGEST_REQUEST = 90.0  # seconds for a body that nobody waits for
LONGEST_TAKING = 60.0  # seconds without any of an answer being taken


class Impatient(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, but for connections that are too slow, which are closed."""

    _stage: object = None
    _asking: asyncio.TimerHandle | None = None
    _taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # so that whatever is not taken at once is known of
        self._watch()

    def data_received(self, data: bytes) -> None:
        """It says something."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        for timer in (self._asking, self._taking):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Some of an answer waits to be taken."""
        super().pause_writing()
        if self._taking is None:
            self._wait_for_less(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """All of it was taken."""
        super().resume_writing()
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

    def _wait_for_less(self, waiting: int) -> None:
        """Ends the connection unless fewer bytes than these wait when time is up, also where it is closing already."""

        def look() -> None:
            left = self.transport.get_write_buffer_size()
            if left >= waiting:
                self.transport.abort()
            else:
                self._wait_for_less(left)

        self._taking = self.loop.call_later(LONGEST_TAKING, look)

    def _watch(self) -> None:
        """Sets the time for what the client is at, when it begins with it."""
        stage = self.conn.their_state
        if stage is self._stage:
            return
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None
        self._stage = stage
        limits: dict[object, float] = {h11.IDLE: LONGEST_HEADERS, h11.SEND_BODY: LONGEST_REQUEST}
        longest = limits.get(stage)
        if longest is not None:
            self._asking = self.loop.call_later(longest, self.transport.close)
