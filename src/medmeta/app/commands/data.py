"""``medmeta data inspect``: what is in a source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medmeta.app.commands.options import AsJson
from medmeta.app.terminal import emit_json, out, show_facts, show_table, waiting

if TYPE_CHECKING:
    from medmeta.data.inspection import Inspection

SHOWN = 10


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("inspect")(inspect)


def inspect(
    paths: Annotated[
        list[Path], typer.Argument(help="Folders, manifests, npz files, zips; DICOM, NIfTI.")
    ],
    as_json: AsJson = False,
) -> None:
    """What is in a source: classes, counts, patients, sites, sizes, duplicates, problems.

    Ends with exit code 2 where something in it would stop learning.

    Example: medmeta data inspect my_images
    """
    from medmeta.data.inspection import inspect_source

    found = []
    with waiting() as progress:
        for path in paths:
            found.append(
                inspect_source(
                    path,
                    progress=lambda done, total, p=path: progress(f"looking at {p}", done, total),  # type: ignore[misc]
                )
            )
    shared = _shared(paths, found)
    if as_json:
        told = zip(found, shared, strict=True)
        emit_json([{**one.to_dict(), "in_other_sources": others} for one, others in told])
    else:
        for path, inspection in zip(paths, found, strict=True):
            _show(path, inspection)
            _show_readers(path)
        for path, others in zip(paths, shared, strict=True):
            for other, n in others.items():
                out.print(f"{n} pictures of {path} are, wholly or nearly, in {other} too.")
    if not all(inspection.usable for inspection in found):
        raise typer.Exit(2)


def _show_readers(path: Path) -> None:
    """How far readers agree, where a manifest has several."""
    from medmeta.app.commands.trust_shown import show_agreement
    from medmeta.app.trusting import readers_of_source

    found = readers_of_source(path)
    if found is not None:
        show_agreement(found)


def _shared(paths: list[Path], found: list[Inspection]) -> list[dict[str, int]]:
    """For each source, how many of its pictures are in each source named before it."""
    from medmeta.data.duplicates import nearly_in_both

    return [
        {
            str(paths[j]): n
            for j in range(i)
            if (n := nearly_in_both(found[j].looks, found[i].looks))
        }
        for i in range(len(found))
    ]


def _show(path: Path, inspection: Inspection) -> None:
    content = inspection.to_dict()
    patients = content["patients"]
    facts: dict[str, Any] = {
        "kind": content["kind"],
        "images": content["images"],
        "patients": _patients(patients),
        "sites": ", ".join(f"{k} ({v})" for k, v in content["sites"].items()) or "not known",
        "modalities": ", ".join(f"{k} ({v})" for k, v in content["modalities"].items())
        or "not known",
    }
    if content["files"]:
        read = sum(file["read"] for file in content["files"])
        facts["files"] = f"{read} read, {len(content['files']) - read} refused (each in --json)"
    for name, counts in content["columns"].items():
        facts[name] = ", ".join(f"{k} ({v})" for k, v in counts.items())
    for name in ("sizes", "colours", "bit_depths", "values"):
        if content.get(name):
            facts[name.replace("_", " ")] = _compact(content[name])
    show_facts(str(path), facts)
    if content["classes"]:
        show_table("Classes", ["class", "images"], list(content["classes"].items()))
    duplicates = content["duplicates"]
    if duplicates["groups"]:
        named = {k.replace("_", " "): _compact(v) for k, v in duplicates.items()}
        show_facts("Identical pictures", named)
    near = content["near_duplicates"]
    if near["pairs"]:
        names = ("pairs", "across_classes", "across_splits", "between_patients")
        told = {name.replace("_", " "): near[name] for name in names}
        pairs = [f"{a} and {b} ({alike:.3f})" for a, b, alike in near["examples"]]
        show_facts("Nearly identical pictures", {**told, "examples": "; ".join(pairs)})
    problems = content["problems"]
    if problems:
        rows = [(p["severity"], p["where"], p["what"]) for p in problems[:SHOWN]]
        show_table(f"Problems ({len(problems)})", ["severity", "where", "what"], rows)
        if len(problems) > SHOWN:
            out.print(f"... and {len(problems) - SHOWN} more (see --json)")
    else:
        out.print("No problems found.")


def _patients(patients: dict[str, int]) -> str:
    return ", ".join(f"{v} {k.replace('_', ' ')}" for k, v in patients.items()) or "not counted"


def _compact(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_compact(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return " × ".join(_compact(v) for v in value) if len(value) == 2 else "; ".join(
            _compact(v) for v in value[:SHOWN]
        )  # fmt: skip
    return f"{value:.4g}" if isinstance(value, float) else str(value)
