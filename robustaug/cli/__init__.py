"""The command line: argument handling and printing, nothing else."""

import sys

import click
import typer

from robustaug import __version__
from robustaug.cli.attack import attack
from robustaug.cli.demo import demo
from robustaug.cli.doctor import doctor
from robustaug.cli.evaluate import evaluate
from robustaug.cli.report import report
from robustaug.cli.run import run
from robustaug.cli.stylize import stylize
from robustaug.errors import RobustAugError

app = typer.Typer(
    name="robustaug",
    help="Harden image classifiers with adversarial and style-transfer variants, and prove it.",
    no_args_is_help=True,
    add_completion=False,
)
for command in (demo, run, stylize, attack, evaluate, report, doctor):
    app.command()(command)


@app.callback(invoke_without_command=True)
def _options(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error. May stand anywhere."),  # noqa: ARG001
) -> None:
    if version:
        typer.echo(f"robustaug {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; an error is one line on standard error and exit code 2, or a traceback with ``--debug``."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        code = app(args=arguments, standalone_mode=False)
    except KeyboardInterrupt:
        _fail(
            "interrupted; what is done is kept, and the same command (for run: with --resume) goes on from there", 130
        )
    except Exception as error:
        if debug:
            raise
        match error:
            case RobustAugError():
                _fail(str(error))
            case click.ClickException():
                _fail(f"{error.format_message()} (see robustaug --help)")
            case click.Abort():
                _fail("interrupted", 130)
            case OSError():
                _fail(f"{error.filename or 'file system'}: {error.strerror or error}")
            case _:
                _fail(f"internal error, {type(error).__name__}: {error}; add --debug for the traceback and report it")
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int = 2) -> None:
    print(f"robustaug: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
