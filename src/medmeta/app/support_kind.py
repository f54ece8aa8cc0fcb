"""What kind of input lies at a path: pictures, signals, volumes, records, several modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medmeta.data.beside import record_texts
from medmeta.data.further_columns import is_personal
from medmeta.data.index import SourceIndex
from medmeta.data.listing import ScannedSource, survey
from medmeta.data.manifest import Asked
from medmeta.data.manifest_paths import Locator
from medmeta.data.manifest_table import KNOWN, MANIFEST_SUFFIXES, Cells, read_table
from medmeta.data.preprocess import Preprocessing
from medmeta.data.recording import Recording, plain_lead
from medmeta.data.records import RecordSchema
from medmeta.data.signals import SIGNAL, read_recording
from medmeta.errors import MedmetaError

Kind = Literal["picture", "volume", "signal", "record", "modalities"]
DEPTH = 12
SECONDS, RATE, MOST_SAMPLES, LEAST_SAMPLES = 10.0, 100.0, 1000, 16
LOOKED_AT = 20  # recordings, and rows of a table
AT_LEAST = Preprocessing(samples=100_000, rate=1.0, csv_rate=100.0)
"""To read all of a recording, whatever its length."""


@dataclass(frozen=True)
class SupportKind:
    """What was found: how it is prepared, a sentence on what is used, whether rows have values."""

    kind: Kind
    sentence: str
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    valued: bool = False


def kind_of(
    support: Path, given: Mapping[str, Any], *, listed: ScannedSource | None = None
) -> SupportKind | None:
    """The kind at a path; None of pictures of classes, or where reading it tells what is wrong.

    ``listed`` is what a survey of it found, where there was one.
    """
    try:
        table = _table(support)
        if table is not None and "path" not in table[0]:
            return _of_table(support, *table)
        index = (listed or survey(support)).index
    except MedmetaError:
        return None  # whoever reads it says so
    valued = index.values is not None
    scans = [scan for scan in index.scans if scan is not None]
    if scans and len(scans) == len(index):
        if all(scan.kind == SIGNAL for scan in scans):
            return _of_signals(index, given, valued=valued)
        whole = all(scan.n_slices > 1 and scan.kind in ("dicom", "nifti") for scan in scans)
        if whole and given.get("slices") is None:
            return _of_volumes(given, valued=valued)
    if not valued:
        return None
    return SupportKind("picture", "Values are learned, not classes.", valued=True)


def _of_volumes(given: Mapping[str, Any], *, valued: bool) -> SupportKind:
    stretched = {} if given.get("spacing") else {"spacing": "any"}
    return SupportKind(
        "volume",
        f"Volumes: {DEPTH} slices over all of each go through the model in the box and the "
        "hand-made features one by one, and what they give is averaged. Say --slices for a few "
        "slices in the middle instead, --spacing 2 where sizes matter.",
        {"depth": DEPTH, **stretched},
        valued=valued,
    )


def _of_signals(
    index: SourceIndex, given: Mapping[str, Any], *, valued: bool
) -> SupportKind | None:
    """Leads that all recordings have, and as many samples as most of them fill."""
    read = AT_LEAST.model_copy(update={"csv_rate": float(given.get("csv_rate") or RATE)})
    places = np.unique(np.linspace(0, len(index) - 1, LOOKED_AT).astype(int))
    seen: list[Recording] = []
    for place in places.tolist():
        try:
            seen.append(read_recording(index.paths[place], read))
        except MedmetaError:
            continue  # it is named when all are read
    if not seen:
        return None
    common = set.intersection(*({plain_lead(name) for name in one.leads} for one in seen))
    leads = [name for name in seen[0].leads if plain_lead(name) in common and "," not in name]
    if not leads:
        return None
    rate = min(RATE, *(one.rate for one in seen))
    seconds = float(np.median([one.values.shape[1] / one.rate for one in seen]))
    samples = int(np.clip(round(seconds * rate), LEAST_SAMPLES, MOST_SAMPLES))
    prepared = {"samples": samples, "rate": rate, "leads": ",".join(leads)}
    if not given.get("csv_rate"):
        prepared["csv_rate"] = RATE
    named = ", ".join(leads[:12]) + (" and more" if len(leads) > 12 else "")
    return SupportKind(
        "signal",
        f"Signals: {samples} samples at {rate:g} a second of {named}; nothing was learned "
        "beforehand, so random waves (ROCKET) and hand-made features of rhythm and spread stand in "
        "for a model.",
        prepared,
        valued=valued,
    )


def _table(support: Path) -> tuple[list[str], list[Cells]] | None:
    """Header and rows of a manifest; None of anything else."""
    if support.suffix.lower() not in MANIFEST_SUFFIXES or not support.is_file():
        return None
    header, records = read_table(support)
    return header, [cells for _, cells in records if not isinstance(cells, str)]


def _of_table(support: Path, header: Sequence[str], rows: Sequence[Cells]) -> SupportKind | None:
    """A table without a column ``path``: files of several modalities, or records alone."""
    valued = "value" in header and "label" not in header
    able = [n for n in header if n and n not in KNOWN and not is_personal(n)]
    locate = Locator(support.parent.resolve())
    files = [name for name in able if _names_files(name, rows, locate)]
    if files:
        return SupportKind(
            "modalities",
            f"Several modalities ({', '.join(files)}): each goes through the model in the box and "
            "the hand-made features, side by side; a missing one counts as nothing. Other columns "
            "are not learned from.",
            {"modalities": files},
            valued=valued,
        )
    if not able or {"series", "study"} & set(header):  # of DICOM files, by what headers say
        return None
    schema = _schema(support, able)
    if schema is None:
        return None
    return SupportKind(
        "record",
        f"Records alone, without pictures: {', '.join(schema.names)}; each number is read in "
        "spreads of your own patients.",
        {"record": schema.model_dump(mode="json"), "use": "record"},
        valued=valued,
    )


def _names_files(name: str, rows: Sequence[Cells], locate: Locator) -> bool:
    entries = [row[name] for row in rows if (row.get(name) or "").strip()][:LOOKED_AT]
    return bool(entries) and all(not isinstance(locate(entry), str) for entry in entries)


def _schema(support: Path, able: Sequence[str]) -> RecordSchema | None:
    """What the columns hold that have an entry at all; None where none has."""
    index = survey(support, Asked(texts=tuple(able), pictures=False)).index
    texts = record_texts(index, list(able))
    told = [name for name in able if any(t is not None for t in texts.get(name) or ())]
    return RecordSchema.of(told, [texts]) if told else None
