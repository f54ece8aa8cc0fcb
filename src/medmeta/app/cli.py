"""The command line: a thin skin over the Python functions.

Exit codes: 0 done; 1 a defect of medmeta; 2 something for the user to put right; 130 interrupted
(what was done is saved).
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from medmeta.app import (
    command_adapt,
    command_data,
    command_evaluate,
    command_inspect,
    command_report,
    command_train,
)
from medmeta.app.terminal import emit_json, say
from medmeta.errors import MedmetaError
from medmeta.version import __version__

app = typer.Typer(
    name="medmeta",
    help="Learn a diagnostic imaging task from a handful of labelled images.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    add_completion=False,
)
data = typer.Typer(help="Look at sources of images.", no_args_is_help=True)
app.add_typer(data, name="data")
command_data.register(data)
command_train.register(app)
command_evaluate.register(app)
command_adapt.register(app)
command_report.register(app)
command_inspect.register(app)


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

    medmeta adapt my_images --model RUN --out my_predictor
    """


def main(arguments: list[str] | None = None) -> None:
    """Run a command; a user's mistake ends in plain words and exit code 2, never in a traceback."""
    argv = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in argv
    try:
        app(args=argv, standalone_mode=True)
    except MedmetaError as error:
        _fail(type(error).__name__, str(error), error.exit_code, as_json=as_json)
    except KeyboardInterrupt:
        _fail(
            "Interrupted", "stopped by Ctrl-C; nothing half-written is left.", 130, as_json=as_json
        )
    except BrokenPipeError:
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


def _fail(kind: str, text: str, code: int, *, as_json: bool) -> None:
    if as_json:
        emit_json({"error": {"kind": kind, "message": text, "exit_code": code}})
    say(f"error: {text}")
    sys.exit(code)
