"""Rows of a manifest that speak of DICOM or NIfTI files: by path, or by what the headers say."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from medmeta.data.folder import is_litter
from medmeta.data.index import Problem
from medmeta.data.medical import find_scans, kind_in_class, medical_kind
from medmeta.data.pseudonyms import pseudonym, user_salt
from medmeta.data.scan import Scan

KEYS = ("series", "study", "patient")  # of which one stands for a path, the finest first
_UNNAMED = "no row of the manifest speaks of it; add one, or leave it out with --skip-bad."


def files_below(folder: Path) -> Iterator[Path]:
    """Ordinary files below a folder, in order, without links and what systems leave behind."""
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        if is_litter(entry.name):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from files_below(Path(entry.path))
        elif entry.is_file(follow_symlinks=False):
            yield Path(entry.path)


def scans_at(path: Path, *, root: Path) -> tuple[list[Scan], list[Problem]]:
    """The scans that a row's file or folder holds; none where it is a picture."""
    if path.is_dir():
        return find_scans([f for f in files_below(path) if medical_kind(f)], root=root)
    return find_scans([path], root=root) if kind_in_class(path) else ([], [])


def match_scans(
    named: Sequence[tuple[int, str, str]], key: str, *, root: Path
) -> tuple[dict[int, list[Scan]], list[Problem]]:
    """Scans below a folder by the row that speaks of them, and what matches nothing.

    ``named`` are the rows' numbers, what they hold in the column ``key``, and their targets.
    Compared are pseudonyms: what a row or a header says is neither kept nor told. Rows of one
    name with different targets are all left out.
    """
    salt = user_salt()
    scans, problems = find_scans([f for f in files_below(root) if medical_kind(f)], root=root)
    by_name: defaultdict[str, list[Scan]] = defaultdict(list)
    for scan in scans:
        by_name[str(getattr(scan, key))].append(scan)
    found: dict[int, list[Scan]] = {}
    first: dict[str, tuple[int, str]] = {}
    torn: set[int] = set()
    for number, text, target in named:
        name = pseudonym(text, salt)
        earlier, said = first.setdefault(name, (number, target))
        if earlier != number:
            problems.append(_repeated(number, earlier, key, same=said == target))
            torn |= set() if said == target else {earlier}
        elif name not in by_name:
            what = f"no file below the manifest's folder is of this {key}; mend or remove the row."
            problems.append(Problem("error", f"row {number}", what))
        else:
            found[number] = by_name[name]
    spoken = {scan.where for listed in found.values() for scan in listed}
    unnamed = [scan for scan in scans if scan.where not in spoken]
    problems += [Problem("error", scan.where, _why_unnamed(scan, key)) for scan in unnamed]
    return {number: listed for number, listed in found.items() if number not in torn}, problems


def _repeated(number: int, earlier: int, key: str, *, same: bool) -> Problem:
    both = f"its {key} stands in row {earlier} too"
    if same:
        return Problem("warning", f"row {number}", f"{both}; it is counted once.")
    what = f"{both}, with another target; keep the one that is right."
    return Problem("error", f"row {number}", what)


def _why_unnamed(scan: Scan, key: str) -> str:
    if getattr(scan, key) is None:
        return f"its header holds no {key}, so no row can speak of it; name it by its path."
    return _UNNAMED
