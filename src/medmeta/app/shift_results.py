"""What shift did to a run, as JSON and as files of its folder."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medmeta.app.models import SHIFTS
from medmeta.evaluation.evaluate import Evaluation
from medmeta.evaluation.shift import (
    PARTS,
    QualityShift,
    Shift,
    ShiftedGroup,
    Worsened,
    difference_as_json,
    main_figure,
)
from medmeta.storage import write_bytes, write_json

QUALITY = "quality"


@dataclass(frozen=True)
class ShiftRow:
    """One source under one protocol, with groups left out in turn or with worse queries.

    ``excluded`` pictures had been seen in training; ``fingerprint`` names those that were measured
    on; ``head`` is that on the run's encoder, None for its own learner.
    """

    found: Shift | QualityShift
    excluded: int
    notes: tuple[str, ...]
    fingerprint: str = ""
    head: Mapping[str, Any] | None = None

    @property
    def column(self) -> str:
        """What was shifted: a column's name, ``quality``, or ``parts`` of the input."""
        if isinstance(self.found, Shift):
            return self.found.column
        return PARTS if self.found.kind == PARTS else QUALITY

    def to_dict(self) -> dict[str, Any]:
        """As JSON, without the per-task records."""
        found = self.found
        figures = _of_groups(found) if isinstance(found, Shift) else _of_quality(found)
        return {
            "source": found.source,
            "column": self.column,
            "protocol": found.protocol.model_dump(mode="json"),
            **figures,
            "excluded_as_seen": self.excluded,
            "fingerprint": self.fingerprint,
            "head": self.head,
            "notes": list(self.notes),
        }


def _of_groups(found: Shift) -> dict[str, Any]:
    return {
        "metric": main_figure(found.groups[0].inside),
        "groups": [_group(group) for group in found.groups],
        "left_out": dict(found.left_out),
        "unknown_images": found.unknown,
        "difference": difference_as_json(found.difference),
    }


def _group(group: ShiftedGroup) -> dict[str, Any]:
    return {
        "name": group.name,
        "images": group.images,
        "inside": _summary(group.inside),
        "outside": _summary(group.outside),
        "difference": difference_as_json(group.difference),
    }


def _of_quality(found: QualityShift) -> dict[str, Any]:
    return {
        "metric": main_figure(found.clean),
        "kind": found.kind,
        "clean": _summary(found.clean),
        "worsened": [_worsened(worse) for worse in found.worsened],
    }


def _worsened(worse: Worsened) -> dict[str, Any]:
    return {
        "distortion": worse.distortion,
        "severity": worse.severity,
        "level": worse.level,
        "worse": _summary(worse.worse),
        "difference": difference_as_json(worse.difference),
    }


def _summary(evaluation: Evaluation) -> dict[str, Any]:
    return evaluation.summary[main_figure(evaluation)].to_dict()


def save_shift(run: Path, row: ShiftRow) -> Path:
    """Keep a row and its per-task figures in the run's folder, apart from any other protocol's."""
    protocol = row.found.protocol
    what = f"{protocol.digest()}-{row.fingerprint[:8]}"
    if row.head is not None:
        options = json.dumps(row.head["options"], sort_keys=True).encode()
        what += f"-{row.head['name']}-{hashlib.sha256(options).hexdigest()[:8]}"
    column = "".join(c if c.isalnum() else "_" for c in row.column)
    name = f"{row.found.source}-by-{column}-{protocol.n_shot[0]}shot-{what}"
    folder = run / SHIFTS / name
    write_bytes(folder / "records.csv", _records(row.found).encode())
    write_json(folder / "summary.json", row.to_dict())
    return folder


def _records(found: Shift | QualityShift) -> str:
    """A line for each task: the main figure under each condition."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if isinstance(found, Shift):
        writer.writerow(["group", "task", "inside", "outside"])
        for group in found.groups:
            pair = (_main(group.inside), _main(group.outside))
            for task, (inside, outside) in enumerate(zip(*pair, strict=True)):
                writer.writerow([group.name, task, f"{inside:.8g}", f"{outside:.8g}"])
        return text.getvalue()
    columns = {"clean": found.clean} | {
        f"{worse.distortion} {worse.severity}": worse.worse for worse in found.worsened
    }
    writer.writerow(["task", *columns])
    for task, line in enumerate(zip(*map(_main, columns.values()), strict=True)):
        writer.writerow([task, *(f"{value:.8g}" for value in line)])
    return text.getvalue()


def _main(evaluation: Evaluation) -> list[float]:
    values: list[float] = evaluation.records[main_figure(evaluation)].tolist()
    return values
