"""A manifest: a table of images (CSV, TSV or Parquet) with a label or a value of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medmeta.data.further_columns import further_columns, further_names
from medmeta.data.index import Column, Problem, SourceIndex
from medmeta.data.manifest_paths import Locator
from medmeta.data.manifest_scans import KEYS, match_scans, scans_at
from medmeta.data.manifest_table import KNOWN, OPTIONAL, Cells, read_table
from medmeta.data.modalities import Part, find_parts
from medmeta.data.scan import Scan
from medmeta.data.scan_columns import with_scans
from medmeta.errors import ManifestError

_SHOWN = 10


@dataclass(frozen=True)
class Asked:
    """What a manifest is asked for beside labels.

    ``modalities``: the columns that name a file of each; none: the column ``path``. ``spacing``
    ``any``: files of one patient may lie on different grids; ``resample`` not ``no``: NIfTI files
    may. ``texts``: columns to keep as they are. ``pictures``: whether rows have any. ``labelled``:
    whether they must say a label or value.
    ``masks``: each names the file of a mask.
    """

    modalities: tuple[str, ...] = ()
    spacing: str = "same"
    resample: str = "no"
    texts: tuple[str, ...] = ()
    pictures: bool = True
    labelled: bool = True
    masks: bool = False


_PLAIN = Asked()


@dataclass
class _Row:
    """One row that can be used: where its picture or scan is, what is said of it."""

    number: int
    path: Path
    size: int
    cells: Cells
    value: float
    scan: Scan | None = None
    parts: tuple[Part, ...] = ()
    mask: Path | None = None


def read_manifest(path: Path, asked: Asked = _PLAIN) -> SourceIndex:
    """The table of a manifest; rows that cannot be used are left out and stand in its problems.

    Columns are ``path`` and either ``label`` or ``value``, and ``patient``, ``site``, ``modality``
    and ``split`` where they are known, and any others to group by (``device``, ``sex``); paths lie
    in the manifest's folder, and may be of a series' folder. In place of a path, ``series``,
    ``study`` or ``patient`` hold what the headers of the DICOM files below say. Rows are counted
    from 1, the header. ``asked`` says what else is wanted: with masks a column ``mask`` stands for
    label and value, and is in the table's ``others``. Raises ``ManifestError`` where the table as a
    whole cannot be used.
    """
    if not path.is_file():
        raise ManifestError(f"{path}: there is no such file; check the name and the folder.")
    header, records = read_table(path, (*asked.modalities, *asked.texts))
    key, target = _check_columns(path, header, asked)
    root = path.parent.resolve()
    locate = Locator(root) if key == "path" or asked.masks else None
    rows: list[_Row] = []
    problems: list[Problem] = []
    for number, cells in records:
        if isinstance(cells, str):
            problems.append(Problem("error", f"row {number}", cells))
            continue
        found = _row(number, cells, key, target, locate)
        if isinstance(found, _Row):
            rows.append(found)
        else:
            problems.append(Problem("error", f"row {number}", found))
    if asked.modalities and asked.pictures:
        rows = _with_parts(rows, asked, root, problems)
    elif key == "path":
        rows = _in_files(_without_repeats(rows, target, problems), root, problems)
    elif key:
        rows = _in_tree(rows, key, target, root, problems)
    known = (*KNOWN, *asked.modalities)
    others = dict(further_columns(further_names(header, known), [row.cells for row in rows]))
    if asked.masks:
        others["mask"] = Column.from_texts([str(row.mask) for row in rows])
    texts = {
        name: tuple(_entry(row.cells.get(name)) for row in rows)
        for name in asked.texts
        if name in header
    }
    parts = tuple(row.parts for row in rows) if asked.modalities and asked.pictures else ()
    index = replace(_table(path, rows, target, problems), others=others, texts=texts, parts=parts)
    return with_scans(index, [row.scan for row in rows])


def _entry(cell: str | None) -> str | None:
    """What a cell says; None where it says nothing."""
    return None if cell is None or cell.lower() in ("", "nan", "na", "n/a") else cell


def row_errors(path: Path, problems: Sequence[Problem]) -> ManifestError:
    """One error that names the first ten rows and counts the rest."""
    lines = [f"  {p.where}: {p.what}" for p in problems[:_SHOWN]]
    more = len(problems) - _SHOWN
    rows = "1 row" if len(problems) == 1 else f"{len(problems)} rows"
    return ManifestError(
        f"{path}: {rows} cannot be used (row 1 is the header):\n"
        + "\n".join(lines)
        + (f"\n  and {more} more" if more > 0 else "")
        + "\nMend or remove them, or leave them out with --skip-bad."
    )


def _check_columns(path: Path, header: list[str], asked: Asked) -> tuple[str, str]:
    """What rows are known by, ``"path"`` or one of ``KEYS``; and ``"label"`` or ``"value"``.

    Either is empty where it is not needed.
    """
    there = ", ".join(name for name in header if name) or "nothing"
    repeated = sorted({n for n in header if n in KNOWN and header.count(n) > 1})
    if repeated:
        raise ManifestError(f"{path}: has the column {repeated[0]} twice; remove one.")
    if not asked.masks and "label" in header and "value" in header:
        raise ManifestError(
            f"{path}: has both a label and a value; rename the column that is not asked for."
        )
    key, missing = "", []
    if asked.pictures and asked.modalities:
        if not set(asked.modalities) & set(header):
            missing.append(f"of a modality ({', '.join(asked.modalities)})")
    elif asked.pictures:
        key = next((name for name in ("path", *KEYS) if name in header), "")
        missing += [] if key else ["path (or series, study or patient, of DICOM files)"]
    if asked.masks and "mask" not in header:
        missing.append("mask (a file for each image)")
    elif not asked.masks and asked.labelled and "label" not in header and "value" not in header:
        missing.append("label (a class) or value (a number)")
    if missing:
        raise ManifestError(
            f"{path}: has no column {' and no column '.join(missing)}; there is {there}."
        )
    if asked.masks:
        return key, "mask"
    return key, next((name for name in ("label", "value") if name in header), "")


def _row(number: int, cells: Cells, key: str, target: str, locate: Locator | None) -> _Row | str:
    """The row, or what is wrong with it."""
    if key and not cells[key]:
        return f"has no {key}."
    given = cells.get(target, "-")
    if given.lower() in ("", "nan"):
        return f"has no {target}; write one, or remove the row."
    value = 0.0
    if target == "value":
        try:
            value = float(given.replace("_", "?"))
        except ValueError:
            return f"its value {given!r} is not a number (write 1.5, not 1,5)."
        if not abs(value) <= float(np.finfo(np.float32).max):  # NaN compares false
            return f"its value {given!r} is not a finite number."
    named = locate(given) if locate is not None and target == "mask" else None
    if isinstance(named, str):
        return f"its mask: {named}"
    mask = None if named is None else named[0]
    if locate is None or key != "path":
        return _Row(number, Path(), 0, cells, value, mask=mask)
    found = locate(cells["path"])
    return (
        found
        if isinstance(found, str)
        else _Row(number, found[0], found[1], cells, value, mask=mask)
    )


def _without_repeats(rows: list[_Row], target: str, problems: list[Problem]) -> list[_Row]:
    """One row for each file; rows that say different things of one file are all left out."""
    first: dict[Path, _Row] = {}
    torn: set[Path] = set()
    for row in rows:
        earlier = first.setdefault(row.path, row)
        if earlier is row:
            continue
        both = f"its file stands in row {earlier.number} too"
        differ = [
            name
            for name in (target, *OPTIONAL)
            if _entry(earlier.cells.get(name)) != _entry(row.cells.get(name))
        ]
        if target == "value" and earlier.value == row.value:
            differ = [name for name in differ if name != target]  # 1.50 is 1.5
        if differ:
            torn.add(row.path)
            what = f"{both}, with another {differ[0]}; keep the one that is right."
            problems.append(Problem("error", f"row {row.number}", what))
        else:
            what = f"{both}; it is counted once."
            problems.append(Problem("warning", f"row {row.number}", what))
    return [row for path, row in first.items() if path not in torn]


def _in_files(rows: list[_Row], root: Path, problems: list[Problem]) -> list[_Row]:
    """A row for each picture, and for each scan in a row's file or folder."""
    kept: list[_Row] = []
    for row in rows:
        scans, wrong = scans_at(row.path, root=root)
        where = f"row {row.number}"
        problems += [replace(p, where=where) for p in wrong]
        if scans:
            kept += [_of_scan(row, scan) for scan in scans]
        elif row.path.is_dir():
            if not wrong:
                what = "its path is not that of a file, but of a folder without DICOM or NIfTI."
                problems.append(Problem("error", where, what))
        elif not wrong:
            kept.append(row)
    return kept


