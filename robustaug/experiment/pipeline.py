"""The whole job: data, stylised variants, one retrained classifier an arm, evaluation, report. Every stage resumes."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from robustaug.data import CompositeDataset, DataSplits, ImageSet, Skipped, VariantSet, load_data
from robustaug.data.jobs import MANIFEST
from robustaug.evaluation.checks import check_splits, pixel_hashes
from robustaug.evaluation.harness import evaluate_arm, evaluation_work
from robustaug.evaluation.report import build_report, load_report
from robustaug.evaluation.results import ArmEvaluation, load_evaluation, save_evaluation
from robustaug.experiment.config import ExperimentConfig
from robustaug.experiment.outcome import Arm, describe_data, report_content
from robustaug.experiment.run_folder import RunFolder, open_run
from robustaug.experiment.samples import write_adversarial_samples, write_stylised_samples
from robustaug.experiment.variants import Restyled, make_variants, paintings_of, restyle, style_in_loop
from robustaug.files import read_jsonl, refuse_inside, write_json
from robustaug.hardware import default_device
from robustaug.models import Checkpoint, ImageClassifier, build_model, load_checkpoint, save_checkpoint
from robustaug.progress import progress_bar
from robustaug.style.bank import StyleBank
from robustaug.style.random_style import RandomStyle
from robustaug.training import train


@dataclass(frozen=True)
class RunOutcome:
    """Where the report is, and which input files could not be used."""

    report: Path
    skipped: tuple[Skipped, ...]


def run_experiment(config: ExperimentConfig, out: Path, *, resume: bool = False, console: Console) -> RunOutcome:
    """Run an experiment from images to report; a finished stage is not done again.

    Args:
        config: What to do.
        out: The run folder; see ``open_run``.
        resume: Go on with a run of the same configuration.
        console: Where progress lines go.

    Raises:
        RobustAugError: anything the user can mend; what is done is kept.
    """
    refuse_inside(out, Path(config.data.source))
    run = open_run(out, config, resume=resume, console=console)
    with run.timing("data"):
        data = load_data(**config.data.arguments(), seed=config.seed)
        training_bank, held_out_bank = paintings_of(config.style, config.seed)
        untrained = _untrained(config, data)
        config.threat.model().eps_for(data.train.float_images()[:1])  # a wrong radius is said now, not after training
        run.claim(config, data.fingerprint)
    run.say(_summary(data))
    for skipped in data.skipped:
        run.say(f"Skipped {skipped.path}: {skipped.reason}")
    with run.timing("style"):
        variants, restyled = _style(run, config, data, training_bank, held_out_bank)
    arms: dict[str, Arm] = {}
    for name in config.arms:
        with run.timing("training"):
            checkpoint = _trained(run, config, data, variants, name, training_bank, copy.deepcopy(untrained))
        with run.timing("evaluation"):
            evaluation = _evaluated(run, config, data.test, restyled.images, name, checkpoint)
        arms[name] = Arm(checkpoint.model, evaluation, _about(run, config, name, checkpoint))
    with run.timing("report"):
        evaluations = {name: arm.evaluation for name, arm in arms.items()}
        write_adversarial_samples(run.samples, data.test, config.threat.model(), evaluations)
        write_stylised_samples(run.samples, data.test, restyled)
        content = report_content(
            name=config.name,
            seed=config.seed,
            data=describe_data(
                data.name,
                data.test,
                data.skipped,
                fingerprint=data.fingerprint,
                train=len(data.train),
                validation=len(data.validation),
            ),
            threat=config.threat.model(),
            test=data.test,
            arms=arms,
            style={
                "training_paintings": [painting.name for painting in training_bank.paintings],
                "held_out_paintings": [painting.name for painting in held_out_bank.paintings],
                "variants": len(variants) if isinstance(variants, VariantSet) else 0,
                "test_variants": len(restyled.images),
                **config.style.model_dump(mode="json", exclude={"held_out", "variants"}),
            },
            checks=check_splits(data.train, data.test),
            attacks={"training_attack": config.training.attack(config.threat.model()).parameters()},
            seconds=run.seconds(),
            created=load_report(run.path)["created"] if run.report.exists() else None,  # all was measured then
            config=config.model_dump(mode="json"),
        )
        write_json(run.report, content)
        page = build_report(run.path)
    return RunOutcome(page, data.skipped)


def _summary(data: DataSplits) -> str:
    height, width = data.image_size
    parts = f"{len(data.train)} training, {len(data.validation)} validation, {len(data.test)} test images"
    return f"Data {data.name}: {parts}, {len(data.class_names)} classes, {height}x{width} px"


def _style(
    run: RunFolder, config: ExperimentConfig, data: DataSplits, training: StyleBank, held_out: StyleBank
) -> tuple[VariantSet | RandomStyle | None, Restyled]:
    """Variants of training images, or what makes them in the loop, or None; and restyled test images."""
    settings = config.style
    variants: VariantSet | RandomStyle | None = None
    if settings.source == "loop":
        variants = style_in_loop(data.train, training, settings)
    elif config.needs_variants:
        if not (run.variants("train") / MANIFEST).exists():
            run.say(f"Stylising {settings.variants} training images with {len(training)} paintings")
        variants = make_variants(run.variants("train"), data.train, settings.variants, training, settings, config.seed)
    count = min(config.evaluation.unseen_style_samples, len(data.test))
    if not (run.variants("test") / MANIFEST).exists():
        run.say(f"Stylising {count} test images with {len(held_out)} other paintings")
    return variants, restyle(run.variants("test"), data.test, count, held_out, settings, config.seed)


def _untrained(config: ExperimentConfig, data: DataSplits) -> ImageClassifier:
    """Where every arm starts: what differs between them is the mix alone."""
    model, classes = config.model, len(data.class_names)
    # Published weights bring the normalisation that they were trained with.
    mean, std = (None, None) if "weights" in model.options else _normalisation(data.train)
    return build_model(model.name, classes, data.image_size, mean, std, seed=config.seed, **model.options)


def _trained(
    run: RunFolder,
    config: ExperimentConfig,
    data: DataSplits,
    variants: VariantSet | RandomStyle | None,
    name: str,
    bank: StyleBank,
    model: ImageClassifier,
) -> Checkpoint:
    folder, mix = run.arm(name), config.arms[name].mix()
    path = folder / "model.safetensors"
    if path.exists():
        return load_checkpoint(path)
    run.say(f"Training arm {name}: {config.training.steps} steps of {config.training.batch_size} images")
    folder.mkdir(parents=True, exist_ok=True)
    composite = CompositeDataset(data.train, variants if mix.styled else None, mix, config.seed)
    threat = config.threat.model()
    with progress_bar(f"arm {name}", config.training.steps) as progress:
        result = train(
            model.to(default_device()),
            composite,
            data.validation,
            attack=config.training.attack(threat),
            settings=config.training if mix.adversarial > 0 else config.training.standard(),
            folder=folder,
            seed=config.seed,
            progress=progress,
        )
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
    }
    save_checkpoint(path, model.cpu(), class_names=data.class_names, extra=extra)
    score = result.chosen_by.replace("_", " ")
    run.say(f"Trained arm {name} in {result.seconds:.0f} s: {score} {result.score:.1%} at step {result.chosen_step}")
    if result.collapses:
        steps = ", ".join(map(str, result.collapses))
        run.say(f"Arm {name} overfitted catastrophically at step {steps}; try training.on_collapse='return' or n_fgsm")
    return load_checkpoint(path)


def _evaluated(
    run: RunFolder, config: ExperimentConfig, test: ImageSet, stylised: ImageSet, name: str, checkpoint: Checkpoint
) -> ArmEvaluation:
    path = run.arm(name) / "evaluation.safetensors"
    if path.exists():
        return load_evaluation(path)
    threat, protocol = config.threat.model(), config.evaluation
    model = checkpoint.model.to(default_device())
    with progress_bar(f"evaluating {name}", evaluation_work(test, stylised, threat, protocol)) as progress:
        evaluation = evaluate_arm(
            model, test, threat=threat, protocol=protocol, stylised=stylised, seed=config.seed, progress=progress
        )
    save_evaluation(path, evaluation)
    numbers = ", ".join(f"{metric} {accuracy.value:.1%}" for metric, accuracy in evaluation.metrics.items())
    run.say(f"Evaluated arm {name} in {evaluation.seconds:.0f} s: {numbers}")
    return evaluation


def _about(run: RunFolder, config: ExperimentConfig, name: str, checkpoint: Checkpoint) -> Mapping[str, Any]:
    mix = config.arms[name].mix()
    shares = mix.shares()
    of_styles = f" ({mix.attacked_style:.0%} of them on stylised images)" if mix.attacked_style > 0 else ""
    budget = {key: getattr(config.training, key) for key in ("steps", "batch_size", "optimizer", "learning_rate")}
    history = read_jsonl(run.arm(name) / "history.jsonl")
    seconds = {"seconds": history[-1]["seconds"]} if history else {}
    return {
        "description": ", ".join(f"{share:.0%} {kind}" for kind, share in shares.items() if share > 0) + of_styles,
        "mix": {kind: float(share) for kind, share in shares.items()},
        "training": budget | checkpoint.extra["training"] | seconds,
    }


def _normalisation(images: ImageSet) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, over at most about 2,000 training images."""
    sample = images.images[:: max(1, len(images) // 2000)].double() / 255
    return sample.mean((0, 2, 3)).tolist(), sample.std((0, 2, 3)).clamp_min(1e-2).tolist()
