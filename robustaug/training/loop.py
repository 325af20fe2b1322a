"""The training loop: an objective minimised on composite batches, adversarial rows made against the current weights."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustaug import randomness
from robustaug.attacks import Attack
from robustaug.data.composite import CompositeDataset
from robustaug.data.imageset import ImageSet
from robustaug.hardware import resolve_precision, to_device
from robustaug.progress import Advance, silent
from robustaug.training.augment import mixed, prepared
from robustaug.training.average import counting_anew
from robustaug.training.batch_norm import whole_batch_norms
from robustaug.training.checks import check_finite, check_run, compiling
from robustaug.training.counters import Counters, summary
from robustaug.training.distributed import present
from robustaug.training.history import History
from robustaug.training.objectives import AuxiliaryNorms, Learner, Objective, Task
from robustaug.training.optimizer import build_optimizer
from robustaug.training.resizing import resized_at
from robustaug.training.settings import TrainingSettings
from robustaug.training.state import Progress, has_state, identity_of, load_state, save_state
from robustaug.training.validation import accuracy, drawn, right_answers
from robustaug.training.watch import MOST_ANSWERS, Watch


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended; the model holds the chosen weights, in eval mode.

    Attributes:
        chosen_step: Steps done when the chosen weights were seen.
        chosen_by: The validation score that chose them: ``"validation_robust"`` or ``"validation_clean"``, with
            ``"_ema"`` or ``"_swa"`` behind it where they are averaged weights.
        score: Its value, a fraction.
        seconds: Time spent training, over all pieces of the run.
        collapses: Steps done when catastrophic overfitting was seen.
    """

    chosen_step: int
    chosen_by: str
    score: float
    seconds: float
    collapses: tuple[int, ...] = ()


def train(
    model: nn.Module,
    data: CompositeDataset,
    validation: ImageSet,
    *,
    attack: Attack | None,
    settings: TrainingSettings,
    folder: Path,
    seed: int = 0,
    progress: Advance | None = None,
) -> TrainingResult:
    """Train a classifier on a composite data set and keep the weights that the validation split likes best.

    Where the mix has an adversarial share, the score is accuracy under ``attack`` on the validation split (robust
    overfitting is real: Rice, Wong and Kolter 2020), otherwise clean accuracy; of equal scores the later one is kept.
    Where several processes have met (``training.distributed``), all call this with the same arguments; each takes its
    part of every batch, and the main one writes. Every random choice follows from (seed, step, sample key), so a run
    that was killed and called again with the same arguments ends with the same weights, bitwise on a CPU.

    Args:
        model: From images to logits, on its device; trained in place.
        data: Gives the batch of each step.
        validation: Chooses the weights; never trained on.
        attack: Makes the adversarial rows against the current weights (some objectives take its ball and precision
            alone), and judges the validation split; needed for an adversarial share.
        settings: Budget, objective and knobs.
        folder: Holds ``state.safetensors`` and ``state.before.safetensors`` (resumable), and ``history.jsonl``.
        seed: Of everything random here.
        progress: Told of each step.

    Raises:
        RobustAugError: what ``check_run`` refuses, a state of another run, damaged states, a loss that is not finite.
    """
    check_run(model, data, validation, attack, settings)
    return _Run(model, data, validation, attack, settings, folder, seed).until_done(progress or silent)


