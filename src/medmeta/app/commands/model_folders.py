"""``medmeta models pack`` and ``bring``: folders of models, of a run or of a network of yours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medmeta.app.commands.asked_model import check_no_predictor
from medmeta.app.commands.options import AllowExternal, AsJson
from medmeta.app.terminal import check_new, command_line, emit_json, say, show_facts
from medmeta.errors import SettingsError

if TYPE_CHECKING:
    from medmeta.app.packing import Packed


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("pack")(pack)
    app.command("bring")(bring)


def pack(
    run: Annotated[Path, typer.Argument(help="A run of 'medmeta train', or a model.")],
    out: Annotated[Path, typer.Option(help="Folder of the packed model.")],
    about: Annotated[
        Path | None,
        typer.Option(help="JSON: what, data, licences, recipe, figures, limits, for its card."),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Keep weights as float32.")] = False,
    most_mb: Annotated[float, typer.Option(help="Refuse what is larger, in megabytes.")] = 8.0,
    allow_external: AllowExternal = False,
    as_json: AsJson = False,
) -> None:
    """Make a run a folder to be given away: its model alone, in half the size.

    Weights become float16 (and float32 when they are loaded); content hashes of the pictures that
    it has seen stay, so that evaluation still leaves them out.

    Example: medmeta models pack run --out my_model
    """
    from medmeta.app.models import load_model
    from medmeta.app.packing import pack as make
    from medmeta.app.packing import read_about

    if not most_mb > 0:
        raise SettingsError(f"--most-mb {most_mb:g}: give a size above 0.")
    check_new(out)
    words = None if about is None else read_about(about)
    check_no_predictor(run, "models pack")
    model = load_model(run, allow_external=allow_external)
    packed = make(model, out, about=words, half=not full, most_bytes=round(most_mb * 1e6))
    show_packed(packed, as_json=as_json)


def bring(
    encoder: Annotated[
        str, typer.Argument(help="external:package.module:factory, or a .safetensors file.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the model.")],
    learner: Annotated[
        str, typer.Option(help="What learns on its embeddings: 'medmeta learners'.")
    ] = "prototypical",
    size: Annotated[int | None, typer.Option(help="Side of the images in pixels.")] = None,
    channels: Annotated[int | None, typer.Option(help="1 grey, 3 colour.")] = None,
    fit: Annotated[str | None, typer.Option(help="pad, crop or stretch to a square.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="An option: encoder.options.size=224.")
    ] = None,
    about: Annotated[
        Path | None,
        typer.Option(help="JSON: what, data, licences, recipe, figures, limits, for its card."),
    ] = None,
    allow_external: AllowExternal = False,
    as_json: AsJson = False,
) -> None:
    """Make a model of a network that is trained already, to adapt or train on.

    Example: medmeta models bring external:my_encoder:factory --allow-external --out my_model
    """
    from medmeta.app.commands.asked_model import untrained
    from medmeta.app.packing import pack as make
    from medmeta.app.packing import read_about

    check_new(out)
    words = None if about is None else read_about(about)
    images = {"size": size, "channels": channels, "fit": fit}
    shape = {name: value for name, value in images.items() if value is not None}
    model = untrained(learner, encoder, set_ or [], shape, allow_external=allow_external)
    packed = make(model, out, about=words, half=False, most_bytes=None)
    show_packed(packed, as_json=as_json)


def show_packed(packed: Packed, *, as_json: bool) -> None:
    """What was written, and how to go on."""
    facts: dict[str, Any] = {
        "model": str(packed.folder),
        "sha256": packed.sha256,
        "bytes": packed.n_bytes,
        "pictures_seen": packed.n_seen,
        "largest_change": packed.change,
    }
    if as_json:
        emit_json(facts)
        return
    shown = {
        "model": packed.folder,
        "size": f"{packed.n_bytes / 1e6:.2f} MB",
        "pictures seen": packed.n_seen,
        "largest change of a weight": f"{packed.change:.1e} of its tensor's largest",
        "SHA-256 of its card": packed.sha256,
    }
    show_facts("Packed", shown)
    say(f"Next: {command_line('adapt', 'my_images', '--model', packed.folder)} --out PREDICTOR")
