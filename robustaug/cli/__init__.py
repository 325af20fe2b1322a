"""The command line: argument handling and printing, nothing else."""

import os
import sys
import traceback
import warnings
from typing import TextIO

import typer

from robustaug import __version__
from robustaug.cli.ablate import ablate
from robustaug.cli.attack import attack
from robustaug.cli.augment import augment
from robustaug.cli.compose import compose
from robustaug.cli.demo import demo
from robustaug.cli.doctor import doctor
from robustaug.cli.evaluate import evaluate
from robustaug.cli.explore import explore
from robustaug.cli.preserve import preserve
from robustaug.cli.report import report
from robustaug.cli.review import review
from robustaug.cli.run import run
from robustaug.cli.style_train import style_train
from robustaug.cli.stylize import stylize
from robustaug.cli.train import train
from robustaug.errors import RobustAugError, RobustAugWarning

app = typer.Typer(
    name="robustaug",
    help="Harden image classifiers with adversarial and style-transfer variants, and prove it.",
    add_completion=False,
)
for command in (
    explore,
    demo,
    run,
    train,
    stylize,
    augment,
    preserve,
    style_train,
    attack,
    evaluate,
    report,
    review,
    ablate,
    compose,
    doctor,
):
    app.command()(command)

_INTERRUPTED = 130


@app.callback(invoke_without_command=True)
def _options(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error. May stand anywhere."),  # noqa: ARG001
) -> None:
    if version:
        typer.echo(f"robustaug {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; an error is one line on standard error, exit code 2; ``--debug`` adds the traceback."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    # How long threads spin while they wait, between two evils, on two cores: beside one busy process a training step
    # took 13 times as long with gomp's own 300,000, and 4 times with 1,000; alone, 1,000 made it a quarter longer.
    # torch reads this when a command imports it.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    warnings.showwarning = _show_warning
    try:
        code = app(args=arguments or ["--help"], standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except Exception as error:
        if debug:
            traceback.print_exc()
        _fail(_one_line(error))
    if code == _INTERRUPTED:  # typer itself catches Ctrl-C, and returns this or aborts, as its version has it
        _fail(
            "interrupted; what is done is kept, and the same command (for run: with --resume) goes on from there", code
        )
    sys.exit(code if isinstance(code, int) else 0)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """The library's own in one line; those of others as ever."""
    if issubclass(category, RobustAugWarning):
        print(f"robustaug: warning: {' '.join(str(message).split())}", file=sys.stderr)
    else:
        text = warnings.formatwarning(message, category, filename, lineno, line)
        print(text, file=file or sys.stderr, end="")


def _one_line(error: Exception) -> str:
    if isinstance(error, RobustAugError):
        return str(error)
    if hasattr(error, "format_message"):  # a usage error: click's own, or that of the click inside typer
        return f"{error.format_message()} (see robustaug --help)"
    if isinstance(error, OSError):
        return f"{error.filename or 'file system'}: {error.strerror or error}; check the path, its rights and the disk"
    if "torchvision::" in str(error):
        return f"torch and torchvision do not fit together ({error}); install a matched pair of their versions"
    return f"internal error, {type(error).__name__}: {error}; add --debug for the traceback and report it"


def _fail(message: str, code: int = 2) -> None:
    print(f"robustaug: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
