"""The job as a Ray Data pipeline: the transfer is a batched actor, and an actor that dies has its share done again.

Ray (extra ``ray``) starts on this machine, or joins the cluster that ``RAY_ADDRESS`` names; content must then be found
under the same paths everywhere. Only this process writes to the output folder.
"""

import json
import logging
import os
from collections.abc import Generator, Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from robustaug.data.images import encode_png
from robustaug.data.threads import read_ahead
from robustaug.errors import RobustAugError
from robustaug.style.worker import Has, Loaded, Made, Step, Worker

_AHEAD = 64

Batch = dict[str, list[Any]]


def check_ray() -> None:
    """Refuse to go on without Ray.

    Raises:
        RobustAugError: it is not installed.
    """
    if find_spec("ray") is None:
        raise RobustAugError("the engine ray needs Ray; install it with: pip install 'robustaug[ray]'")


def run_on_ray(worker: Worker, positions: Iterable[int], has: Has) -> Generator[Step, None, None]:
    """As :meth:`Worker.run`, on as many actors as the cluster has room for; images come back as PNG bytes.

    An actor computes with as many threads as this process, because bytes depend on their number.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it reports every restart of an actor as an error
    ray, data = import_module("ray"), import_module("ray.data")  # an extra
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    todo: list[dict[str, Any]] = []
    found = read_ahead(lambda position: (position, worker.found(position, has)), positions, _AHEAD)
    for position, done in found:
        if len(done) == worker.plan.settings.per_image:
            yield Loaded(position, done=len(done))
        else:
            todo.append({"position": position, "done": json.dumps(done)})
    if not todo:
        return
    is_ours = not ray.is_initialized()
    if is_ours:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        threads, is_cuda = torch.get_num_threads(), worker.style.device.type == "cuda"
        room: dict[str, float] = ray.cluster_resources()
        actors = max(1, int(room.get("GPU", 0) if is_cuda else room.get("CPU", 1) // threads))
        batch = 2 * worker.style.batch_size
        steps = data.from_items(todo, override_num_blocks=min(len(todo), max(actors, len(todo) // batch))).map_batches(
            _Actor,
            fn_constructor_args=(worker, threads),
            batch_size=batch,
            compute=data.ActorPoolStrategy(size=actors),
            num_cpus=1 if is_cuda else min(threads, int(room.get("CPU", 1))),
            num_gpus=1 if is_cuda else 0,
        )
        for step in steps.iter_rows():
            yield _step(step)
    finally:
        if is_ours:
            ray.shutdown()


class _Actor:
    """One worker, in a process of its own."""

    def __init__(self, worker: Worker, threads: int) -> None:
        torch.set_num_threads(threads)
        self.worker = worker

    def __call__(self, batch: Batch) -> Batch:
        done = {path for paths in batch["done"] for path in json.loads(paths)}
        steps = self.worker.run(map(int, batch["position"]), lambda path, _: path in done)
        rows = [_row(step) for step in steps]
        return {name: [row[name] for row in rows] for name in ("position", "done", "error", "row", "image")}


def _row(step: Step) -> dict[str, Any]:
    """A step as plain values, for the way between processes."""
    if isinstance(step, Loaded):
        return {"position": step.position, "done": step.done, "error": step.error, "row": "", "image": b""}
    image = encode_png(step.image) if isinstance(step.image, Tensor) else b""
    return {"position": -1, "done": 0, "error": "", "row": json.dumps(step.row), "image": image}


def _step(row: dict[str, Any]) -> Step:
    if row["row"]:
        return Made(json.loads(row["row"]), row["image"] or None)
    return Loaded(row["position"], done=row["done"], error=row["error"])
