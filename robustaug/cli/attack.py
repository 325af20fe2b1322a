"""``robustaug attack``: a classifier under one attack, and an adversarial copy of the data."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from robustaug.cli.jobs import LabelsFile


class NormName(StrEnum):
    """Norms by name."""

    LINF = "linf"
    L2 = "l2"
    L1 = "l1"


class PrecisionName(StrEnum):
    """Precisions by name."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class Split(StrEnum):
    """Parts of a data set."""

    ALL = "all"
    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


def attack(
    checkpoint: Annotated[Path, typer.Argument(help="A model.safetensors that robustaug wrote.")],
    data: Annotated[str, typer.Argument(help="An image folder, or a named set such as mnist5k.")],
    attack: Annotated[
        str,
        typer.Option(
            help="fgsm, rfgsm, pgd, mifgsm, apgd-ce, apgd-dlr, apgd-t, fab-t, square, autoattack, or foolbox:CLASS.",
        ),
    ] = "pgd",
    norm: Annotated[
        NormName | None, typer.Option(help="How a change is measured; default: as the checkpoint was trained for.")
    ] = None,
    eps: Annotated[
        str | None,
        typer.Option(
            help="Largest change, for example 8/255; images are in [0, 1]. Default: as the checkpoint was trained for."
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Gradient steps, at least 1; default: the attack's own.")] = None,
    step_size: Annotated[str | None, typer.Option(help="Length of a step; default: the attack's own.")] = None,
    restarts: Annotated[int | None, typer.Option(help="Random starts; the worst counts.")] = None,
    precision: Annotated[
        PrecisionName, typer.Option(help="Of the search; auto is bfloat16 where that is fast. Verdicts are float32.")
    ] = PrecisionName.AUTO,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Another parameter of the attack, for example loss=dlr. Repeatable."
        ),
    ] = None,
    split: Annotated[
        Split | None, typer.Option(help="Which part; default: the test part where there is one, else all.")
    ] = None,
    labels: LabelsFile = None,
    root: Annotated[Path | None, typer.Option(help="Where named sets are kept.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many images of a class.")] = None,
    seed: Annotated[int, typer.Option(help="Of the random starts.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write the adversarial images and manifest.jsonl here.")] = None,
) -> None:
    """Attack a classifier on a data set: accuracy before, under attack, and after rounding to 8 bits."""
    from rich.console import Console  # noqa: PLC0415 - torch loads only when a command needs it
    from rich.table import Table  # noqa: PLC0415

    from robustaug.attacks.named import build_attack  # noqa: PLC0415
    from robustaug.attacks.threat import parse_number  # noqa: PLC0415
    from robustaug.cli.listing import list_skipped  # noqa: PLC0415
    from robustaug.evaluation.report.wording import accuracy, eps_text  # noqa: PLC0415
    from robustaug.experiment.attack_job import attack_images  # noqa: PLC0415
    from robustaug.experiment.config import parse_setting  # noqa: PLC0415
    from robustaug.experiment.subject import check_subject, load_subject, threat_of  # noqa: PLC0415
    from robustaug.files import refuse_inside  # noqa: PLC0415
    from robustaug.models import load_checkpoint  # noqa: PLC0415

    if out is not None:
        refuse_inside(out, Path(data))
    classifier = load_checkpoint(checkpoint)
    threat = threat_of(classifier, None if norm is None else norm.value, eps)
    named: dict[str, object] = {
        "steps": steps,
        "step_size": None if step_size is None else parse_number(step_size, "step_size"),
        "restarts": restarts,
    }
    options = {key: value for key, value in named.items() if value is not None}
    options |= dict(parse_setting(text, "loss=dlr") for text in set_ or ())
    if not attack.startswith("foolbox:"):
        options["precision"] = precision.value
    method = build_attack(attack, threat, options)
    images, skipped, part = load_subject(
        classifier, data, labels=labels, split=None if split is None else split.value, root=root, limit=limit
    )
    outcome = attack_images(classifier, images, method, out=out, seed=seed)
    radius = eps_text(threat.eps if eps is None else eps)  # type: ignore[arg-type]  # one number for all
    table = Table(title=f"{attack}, {threat.norm} eps {radius}, on {data} ({part}, {len(images)} images)")
    table.add_column("images")
    table.add_column("accuracy % [95% interval]", justify="right")
    stages = [(f"after {name}", measured) for name, measured in list(outcome.stages.items())[1:-1]]
    for name, measured in (
        ("unattacked", outcome.clean),
        *stages,
        ("under attack", outcome.robust),
        ("under attack, rounded to 8 bits", outcome.robust_8bit),
    ):
        table.add_row(name, accuracy(measured.to_dict()))
    console = Console(highlight=False)
    console.print(table)
    for check in check_subject(classifier, images):
        if not check.passed:
            console.print(f"Check failed: {check.name}: {check.detail}", markup=False, soft_wrap=True)
    if out is not None:
        note = (
            f"{outcome.written} adversarial images written to {out}" if outcome.written else f"Nothing to do in {out}"
        )
        console.print(note, markup=False, soft_wrap=True)
    if skipped:
        list_skipped(skipped)
        raise typer.Exit(1)
