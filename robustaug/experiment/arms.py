"""What ``run`` and ``train`` share: a run's data, its styles for training, and an arm, trained."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from robustaug.data import CompositeDataset, DataSplits, ImageSet, Skipped, VariantSet, load_data, load_variants
from robustaug.data.attributes import Attributes, read_attributes
from robustaug.data.balance import balance_for
from robustaug.data.decisions import REVIEW, read_decisions
from robustaug.data.jobs import MANIFEST
from robustaug.errors import RobustAugError
from robustaug.evaluation.checks import pixel_hashes
from robustaug.experiment.balance import balance_of_run
from robustaug.experiment.config import ExperimentConfig
from robustaug.experiment.energy import EnergyLedger
from robustaug.experiment.run_folder import RunFolder, open_run
from robustaug.experiment.variants import make_variants, paintings_of, style_in_loop
from robustaug.files import read_jsonl, refuse_inside
from robustaug.hardware import default_device
from robustaug.models import Checkpoint, ImageClassifier, build_model, load_checkpoint, save_checkpoint
from robustaug.progress import progress_bar
from robustaug.style.bank import StyleBank
from robustaug.style.random_style import RandomStyle
from robustaug.training import train
from robustaug.training.checks import check_fit
from robustaug.training.distributed import present


@dataclass(frozen=True)
class Prepared:
    """A run whose configuration, images and folder have proved usable.

    Attributes:
        run: Its folder.
        config: What it does.
        data: The images.
        training_bank: Paintings to learn from.
        held_out_bank: Paintings to measure with.
        untrained: Where every arm starts: what differs between them is the mix alone.
        balance: Variants for the arm with the largest balance; None if no arm needs any.
        attributes: Of the images; None without a file of them.
    """

    run: RunFolder
    config: ExperimentConfig
    data: DataSplits
    training_bank: StyleBank
    held_out_bank: StyleBank
    untrained: ImageClassifier
    balance: VariantSet | None = None
    attributes: Attributes | None = None

    def balance_of(self, arm: str) -> VariantSet | None:
        """The variants that join an arm's originals."""
        ratio = self.config.arms[arm].balance
        if ratio is None or self.balance is None:
            return None
        return balance_for(self.balance, self.data.train, ratio, self.config.seed)


@dataclass(frozen=True)
class TrainedArm:
    """A trained arm.

    Attributes:
        checkpoint: What was kept, with its path.
        chosen: The score that chose the weights, its value and the step, in words.
        skipped: Input files that could not be used.
    """

    checkpoint: Checkpoint
    chosen: str
    skipped: tuple[Skipped, ...]


def train_arm(config: ExperimentConfig, out: Path, arm: str | None = None, *, console: Console) -> TrainedArm:
    """Train one arm into a run folder; what is done is not done again, and ``run_experiment`` can go on from there.

    Where several processes have met (``training.distributed``), all call this.

    Args:
        config: What to do.
        out: The run folder; see ``open_run``.
        arm: Which; None is the only one.
        console: Where progress lines go.

    Raises:
        RobustAugError: no such arm, or anything else the user can mend; what is done is kept.
    """
    name = _arm_of(config, arm)
    processes, training = present(), config.training
    counts = config.arms[name].mix().counts(training.batch_size)
    processes.check(counts, training.attack(config.threat.model()), training.attack_mode)  # before anything is made
    with processes.main_first():
        prepared = prepare(config, out, resume=True, console=console)
    run = prepared.run
    with EnergyLedger(run.path / "energy.json" if run.writes else None):
        with run.timing("style"), processes.main_first():
            styles = training_styles(prepared, [name])
        with run.timing("training"):
            checkpoint = trained(prepared, styles, name)
    by, step = checkpoint.extra["training"]["chosen_by"], checkpoint.extra["training"]["chosen_step"]
    rows = [row for row in read_jsonl(run.arm(name) / "history.jsonl") if row["step"] == step and by in row]
    score = f" {rows[-1][by]:.1%}" if rows else ""  # after a return, a step has two
    return TrainedArm(checkpoint, f"{by.replace('_', ' ')}{score} at step {step}", prepared.data.skipped)


