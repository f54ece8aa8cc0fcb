"""The text of a manifest: its header and its rows, of CSV, TSV or Parquet."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from medmeta.data.further_columns import further_names
from medmeta.data.manifest_scans import KEYS
from medmeta.errors import ManifestError, MissingExtraError

MANIFEST_SUFFIXES = frozenset((".csv", ".tsv", ".parquet"))
OPTIONAL = ("patient", "site", "modality", "split")
KNOWN = ("path", "series", "study", "label", "value", "mask", *OPTIONAL)
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars (|)"}
Cells = dict[str, str]


def read_table(
    path: Path, others: Sequence[str] = ()
) -> tuple[list[str], Iterator[tuple[int, Cells | str]]]:
    """The header of a manifest, and its rows by number; of a row that is none, what is wrong.

    ``others``: columns that are wanted whatever they hold. Raises ``ManifestError``.
    """
    return _parquet(path, others) if path.suffix.lower() == ".parquet" else _text(path)


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


def _parquet(
    path: Path, others: Sequence[str]
) -> tuple[list[str], Iterator[tuple[int, Cells | str]]]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise MissingExtraError("pyarrow", "parquet", "reading Parquet manifests") from None
    try:
        with parquet.ParquetFile(path) as file:
            names = list(file.schema_arrow.names)
            header = [name.strip().lower() for name in names]
            kept = {*KNOWN, *others, *further_names(header, KNOWN)}
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
    if not isinstance(value, float):
        return str(value).strip()
    # Every whole number that a float can hold is written in full: it may be a patient.
    return str(int(value)) if value.is_integer() and abs(value) < 1e22 else repr(value)
