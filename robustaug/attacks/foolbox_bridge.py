"""Every attack of Foolbox 3 (Rauber, Zimmermann, Bethge and Brendel 2020) as an attack of this library."""

import difflib
import inspect
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from robustaug.attacks.attack import Attack, AttackResult, BatchSize
from robustaug.attacks.ball import Ball, column
from robustaug.attacks.foolbox_model import FoolboxView, are_finite, contained, foolbox_criterion, load_foolbox
from robustaug.attacks.foolbox_starts import Examples, starting_points
from robustaug.attacks.goal import Goal
from robustaug.attacks.oracle import Oracle
from robustaug.attacks.threat import Norm, ThreatModel
from robustaug.errors import RobustAugError
from robustaug.hardware import is_out_of_memory
from robustaug.randomness import derive_seed

_ORDERS: dict[Norm, float] = {"linf": torch.inf, "l2": 2, "l1": 1}


def from_foolbox(attack: Any, threat: ThreatModel, /, **parameters: Any) -> "FoolboxAttack":
    """Make an attack of Foolbox an attack of this library, with its result type and guarantees.

    Args:
        attack: The name of a class in ``foolbox.attacks``, or an object made from one.
        threat: Where a result counts: see ``FoolboxAttack``.
        parameters: With a name, what its class is made with. Foolbox sees images in [0, 1], whatever the bounds: step
            sizes are for that range.

    Raises:
        RobustAugError: Foolbox does not load, does not know the name or refuses the parameters, or the attack searches
            a ball of another norm than the threat model's.
    """
    if isinstance(attack, str):
        attack = _make(attack, parameters)
    elif parameters:
        raise RobustAugError(
            f"parameters ({', '.join(parameters)}) go with the name of a Foolbox attack, and this one is made already: "
            f"{attack!r}"
        )
    return FoolboxAttack(threat, attack=attack)


