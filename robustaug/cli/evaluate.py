"""``robustaug evaluate``: a robustness report of one classifier, ours or anybody's."""

from pathlib import Path
from typing import Annotated

import typer

from robustaug.cli.attack import NormName, Split
from robustaug.cli.jobs import LabelsFile


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="A model.safetensors that robustaug wrote; a TorchScript (.pt, .ts), torch.export (.pt2) or ONNX "
            "(.onnx) file; or module:function that returns an nn.Module, which runs that code."
        ),
    ],
    data: Annotated[str, typer.Argument(help="An image folder, or a named set such as mnist5k.")],
    protocol: Annotated[str, typer.Option(help="How much is measured: quick, standard, or a FILE.toml.")] = "quick",
    norm: Annotated[
        NormName | None, typer.Option(help="Default: the one the checkpoint was trained for, else linf.")
    ] = None,
    eps: Annotated[
        str | None, typer.Option(help="Default: the one the checkpoint was trained for, else 8/255.")
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(help="Side of the images in px; default: what the model was made for, else the data's own."),
    ] = None,
    styles: Annotated[Path | None, typer.Option(help="A folder of paintings; default: the embedded ones.")] = None,
    split: Annotated[
        Split | None, typer.Option(help="Which part; default: the test part where there is one, else all.")
    ] = None,
    labels: LabelsFile = None,
    root: Annotated[Path | None, typer.Option(help="Where named sets are kept.")] = None,
    surrogate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="Another classifier of any of these kinds, whose adversarial images are tried on this one; for a "
            "protocol with transfer_samples. Repeatable.",
        ),
    ] = None,
    attributes: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Columns such as camera or site, with the images' paths: accuracy by group in the report.",
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 if a check failed.")] = False,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="The report's folder; default: runs/evaluate- and the data's name.")
    ] = None,
) -> None:
    """Measure a classifier, clean, attacked and restyled, and write report.html and report.json."""
    from robustaug.cli.finish import plain_console, print_results  # noqa: PLC0415 - torch loads only when needed
    from robustaug.data.attributes import read_attributes  # noqa: PLC0415
    from robustaug.errors import RobustAugError  # noqa: PLC0415
    from robustaug.evaluation.protocol import protocol_of  # noqa: PLC0415
    from robustaug.experiment.assess import assess  # noqa: PLC0415
    from robustaug.experiment.subject import (  # noqa: PLC0415
        limits_of,
        load_subject,
        open_subject,
        open_surrogates,
        threat_of,
    )
    from robustaug.files import refuse_inside  # noqa: PLC0415
    from robustaug.style.bank import StyleBank  # noqa: PLC0415

    folder = out or Path("runs") / f"evaluate-{Path(data).resolve().name}"
    refuse_inside(folder, Path(data))
    measured = protocol_of(protocol)
    columns = None if attributes is None else read_attributes(attributes)
    if surrogate and not measured.transfer_samples:
        raise RobustAugError(f"--surrogate needs transfer_samples, protocol {measured.name} has none; use another")
    classifier = open_subject(model)
    threat = threat_of(classifier, None if norm is None else norm.value, eps)
    images, skipped, part = load_subject(
        classifier, data, labels=labels, split=None if split is None else split.value, root=root, size=size
    )
    content = assess(
        classifier,
        images,
        name=Path(data).resolve().name,
        split=part,
        skipped=skipped,
        threat=threat,
        protocol=measured,
        bank=StyleBank.embedded() if styles is None else StyleBank.from_folder(styles),
        out=folder,
        surrogates=open_surrogates(surrogate or (), images),
        attributes=columns,
        seed=seed,
        given={
            "data": data,
            "model": model,
            "--protocol": protocol,
            "--size": size,
            "--styles": None if styles is None else str(styles),
            "--labels": None if labels is None else str(labels),
            "--root": None if root is None else str(root),
            "--surrogate": surrogate or None,
            "--attributes": None if attributes is None else str(attributes),
        },
    )
    console = plain_console()
    if (limits := limits_of(classifier)) is not None:
        console.print(f"Not everything can be measured on {model}: {limits}", markup=False, soft_wrap=True)
    if columns is not None and (strangers := columns.check(images.keys)):
        # Other parts are not read: their rows and misprints look alike.
        where = "in use" if part == "all" else f"of the {part} part"
        text = f"{attributes}: {len(strangers)} rows are of no image {where}, the first is {strangers[0]}"
        console.print(text, markup=False, soft_wrap=True)
    print_results(console, content, folder / "report.html", skipped, strict=strict)
