"""``medmeta data catalogue`` and ``medmeta data download``: public collections by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medmeta.app.commands.options import AsJson
from medmeta.app.terminal import command_line, emit_json, out, say, show_facts, show_table, waiting

if TYPE_CHECKING:
    from medmeta.data.catalogue import CataloguedSet
    from medmeta.data.download import Downloaded

_MB = 1_000_000


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("catalogue")(list_catalogue)
    app.command("download")(download)


def list_catalogue(as_json: AsJson = False) -> None:
    """Public collections that can be downloaded by name: what is on them, sizes, licences.

    Asks nothing of the network.

    Example: medmeta data catalogue
    """
    from medmeta.data.catalogue import catalogue

    found = catalogue().values()
    if as_json:
        emit_json([entry.to_dict() for entry in found])
        return
    for title in dict.fromkeys(entry.collection.title for entry in found):
        facts = [_facts(entry) for entry in found if entry.collection.title == title]
        header = [name for name in facts[0] if any(row[name] for row in facts)]
        show_table(title, header, [[row[name] or "–" for name in header] for row in facts])
    out.print("--json adds what is on them, the classes and what to cite.")


def _facts(found: CataloguedSet) -> dict[str, object]:
    sizes = sorted(found.files)
    return {
        "name": found.name,
        "modality": found.modality,
        "images": sum(found.images.values()),
        "sizes": f"{sizes[0]}–{sizes[-1]}" if len(sizes) > 1 else sizes[0],
        "licence": found.licence,
    }


def download(
    name: Annotated[str, typer.Argument(help="A set; see medmeta data catalogue.")],
    size: Annotated[
        int | None, typer.Option(help="Side of its images in pixels; the smallest if not given.")
    ] = None,
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to keep it in.")] = Path(
        "downloads"
    ),
    mirror: Annotated[
        str | None,
        typer.Option(help="Instead of https://zenodo.org: a server with the same paths."),
    ] = None,
    max_gb: Annotated[float, typer.Option(min=0.001, help="Refuse a file larger than this.")] = 20,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds without a byte.")] = 30,
    as_json: AsJson = False,
) -> None:
    """Download a public collection: MedMNIST or MedIMeta, by name.

    Goes on where it was broken off, compares the file with the published hash, and writes the
    licence and what to cite beside it. The only command that uses the network.

    Example: medmeta data download bloodmnist --size 64
    """
    from medmeta.app.terminal import check_place
    from medmeta.data.catalogue import catalogued
    from medmeta.data.published import Publication

    published = Publication.of(catalogued(name), size=size, mirror=mirror, timeout=timeout)
    check_place(out_folder / published.file.file)
    say(published.notice())
    what = f"downloading {published.file.file}, MB"
    try:
        with waiting() as progress:
            done = published.download(
                out_folder,
                max_bytes=int(max_gb * 1e9),
                progress=lambda there, total: progress(
                    what, there // _MB, max(total, there) // _MB
                ),
            )
    except KeyboardInterrupt:
        say("stopped by Ctrl-C; what has arrived is kept, and the same command goes on there.")
        raise typer.Exit(130) from None
    _tell(published.found, done, as_json=as_json)


def _tell(found: CataloguedSet, done: Downloaded, *, as_json: bool) -> None:
    facts: dict[str, Any] = {
        "file": str(done.path),
        "bytes": done.size,
        "received": done.received,
        "md5": done.md5,
        "sha256": done.sha256,
        "licence": found.licence,
    }
    if as_json:
        emit_json({**facts, "set": found.to_dict()})
        return
    show_facts(found.name if done.received else f"{found.name} (was there already)", facts)
    if done.path.suffix == ".npz":
        out.print(f"Next: {command_line('data', 'inspect', done.path)}", soft_wrap=True)
