"""What a training run is told."""

import math
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal, Self, get_args

from robustaug.attacks import Attack
from robustaug.data.augmentation import Mixing, Technique, build_techniques
from robustaug.data.augmenter import ClassicalAugmenter
from robustaug.errors import RobustAugError
from robustaug.hardware import Precision
from robustaug.training.average import EMA, SWA, Average
from robustaug.training.board import check_tensorboard
from robustaug.training.objectives import OBJECTIVES, AttackMode, Objective, ObjectiveName, WeightPerturbation
from robustaug.training.resizing import Resizing, check_resizing
from robustaug.training.schedule import PAPERS_DROPS, Schedule, check_drops, rate_at
from robustaug.training.watch import OnCollapse

Optimizer = Literal["adam", "sgd"]
Padding = Literal["edge", "zeros"]
_NOISY = {"return": ("rs_fgsm", "n_fgsm"), "raise": ("n_fgsm",)}  # by what follows a collapse
_CHOICES = {
    "schedule": Schedule,
    "padding": Padding,
    "attack_mode": AttackMode,
    "on_collapse": OnCollapse,
}
_PARAMETERS = ("beta", "noise", "replays")  # of some objectives alone


@dataclass(frozen=True)
class TrainingSettings:
    """The budget and the knobs of one run; every arm of a comparison gets the same.

    Attributes:
        steps: Optimisation steps.
        batch_size: Images in a step, whatever their kind.
        optimizer: ``"adam"`` (AdamW), or ``"sgd"`` with Nesterov momentum 0.9.
        learning_rate: The peak of the schedule.
        schedule: ``"one_cycle"``, ``"cosine"`` or ``"step"``: how the learning rate moves; see ``training.schedule``.
        drops: Of ``step``: the shares of the steps after which the learning rate is a tenth of what it was.
        weight_decay: Decoupled for Adam, on weights only: norms and biases are left alone.
        warmup: Share of the steps in which the learning rate rises.
        eps_warmup: Share of the steps in which the attack's eps grows from 0 to its full size.
        augmentation: Techniques of classical augmentation, before mirror and shift: a name, or a sequence of names and
            of tables with ``name``, ``probability`` and parameters; see ``data.augmentation``. None is none. Every row
            gets them, an adversarial one before its attack; ``mixup`` and ``cutmix`` come last, on rows that are not
            attacked.
        flip: Whether images are mirrored left to right at random.
        shift: Images are moved by up to so many pixels at random: random crops of the padded image.
        padding: What a shift brings in: ``"edge"``, the border again, or ``"zeros"``.
        resizing: Progressive resizing: pairs of a longer side in px and the share of the steps until which the batches,
            augmented, have it; after the last they have the images' own. The network must take every size.
        validate_every: Steps between two looks at the validation split (and two saved states).
        validation_samples: At most so many validation images are attacked in a look.
        precision: Of convolutions and matrix products; weights and losses are float32.
        objective: What is minimised on the adversarial rows; see ``training.objectives``.
        beta: Of ``trades`` and ``mart``: the weight of their divergence. None is the objective's own default, here and
            below.
        noise: Of ``n_fgsm``: the size of its noise, as a multiple of eps.
        replays: Of ``free``: the steps that one batch serves.
        awp: Relative size of an adversarial weight perturbation around the objective; 0 is none.
        advprop: Whether adversarial images get batch norms of their own (AdvProp).
        attack_mode: The network's mode while it is attacked in training: ``"eval"`` or ``"train"``.
        label_smoothing: Share of each target spread over all classes.
        ema: Decay of an exponential moving average of the weights, which is evaluated beside them, at least 0 and below
            1; 0 keeps none.
        swa: Share of the steps after which the mean of all further weights is kept, and evaluated beside them, at least
            0 and below 1 (stochastic weight averaging; 0.75 in its paper); None keeps none.
        on_collapse: What follows when a single-step objective overfits catastrophically: ``"report"`` alone; or, three
            times at most, ``"return"``, for ``rs_fgsm`` and ``n_fgsm``: the run goes on from its last state with other
            noise, for ``n_fgsm`` half as much again; or ``"raise"``, for ``n_fgsm``: from where it is, with half as
            much noise again.
        gradient_clip: Largest Euclidean norm of a step's gradient, all weights together; None does not clip.
        tensorboard: Whether each row of the history is also written for TensorBoard.
        compiled: Whether the steps' passes go through ``torch.compile``; looks at the validation split do not.

    Raises:
        RobustAugError: a number out of range, or a parameter of another objective.
    """

    steps: int = 1000
    batch_size: int = 128
    optimizer: Optimizer = "adam"
    learning_rate: float = 2e-3
    schedule: Schedule = "one_cycle"
    drops: tuple[float, ...] = PAPERS_DROPS
    weight_decay: float = 5e-4
    warmup: float = 0.2
    eps_warmup: float = 0.0
    augmentation: str | tuple[str | dict[str, Any], ...] | None = None
    flip: bool = False
    shift: int = 0
    padding: Padding = "edge"
    resizing: Resizing = ()
    validate_every: int = 100
    validation_samples: int = 500
    precision: Precision = "float32"
    objective: ObjectiveName = "pgd"
    beta: float | None = None
    noise: float | None = None
    replays: int | None = None
    awp: float = 0.0
    advprop: bool = False
    attack_mode: AttackMode = "eval"
    label_smoothing: float = 0.0
    ema: float = 0.0
    swa: float | None = None
    gradient_clip: float | None = None
    on_collapse: OnCollapse = "report"
    tensorboard: bool = False
    compiled: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "validate_every", "validation_samples"):
            if getattr(self, name) < 1:
                raise RobustAugError(f"training.{name} is {getattr(self, name)}; it must be at least 1")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise RobustAugError(f"training.learning_rate is {self.learning_rate}; it must be larger than 0")
        for name in ("warmup", "eps_warmup"):
            if not 0 <= getattr(self, name) <= 1:
                raise RobustAugError(f"training.{name} is {getattr(self, name)}; it is a share of the steps, 0 to 1")
        if self.shift < 0 or not self.weight_decay >= 0:
            raise RobustAugError("training.shift and training.weight_decay must be 0 or larger")
        for name in ("label_smoothing", "ema", "swa"):
            if not 0 <= (getattr(self, name) or 0) < 1:
                raise RobustAugError(f"training.{name} is {getattr(self, name)}; it is a share, 0 to below 1")
        if self.gradient_clip is not None and not (math.isfinite(self.gradient_clip) and self.gradient_clip > 0):
            raise RobustAugError(
                f"training.gradient_clip is {self.gradient_clip}; it must be larger than 0, or not set"
            )
        for name, kind in _CHOICES.items():
            if (given := getattr(self, name)) not in get_args(kind):
                raise RobustAugError(f"training.{name} is {given!r}; use {' or '.join(get_args(kind))}")
        able = _NOISY.get(self.on_collapse, (self.objective,))
        if self.objective not in able:
            raise RobustAugError(
                f"training.on_collapse = '{self.on_collapse}' goes on with other noise, for {' and '.join(able)}, "
                f"not for {self.objective}; set it to 'report'"
            )
        check_drops(self.schedule, self.drops)
        check_resizing(self.resizing)
        check_tensorboard(self.tensorboard)
        self._check_techniques(self.build_objective())

    def _check_techniques(self, objective: Objective) -> None:
        names = {technique.name for technique in self.techniques}
        for key, technique in (("flip", "horizontal_flip"), ("shift", "crop")):
            if getattr(self, key) and technique in names:
                raise RobustAugError(f"training.{key} and the technique {technique} do the same; keep one of them")
        if self.mixing and not objective.takes_mixed_labels:
            raise RobustAugError(
                f"{self.mixing[0].name} mixes labels, and the objective {self.objective} takes one label an image; "
                "take it out of training.augmentation, or set training.objective = 'pgd'"
            )

    @cached_property
    def techniques(self) -> tuple[Technique, ...]:
        """Of ``augmentation``.

        Raises:
            RobustAugError: see ``build_techniques``.
        """
        return () if self.augmentation is None else build_techniques(self.augmentation, "training.augmentation")

    @cached_property
    def augmenter(self) -> ClassicalAugmenter:
        """The techniques that change single images."""
        return ClassicalAugmenter(tuple(each for each in self.techniques if not each.mixes))

    @property
    def augments_on_cpu(self) -> bool:
        """Whether a technique works on the CPU alone."""
        return any(each.on_cpu for each in self.techniques)

    @cached_property
    def mixing(self) -> tuple[Mixing, ...]:
        """The techniques that mix images of a batch, and their labels."""
        return tuple(each for each in self.techniques if isinstance(each, Mixing))

    def build_objective(self) -> Objective:
        """The objective with its parameters, the weight perturbation around it.

        Raises:
            RobustAugError: an unknown objective, or a parameter that is out of range or another objective's.
        """
        if self.objective not in OBJECTIVES:
            raise RobustAugError(f"training.objective is {self.objective!r}; use one of {', '.join(OBJECTIVES)}")
        given = {name: value for name in _PARAMETERS if (value := getattr(self, name)) is not None}
        for name in given:
            owners = [each for each, kind in OBJECTIVES.items() if name in {entry.name for entry in fields(kind)}]
            if self.objective not in owners:
                raise RobustAugError(
                    f"training.{name} belongs to the objective {' or '.join(owners)}, not to {self.objective}; "
                    "remove it, or set training.objective"
                )
        inner = OBJECTIVES[self.objective](**given | {"label_smoothing": self.label_smoothing})
        return WeightPerturbation(inner, self.awp) if self.awp != 0 else inner

    def check_share(self, adversarial: float) -> None:
        """Refuse an adversarial share that the objective cannot be trained on.

        Raises:
            RobustAugError: there is none and the objective needs one, or AdvProp would leave the main batch norms
                without images.
        """
        if adversarial == 0 and (self.objective != "pgd" or self.advprop):
            what = "training.advprop" if self.objective == "pgd" else f"the objective {self.objective}"
            raise RobustAugError(f"{what} needs adversarial rows, but there is no adversarial share; give the mix one")
        if self.advprop and adversarial == 1 and self.build_objective().needs_others:
            raise RobustAugError(
                "training.advprop keeps adversarial images from the main batch norms, but all rows are adversarial; "
                "give the mix an original or stylised share too"
            )

    def standard(self) -> Self:
        """The same budget for a mix without adversarial rows: plain cross-entropy."""
        parameters: dict[str, Any] = dict.fromkeys(_PARAMETERS)
        parameters |= {"awp": 0.0, "advprop": False, "attack_mode": "eval", "on_collapse": "report"}
        return replace(self, objective="pgd", **parameters)

    def learning_rate_at(self, step: int) -> float:
        """Of a step, from 0; see ``training.schedule``."""
        return rate_at(self.schedule, self.learning_rate, (step + 1) / self.steps, self.warmup, self.drops)

    def averages(self) -> tuple[Average, ...]:
        """The averages of the weights that are kept."""
        ema = (EMA(self.ema),) if self.ema else ()
        swa = () if self.swa is None else (SWA(int(self.swa * self.steps)),)
        return ema + swa

    def eps_share_at(self, step: int) -> float:
        """The share of the full eps that the attack uses at a step."""
        return min(1.0, (step + 1) / (self.eps_warmup * self.steps)) if self.eps_warmup > 0 else 1.0

    def attack_at(self, attack: Attack, step: int) -> Attack:
        """The training attack with the eps of a step.

        Raises:
            RobustAugError: its threat model has one eps per sample.
        """
        threat = attack.threat
        if isinstance(threat.eps, tuple):
            raise RobustAugError(
                "training needs one eps for all samples, the threat model has one per sample; choose one"
            )
        return replace(attack, threat=replace(threat, eps=threat.eps * self.eps_share_at(step)))

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain values."""
        return asdict(self)