@dataclass
class _Run:
    """The arguments of ``train``, and what is made of them."""

    model: nn.Module
    data: CompositeDataset
    validation: ImageSet
    attack: Attack | None
    settings: TrainingSettings
    folder: Path
    seed: int

    def __post_init__(self) -> None:
        model, data, settings = self.model, self.data, self.settings
        if data.mix.adversarial == 0:
            self.attack = None
        self.device = next(model.parameters()).device
        if not settings.augments_on_cpu:
            self.data = data.on(self.device)
        self.dtype = resolve_precision(settings.precision, self.device)
        self.done, self.watch = Progress(), Watch()
        if self.attack is not None:
            self.objective.check(self.attack)
        self.few = drawn(self.validation, settings.validation_samples, self.seed)
        self.score_name = "validation_clean" if self.attack is None else "validation_robust"
        auxiliary = AuxiliaryNorms(model) if settings.advprop else None
        self.processes = present()
        self.learner = Learner(
            model, self.dtype, settings.attack_mode, auxiliary, processes=self.processes, compiled=settings.compiled
        )
        solver = None if self.attack is None else self.objective.attack(self.attack)
        self.processes.check(data.mix.counts(settings.batch_size), solver, settings.attack_mode)
        self.optimizer = build_optimizer(self.learner.trainable(), settings)
        self.averages = settings.averages()
        self.state_path = self.folder / "state.safetensors"
        self.history = History(self.folder, tensorboard=settings.tensorboard)
        attacked = None if self.attack is None else self.attack.parameters()
        used = (settings.to_dict(), str(self.dtype), self.seed, attacked)
        self.identity = identity_of(used, model, data, self.validation)
        self.best: dict[str, Tensor] = {}
        self.counters = Counters(self.device, 0)

    @property
    def objective(self) -> Objective:
        """With more noise than the settings say, where a collapse was answered so."""
        return self.settings.build_objective().raised(self.watch.answers)

    def until_done(self, progress: Advance) -> TrainingResult:
        self._resume()
        self.counters = Counters(self.device, self.done.step, self.processes)
        progress(self.done.step)
        devices = [self.device] if self.device.type == "cuda" else []
        norms = whole_batch_norms(self.learner.trainable(), self.processes)
        with torch.random.fork_rng(devices=devices), norms, self.learner.arranged():
            began = time.monotonic() - self.done.seconds
            while self.done.step < self.settings.steps:
                with compiling(self.settings.compiled):
                    self._step(self.done.step)
                self.done.step += 1
                if self._is_time_to_look(progress):
                    self.done.seconds = time.monotonic() - began
                    reached = self.done.step
                    note = self._look()
                    self.counters = Counters(self.device, self.done.step, self.processes)
                    progress(self.done.step - reached, note)
                progress()
        self.history.close()
        self.model.load_state_dict(self.best)
        self.model.eval()
        collapses = tuple(row["step"] for row in self.history.rows() if "collapsed" in row)
        done = self.done
        return TrainingResult(done.best_step, done.best_by, done.best_score, done.seconds, collapses)

    def _step(self, step: int) -> None:
        task, adversarial = self._begun(step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate_at(step)
        self.optimizer.zero_grad(set_to_none=True)
        terms = self.objective.gradients(self.learner, task, adversarial)
        self.processes.average(value.grad for value in self.learner.trainable().parameters())
        if self.settings.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.learner.trainable().parameters(), self.settings.gradient_clip)
        self.optimizer.step()
        for average in self.averages:
            average.follow(self.learner.carried, self.model, step)
        self.counters.add(terms, task)

    def _begun(self, step: int) -> tuple[Task, Tensor]:
        """A step's batch and its adversarial images; the model is in training mode."""
        others = () if self.processes.is_main else (self.processes.rank,)
        torch.manual_seed(randomness.derive_seed(self.seed, "step", step, *others))  # for dropout and the like
        self.learner.train()
        task = self._task(step)
        return task, self.objective.perturbed(self.learner, task)

    def _task(self, step: int) -> Task:
        replays = self.objective.replays
        batch = self.processes.own(self.data.batch(step // replays, self.settings.batch_size))
        images = prepared(self.data, batch, self.settings, self.seed, self.device)
        progress = (step - step % replays) / self.settings.steps  # all replays of a batch have one size
        images = resized_at(images, self.settings.resizing, progress)
        images, shared = mixed(images, batch, self.settings, self.seed)
        rows = batch.adversarial.nonzero().squeeze(1)
        keys = [batch.keys[row] for row in rows.tolist()]
        seeds = randomness.sample_seeds(self.seed, keys, "training attack", self.watch.answers)
        attack = None if self.attack is None else self.settings.attack_at(self.attack, step)
        labels, rows, seeds = (to_device(each, self.device) for each in (batch.labels, rows, seeds))
        return Task(images, labels, rows, attack, seeds, step, shared)

    def _is_time_to_look(self, progress: Advance) -> bool:
        """Every ``validate_every`` steps, at the end, and after an epoch at whose end a collapse is seen."""
        step, settings = self.done.step, self.settings
        if step % settings.validate_every == 0 or step == settings.steps:
            return True
        if step * settings.batch_size % len(self.data.originals) >= settings.batch_size:
            return False  # in the middle of an epoch
        check_finite(self.counters, self.model, step, self.state_path, self.dtype)
        progress(0, summary(self.counters.read()))
        return self._collapsed({})

    def _look(self) -> str:
        """Validate, remember the best weights, save the state; returns a note for the progress bar."""
        step = self.done.step
        check_finite(self.counters, self.model, step, self.state_path, self.dtype)
        row: dict[str, Any] = {"step": step, **self.counters.read()}
        if "training_clean" not in row:
            task = self._task(step - 1)
            row["training_clean_batch"] = self.processes.share(
                lambda: (right_answers(self.model, task.images, task.labels), len(task.labels))
            )
        row["learning_rate"] = self.settings.learning_rate_at(step - 1)
        self._validate(row, "")
        for average in self.averages:
            if average.share_at(step - 1) > 0:
                with average.in_place(self.learner.carried, self.model), self.learner.kept_statistics():
                    if average.recounts:
                        self._recount_statistics(average.recounts)
                    self._validate(row, "_" + average.name)
        collapsed = self._collapsed(row)
        row["seconds"] = round(self.done.seconds, 3)
        self.processes.main_does(lambda: self.history.add(row))
        if collapsed and self.settings.on_collapse != "report" and self.watch.answers < MOST_ANSWERS:
            answers = self.watch.answers + 1
            if self.settings.on_collapse == "return":
                self._load()
            self.watch.answers = answers
        if self.done.step < step:
            return f"catastrophic overfitting at step {step}; back to step {self.done.step}"
        self._save()
        return summary(row, self.score_name)

    def _save(self) -> None:
        self.learner.carried["watch"] = self.watch.to_tensor()
        kept = self.best | self.learner.state()
        self.processes.main_does(
            lambda: save_state(self.state_path, self.identity, self.done, self.model, kept, self.optimizer)
        )

    def _collapsed(self, row: dict[str, Any]) -> bool:
        """Attack the last batch of a single-step objective with the training attack at full eps."""
        if self.attack is None or not self.objective.is_single_step:
            return False
        attack, task = self.attack, self._task(self.done.step - 1)
        images, labels = task.images[task.rows], task.labels[task.rows]
        row["training_robust"] = self.processes.share(
            lambda: (int((~attack(self.model, images, labels, seeds=task.seeds).success).sum()), len(labels))
        )
        if self.watch.collapsed(row["training_robust"], self.data.mix.counts(self.settings.batch_size)["adversarial"]):
            row["collapsed"] = True
        return "collapsed" in row

    def _validate(self, row: dict[str, Any], ending: str) -> None:
        """Score the weights in the model, and keep them if they are the best so far."""
        row["validation_clean" + ending] = self._accuracy(self.validation, None)
        if self.attack is not None:
            row["validation_robust" + ending] = self._accuracy(self.few, self.attack)
        name = self.score_name + ending
        if row[name] >= self.done.best_score:
            self.done.best_score, self.done.best_step, self.done.best_by = row[name], self.done.step, name
            self.best = {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    def _recount_statistics(self, batches: int) -> None:
        """Batch-norm statistics of the weights in the model, over the last batches as the objective has them."""
        norms = self.learner.norms()
        with counting_anew(norms):
            for step in range(max(0, self.done.step - batches), self.done.step) if norms else ():
                task, adversarial = self._begun(step)
                with torch.no_grad():
                    self.objective.terms(self.learner, task, adversarial)

    def _accuracy(self, samples: ImageSet, attack: Attack | None) -> float:
        return accuracy(self.model, samples, attack, self.seed, self.processes)

    def _resume(self) -> None:
        with self.processes.main_first():  # it puts a whole state in the place of a damaged one
            if has_state(self.state_path):
                self._load()
        self.processes.check_start(self.model, self.identity, self.done.step)
        self.processes.main_does(lambda: self.history.begin(self.done.step))
        if self.done.step == 0 and self.settings.on_collapse == "return":
            self._save()  # a collapse may come before the first look

    def _load(self) -> None:
        self.done, kept = load_state(self.state_path, self.identity, self.model, self.optimizer)
        self.best = self.learner.restore(kept)
        self.watch = Watch.from_tensor(self.learner.carried.get("watch"))
