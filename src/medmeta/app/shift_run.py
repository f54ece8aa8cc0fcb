"""A run on images from elsewhere: groups left out by a column, and queries of worse quality."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from medmeta.app.baselines import Told, encoded_sources
from medmeta.app.evaluation_plan import EvaluationRequest, PlannedSource, plans
from medmeta.app.measured import Measured
from medmeta.app.models import LoadedModel
from medmeta.app.shift_results import QUALITY, ShiftRow, save_shift
from medmeta.data.distortions import distortions_of
from medmeta.data.further_columns import WHAT_IS_KEPT
from medmeta.data.modality_kinds import common_kind
from medmeta.data.source import Source
from medmeta.episodes.protocol import Protocol
from medmeta.errors import SettingsError
from medmeta.evaluation.shift import (
    PARTS,
    QualityShift,
    Shift,
    evaluate_groups,
    evaluate_parts,
    evaluate_quality,
    versions_of,
)
from medmeta.training.allocator import keep_freed_memory

MOST_GROUPS = 50
_PERSONS = ("patient", "volume", "label", "path")


def evaluate_shift(
    model: LoadedModel,
    sources: Sequence[Source],
    request: EvaluationRequest,
    columns: Sequence[str],
    *,
    progress: Told | None = None,
) -> list[ShiftRow]:
    """Measure a model under each kind of shift on every source; the figures are kept in its run.

    ``columns`` are ``quality`` or columns of the sources. All are checked before the first is
    measured; raises ``SettingsError`` for a column that tells persons apart or is not there, and
    ``SamplingError`` where no group can be left out.
    """
    keep_freed_memory()
    rows = []
    planned = plans(model, sources, request)
    for plan in planned:
        for column in columns:
            _check_column(plan.fresh, column)
    for plan in planned:
        for column in dict.fromkeys(columns):
            modalities = model.preprocessing.modalities
            for one, found in _measured(plan, column, modalities, progress):
                told = (plan.excluded, plan.notes, plan.fingerprint)
                rows.append(ShiftRow(found, *told, one.head))
                if model.run is not None:
                    save_shift(model.run, rows[-1])
    return rows


def _check_column(source: Source, column: str) -> None:
    if column == QUALITY and source.pixels.dtype != np.uint8:
        raise SettingsError(
            f"--shift {QUALITY}: {source.name} holds signals, and the faults are those of "
            "pictures; name a column, such as device."
        )
    if column == QUALITY and source.masks is not None:
        raise SettingsError(
            f"--shift {QUALITY} is of classes and values, and {source.name} has masks; name a "
            "column, such as device."
        )
    if column in (QUALITY, PARTS):
        return
    if column in _PERSONS:
        raise SettingsError(
            f"--shift {column}: groups are sites, devices, sexes and the like; every task is "
            f"already drawn apart by {column}."
        )
    codes = source.index.column(column).codes
    n = len(np.unique(codes[codes >= 0]))
    if n < 2:
        names = ["site", "modality", "split", *source.index.others]
        known = [name for name in names if (source.index.column(name).codes >= 0).any()]
        there = ", ".join(name for name in known if name != "volume") or "none"
        what = "no column of that name" if not n else "one group only in that column"
        raise SettingsError(
            f"--shift {column}: {source.name} has {what}; columns to group by: {there}. "
            f"(Of a manifest {WHAT_IS_KEPT}.)"
        )
    if n > MOST_GROUPS:
        raise SettingsError(
            f"--shift {column}: {source.name} has {n} groups in it, more than {MOST_GROUPS}; write "
            "a column of fewer, such as bands of age."
        )


def _measured(
    plan: PlannedSource, column: str, modalities: Sequence[str], progress: Told | None
) -> Iterator[tuple[Measured, Shift | QualityShift]]:
    """Every learner by every protocol; heads on one encoder share what it made of the images."""
    source, learners = plan.fresh, [one.learner for one, _ in plan.asked]
    kind = common_kind(source.index.modalities)
    faults = distortions_of(kind)
    quality = column == QUALITY
    if column == PARTS:
        for one, protocol in plan.asked:
            told = _told(one.called(source.name), protocol, progress)
            yield (
                one,
                evaluate_parts(one.learner, source, protocol, modalities=modalities, told=told),
            )
        return
    shown = versions_of(source, faults) if quality else source
    held = encoded_sources(learners, shown, None if quality else progress)
    for (one, protocol), encoded in zip(plan.asked, held, strict=True):
        told = _told(one.called(source.name), protocol, progress)
        if quality:
            found: Shift | QualityShift = evaluate_quality(
                one.learner, source, protocol, faults, kind=kind, encoded=encoded, told=told
            )
        else:
            found = evaluate_groups(
                one.learner, source, protocol, column, encoded=encoded, told=told
            )
        yield one, found


def _told(what: str, protocol: Protocol, progress: Told | None) -> Callable[[str], None] | None:
    if progress is None:
        return None
    done = 0

    def told(step: str) -> None:
        nonlocal done
        done += 1
        progress(f"{what}, {protocol.describe()}, {step}", done, 0)

    return told
