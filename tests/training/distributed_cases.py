"""Several processes on this machine, as a launcher starts them, and what each of them does."""

import importlib
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training_cases import composite

from robustaug.data import Mix
from robustaug.errors import RobustAugError
from robustaug.training.batch_norm import whole_batch_norms
from robustaug.training.distributed import Processes, joined

PARTS = {"even": [4, 4], "uneven": [1, 7], "none here": [8, 0]}
ROWS = 7
MIX = Mix(0.5, 0.25, 0.25)
CHILD = "import sys; from distributed_cases import child; child(*sys.argv[1:])"


def in_processes(module: str, work: str, folder: Path, count: int = 2) -> list[subprocess.CompletedProcess[str]]:
    """Call ``work(processes, folder)`` of a module beside this one in so many processes, and wait for all."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    common = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    common |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", CHILD, module, work, str(folder)]
    started = [
        subprocess.Popen(
            command,
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    try:
        answers = [process.communicate(timeout=120) for process in started]
    finally:
        for process in started:
            process.kill()
    return [
        subprocess.CompletedProcess(command, process.returncode, out, err)
        for process, (out, err) in zip(started, answers, strict=True)
    ]


def child(module: str, work: str, folder: str) -> None:
    torch.set_num_threads(1)
    with joined() as processes:
        getattr(importlib.import_module(module), work)(processes, Path(folder))


def exchange(processes: Processes, folder: Path) -> None:
    """What each exchange gives, for the test to compare."""
    rank = processes.rank
    last = torch.arange(ROWS * 3.0).view(ROWS, 3)
    gradients = [torch.full((2, 3), rank + 1.0), None, torch.tensor(10.0 * rank)]
    processes.average(gradients)
    found: dict[str, Any] = {
        "own keys": processes.own(composite(MIX).batch(0, 8)).keys,
        "own of last": processes.own_of_last(last),
        "joined": processes.join_last(processes.own_of_last(last)),
        "joined integers": processes.join_last(processes.own_of_last(last.long())),
        "total": processes.total(torch.tensor([1.0, rank])),
        "gradients": gradients,
        "agree": [processes.agree(3, "a"), processes.agree(rank), processes.agree("a", 1 - rank)],
    }
    with processes.main_first():
        if processes.is_main:
            torch.save("written", folder / "first.pt")
        found["read"] = torch.load(folder / "first.pt")
    value = torch.tensor([1.0, 2.0], requires_grad=True)
    loss = (processes.differentiable_total(value).square() * torch.tensor([1.0, 3.0 + rank])).sum()
    found["gradient of a total"] = torch.autograd.grad(loss, value)[0]
    found["said"] = failing(processes)
    torch.save(found, folder / f"exchange-{rank}.pt")
    normalise(processes, folder)


def normalise(processes: Processes, folder: Path) -> None:
    for name, parts in PARTS.items():
        for dimensions in (1, 2):
            for offset in (0.0, 1e4):
                begin = sum(parts[: processes.rank])
                rows = slice(begin, begin + parts[processes.rank])
                found = normalised(rows, dimensions, offset, processes)
                torch.save(found, folder / f"{name}-{dimensions}-{offset:g}-{processes.rank}.pt")


def normalised(rows: slice, dimensions: int, offset: float, processes: Processes) -> dict[str, Tensor]:
    """Two steps of a batch norm on some rows: outputs, gradients, and the statistics afterwards."""
    generator = torch.Generator().manual_seed(dimensions)
    shape = (8, 3, 5, 4) if dimensions == 2 else (8, 3)
    images, weights = (torch.randn(shape, generator=generator) for _ in range(2))
    images += offset
    norm: Any = (nn.BatchNorm2d if dimensions == 2 else nn.BatchNorm1d)(3)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -2.0, 0.5]))
        norm.bias.copy_(torch.tensor([0.0, 1.0, -1.0]))
    given = images[rows].clone().requires_grad_()
    with whole_batch_norms(norm, processes):
        norm(given.detach())
        result = norm(given)
        (result * weights[rows]).sum().backward()
        norm.eval()
        quiet = norm(given.detach())
    gradients = torch.stack([norm.weight.grad, norm.bias.grad])
    return {
        "result": result.detach(), "input": given.grad, "parameters": gradients, "mean": norm.running_mean,
        "variance": norm.running_var, "batches": norm.num_batches_tracked, "evaluated": quiet.detach(),
    }  # fmt: skip


def failing(processes: Processes) -> list[str]:
    """What each says when another fails at the end of a block, and when the main one fails before the others begin."""
    with pytest.raises(RobustAugError) as at_the_end, processes.together():
        stop(processes.rank == 1, "the disk is full")
    with pytest.raises(RobustAugError) as before, processes.main_first():
        stop(processes.is_main, "no such folder")
    return [str(at_the_end.value), str(before.value)]


def stop(here: bool, why: str) -> None:
    if here:
        raise RobustAugError(why)
