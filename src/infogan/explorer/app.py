"""The state of a running explorer, its computing thread, and the encoding of real images in the background."""

import asyncio
import contextlib
import math
import sys
import time
import traceback
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from starlette.exceptions import HTTPException

from infogan.api.collection_map import checksums
from infogan.api.features import filed_by_features
from infogan.explorer.decode_worker import DecodeWorker
from infogan.explorer.feature_space import FeatureSpace
from infogan.explorer.image_map import ImageMap
from infogan.explorer.neighbours import Neighbours
from infogan.explorer.originals import Originals
from infogan.explorer.session import Session
from infogan.training.run_dir import RunFolder

MAX_UPLOADS = 2  # bodies in memory at once; others wait in their sockets
RENDER_PAUSE_S = 0.2  # pause between batches while the page keeps rendering
FIRST_RENDER_WAIT_S = 1.5  # time for the page to render first: a starting browser needs the processor

Result = TypeVar("Result")


class ComputeQueue:
    """One thread that runs jobs in turn, and knows which job of a channel is the newest."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="compute")
        self._newest: dict[str, object] = {}  # job of each channel

    async def run(self, job: Callable[[], Result], channel: str = "") -> Result:
        """Run a job when its turn comes.

        Raises:
            HTTPException: the job has a channel, and a newer job of that channel arrived before its turn.
        """
        if channel:
            self._newest[channel] = job

        def run_if_newest() -> Result:
            if channel and self._newest.get(channel) is not job:
                raise HTTPException(409, "a newer view was requested")
            return job()

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, run_if_newest)
        finally:
            if self._newest.get(channel) is job:
                del self._newest[channel]

    def stop(self) -> None:
        """End the thread after its current job."""
        self._thread.shutdown(wait=False, cancel_futures=True)


class Explorer:
    """State of a running explorer.

    Args:
        session: The model, the images and the changes to them.
        run: The run; None for a model folder.
        title: Title of the page.
        originals: The files of the real images; None if they are not files of their own.
        rows: The numbers of the images among the training images; None = they are all of them.
        data: Where the training images are now; None = where they were.
    """

    def __init__(
        self,
        session: Session,
        run: RunFolder | None,
        title: str,
        originals: Originals | None = None,
        rows: NDArray[np.int64] | None = None,
        data: str | None = None,
    ) -> None:
        self.session, self.run, self.title, self.originals = session, run, title, originals
        self.rows, self.data = rows, data
        self.space: FeatureSpace | None = None
        self.map: ImageMap | None = None
        index, model = session.index, session.model
        if run is not None and index is not None and model.networks.encoder is not None:
            self.space = FeatureSpace(run, model, index.images, rows)
            all_rows = np.arange(len(index.images)) if rows is None else rows
            names = checksums(index.images.names[i] for i in range(len(index.images)))
            self.map = ImageMap(run, model.digest(), names, all_rows, self.space)
        self.limitations = _limitations(session, run)
        self.compute = ComputeQueue()
        self.neighbours = Neighbours(session.model)
        self.decoder = DecodeWorker()
        self.upload_slots = asyncio.Semaphore(MAX_UPLOADS)
        self.error: str | None = None  # why the encoding of real images stopped early
        self.was_opened = False  # whether the page has asked for the groups
        self.last_render = -math.inf  # when the page last rendered, on the monotonic clock

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Any) -> AsyncIterator[None]:
        """Encode the real images while the server runs, and stop threads and processes at its end."""
        self._task = asyncio.create_task(self._encode_images())
        yield
        self._task.cancel()
        self.compute.stop()
        self.decoder.stop()

    async def refile(self) -> None:
        """File the real images again, as the files of the run say now."""
        index, run = self.session.index, self.run
        assert index is not None
        assert run is not None
        probabilities = await asyncio.to_thread(filed_by_features, run, self.session.model.digest())
        if probabilities is not None and self.rows is not None:
            probabilities = probabilities[self.rows]
        self._task.cancel()
        await self.compute.run(lambda: index.refile(probabilities))
        self._task = asyncio.create_task(self._encode_images())

    async def _encode_images(self) -> None:
        """Encode the real images batch by batch, after the first rendering."""
        index, start = self.session.index, time.monotonic()
        while self.last_render < start and not self.was_opened and time.monotonic() < start + FIRST_RENDER_WAIT_S:
            await asyncio.sleep(0.02)
        try:
            while index is not None and await self.compute.run(index.encode_next):
                if time.monotonic() - self.last_render < RENDER_PAUSE_S:
                    await asyncio.sleep(RENDER_PAUSE_S)
        except Exception:  # nothing awaits this task: the page shows the error instead
            traceback.print_exc(file=sys.stderr)
            self.error = "reading the images failed; see the terminal for the reason"
        if self.session.model.networks.reads_codes:
            self.decoder.start()  # ready for the first upload


def _limitations(session: Session, run: RunFolder | None) -> list[str]:
    """Return what this explorer cannot do and why, one sentence each."""
    model, limitations = session.model, []
    if not model.layout.codes:
        limitations.append(f"This {model.config.kind} has no codes: only its noise can be changed.")
    if not model.networks.reads_codes:
        limitations.append(f"This {model.config.kind} has no recognizer: it cannot read, sort or label images.")
    elif not model.layout.categorical:
        limitations.append("This model has no categories: there is nothing to sort or correct.")
    elif session.index is None:
        limitations.append("The real images are not available: there is nothing to sort or correct.")
    if run is None:
        limitations.append("This is a model without its run: there is no evidence from training.")
    return limitations
