"""The application that the verbs join: one guard for the errors of all of them, and `--version`."""

import os
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from processing.corpora.report import ProblemKind
from processing.errors_drkf import DRKFError
from processing.printable import printable
from processing.quiet import VERBOSE

INTERRUPTED = 130
OPTION = re.compile(r"--[a-z0-9_-]+")
WITHOUT_TORCH = "PyTorch is not installed: install it, or name files and an exported graph, which needs none"
CorpusOption = Annotated[str, typer.Option(help="One of `drkf corpora`, or a YAML file that declares a corpus.")]


LISTS = {"--columns": re.compile(r"\w+=.*", re.DOTALL), "--skip-damaged": re.compile("|".join([*ProblemKind, "all"]))}


def one_value_each(arguments: Sequence[str]) -> list[str]:
    """`--columns audio=path --columns text=said` for `--columns audio=path text=said`, the form that training takes.

    An option of the command has one value, and a second one would be taken for a FILE.
    """
    found: list[str] = []
    option, is_first = "", False
    for argument in arguments:
        name, _, value = argument.partition("=") if argument.startswith("--") else ("", "", "")
        name = name.replace("_", "-")
        if name in LISTS:
            option, is_first = name, not value
        elif option and (is_first or LISTS[option].fullmatch(argument)):
            found += [] if is_first else [option]
            is_first = False
        else:
            option = ""
        found.append(argument)
    return found


class Verbs(TyperGroup):
    """Shows the package's errors, Ctrl-C, and that there is no torch, as one line; every other exception is a bug and
    keeps its traceback.

    `--verbose` may stand anywhere on the line, underscores in the name of an option stand for dashes, and the values
    of a list may stand one after the other, as in training.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        args = one_value_each([_with_dashes(argument) for argument in args])
        rest = [argument for argument in args if argument != "--verbose"]
        return super().parse_args(ctx, args if rest == args else ["--verbose", *rest])

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except DRKFError as error:
            print(f"error: {printable(error)}", file=sys.stderr)
            raise typer.Exit(1) from error
        except KeyboardInterrupt as stop:
            print("Stopped.", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from stop
        except ModuleNotFoundError as error:
            if find_spec("torch") is not None:
                raise
            print(f"error: {WITHOUT_TORCH}", file=sys.stderr)
            raise typer.Exit(1) from error


def _with_dashes(argument: str) -> str:
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value if OPTION.fullmatch(name) else argument


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Recognise what a speaker feels, from the voice and the words together.",
)
export = typer.Typer(no_args_is_help=True, help="Put a checkpoint into another form.")
app.add_typer(export, name="export")


def _show_version(chosen: bool) -> None:
    if chosen:
        typer.echo(f"drkf {version('drkf')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show what the libraries under a verb remark; DRKF_VERBOSE=1 does, too.")
    ] = False,
) -> None:
    """Options of the command itself."""
    if verbose:
        os.environ[VERBOSE] = "1"
