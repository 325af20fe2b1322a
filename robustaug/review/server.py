"""The server of a review, on this machine alone."""

import errno
import secrets
import socket
from collections.abc import Callable

import uvicorn

from robustaug.errors import RobustAugError
from robustaug.review.app import create_app
from robustaug.review.desk import Desk
from robustaug.review.guard import App

PORT = 8710
_ADDRESS = "127.0.0.1"


def serve(desk: Desk, port: int | None, ready: Callable[[str], None]) -> None:
    """Serve a review until Ctrl-C.

    Args:
        desk: What is reviewed.
        port: Where to listen; None takes 8710, or any free one.
        ready: Called with the page's address, token and all, as soon as it answers.

    Raises:
        RobustAugError: the port is taken.
    """
    token = secrets.token_urlsafe(24)
    with _listen(port) as listening:
        port = listening.getsockname()[1]
        server = server_of(create_app(desk, port, token))
        ready(f"http://{_ADDRESS}:{port}/?token={token}")  # it listens already: who asks now only waits a moment
        try:
            server.run(sockets=[listening])
        except KeyboardInterrupt:  # the server has ended in good order by then
            return


def server_of(app: App) -> uvicorn.Server:
    """A server that says nothing of its own, above all not the token."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)


def _listen(port: int | None) -> socket.socket:
    try:
        return socket.create_server((_ADDRESS, PORT if port is None else port))
    except OSError as error:
        if port is None and error.errno == errno.EADDRINUSE:
            return socket.create_server((_ADDRESS, 0))
        raise RobustAugError(
            f"cannot listen on port {port}: {error.strerror or error}; choose another with --port"
        ) from error
    except OverflowError as error:
        raise RobustAugError(f"--port {port} is no port; take 1024 to 65535") from error
