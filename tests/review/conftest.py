"""A folder of variants, and the page's server in a thread."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from review_cases import TOKEN, Serve, Served, write_variants

from robustaug.review.app import create_app
from robustaug.review.desk import Desk
from robustaug.review.server import server_of


@pytest.fixture
def serve() -> Iterator[Serve]:
    """``serve(folder, data=None, sample=None)`` starts the server of a review, on a free port."""
    running: list[Served] = []

    def start(
        folder: Path, data: Path | None = None, sample: int | None = None, *, port: int = 0, token: str = TOKEN
    ) -> Served:
        desk = Desk(folder, None if data is None else str(data), sample=sample)
        listening = socket.create_server(("127.0.0.1", port))
        taken = listening.getsockname()[1]
        server = server_of(create_app(desk, taken, token))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()

        def stop() -> None:
            server.should_exit = True
            thread.join(10)
            listening.close()
            desk.close()

        running.append(Served(desk, taken, token, stop))
        return running[-1]

    yield start
    for served in running:
        served.stop()


@pytest.fixture
def variants(tmp_path: Path) -> Path:
    """A folder of 12 variants; the originals are in ``data`` beside it."""
    return write_variants(tmp_path, 12)


@pytest.fixture
def make_variants() -> Callable[..., Path]:
    """``make_variants(root, count, side=8, classes=...)``."""
    return write_variants