def _with_parts(rows: list[_Row], asked: Asked, root: Path, problems: list[Problem]) -> list[_Row]:
    """Rows with the files of their modalities; the first that is there stands for the row."""
    locate, kept = Locator(root), []
    for row in rows:
        grids = {"spacing": asked.spacing, "resample": asked.resample}
        found = find_parts(row.cells, asked.modalities, locate, root=root, **grids)
        if isinstance(found, str):
            problems.append(Problem("error", f"row {row.number}", found))
            continue
        first = next(part for part in found if part is not None)
        path, scan = (first, None) if isinstance(first, Path) else (first.files[0], first)
        kept.append(replace(row, path=path, size=path.stat().st_size, scan=scan, parts=found))
    return kept


def _in_tree(
    rows: list[_Row], key: str, target: str, root: Path, problems: list[Problem]
) -> list[_Row]:
    """A row for each scan below the manifest's folder that a row speaks of."""
    named = [(row.number, row.cells[key], f"{row.cells[target]} {row.value}") for row in rows]
    found, wrong = match_scans(named, key, root=root)
    problems += wrong
    return [_of_scan(row, scan) for row in rows for scan in found.get(row.number, ())]


def _of_scan(row: _Row, scan: Scan) -> _Row:
    size = sum(file.stat().st_size for file in scan.files)
    return replace(row, path=scan.files[0], size=size, scan=scan)


def _table(path: Path, rows: list[_Row], target: str, problems: list[Problem]) -> SourceIndex:
    columns = {
        name: Column.from_texts([_entry(row.cells.get(name)) for row in rows]) for name in OPTIONAL
    }
    labels = [row.cells.get("label") or None for row in rows]  # NA may be a class
    root = path.parent.resolve()
    return SourceIndex(
        name=root.name,
        root=root,
        # A row without a file of its own (a record alone) goes by its number.
        paths=tuple(root / f"row {r.number}" if r.path == Path() else r.path for r in rows),
        array_rows=np.arange(len(rows), dtype=np.int64),
        labels=Column.from_texts(labels) if target != "value" else None,
        values=np.array([r.value for r in rows], np.float32) if target == "value" else None,
        patients=columns["patient"],
        sites=columns["site"],
        modalities=columns["modality"],
        splits=columns["split"],
        file_sizes=np.array([row.size for row in rows], dtype=np.int64),
        problems=tuple(problems),
    )
