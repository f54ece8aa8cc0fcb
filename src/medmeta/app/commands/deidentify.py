"""``medmeta data deidentify``: clean copies of DICOM files."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medmeta.app.commands.options import AsJson, SkipBad
from medmeta.app.terminal import (
    check_place,
    emit_json,
    out,
    say,
    show_facts,
    show_table,
    waiting,
)

if TYPE_CHECKING:
    from medmeta.data.deidentify import Deidentified

SHOWN = 20


class _Dates(StrEnum):
    """What becomes of dates."""

    REMOVE = "remove"
    SHIFT = "shift"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("deidentify")(deidentify)


def deidentify(
    source: Annotated[Path, typer.Argument(help="Folder of DICOM files, or one file.")],
    out_folder: Annotated[Path, typer.Option("--out", help="New folder for the copies.")],
    dates: Annotated[
        _Dates, typer.Option(help="Remove dates, or shift each patient's by days of their own.")
    ] = _Dates.REMOVE,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
) -> None:
    """Write copies of DICOM files without identifiers: the basic profile of DICOM PS3.15.

    Originals are only read. Patients, studies and instances get pseudonyms that agree between
    files. Pixels are not cleaned; files that may show a name or a face are flagged.

    Example: medmeta data deidentify my_dicom --out clean
    """
    from medmeta.data.deidentify import NOT_CLEANED
    from medmeta.data.deidentify import deidentify as clean
    from medmeta.data.pseudonyms import user_salt

    check_place(out_folder)
    with waiting() as progress:
        done = clean(
            source,
            out_folder,
            salt=user_salt(),
            dates=dates.value,
            skip_bad=skip_bad,
            progress=lambda n, total: progress("cleaning", n, total),
        )
    if as_json:
        emit_json(_content(done, NOT_CLEANED))
    else:
        _show(done)
        say(NOT_CLEANED)


def _content(done: Deidentified, not_cleaned: str) -> dict[str, object]:
    return {
        "folder": str(done.folder),
        "copies": [
            {"original": str(copy.original), "file": copy.file, "flags": list(copy.flags)}
            for copy in done.copies
        ],
        "left_out": [{"original": str(path), "why": why} for path, why in done.left_out],
        "not_dicom": [str(path) for path in done.not_dicom],
        "not_cleaned": not_cleaned,
    }


def _show(done: Deidentified) -> None:
    flags = Counter(flag for copy in done.copies for flag in copy.flags)
    facts = {
        "copies": len(done.copies),
        "flagged": sum(bool(copy.flags) for copy in done.copies),
        "left out": len(done.left_out),
        "not DICOM": len(done.not_dicom),
    }
    show_facts(str(done.folder), facts)
    if flags:
        show_table("Flags", ["files", "what"], [(n, flag) for flag, n in flags.most_common()])
        flagged = [(copy.original, copy.file) for copy in done.copies if copy.flags]
        show_table("Flagged", ["original", "copy"], flagged[:SHOWN])
        if len(flagged) > SHOWN:
            out.print(f"... and {len(flagged) - SHOWN} more (see --json)")
    if done.left_out:
        show_table("Left out", ["original", "why"], done.left_out[:SHOWN])
        if len(done.left_out) > SHOWN:
            out.print(f"... and {len(done.left_out) - SHOWN} more (see --json)")
