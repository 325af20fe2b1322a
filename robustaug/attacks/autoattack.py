"""AutoAttack: four attacks one after the other, each on what still stands."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from robustaug import randomness
from robustaug.attacks.apgd import APGD
from robustaug.attacks.attack import Attack, AttackResult, BatchSize, in_batches, is_too_close_to_call, model_seed
from robustaug.attacks.autoattack_state import Record, StateFile, identity_of
from robustaug.attacks.ball import Ball
from robustaug.attacks.fab import FAB
from robustaug.attacks.goal import Goal
from robustaug.attacks.oracle import Oracle, undisturbed
from robustaug.attacks.pgd import is_time_to_look
from robustaug.attacks.square import Square
from robustaug.errors import RobustAugError
from robustaug.hardware import resolve_precision

Version = Literal["standard", "rand"]
# From oracle, balls, goals, seeds and the worst images so far to new images.
_Search = Callable[[Oracle, Ball, Goal, Tensor, Tensor], Tensor]


class Passes(NamedTuple):
    """Images sent through the model, and images whose gradient was taken."""

    forward: int
    backward: int


class Progress(NamedTuple):
    """Where an AutoAttack stands; a stage is over when ``attacked`` equals ``of``.

    Attributes:
        stage: Name of the stage at work.
        attacked: How many samples it has done.
        of: How many it was given: those that still stood.
        robust_accuracy: Share of all samples that stand now.
    """

    stage: str
    attacked: int
    of: int
    robust_accuracy: float


@dataclass(frozen=True)
class AutoAttackResult(AttackResult):
    """An attack's result, and which stage did it.

    Attributes:
        stages: Names of the stages, in order: ``"clean"`` first, which is no attack.
        broken_by: For each sample the index of the stage that broke it (0: wrong from the start), -1 if none did;
            int64 (N,).
    """

    stages: tuple[str, ...]
    broken_by: Tensor

    @property
    def robust_accuracy(self) -> dict[str, float]:
        """Share of the samples that stand after each stage, in order; NaN without samples."""
        stands = self.broken_by < 0
        return {
            name: float((stands | (self.broken_by > stage)).float().mean()) for stage, name in enumerate(self.stages)
        }


@dataclass(frozen=True)
class AutoAttack(Attack):
    """AutoAttack (Croce and Hein 2020b, section 5; for l1 Croce and Hein 2021, section 5): nothing to be tuned.

    Each stage sees only the samples that all before it left standing, packed into full batches, and every verdict is
    float32. A search that does not compute in plain float32 has one stage more, ``"float32"``: samples left standing
    by a small margin are attacked once more in float32: from the worst image found, and then from a start of their own.

    With targets, every stage aims at those alone. The model is in eval mode in ``perturb`` as well.

    Attributes:
        version: ``"standard"``: APGD on the cross-entropy, targeted APGD on the DLR loss, targeted FAB, and Square; for
            models that always answer the same. ``"rand"``: APGD on both losses, each gradient averaged over 20
            evaluations; for randomised models.
        compiled: Search through ``torch.compile``.

    Raises:
        RobustAugError: an unknown version; when called, a randomised model with the standard version.
    """

    version: Version = "standard"
    compiled: bool = False

    def __post_init__(self) -> None:
        if self.version not in get_args(Version):
            raise RobustAugError(f"version {self.version!r} is unknown; use one of {', '.join(get_args(Version))}")

    def stages(self) -> dict[str, Attack]:
        """The attacks in order, with the budgets of AutoAttack's own code."""
        cross_entropy = APGD(self.threat, self.precision, compiled=self.compiled, eot_samples=self._eot_samples)
        dlr = replace(cross_entropy, loss="dlr")
        if self.version == "rand":
            return {"apgd-ce": cross_entropy, "apgd-dlr": dlr}
        restarts, targets_tried = (5, 5) if self.threat.norm == "l1" else (1, 9)
        return {
            "apgd-ce": replace(cross_entropy, restarts=restarts),
            "apgd-t": replace(dlr, targets_tried=targets_tried),
            "fab-t": FAB(self.threat, self.precision),
            "square": Square(self.threat, self.precision),
        }

    def budget(self, classes: int) -> Passes:
        """The most passes that one sample can cost a model with this many classes, every verdict included.

        A call looks at up to 4 images twice more, to see whether the model's answers are logits, and repeat.
        """
        is_exact = self.precision == "float32" and not self.compiled
        parts = [_most_passes(stage, classes, is_exact) for stage in self.stages().values()]
        if not is_exact and self.version == "standard":
            last = [_most_passes(search, classes, is_exact=True) for search in self._last_searches]
            parts.append(Passes(sum(part.forward + 1 for part in last), sum(part.backward for part in last)))
        # The clean prediction, and a verdict after each stage.
        return Passes(1 + sum(part.forward + 1 for part in parts), sum(part.backward for part in parts))

    def __call__(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        targets: Tensor | None = None,
        generator: torch.Generator | None = None,
        seeds: Tensor | None = None,
        batch_size: BatchSize = None,
        state: Path | str | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> AutoAttackResult:
        """As every attack; and a call that was killed can go on.

        Args:
            model: As for every attack; so are the others up to ``batch_size``.
            images: Float32, (N, C, H, W).
            labels: int64, (N,).
            targets: int64, (N,), or None.
            generator: Draws the seeds.
            seeds: int64, (N,).
            batch_size: Images attacked at a time.
            state: A file, written after each stage, and within a stage after the first batch that ends a minute or more
                after the last time. A call with the same arguments goes on from it, to the same result: bit for bit
                with the same batch size (a number), and in float32 on a CPU with any. It holds the worst images so far
                too; delete it when it is no longer needed.
            progress: Called after each batch and each stage; on going on, first for the stages already done.

        Raises:
            RobustAugError: as every attack; a randomised model with the standard version; a state that is damaged,
                belongs to another call or cannot be written.
        """
        self._check(model, images, labels, targets)
        if len(images) == 0:
            record = Record.start(images, labels)
            return _result(record, labels.bool(), record.margin, ("clean", *self.stages()))
        with self._prepared(model, images, labels, targets, generator, seeds) as (oracle, ball, goal, drawn):
            is_randomised = oracle.is_randomised  # costs passes and random numbers: here in a run that goes on as well
            if is_randomised and self.version == "standard":
                raise RobustAugError(
                    "the model gives different answers for the same images, which the standard version of AutoAttack "
                    'misjudges; use version="rand"'
                )
            file = StateFile(None, {})
            if state is not None:
                settings = {**self.parameters(), "precision": str(oracle.dtype)}
                inputs = {"images": ball.center, "labels": goal.labels, "targets": goal.targets, "seeds": drawn}
                file = StateFile(Path(state), identity_of(model, settings, inputs))
            record = file.load(images.device) or Record.start(ball.center, goal.labels)
            searches = self._searches(oracle)
            _Call(oracle, ball, goal, drawn, record, file, batch_size, progress).run(searches)
            return _result(record, goal.is_met(record.predictions), ball.distance(record.images), tuple(searches))

    def _search(self, oracle: Oracle, ball: Ball, goal: Goal, seeds: Tensor) -> Tensor:
        record = Record.start(ball.center, goal.labels)
        _Call(oracle, ball, goal, seeds, record, StateFile(None, {})).run(self._searches(oracle))
        return record.images

    def _oracle(self, model: nn.Module, images: Tensor) -> Oracle:
        return Oracle(model, resolve_precision(self.precision, images.device), self._eot_samples, self.compiled)

    @property
    def _eot_samples(self) -> int:
        return 20 if self.version == "rand" else 1

    def _searches(self, oracle: Oracle) -> dict[str, _Search]:
        """The searches of all stages: the attacks', between the originals and the finish."""
        searches: dict[str, _Search] = {"clean": lambda oracle, ball, goal, seeds, worst: ball.center}  # noqa: ARG005
        for name, stage in self.stages().items():
            searches[name] = partial(_without_worst, stage)
        if not oracle.is_exact and self.version == "standard":
            searches["float32"] = self._finish
        return searches

    @property
    def _last_searches(self) -> tuple[APGD, APGD]:
        return APGD(self.threat, loss="margin"), APGD(self.threat)

    def _finish(self, oracle: Oracle, ball: Ball, goal: Goal, seeds: Tensor, worst: Tensor) -> Tensor:
        """Attack in float32 what bfloat16 left standing by a small margin: on from the worst images, and afresh.

        Close to the boundary, whether a search arrives depends on its start, and one more makes up for the precision.
        """
        exact, (onwards, afresh) = oracle.exactly(), self._last_searches
        logits = exact.logits(worst)
        for attack in (onwards, afresh):
            close = is_too_close_to_call(logits, goal, self.threat.norm).nonzero().squeeze(1)
            if not len(close):
                break
            near, aim = ball[close], goal[close]
            if attack is onwards:
                found = attack._climb(exact, near, aim, aim, worst[close], attack.steps).images
            else:
                found = attack._search(exact, near, aim, seeds[close])
            found_logits = exact.logits(found)
            is_worse = aim.margin(found_logits) > aim.margin(logits[close])
            rows = close[is_worse]
            worst[rows], logits[rows] = found[is_worse], found_logits[is_worse]
        exact.check_finite()
        oracle.forward_passes += exact.forward_passes
        oracle.backward_passes += exact.backward_passes
        return worst


@dataclass
class _Call:
    """One call at work."""

    oracle: Oracle
    ball: Ball
    goal: Goal
    seeds: Tensor
    record: Record
    file: StateFile
    batch_size: BatchSize = None
    progress: Callable[[Progress], None] | None = None

    def run(self, searches: Mapping[str, _Search]) -> None:
        """Do what the record leaves to be done."""
        record, oracle = self.record, self.oracle
        if record.stage or record.offset:
            oracle.forward_passes, oracle.backward_passes = record.forward_passes, record.backward_passes
        else:
            self.file.save(record)  # a path that cannot be written is better known now
        for stage, (name, search) in enumerate(searches.items()):
            rows = record.rows_of(stage)
            if stage >= record.stage:
                todo = rows[record.offset :]
                work = partial(self._batch, name, search, len(rows), todo)
                in_batches(work, len(todo), self.batch_size, largest=len(self.seeds))
                record.stage, record.offset = stage + 1, 0
                self.file.save(record)
            self._tell(name, len(rows), len(rows), stage)

    def _batch(self, name: str, search: _Search, of: int, todo: Tensor, part: slice) -> tuple[()]:
        rows, record, oracle = todo[part], self.record, self.oracle
        oracle.room = part.stop - part.start
        ball, goal, seeds = self.ball[rows], self.goal[rows], randomness.fold(self.seeds[rows], record.stage)
        with undisturbed(oracle.model, model_seed(seeds)):  # so that a randomised model's batches repeat one by one
            images = search(oracle, ball, goal, seeds, record.images[rows])
            logits = oracle.logits(images)
        oracle.check_finite()
        record.take_in(rows, images, logits, goal)
        record.forward_passes, record.backward_passes = oracle.forward_passes, oracle.backward_passes
        if record.offset < of:
            self.file.save(record, only_if_due=True)
            self._tell(name, record.offset, of, record.stage)
        return ()

    def _tell(self, name: str, attacked: int, of: int, stage: int) -> None:
        if self.progress is not None:
            self.progress(Progress(name, attacked, of, self.record.robust_accuracy(stage)))


def _without_worst(stage: Attack, oracle: Oracle, ball: Ball, goal: Goal, seeds: Tensor, worst: Tensor) -> Tensor:  # noqa: ARG001
    return stage._search(oracle, ball, goal, seeds)


def _result(record: Record, success: Tensor, distance: Tensor, stages: tuple[str, ...]) -> AutoAttackResult:
    return AutoAttackResult(
        images=record.images,
        success=success,
        predictions=record.predictions,
        distance=distance,
        forward_passes=record.forward_passes,
        backward_passes=record.backward_passes,
        stages=stages,
        broken_by=record.broken_by,
    )


def _most_passes(stage: Attack, classes: int, is_exact: bool) -> Passes:
    """The most that a search can spend on one sample; in bfloat16, float32 has to confirm what breaks it."""
    match stage:
        case APGD():
            runs = stage.restarts * min(stage.targets_tried or 1, classes - 1)
            gradients = runs * stage.eot_samples * (stage.steps + 1 + 2 * (stage.threat.norm == "l1"))
            looks = 1 + sum(is_time_to_look(step) for step in range(stage.steps))
            return Passes(1 + gradients + runs * looks, gradients)
        case FAB():
            gradients = stage.restarts * min(stage.targets_tried, classes - 1) * (stage.steps + 1)
            return Passes(1 + gradients * (1 if is_exact else 2), gradients)
        case Square():
            looks = 1 if is_exact else len(list(stage._blocks()))
            return Passes(1 + stage.queries + looks, 0)
    raise AssertionError(f"{stage} is not part of AutoAttack")
