"""``medmeta data draw-ecg``: ECGs as the pictures that doctors read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medmeta.app.commands.options import AsJson, CsvRate, SkipBad
from medmeta.app.terminal import check_place, emit_json, say, waiting


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("draw-ecg")(draw_ecg)


def draw_ecg(
    paths: Annotated[
        list[Path], typer.Argument(help="WFDB records (.hea), CSV files, folders; synthetic:ecg.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the pictures; must be new.")],
    scale: Annotated[
        float, typer.Option(min=1.0, max=20.0, help="Pixels of a millimetre of paper.")
    ] = 4.0,
    csv_rate: CsvRate = None,
    each: Annotated[int, typer.Option(min=1, help="Of synthetic:ecg: pictures a class.")] = 4,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
) -> None:
    """Draw 12-lead ECGs on paper of 25 mm/s and 10 mm/mV, as PNG that image learners can learn.

    Three rows of four leads and a strip of lead II; nothing that names a patient is on them.

    Example: medmeta data draw-ecg my_ecgs --out my_ecg_pictures
    """
    from medmeta.app.ecg_pictures import draw_ecgs

    check_place(out)
    with waiting() as progress:
        drawn = draw_ecgs(
            paths,
            out,
            scale=scale,
            csv_rate=csv_rate or 0.0,
            each=each,
            skip_bad=skip_bad,
            progress=lambda done, total: progress("drawing", done, total),
        )
    if as_json:
        problems = [{"path": str(path), "problem": text} for path, text in drawn.problems]
        emit_json({"out": str(out), "pictures": len(drawn.pictures), "problems": problems})
        return
    for _, text in drawn.problems:
        say(f"left out: {text}")
    say(f"{len(drawn.pictures)} pictures are in {out}")