def prepare(
    config: ExperimentConfig, out: Path, *, resume: bool, console: Console, variants: Path | None = None
) -> Prepared:
    """Read the images, build the network, make the folder this run's, and in it the variants of the balance.

    Raises:
        RobustAugError: anything about configuration, images or folder; the folder is then as it was.
    """
    refuse_inside(out, Path(config.data.source))
    run = open_run(out, config, resume=resume, console=console, variants=variants)
    attributes = None if config.data.attributes is None else read_attributes(Path(config.data.attributes))
    with run.timing("data"):
        data = load_data(**config.data.arguments(), seed=config.seed)
        parts = (data.train, data.validation, data.test)
        strangers = attributes.check(key for part in parts for key in part.keys) if attributes else ()
        training_bank, held_out_bank = paintings_of(config.style, config.seed)
        untrained = _untrained(config, data)
        config.threat.model().eps_for(data.train.float_images()[:1])  # a wrong radius is said now, not after training
        check_fit(untrained, data.train, data.validation, config.training)
        run.claim(config, data.fingerprint, attributes.sha256 if attributes else None)
    run.say(_summary(data))
    for skipped in data.skipped:
        run.say(f"Skipped {skipped.path}: {skipped.reason}")
    if strangers:
        run.say(f"{config.data.attributes}: {len(strangers)} rows are of no image in use, the first is {strangers[0]}")
    balance = balance_of_run(run, config, data.train, training_bank)
    return Prepared(run, config, data, training_bank, held_out_bank, untrained, balance, attributes)


def training_styles(prepared: Prepared, arms: Iterable[str]) -> VariantSet | RandomStyle | None:
    """Variants of training images, made or found done, or what makes them in the loop; None if these arms want none."""
    run, config, bank = prepared.run, prepared.config, prepared.training_bank
    settings, images = config.style, prepared.data.train
    folder = run.variants("train", config.data.train_share)
    if not any(config.arms[name].mix().styled for name in arms):
        return None
    if settings.source == "loop":
        return style_in_loop(images, bank, settings)
    if not run.writes:
        return load_variants(folder, images)
    if not (folder / MANIFEST).exists():
        run.say(f"Stylising {min(settings.variants, len(images))} training images with {len(bank)} paintings")
    styles = make_variants(folder, images, settings.variants, bank, settings, config.seed)
    if styles.left_out:
        run.say(f"Left out {styles.left_out} of {styles.left_out + len(styles)} variants, as {REVIEW} says")
    return styles


def trained(prepared: Prepared, styles: VariantSet | RandomStyle | None, name: str) -> Checkpoint:
    """The checkpoint of an arm, which is trained if there is none."""
    run, config, data = prepared.run, prepared.config, prepared.data
    folder, mix = run.arm(name), config.arms[name].mix()
    path, balance = folder / "model.safetensors", prepared.balance_of(name)
    if path.exists():
        return finished(run, config, name)
    run.say(f"Training {run.called(name)}: {config.training.steps} steps of {config.training.batch_size} images")
    folder.mkdir(parents=True, exist_ok=True)
    composite = CompositeDataset(data.train, styles if mix.styled else None, mix, config.seed, balance)
    threat, processes = config.threat.model(), present()
    model = copy.deepcopy(prepared.untrained).to(default_device())
    with progress_bar(run.called(name), config.training.steps) as progress:
        result = train(
            model,
            composite,
            data.validation,
            attack=config.training.attack(threat),
            settings=config.training if mix.adversarial > 0 else config.training.standard(),
            folder=folder,
            seed=config.seed,
            progress=progress,
        )
    bank = prepared.training_bank
    extra = {
        "arm": name,
        "threat": {"norm": threat.norm, "eps": threat.eps, "bounds": list(threat.bounds)},
        "data": {
            "name": data.name,
            "fingerprint": data.fingerprint,
            "seed": config.seed,
            "training_images": pixel_hashes(data.train),  # so that nobody measures on them unawares
        }
        | config.data.model_dump(include={"size", "limit", "validation_share", "test_share"}),
        "training": {"chosen_step": result.chosen_step, "chosen_by": result.chosen_by},  # no time: the same bytes again
        "paintings": [painting.sha256 for painting in bank.paintings] if mix.styled else [],
        "review": _review_of(styles if mix.styled else None, balance),
    }
    with processes.together():
        if processes.is_main:
            save_checkpoint(path, model.cpu(), class_names=data.class_names, extra=extra)
    score = f"{result.chosen_by.replace('_', ' ')} {result.score:.1%} at step {result.chosen_step}"
    run.say(f"Trained {run.called(name)} in {result.seconds:.0f} s: {score}")
    if result.collapses:
        steps = ", ".join(map(str, result.collapses))
        is_noisy = config.training.objective == "n_fgsm"
        advice = "on_collapse='return' or more training.noise" if is_noisy else "objective='n_fgsm'"
        run.say(f"Arm {name} overfitted catastrophically at step {steps}; try training.{advice}")
    return load_checkpoint(path)


