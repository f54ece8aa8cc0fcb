"""A manifest: a table of images (CSV, TSV or Parquet) with a label or a value of each."""

from __future__ import annotations

import csv
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medmeta.data.index import Column, Problem, SourceIndex
from medmeta.errors import ManifestError, MissingExtraError

MANIFEST_SUFFIXES = frozenset((".csv", ".tsv", ".parquet"))
_OPTIONAL = ("patient", "site", "modality", "split")
_KNOWN = ("path", "label", "value", *_OPTIONAL)
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars (|)"}
_SHOWN = 10

Cells = dict[str, str]


@dataclass
class _Row:
    """One row that can be used: where its picture is, what is said of it."""

    number: int
    path: Path
    size: int
    cells: Cells
    value: float


def read_manifest(path: Path) -> SourceIndex:
    """The table of a manifest; rows that cannot be used are left out and stand in its problems.

    Columns are ``path`` and either ``label`` or ``value``, and ``patient``, ``site``, ``modality``
    and ``split`` where they are known; paths lie in the manifest's folder. Rows are counted from 1,
    the header. Raises ``ManifestError`` where the table as a whole cannot be used.
    """
    if not path.is_file():
        raise ManifestError(f"{path}: there is no such file; check the name and the folder.")
    parquet = path.suffix.lower() == ".parquet"
    header, records = _parquet(path) if parquet else _text(path)
    target = _check_columns(path, header)
    locate = _Locator(path.parent.resolve())
    rows: list[_Row] = []
    problems: list[Problem] = []
    for number, cells in records:
        if isinstance(cells, str):
            problems.append(Problem("error", f"row {number}", cells))
            continue
        found = _row(number, cells, target, locate)
        if isinstance(found, _Row):
            rows.append(found)
        else:
            problems.append(Problem("error", f"row {number}", found))
    rows = _without_repeats(rows, target, problems)
    return _table(path, rows, target, problems)


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
    if "path" in header:
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
            wanted = [n for n, h in zip(names, header, strict=True) if h in _KNOWN]
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


def _check_columns(path: Path, header: list[str]) -> str:
    """``"label"`` or ``"value"``: which of them the manifest has."""
    there = ", ".join(name for name in header if name) or "nothing"
    repeated = sorted({n for n in header if n in _KNOWN and header.count(n) > 1})
    if repeated:
        raise ManifestError(f"{path}: has the column {repeated[0]} twice; remove one.")
    if "label" in header and "value" in header:
        raise ManifestError(
            f"{path}: has both a label and a value; rename the column that is not asked for."
        )
    missing = [] if "path" in header else ["path"]
    if "label" not in header and "value" not in header:
        missing.append("label (a class) or value (a number)")
    if missing:
        raise ManifestError(
            f"{path}: has no column {' and no column '.join(missing)}; there is {there}."
        )
    return "label" if "label" in header else "value"


class _Locator:
    """Finds a row's picture in the manifest's folder, and nowhere else."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[Path, Path] = {}  # resolving is slow, and folders repeat

    def __call__(self, given: str) -> tuple[Path, int] | str:
        """The file's absolute path and its size in bytes, or what is wrong with it."""
        try:
            written = self._root / given
            if written.parent not in self._folders:
                self._folders[written.parent] = written.parent.resolve()
            path = self._folders[written.parent] / written.name
            if written.name == ".." or path.is_symlink():
                path = path.resolve()
            if not path.is_relative_to(self._root):
                return f"{given} lies outside the manifest's folder; move the manifest or the file."
            status = os.stat(path)
        except FileNotFoundError:
            return f"there is no file {given}; paths start from the manifest's folder."
        except (OSError, ValueError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or error
            return f"{given} cannot be used ({reason})."
        if not stat.S_ISREG(status.st_mode):
            return f"{given} is not a file."
        return path, status.st_size


def _row(number: int, cells: Cells, target: str, locate: _Locator) -> _Row | str:
    """The row, or what is wrong with it."""
    if not cells["path"]:
        return "has no path."
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
    found = locate(cells["path"])
    return found if isinstance(found, str) else _Row(number, found[0], found[1], cells, value)


def _without_repeats(rows: list[_Row], target: str, problems: list[Problem]) -> list[_Row]:
    """One row for each file; rows that say different things of one file are all left out."""
    first: dict[Path, _Row] = {}
    torn: set[Path] = set()
    for row in rows:
        earlier = first.setdefault(row.path, row)
        if earlier is row:
            continue
        both = f"{row.cells['path']} stands in row {earlier.number} too"
        if (earlier.cells[target], earlier.value) != (row.cells[target], row.value):
            torn.add(row.path)
            what = f"{both}, with another {target}; keep the one that is right."
            problems.append(Problem("error", f"row {row.number}", what))
        else:
            what = f"{both}; it is counted once."
            problems.append(Problem("warning", f"row {row.number}", what))
    return [row for path, row in first.items() if path not in torn]


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
