"""The model as an objective sees it: training passes in the training's precision, and a place to attack it."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from robustaug.attacks.oracle import undisturbed
from robustaug.hardware import autocast
from robustaug.training.distributed import Processes
from robustaug.training.objectives.advprop import AuxiliaryNorms

AttackMode = Literal["eval", "train"]
_BACKEND = "inductor"  # of torch.compile
_PREFIX = "learner:"  # no module's name has a colon


@dataclass
class Learner:
    """A model in training.

    Attributes:
        model: From images to logits.
        dtype: Of convolutions and matrix products.
        attack_mode: The model's mode while it is attacked. In ``"train"``, batch norms take the statistics of the
            images attacked at a time (on a CPU in float32, of pieces of 64 to 127; fewer than 16 rows are padded) and
            dropout is on, as in some papers' code; running statistics are as before afterwards.
        auxiliary: Batch norms for adversarial images (AdvProp), or None.
        carried: Tensors that are carried from step to step, the same in every process; saved with the state.
        carried_rows: As ``carried``, with a row for each of the own adversarial rows.
        processes: Those that share each batch.
        compiled: Whether passes, those of an attack too, go through ``torch.compile``.
    """

    model: nn.Module
    dtype: torch.dtype = torch.float32
    attack_mode: AttackMode = "eval"
    auxiliary: AuxiliaryNorms | None = None
    carried: dict[str, Tensor] = field(default_factory=dict)
    carried_rows: dict[str, Tensor] = field(default_factory=dict)
    processes: Processes = field(default_factory=Processes)
    compiled: bool = False

    def __post_init__(self) -> None:
        self._network: Any = torch.compile(self.model, backend=_BACKEND, dynamic=False) if self.compiled else self.model

    @property
    def network(self) -> nn.Module:
        """What to send images through: the model, or a compiled form of it with the same weights."""
        network: nn.Module = self._network
        return network

    def forward(self, images: Tensor) -> Tensor:
        """Float32 logits (N, K) with their graph; the main batch norms see these images."""
        if self.dtype != torch.float32:
            images = images.contiguous(memory_format=torch.channels_last)
        with autocast(self.dtype, images.device):
            logits: Tensor = self._network(images)
        return logits.float()

    def forward_adversarial(self, images: Tensor) -> Tensor:
        """As ``forward``; with AdvProp the auxiliary batch norms see these images."""
        with self._adversarial_norms():
            return self.forward(images)

    def forward_mixed(self, images: Tensor, rows: Tensor) -> Tensor:
        """As ``forward``, where ``rows`` are adversarial: one pass, or two with AdvProp."""
        if self.auxiliary is None or not len(rows):
            return self.forward(images)
        is_adversarial = torch.zeros(len(images), device=images.device).index_fill(0, rows, 1)
        order, first = is_adversarial.argsort(stable=True), len(images) - len(rows)  # nonzero would wait for the device
        others, adversarial = images[order[:first]], images[order[first:]]
        return torch.cat([self.forward(others), self.forward_adversarial(adversarial)])[order.argsort()]

    @contextmanager
    def arranged(self) -> Iterator[None]:
        """A block in which filters have channels last where matrix units want it: not in float32."""
        if self.dtype != torch.float32:
            self.model.to(memory_format=torch.channels_last)
        try:
            yield
        finally:
            if self.dtype != torch.float32:
                self.model.to(memory_format=torch.contiguous_format)

    @contextmanager
    def attacked(self) -> Iterator[None]:
        """A block in which the model is attacked: in ``attack_mode``, and afterwards as before in every respect."""
        with self._adversarial_norms():
            modes = [(module, module.training) for module in self.model.modules()]
            with undisturbed(self.model):
                if self.attack_mode == "eval":
                    yield
                    return
                for module, mode in modes:
                    module.training = mode
                with self.kept_statistics():
                    yield

    @contextmanager
    def kept_statistics(self) -> Iterator[None]:
        """Bring the running statistics of all batch norms back after the block.

        Gradients of passes in the block must be taken in it: autograd would notice the copy.
        """
        before = [(buffer, buffer.clone()) for norm in self.norms() for buffer in norm.buffers()]
        try:
            yield
        finally:
            for buffer, value in before:
                buffer.copy_(value)

    def norms(self) -> list[_BatchNorm]:
        """All batch norms, the auxiliary ones among them."""
        return [module for module in self.trainable().modules() if isinstance(module, _BatchNorm)]

    def train(self) -> None:
        """Put every module into training mode."""
        self.model.train()
        if self.auxiliary is not None:
            self.auxiliary.train()

    def trainable(self) -> nn.Module:
        """All that the optimiser moves: the model, and the auxiliary batch norms."""
        return nn.ModuleList([self.model] if self.auxiliary is None else [self.model, self.auxiliary])

    def state(self) -> dict[str, Tensor]:
        """What a resumed run needs besides the model, on any number of processes; all of them must ask for it."""
        own = {} if self.auxiliary is None else self.auxiliary.state_dict()
        rows = {name: self.processes.join_last(value) for name, value in self.carried_rows.items()}
        parts = {"norms": own, "carried": self.carried, "rows": rows}
        return {f"{_PREFIX}{part}.{name}": value for part, found in parts.items() for name, value in found.items()}

    def restore(self, saved: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take back what ``state`` gave; returns the rest.

        Raises:
            KeyError, RuntimeError: names or shapes are not this learner's.
        """
        parts: dict[str, dict[str, Tensor]] = {"norms": {}, "carried": {}, "rows": {}}
        for name in saved:
            if name.startswith(_PREFIX):
                part, _, rest = name.removeprefix(_PREFIX).partition(".")
                parts[part][rest] = saved[name]
        device = next(self.model.parameters()).device
        self.carried = {name: value.to(device) for name, value in parts["carried"].items()}
        rows = parts["rows"].items()
        self.carried_rows = {name: self.processes.own_of_last(value).to(device) for name, value in rows}
        if self.auxiliary is not None:
            self.auxiliary.load_state_dict(parts["norms"])
        return {name: value for name, value in saved.items() if not name.startswith(_PREFIX)}

    def _adversarial_norms(self) -> AbstractContextManager[None]:
        return nullcontext() if self.auxiliary is None else self.auxiliary.in_place()