def finished(run: RunFolder, config: ExperimentConfig, name: str) -> Checkpoint:
    """The checkpoint of an arm that is trained.

    Raises:
        RobustAugError: its variants were reviewed, or reviewed otherwise, since then.
    """
    arm, share, folder = config.arms[name], config.data.train_share, run.arm(name)
    on_disk = {"train": arm.mix().styled and config.style.source != "loop", "balance": arm.balance is not None}
    reviews = [read_decisions(run.variants(kind, share)).fingerprint for kind, used in on_disk.items() if used]
    checkpoint = load_checkpoint(folder / "model.safetensors")
    if checkpoint.extra.get("review", {}).get("sha256", "") != "+".join(filter(None, reviews)):
        raise RobustAugError(
            f"arm {name} was trained before the variants were reviewed as they are now ({REVIEW} differs); "
            f"delete {folder} to train it again, or choose another folder with --out"
        )
    return checkpoint


def _review_of(*used: VariantSet | RandomStyle | None) -> dict[str, Any]:
    """What an arm obeyed: how many variants a person's decisions left out, and a hash of these; {} without any."""
    reviewed = [variants for variants in used if isinstance(variants, VariantSet) and variants.review]
    if not reviewed:
        return {}
    hashes = "+".join(variants.review for variants in reviewed)
    return {"left_out": sum(variants.left_out for variants in reviewed), "sha256": hashes}


def _arm_of(config: ExperimentConfig, name: str | None) -> str:
    arms = ", ".join(config.arms)
    if name is None and len(config.arms) > 1:
        raise RobustAugError(f"the configuration has the arms {arms}; choose one with --arm NAME")
    if name is not None and name not in config.arms:
        raise RobustAugError(f"there is no arm {name!r} in the configuration; choose one of {arms}")
    return name or next(iter(config.arms))


def _summary(data: DataSplits) -> str:
    height, width = data.image_size
    parts = f"{len(data.train)} training, {len(data.validation)} validation, {len(data.test)} test images"
    return f"Data {data.name}: {parts}, {len(data.class_names)} classes, {height}x{width} px"


def _untrained(config: ExperimentConfig, data: DataSplits) -> ImageClassifier:
    model, classes = config.model, len(data.class_names)
    # Published weights bring the normalisation that they were trained with.
    mean, std = (None, None) if "weights" in model.options else _normalisation(data.train)
    return build_model(model.name, classes, data.image_size, mean, std, seed=config.seed, **model.options)


def _normalisation(images: ImageSet) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, over at most about 2,000 training images."""
    sample = images.images[:: max(1, len(images) // 2000)].double() / 255
    return sample.mean((0, 2, 3)).tolist(), sample.std((0, 2, 3)).clamp_min(1e-2).tolist()
