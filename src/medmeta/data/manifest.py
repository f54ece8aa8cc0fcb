"""A manifest: a table of images (CSV, TSV or Parquet) with a label or a value of each."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medmeta.data.further_columns import further_columns, further_names
from medmeta.data.index import Column, Problem, SourceIndex
from medmeta.data.manifest_paths import Locator
from medmeta.data.manifest_scans import KEYS, match_scans, scans_at
from medmeta.data.scan import Scan
from medmeta.data.scan_columns import with_scans
from medmeta.errors import ManifestError, MissingExtraError

MANIFEST_SUFFIXES = frozenset((".csv", ".tsv", ".parquet"))
_OPTIONAL = ("patient", "site", "modality", "split")
_KNOWN = ("path", "series", "study", "label", "value", "mask", *_OPTIONAL)
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars (|)"}
_SHOWN = 10

Cells = dict[str, str]


@dataclass
class _Row:
    """One row that can be used: where its picture or scan is, what is said of it."""

    number: int
    path: Path
    size: int
    cells: Cells
    value: float
    scan: Scan | None = None
    mask: Path | None = None


def read_manifest(path: Path, *, masks: bool = False) -> SourceIndex:
    """The table of a manifest; rows that cannot be used are left out and stand in its problems.

    Columns are ``path`` and either ``label`` or ``value``, and ``patient``, ``site``, ``modality``
    and ``split`` where they are known, and any others to group by (``device``, ``sex``); paths lie
    in the manifest's folder, and may be of a series' folder. In place of a path, ``series``,
    ``study`` or ``patient`` hold what the headers of the DICOM files below say. Rows are counted
    from 1, the header. With ``masks`` a column ``mask`` stands for label and value; it is in the
    table's ``others``. Raises ``ManifestError`` where the table as a whole cannot be used.
    """
    if not path.is_file():
        raise ManifestError(f"{path}: there is no such file; check the name and the folder.")
    parquet = path.suffix.lower() == ".parquet"
    header, records = _parquet(path) if parquet else _text(path)
    key, target = _check_columns(path, header, masks=masks)
    root = path.parent.resolve()
    locate = Locator(root) if key == "path" or masks else None
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
    if key == "path":
        rows = _in_files(_without_repeats(rows, target, problems), root, problems)
    else:
        rows = _in_tree(rows, key, target, root, problems)
    others = dict(further_columns(further_names(header, _KNOWN), [row.cells for row in rows]))
    if masks:
        others["mask"] = Column.from_texts([str(row.mask) for row in rows])
    index = replace(_table(path, rows, target, problems), others=others)
    return with_scans(index, [row.scan for row in rows])


def row_errors(path: Path, problems: Sequence[Problem]) -> ManifestError:
    """One error that names the first ten rows and counts the rest."""
    lines = [f"  {p.where}: {p.what}" for p in problems[:_SHOWN]]
    more = len(problems) - _SHOWN
    return ManifestError(
        f"{path}: {len(problems)} rows cannot be used (row 1 is the header):\n"
        + "\n".join(lines)
        + (f"\n  and {more} more" if more > 0 else "")
        + "\nMend or remove them, or leave them out with --skip-bad."
    )


def _text(path: Path) -> tuple[list[str], Iterator[tuple[int, Cells | str]]]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = list(csv.reader(file, delimiter=delimiter, strict=True))
    except UnicodeDecodeError:
        raise ManifestError(f"{path}: is not UTF-8 text; save it as 'CSV UTF-8'.") from None
    except csv.Error as error:
        raise ManifestError(f"{path}: is no table that can be read ({error}).") from error
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror}).") from error
    if not table or not any(table[0]):
        raise ManifestError(f"{path}: row 1 must be the header, such as path,label; it is empty.")
    header = [name.strip().lower() for name in table[0]]
    _check_delimiter(path, header, delimiter)
    return header, _text_records(header, table)


def _text_records(header: list[str], table: list[list[str]]) -> Iterator[tuple[int, Cells | str]]:
    for number, fields in enumerate(table[1:], start=2):
        if not any(field.strip() for field in fields):
            continue
        if len(fields) > len(header):
            yield (
                number,
                (
                    f"has {len(fields)} fields, but the header {len(header)}; "
                    "put a text that holds the delimiter between quotes."
                ),
            )
            continue
        padded = fields + [""] * (len(header) - len(fields))
        yield number, dict(zip(header, (f.strip() for f in padded), strict=True))


def _check_delimiter(path: Path, header: list[str], delimiter: str) -> None:
    if "path" in header or set(KEYS) & set(header):
        return
    for other, name in _DELIMITERS.items():
        parts = {part.strip().strip('"') for part in delimiter.join(header).split(other)}
        if other != delimiter and "path" in parts and len(parts) > 1:
            wanted = _DELIMITERS[delimiter]
            raise ManifestError(
                f"{path}: its columns are parted by {name}, where {path.suffix} is read with "
                f"{wanted}; save it with {wanted}"
                + (", or name it .tsv." if other == "\t" else ".")
            )


def _parquet(path: Path) -> tuple[list[str], Iterator[tuple[int, Cells | str]]]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise MissingExtraError("pyarrow", "parquet", "reading Parquet manifests") from None
    try:
        with parquet.ParquetFile(path) as file:
            names = list(file.schema_arrow.names)
            header = [name.strip().lower() for name in names]
            kept = {*_KNOWN, *further_names(header, _KNOWN)}
            wanted = [n for n, h in zip(names, header, strict=True) if h in kept]
            table = file.read(columns=wanted)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ManifestError(
            f"{path}: is no Parquet file, or is damaged; write it again."
        ) from error
    columns = {n.strip().lower(): table.column(n).to_pylist() for n in table.column_names}
    return header, _parquet_records(columns, table.num_rows)


def _parquet_records(columns: dict[str, list[Any]], n: int) -> Iterator[tuple[int, Cells | str]]:
    for i in range(n):
        yield i + 2, {name: _cell(column[i]) for name, column in columns.items()}


def _cell(value: Any) -> str:
    """A Parquet cell as a CSV would have it: 12.0 is 12, null and NaN are blank."""
    if value is None or value != value:
        return ""
    return f"{value:.15g}" if isinstance(value, float) else str(value).strip()


def _check_columns(path: Path, header: list[str], *, masks: bool) -> tuple[str, str]:
    """What rows are known by, ``"path"`` or one of ``KEYS``; and label, value or mask."""
    there = ", ".join(name for name in header if name) or "nothing"
    repeated = sorted({n for n in header if n in _KNOWN and header.count(n) > 1})
    if repeated:
        raise ManifestError(f"{path}: has the column {repeated[0]} twice; remove one.")
    if not masks and "label" in header and "value" in header:
        raise ManifestError(
            f"{path}: has both a label and a value; rename the column that is not asked for."
        )
    key = next((name for name in ("path", *KEYS) if name in header), "")
    missing = [] if key else ["path (or series, study or patient, of DICOM files)"]
    if masks and "mask" not in header:
        missing.append("mask (a file for each image)")
    elif not masks and "label" not in header and "value" not in header:
        missing.append("label (a class) or value (a number)")
    if missing:
        raise ManifestError(
            f"{path}: has no column {' and no column '.join(missing)}; there is {there}."
        )
    return key, "mask" if masks else "label" if "label" in header else "value"


def _row(number: int, cells: Cells, key: str, target: str, locate: Locator | None) -> _Row | str:
    """The row, or what is wrong with it."""
    if not cells[key]:
        return f"has no {key}."
    given = cells[target]
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
        if (earlier.cells[target], earlier.value) != (row.cells[target], row.value):
            torn.add(row.path)
            what = f"{both}, with another {target}; keep the one that is right."
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
        name: Column.from_texts([row.cells.get(name) or None for row in rows])
        for name in ("label", *_OPTIONAL)
    }
    root = path.parent.resolve()
    return SourceIndex(
        name=root.name,
        root=root,
        paths=tuple(row.path for row in rows),
        array_rows=np.arange(len(rows), dtype=np.int64),
        labels=columns["label"] if target == "label" else None,
        values=np.array([r.value for r in rows], np.float32) if target == "value" else None,
        patients=columns["patient"],
        sites=columns["site"],
        modalities=columns["modality"],
        splits=columns["split"],
        file_sizes=np.array([row.size for row in rows], dtype=np.int64),
        problems=tuple(problems),
    )