@dataclass(frozen=True)
class FoolboxAttack(Attack):
    """An attack of Foolbox with the contract of this library.

    Foolbox's attacks on a ball are given each sample's radius; the others (least distance, blur, rotation, ...) search
    without one. What they return is then projected into the threat model's ball and bounds, and the verdict is on the
    projected image, as in Foolbox. Where any distance should count, ``ThreatModel("linf", 1)`` holds every image.

    Samples misclassified to begin with are broken, and not handed to Foolbox. Samples for which a decision-based attack
    finds no starting point stand, and so do samples that Foolbox turns into NaN; both are returned as they were.
    Random numbers start from the samples' seeds, so that calls repeat. But Foolbox draws them for the whole batch, and
    some of its attacks stop or scale by the batch: a sample's result may depend on its batch.

    Foolbox computes in float32, whatever the ``precision``.

    Attributes:
        attack: An object made from a class of ``foolbox.attacks``.

    Raises:
        RobustAugError: not such an object, or one that searches a ball of another norm than the threat model's.
    """

    attack: Any = field(kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.attack, load_foolbox().attacks.Attack):
            raise RobustAugError(
                f"{self.attack!r} is no attack of Foolbox; give a class name such as 'L2DeepFoolAttack', or an object "
                "made from a class of foolbox.attacks"
            )
        if self._takes_radius and self._core.distance.p != _ORDERS[self.threat.norm]:
            raise RobustAugError(
                f"{self.name} searches a ball of norm l{self._core.distance.p}, and the threat model is "
                f"{self.threat.norm}; change one of them"
            )

    @property
    def name(self) -> str:
        """The name of the class in Foolbox."""
        return type(self._core).__name__

    def minimal_distance(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        targets: Tensor | None = None,
        generator: torch.Generator | None = None,
        seeds: Tensor | None = None,
        batch_size: BatchSize = None,
    ) -> AttackResult:
        """As a call, but at any distance: where ``success`` holds, ``distance`` is the least that the attack found.

        Raises:
            RobustAugError: as a call; or the attack is given a radius and so looks for no least distance.
        """
        if self._takes_radius:
            raise RobustAugError(f"{self.name} searches a ball of given radius; minimal_eps finds the smallest")
        low, high = self.threat.bounds
        size = images[0].numel() if len(images) else 1
        diagonal = (high - low) * size ** (1 / _ORDERS[self.threat.norm])
        anywhere = replace(self, threat=replace(self.threat, eps=diagonal))
        return anywhere(model, images, labels, targets=targets, generator=generator, seeds=seeds, batch_size=batch_size)

    def parameters(self) -> dict[str, Any]:
        """Name and every parameter as plain values, for reports and manifests."""
        known = {key.strip("_"): value for key, value in vars(self._core).items() if key != "_optimizer"}
        plain = {
            key: value if isinstance(value, str | int | float | None) else repr(value) for key, value in known.items()
        }
        return super().parameters() | plain | {"attack": f"foolbox.{self.name}", "precision": "float32"}

    @property
    def _core(self) -> Any:
        """The attack inside of ``repeat``."""
        core = self.attack
        while isinstance(core, load_foolbox().attacks.base.Repeated):
            core = core.attack
        return core

    @property
    def _takes_radius(self) -> bool:
        return isinstance(self._core, load_foolbox().attacks.base.FixedEpsilonAttack)

    def _oracle(self, model: nn.Module, images: Tensor) -> Oracle:  # noqa: ARG002
        return Oracle(model)

    def _search(self, oracle: Oracle, ball: Ball, goal: Goal, seeds: Tensor) -> Tensor:
        if goal.targets is not None and isinstance(self._core, load_foolbox().attacks.deepfool.DeepFoolAttack):
            # Foolbox lets it walk to the nearest class, and only stops it at the target.
            raise RobustAugError(f"Foolbox's {self.name} cannot aim at a class; call it without targets")
        predictions = oracle.logits(ball.center).argmax(1)
        view, images, eps = FoolboxView(oracle, ball.bounds), ball.center.clone(), ball.eps.flatten()
        examples = Examples(view.to_unit(images), predictions)
        standing = ~goal.is_met(predictions) & (eps > 0)
        # Foolbox takes one radius a call.
        for radius in torch.unique(eps[standing]).tolist() if self._takes_radius else [None]:
            rows = (standing if radius is None else standing & (eps == radius)).nonzero().squeeze(1)
            if len(rows):
                images[rows] = self._attack(view, ball[rows], goal[rows], seeds[rows], radius, examples)
        return images

    def _attack(
        self, view: FoolboxView, ball: Ball, goal: Goal, seeds: Tensor, radius: float | None, examples: Examples
    ) -> Tensor:
        """What Foolbox makes of samples that all stand, in ball and bounds."""
        images, device = ball.center.clone(), ball.center.device
        with self._in_one_line(view, goal), contained(view.oracle.model, derive_seed(*seeds.tolist()), device):
            model = load_foolbox().PyTorchModel(view, bounds=(0, 1), device=device)
            center, options = view.to_unit(images), {}
            starts = starting_points(self._core, model, center, goal, examples)
            rows = (
                torch.arange(len(images), device=device) if starts is None else are_finite(starts).nonzero().squeeze(1)
            )
            if starts is not None:
                options["starting_points"] = starts[rows]
            if len(rows):
                epsilon = None if radius is None else radius / view.width
                criterion = foolbox_criterion(goal[rows])
                found, _, _ = self.attack(model, center[rows], criterion, epsilons=epsilon, **options)
                images[rows] = torch.where(column(are_finite(found)), view.from_unit(found), images[rows])
        low, high = ball.bounds
        allowed = (ball.distance(images) <= ball.eps.flatten()) & ((images >= low) & (images <= high)).flatten(1).all(1)
        return torch.where(column(allowed), images, ball.project(images.clone()))

    @contextmanager
    def _in_one_line(self, view: FoolboxView, goal: Goal) -> Iterator[None]:
        """Foolbox's errors in the words of this library; the model's own, and memory that runs out, as they are."""
        try:
            yield
        except RobustAugError:
            raise
        except Exception as error:
            if error is view.failure or (isinstance(error, RuntimeError) and is_out_of_memory(error)):
                raise
            if str(error) == "unsupported criterion":
                advice = (
                    "needs targets; give some"
                    if goal.targets is None
                    else "cannot aim at a class; call it without targets"
                )
                raise RobustAugError(f"Foolbox's {self.name} {advice}") from error
            raise RobustAugError(
                f"Foolbox's {self.name} failed on a batch of {len(goal.labels)} ({_reason(error)}); change its "
                "parameters, leave out the images that it cannot handle, or take another attack"
            ) from error


def _make(name: str, parameters: dict[str, Any]) -> Any:
    base = load_foolbox().attacks.Attack
    classes = {key: value for key, value in vars(load_foolbox().attacks).items() if _is_concrete(value, base)}
    if name not in classes:
        near = difflib.get_close_matches(name.lower(), [key.lower() for key in classes], n=3)
        similar = ", ".join(key for key in classes if key.lower() in near)
        advice = f"did you mean {similar}?" if similar else "dir(foolbox.attacks) lists what it has"
        raise RobustAugError(f"Foolbox has no attack {name!r}; {advice}")
    try:
        return classes[name](**parameters)
    except ImportError as error:  # the attacks of Brendel and Bethge need numba, which Foolbox does not install
        raise RobustAugError(f"Foolbox's {name} needs {error.name}; pip install {error.name}") from error
    except Exception as error:
        signature = inspect.signature(classes[name])
        raise RobustAugError(f"Foolbox refuses {name}: {_reason(error)}; it takes {signature}") from error


def _is_concrete(value: object, base: type) -> bool:
    return isinstance(value, type) and issubclass(value, base) and not inspect.isabstract(value)


def _reason(error: Exception) -> str:
    """The first line of an error; of a bare assertion, what it asserts."""
    lines = str(error).strip().splitlines()
    if lines:
        return f"{type(error).__name__}: {lines[0]}"
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {place.name}: {place.line}"
