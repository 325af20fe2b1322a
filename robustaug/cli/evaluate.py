"""``robustaug evaluate``: a robustness report of one classifier."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from robustaug.cli.attack import NormName, Split


class ProtocolName(StrEnum):
    """Protocols by name."""

    QUICK = "quick"
    STANDARD = "standard"


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="A model.safetensors that robustaug wrote.")],
    data: Annotated[str, typer.Argument(help="An image folder, or a named set such as mnist5k.")],
    protocol: Annotated[ProtocolName, typer.Option(help="How much is measured.")] = ProtocolName.QUICK,
    norm: Annotated[NormName | None, typer.Option(help="Default: the one the checkpoint was trained for.")] = None,
    eps: Annotated[str | None, typer.Option(help="Default: the one the checkpoint was trained for.")] = None,
    styles: Annotated[Path | None, typer.Option(help="A folder of paintings; default: the embedded ones.")] = None,
    split: Annotated[
        Split | None, typer.Option(help="Which part; default: the test part where there is one, else all.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Where named sets are kept.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="The report's folder; default: runs/evaluate- and the data's name.")
    ] = None,
) -> None:
    """Measure a classifier, clean, attacked and restyled, and write report.html and report.json."""
    from robustaug.cli.finish import plain_console, print_results  # noqa: PLC0415 - torch loads only when needed
    from robustaug.evaluation.protocol import PROTOCOLS  # noqa: PLC0415
    from robustaug.experiment.assess import assess  # noqa: PLC0415
    from robustaug.experiment.subject import load_subject, threat_of  # noqa: PLC0415
    from robustaug.files import refuse_inside  # noqa: PLC0415
    from robustaug.models import load_checkpoint  # noqa: PLC0415
    from robustaug.style.bank import StyleBank  # noqa: PLC0415

    folder = out or Path("runs") / f"evaluate-{Path(data).resolve().name}"
    refuse_inside(folder, Path(data))
    classifier = load_checkpoint(checkpoint)
    threat = threat_of(classifier, None if norm is None else norm.value, eps)
    images, skipped, part = load_subject(classifier, data, split=None if split is None else split.value, root=root)
    content = assess(
        classifier,
        images,
        name=Path(data).resolve().name,
        split=part,
        skipped=skipped,
        threat=threat,
        protocol=PROTOCOLS[protocol.value],
        bank=StyleBank.embedded() if styles is None else StyleBank.from_folder(styles),
        out=folder,
        seed=seed,
    )
    print_results(plain_console(), content, folder / "report.html", skipped)
