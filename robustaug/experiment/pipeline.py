"""The whole job: data, stylised variants, one retrained classifier an arm, evaluation, report. Every stage resumes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from robustaug.data import Skipped, VariantSet
from robustaug.evaluation.checks import check_splits
from robustaug.evaluation.report import build_report, load_report
from robustaug.evaluation.report.groups import widened
from robustaug.evaluation.results import ArmEvaluation
from robustaug.evaluation.transfer import Surrogate
from robustaug.experiment.arms import Prepared, prepare, trained, training_styles
from robustaug.experiment.bias import describe_balance, groups_of_run
from robustaug.experiment.config import ExperimentConfig
from robustaug.experiment.energy import EnergyLedger
from robustaug.experiment.measure import measured
from robustaug.experiment.outcome import Arm, describe_data, report_content, training_curve
from robustaug.experiment.run_folder import RunFolder
from robustaug.experiment.samples import write_adversarial_samples, write_conflict_samples, write_stylised_samples
from robustaug.experiment.styled_test import StyledTest, styled_test
from robustaug.files import read_jsonl, write_json
from robustaug.hardware import default_device
from robustaug.models import Checkpoint
from robustaug.training.distributed import refuse_several


@dataclass(frozen=True)
class RunOutcome:
    """Where the report is, and which input files could not be used."""

    report: Path
    skipped: tuple[Skipped, ...]


def run_experiment(
    config: ExperimentConfig, out: Path, *, resume: bool = False, console: Console, variants: Path | None = None
) -> RunOutcome:
    """Run an experiment from images to report; a finished stage is not done again.

    Args:
        config: What to do.
        out: The run folder; see ``open_run``.
        resume: Go on with a run of the same configuration.
        console: Where progress lines go.
        variants: A folder of stylised variants that runs with the same seed, images and style share; None: each run has
            its own.

    Raises:
        RobustAugError: anything the user can mend; what is done is kept.
    """
    refuse_several("an experiment")
    prepared = prepare(config, out, resume=resume, console=console, variants=variants)
    with EnergyLedger(prepared.run.path / "energy.json") as energy:
        return _run(prepared, energy)


def _run(prepared: Prepared, energy: EnergyLedger) -> RunOutcome:
    run, data, config = prepared.run, prepared.data, prepared.config
    training_bank, held_out_bank = prepared.training_bank, prepared.held_out_bank
    with run.timing("style"):
        styles = training_styles(prepared, config.arms)
        styled = styled_test(
            run.variants("test").parent, data.test, config.evaluation, held_out_bank, config.style, config.seed, run.say
        )
    with run.timing("training"):
        checkpoints = {name: trained(prepared, styles, name) for name in config.arms}
    surrogates = {name: Surrogate(checkpoint.model.to(default_device())) for name, checkpoint in checkpoints.items()}
    arms: dict[str, Arm] = {}
    for name, checkpoint in checkpoints.items():
        others = {other: surrogate for other, surrogate in surrogates.items() if other != name}
        with run.timing("evaluation"):
            evaluation = _evaluated(prepared, styled, name, checkpoint, others)
        arms[name] = Arm(checkpoint.model, evaluation, _about(run, config, name, checkpoint))
    with run.timing("report"):
        evaluations = {name: arm.evaluation for name, arm in arms.items()}
        write_adversarial_samples(run.samples, data.test, config.threat.model(), evaluations)
        write_stylised_samples(run.samples, data.test, styled.unseen)
        write_conflict_samples(run.samples, data.test, styled.conflicts, evaluations)
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
            protocol=config.evaluation,
            test=data.test,
            arms=arms,
            style={
                "training_paintings": [painting.name for painting in training_bank.paintings],
                "held_out_paintings": [painting.name for painting in held_out_bank.paintings],
                "variants": len(styles) if isinstance(styles, VariantSet) else 0,
                "test_variants": len(styled.unseen.images),
                **config.style.model_dump(mode="json", exclude={"held_out", "variants"}),
            },
            checks=check_splits(data.train, data.test, data.validation),
            attacks={"training_attack": config.training.attack(config.threat.model()).parameters()},
            groups=groups_of_run(prepared, styles, evaluations),
            balance=describe_balance(prepared, evaluations),
            seconds=run.seconds(),
            energy=energy.total(),
            created=load_report(run.path)["created"] if run.report.exists() else None,  # all was measured then
            config=config.model_dump(mode="json"),
        )
        write_json(run.report, content)
        for sentence in widened(content):
            run.say(f"Augmentation widened a gap. {sentence}")
        page = build_report(run.path)
    return RunOutcome(page, data.skipped)


def _evaluated(
    prepared: Prepared, styled: StyledTest, name: str, checkpoint: Checkpoint, others: Mapping[str, Surrogate]
) -> ArmEvaluation:
    run, config = prepared.run, prepared.config
    is_new = not (run.arm(name) / "evaluation.safetensors").exists()
    evaluation = measured(
        run.arm(name),
        checkpoint.model,
        prepared.data.test,
        threat=config.threat.model(),
        protocol=config.evaluation,
        styled=styled,
        surrogates=others,
        seed=config.seed,
    )
    if is_new:
        numbers = ", ".join(f"{metric} {accuracy.value:.1%}" for metric, accuracy in evaluation.metrics.items())
        run.say(f"Evaluated {run.called(name)} in {evaluation.seconds:.0f} s: {numbers}")
    return evaluation


def _about(run: RunFolder, config: ExperimentConfig, name: str, checkpoint: Checkpoint) -> Mapping[str, Any]:
    mix = config.arms[name].mix()
    shares = mix.shares()
    balance = config.arms[name].balance
    of_classes = "" if balance is None else f", classes balanced to {balance:.0%} of the largest"
    of_styles = f" ({mix.attacked_style:.0%} of them on stylised images)" if mix.attacked_style > 0 else ""
    budget = {key: getattr(config.training, key) for key in ("steps", "batch_size", "optimizer", "learning_rate")}
    history = read_jsonl(run.arm(name) / "history.jsonl")
    seconds = {"seconds": history[-1]["seconds"]} if history else {}
    return {
        "description": ", ".join(f"{share:.0%} {kind}" for kind, share in shares.items() if share > 0)
        + of_styles
        + of_classes,
        "mix": {kind: float(share) for kind, share in shares.items()},
        "training": budget | checkpoint.extra["training"] | seconds,
        "training_curve": training_curve(history),
    }
