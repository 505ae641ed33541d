"""Start of the explorer: loading a run or a model, and serving it on 127.0.0.1."""

import socket
import webbrowser
from collections.abc import Callable
from pathlib import Path

import numpy as np
import uvicorn

from infogan.api.evaluate_run import check_images, data_of_run, load_images
from infogan.api.features import filed_by_features
from infogan.config.schema import DataSettings
from infogan.data import ImageSet
from infogan.data.preprocess import Target
from infogan.explorer.app import Explorer
from infogan.explorer.auth import AuthMiddleware
from infogan.explorer.image_index import printable
from infogan.explorer.originals import Originals
from infogan.explorer.routes import create_app
from infogan.explorer.session import Session
from infogan.models.infogan import InfoGAN
from infogan.models.serialization import model_folder
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError

MAX_CONNECTIONS = 200  # more are answered with status 503
KEEP_ALIVE_S = 5
SHUTDOWN_S = 2  # time for open requests when the server stops


def load_explorer(path: Path, limit: int, log: Callable[[str], None], data: str | None = None) -> Explorer:
    """Load what an explorer of a run folder or a model folder needs.

    Args:
        path: The folder.
        limit: Maximum number of training images to encode; a larger set is sampled evenly.
        log: Called with warnings, e.g. why there are no real images.
        data: Where the training images are; None = where they were.

    Raises:
        UserError: there is no model, or the label file is malformed.
    """
    model = InfoGAN.load(path)
    if not (path / "environment.json").is_file():
        title = printable(f"{model.config.kind} in {path.resolve().name}")
        return Explorer(Session(model, model_folder(path), None, None), None, title)
    run = RunFolder.existing(path)
    config = run.read_config()
    images: ImageSet | None = None
    settings, filed = None, None
    try:
        settings = data_of_run(run, data)
        images = load_images(model, settings)
        check_images(run, images, settings.source)
        filed = filed_by_features(run, model.digest())
    except UserError as error:
        log(f"there is nothing to sort or correct: {error}" if images is None else str(error))
    rows = None
    if images is not None and len(images) > limit:
        log(f"{limit} of the {len(images)} images are read; change this with --limit")
        rows = np.linspace(0, len(images) - 1, limit).astype(int)
        images, filed = images.subset(rows), None if filed is None else filed[rows]
    title = printable(f"{model.config.kind} on {Path(config.data.source or '').name}")
    session = Session(model, run.model, images, run.labels, filed)
    if session.unloaded_labels:
        log(f"{session.unloaded_labels} labels in labels.csv belong to images that are not read; they stay unchanged")
    return Explorer(session, run, title, _originals(model, settings, images), rows, data)


def _originals(model: InfoGAN, settings: DataSettings | None, images: ImageSet | None) -> Originals | None:
    """Return the files of real images; None if they are not files of their own, or not read from a local folder."""
    if settings is None or images is None or "://" in settings.source:
        return None
    root = Path(settings.source)
    if not root.is_dir() or not (root / images.names[0]).is_file():
        return None
    reading = model.config.reading
    target = Target(model.config.size, 1 if images.channels == 1 else 3, reading.shape, reading.value_range)
    return Originals(root, images.names, target, follow_links=settings.follow_links)


def serve(explorer: Explorer, port: int, *, open_browser: bool, announce: Callable[[str], None]) -> None:
    """Serve an explorer until the process receives SIGINT or SIGTERM.

    Args:
        explorer: The explorer.
        port: Port on 127.0.0.1; 0 = any free port.
        open_browser: Whether to open the page in the browser.
        announce: Called with each new address of the page; each address works once.

    Raises:
        UserError: the port is not available.
    """
    try:
        listener = socket.create_server(("127.0.0.1", port), backlog=128)
    except (OSError, OverflowError) as error:
        raise UserError(f"cannot listen on port {port}: {getattr(error, 'strerror', None) or error}") from None
    with listener:
        app = AuthMiddleware(create_app(explorer), listener.getsockname()[1], announce)
        # The first computation initialises much that later ones reuse; the page should not wait for it.
        explorer.session.model.sample(64)
        announce(app.address)
        if open_browser:
            webbrowser.open(app.address)
        http_server(app).run(sockets=[listener])


def http_server(app: AuthMiddleware) -> uvicorn.Server:
    """Return a uvicorn server with limits on connections and idle times."""
    config = uvicorn.Config(
        app,
        http="h11",  # bounds the size of request headers
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    return uvicorn.Server(config)
