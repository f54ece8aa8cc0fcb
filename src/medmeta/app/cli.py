"""The command line: a thin skin over the Python functions.

Exit codes: 0 done; 1 a defect of medmeta; 2 something for the user to put right; 130 interrupted
(what was done is saved).
"""

from __future__ import annotations

import io
import os
import re
import sys
from copy import copy
from typing import Annotated, Any

import click
import typer
from typer.core import TyperGroup

from medmeta.app.commands import (
    adapt,
    compare,
    deidentify,
    doctor,
    download,
    draw_ecg,
    evaluate,
    inspect,
    model_folders,
    models,
    pretrain,
    report,
    suggest,
    train,
)
from medmeta.app.commands import data as data_commands
from medmeta.app.terminal import emit_json, say
from medmeta.errors import MedmetaError, UnsupportedTaskError
from medmeta.version import __version__


class _StoppedError(Exception):
    """Ctrl-C, told apart from a command that ends with 130 in its own words."""


class _PipeClosedError(Exception):
    """Nobody reads standard output any more."""


class _Commands(TyperGroup):
    """The commands, with what Typer would end without a word kept from it."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _StoppedError from None
        except BrokenPipeError:
            raise _PipeClosedError from None


app = typer.Typer(
    name="medmeta",
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Learn a diagnostic imaging task from a handful of labelled images.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    add_completion=False,
)
data = typer.Typer(help="Look at images, get public ones, clean DICOM files.", no_args_is_help=True)
app.add_typer(data, name="data")
box = typer.Typer(help="Models: list, describe, verify, pack, export.", no_args_is_help=True)
app.add_typer(box, name="models")
models.register(box)
model_folders.register(box)
data_commands.register(data)
download.register(data)
deidentify.register(data)
draw_ecg.register(data)
pretrain.register(app)
train.register(app)
evaluate.register(app)
compare.register(app)
adapt.register(app)
suggest.register(app)
report.register(app)
inspect.register(app)
doctor.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"medmeta {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Learn a diagnostic imaging task from a handful of labelled images.

    Start with *medmeta quickstart*, or with your own images:

    medmeta adapt my_images --out my_predictor
    """


def _asked(argv: list[str]) -> typer.Typer:
    """The command that is named first, alone: reading the options of all takes a while.

    All of them where none is named, as for help and for misspelt names.
    """
    named = argv[0] if argv else ""
    commands = [c for c in app.registered_commands if c.name == named]
    groups = [g for g in app.registered_groups if g.name == named]
    if not commands and not groups:
        return app
    alone = copy(app)
    alone.registered_commands, alone.registered_groups = commands, groups
    return alone


def main(arguments: list[str] | None = None) -> None:
    """Run a command; a user's mistake ends in plain words and exit code 2, never in a traceback."""
    argv = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in argv
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # an old terminal must not stop the work
    try:
        code = _asked(argv)(args=argv, prog_name="medmeta", obj=tuple(argv), standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except UnsupportedTaskError as error:
        text = f"{error}{_others_that_take(error.wanted)}"
        _fail(type(error).__name__, text, error.exit_code, as_json=as_json)
    except MedmetaError as error:
        _fail(type(error).__name__, str(error), error.exit_code, as_json=as_json)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except click.ClickException as error:
        _fail("UsageError", _usage(error), 2, as_json=as_json)
    except (_StoppedError, KeyboardInterrupt, click.Abort):
        text = "stopped by Ctrl-C; nothing half-written is left."
        _fail("Interrupted", text, 130, as_json=as_json)
    except (_PipeClosedError, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except MemoryError:
        text = "there is not enough memory for this; use smaller images (--size) or fewer at once."
        _fail("MemoryError", text, 2, as_json=as_json)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail("OSError", f"{where}{error.strerror or error}.", 2, as_json=as_json)
    except Exception as error:
        if os.environ.get("MEDMETA_DEBUG"):
            raise
        text = (
            f"{type(error).__name__}: {error}. This is a defect of medmeta, not of your data; "
            "with MEDMETA_DEBUG=1 the same command shows where it happened."
        )
        _fail(type(error).__name__, text, 1, as_json=as_json)


def _others_that_take(wanted: str) -> str:
    """Which learners take what one did not; empty where that was not the trouble."""
    if not wanted:
        return ""
    from medmeta.learners import learners_taking

    names = learners_taking(wanted)
    what = "any number of classes" if wanted == "any way" else wanted
    return f" Learners that take {what}: {', '.join(names) or 'none yet'}."


def _usage(error: click.ClickException) -> str:
    """What is wrong with the words of the command, and where its options are listed."""
    context = getattr(error, "ctx", None)
    path = context.command_path if isinstance(context, click.Context) else "medmeta"
    text = re.sub(r"( Did you mean [^?]*\?)\1+", r"\1", error.format_message())  # Typer and Click
    text = text.rstrip(".")
    end = "" if text.endswith(("?", "?)")) else "."
    return f"{text[:1].lower()}{text[1:]}{end} See '{path} --help'."


def _fail(kind: str, text: str, code: int, *, as_json: bool) -> None:
    if as_json:
        emit_json({"error": {"kind": kind, "message": text, "exit_code": code}})
    say(f"error: {text}")
    sys.exit(code)
