"""``medmeta suggest``: which images to label next."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from medmeta.app.commands.options import AllowExternal, AsJson, ExpectSha256, Group, SkipBad
from medmeta.app.terminal import emit_json, percent, say, show_table, waiting
from medmeta.errors import SettingsError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("suggest")(suggest)


def suggest(
    predictor: Annotated[Path, typer.Argument(help="A predictor of 'medmeta adapt'.")],
    images: Annotated[list[Path], typer.Argument(help="Images without labels, or folders.")],
    n: Annotated[int, typer.Option("-n", "--number", help="How many to suggest.")] = 10,
    group: Group = None,
    skip_bad: SkipBad = False,
    allow_external: AllowExternal = False,
    expect_sha256: ExpectSha256 = None,
    as_json: AsJson = False,
) -> None:
    """Which images to label next: those that stand for many others and are not covered yet.

    Images of the support, and such as are nearly the same as another, are passed over.

    Example: medmeta suggest my_predictor unlabelled -n 10
    """
    from medmeta.app.mask_workbench import is_mask_predictor
    from medmeta.app.suggesting import suggest_images
    from medmeta.app.workbench import load_predictor

    if is_mask_predictor(predictor):
        raise SettingsError(f"{predictor} marks structures; suggest is for predictors of classes.")
    loaded = load_predictor(predictor, expected_sha256=expect_sha256, allow_external=allow_external)
    with waiting() as progress:
        found = suggest_images(
            loaded, images, n, skip_bad=skip_bad, group=group, progress=partial(progress, "reading")
        )
    ranked = list(zip(found.paths, found.gains, found.answers, found.sure, strict=True))
    if as_json:
        emit_json(
            {
                "suggested": [
                    {"path": str(p), "gain": g, "answer": a, "probability": s}
                    for p, g, a, s in ranked
                ],
                "images": found.unlabelled,
                "in_support": found.known,
                "nearly_the_same": found.alike,
                "another_kind": found.foreign,
                "problems": [{"path": str(p), "problem": text} for p, text in found.problems],
            }
        )
        return
    rows = [(i, str(p), f"{g:.4f}", a, percent(s)) for i, (p, g, a, s) in enumerate(ranked, 1)]
    show_table("Label these next", ["no.", "image", "gain", "answer now", "sure, %"], rows)
    if found.known:
        say(f"{found.known} of {found.unlabelled} images are in the support already.")
    if found.alike:
        say(f"{found.alike} images are nearly the same as another, and were passed over.")
    if found.foreign:
        say(
            f"{found.foreign} images are blank, inverted or of another kind than the support, and "
            "were passed over."
        )
    for _, problem in found.problems:
        say(f"left out: {problem}")
