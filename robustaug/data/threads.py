"""Reading ahead and writing behind: threads that keep files from holding up whoever computes between them."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, Self, TypeVar

_THREADS = min(8, os.cpu_count() or 1)

Item = TypeVar("Item")
Result = TypeVar("Result")
P = ParamSpec("P")


def read_ahead(function: Callable[[Item], Result], items: Iterable[Item], ahead: int) -> Generator[Result, None, None]:
    """``function`` of each item, in order, computed in threads at most ``ahead`` items before they are asked for."""
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="read")
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class WriteBehind:
    """Calls made in threads; :meth:`call` waits only while more than ``behind`` calls are not done.

    An error of a call is raised by a later one, or at the end of the ``with`` block. Whatever ends the block, the calls
    already made are carried out.
    """

    def __init__(self, behind: int) -> None:
        self._behind = behind
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="write")
        self._waiting: deque[Future[object]] = deque()

    def call(self, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call ``function`` soon."""
        self._waiting.append(self._pool.submit(function, *args, **kwargs))
        while len(self._waiting) > self._behind or self._waiting[0].done():
            self._waiting.popleft().result()
            if not self._waiting:
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown()
        if kind is None:
            for done in self._waiting:
                done.result()
