"""Several processes that train together: each holds an equal part of every batch, all hold the same weights."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from robustaug import randomness
from robustaug.attacks import Attack
from robustaug.data.composite import Batch, Kind
from robustaug.errors import RobustAugError
from robustaug.hardware import default_device

_PATIENCE = timedelta(days=1)  # the main process may stylise for hours while the others wait


@dataclass(frozen=True)
class Processes:
    """The processes of a run, as one of them sees them; alone by default.

    Every method but ``own`` and ``check`` waits for the others: all must call it, in the same order.

    Attributes:
        rank: This one, from 0; 0 is the main one, which alone writes and prints.
        count: All of them.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this one writes and prints."""
        return self.rank == 0

    def check(self, rows: Mapping[Kind, int], attack: Attack | None, attack_mode: str) -> None:
        """Refuse batches that cannot be shared: the processes wait for each other in every pass.

        Args:
            rows: Of a batch of all processes together, by kind.
            attack: What solves the inner maximisation.
            attack_mode: Of the settings.

        Raises:
            RobustAugError: the rows cannot be divided, or the processes would not make the same passes.
        """
        batch_size, adversarial = sum(rows.values()), rows["adversarial"]
        if batch_size % self.count:
            raise RobustAugError(
                f"training.batch_size is {batch_size} for all {self.count} processes together; set a multiple of it"
            )
        if 0 < adversarial < self.count:
            raise RobustAugError(
                f"a batch has {adversarial} adversarial rows for {self.count} processes; "
                "set training.batch_size higher or start fewer processes"
            )
        if self.count > 1 and attack_mode == "train" and attack is not None:
            if adversarial % self.count:
                raise RobustAugError(
                    f"training.attack_mode = 'train' over {self.count} processes needs a multiple of {self.count} "
                    f"adversarial rows in a batch, not {adversarial}; change training.batch_size or the share"
                )
            if getattr(attack, "early_exit", False):
                raise RobustAugError(
                    "training.attack_mode = 'train' over several processes needs an attack without early_exit"
                )

    def own(self, batch: Batch) -> Batch:
        """The own rows of a whole batch, in its order: an equal number in each process, and of each kind almost."""
        return batch if self.count == 1 else batch.part(self.rank, self.count)

    def own_of_last(self, rows: Tensor) -> Tensor:
        """As ``own``, of the last so many rows of a batch: its adversarial ones."""
        return rows[(self.rank + len(rows)) % self.count :: self.count]

    def join_last(self, own: Tensor) -> Tensor:
        """What all have for the last rows of a batch, in order: the inverse of ``own_of_last``."""
        if self.count == 1:
            return own
        length = int(self.total(torch.tensor(len(own), device=own.device)))
        whole = own.new_zeros((length, *own.shape[1:]))
        self.own_of_last(whole).copy_(own)
        return self.total(whole)

    def total(self, value: Tensor) -> Tensor:
        """The sum over all processes, without a graph."""
        return value if self.count == 1 else _reduced(value, dist.ReduceOp.SUM)

    def differentiable_total(self, value: Tensor) -> Tensor:
        """The sum over all processes; its gradient is summed over all of them too."""
        if self.count == 1:
            return value
        total: Tensor = _Total.apply(value, self)
        return total

    def average(self, gradients: Iterable[Tensor | None]) -> None:
        """Replace gradients by their mean over all processes, in one exchange.

        Each is that of a mean over an equal number of rows, so this is that of the whole batch.
        """
        if self.count == 1:
            return
        given = [gradient for gradient in gradients if gradient is not None]
        flat = self.total(torch.cat([gradient.reshape(-1) for gradient in given])).div_(self.count)
        parts = torch.split(flat, [gradient.numel() for gradient in given])
        torch._foreach_copy_(given, [part.view_as(old) for part, old in zip(parts, given, strict=True)])

    def least(self, value: Tensor) -> Tensor:
        """The least value of all processes, without a graph."""
        return value if self.count == 1 else _reduced(value, dist.ReduceOp.MIN)

    def share(self, answers: Callable[[], tuple[int, int]]) -> float:
        """The share of right answers among those of all processes.

        Args:
            answers: Gives the right ones and all of the own part; where it fails, all processes fail.

        Raises:
            RobustAugError: it failed in another process.
        """
        with self.together():
            right, given = answers()
        if self.count > 1:
            right, given = self.total(torch.tensor([right, given], device=_meeting_place())).tolist()
        return right / given

    def agree(self, *parts: str | int | float) -> bool:
        """Whether all processes gave the same."""
        if self.count == 1:
            return True
        number = randomness.derive_seed(*parts)
        lowest, highest = self.least(torch.tensor([number, -number], device=_meeting_place())).tolist()
        return bool(lowest == -highest)

    def check_start(self, model: nn.Module, identity: str, step: int) -> None:
        """Refuse processes that would go apart: all begin at one step of one run, with the same weights.

        Raises:
            RobustAugError: they do not.
        """
        sums = [float(value.double().sum()) for value in model.state_dict().values()] if self.count > 1 else []
        if not self.agree(identity, step, *sums):
            raise RobustAugError(
                "the processes do not begin alike; give all of them the same arguments, the same initial weights, and "
                "a folder that every machine sees"
            )

    @contextmanager
    def together(self) -> Iterator[None]:
        """A block in which a process may fail: at its end the others know, and none waits for one that has gone.

        In it, the processes must not wait for each other.

        Raises:
            RobustAugError: another process failed.
        """
        try:
            yield
        except Exception:
            self._failures(1)
            raise
        if self._failures(0):
            raise RobustAugError("another process of this run failed; its own line says why")

    def main_does(self, work: Callable[[], None]) -> None:
        """Work for the main process alone, such as writing; where it fails, all fail.

        Raises:
            RobustAugError: it failed.
        """
        with self.together():
            if self.is_main:
                work()

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """A block that the main process does before the others, who may read what it wrote.

        Raises:
            RobustAugError: the main process failed.
        """
        if not self.is_main:
            with self.together():
                pass
        with self.together() if self.is_main else nullcontext():
            yield

    def _failures(self, own: int) -> int:
        return own if self.count == 1 else int(self.total(torch.tensor(own, device=_meeting_place())))


ALONE = Processes()


class _Total(torch.autograd.Function):
    """Every process's loss depends on every process's values, and what is wanted is the gradient of all losses."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, processes: Processes) -> Tensor:
        ctx.processes = processes
        return processes.total(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.processes.total(gradients[0]), None


def present() -> Processes:
    """The processes that have met, by ``joined`` or by the caller's own torch.distributed or accelerate."""
    if dist.is_available() and dist.is_initialized():
        return Processes(dist.get_rank(), dist.get_world_size())
    return Processes()


@contextmanager
def joined() -> Iterator[Processes]:
    """Meet the other processes that ``accelerate launch`` or ``torchrun`` started, for the block.

    accelerate chooses the device of each and how they talk: NCCL between GPUs, gloo between CPUs.
    """
    from accelerate import PartialState  # type: ignore[import-untyped]  # noqa: PLC0415 - most runs do without

    state = PartialState(cpu=default_device().type == "cpu", timeout=_PATIENCE)
    try:
        yield present()
    finally:
        state.destroy_process_group()
        PartialState._reset_state()


def refuse_several(what: str) -> None:
    """Stop before processes that a launcher started do the same thing side by side, in one folder.

    Raises:
        RobustAugError: there are several.
    """
    count = os.environ.get("WORLD_SIZE", "1")
    if count not in ("", "1"):
        raise RobustAugError(
            f"{what} runs in one process, but a launcher started {count}; train its arms so with robustaug train, then "
            "give robustaug run --resume without the launcher"
        )


def _reduced(value: Tensor, how: Any) -> Tensor:
    value = value.detach().clone(memory_format=torch.contiguous_format)
    try:
        dist.all_reduce(value, op=how)
    except RuntimeError as error:
        raise RobustAugError(
            f"another process of this run is gone ({str(error).splitlines()[0]}); see what it said, and give the same "
            "command again to go on from the last state"
        ) from error
    return value


def _meeting_place() -> torch.device:
    """Where tensors must be for the processes to exchange them."""
    return torch.device("cuda" if dist.get_backend() == dist.Backend.NCCL else "cpu")
