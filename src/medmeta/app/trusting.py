"""What a support set's table says for trust, the prior that a run keeps, and both put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medmeta.app.models import LoadedModel
from medmeta.app.predictor import SavedPredictor
from medmeta.data.file_properties import file_properties
from medmeta.data.index import Column, SourceIndex
from medmeta.data.listing import survey
from medmeta.data.manifest_table import MANIFEST_SUFFIXES
from medmeta.data.source import Source
from medmeta.errors import DataError, SettingsError
from medmeta.evaluation.cores import is_light, on_one_core
from medmeta.learner import AbstractLearner
from medmeta.storage import parsed_json, read_json, write_json
from medmeta.trust.agreement import agreement, codes_of, majority, reader_columns
from medmeta.trust.assess import About, assess
from medmeta.trust.conformal import guarantee
from medmeta.trust.prior import TrustPrior
from medmeta.trust.results import Agreement
from medmeta.trust.set_rules import check_level, units
from medmeta.trust.source_tasks import learn_prior

PRIOR = "trust-prior.json"
SUBGROUPS = ("site", "device", "sex", "modality")
AGES = (18, 40, 60, 80)


def readings_of(index: SourceIndex) -> dict[str, list[str | None]]:
    """Each reader's labels, from columns called ``reader…``."""
    return {name: index.others[name].texts() for name in reader_columns(list(index.others))}


def readers_of_source(path: Path) -> Agreement | None:
    """How far the readers of a manifest agree; None for another source, or fewer than two."""
    if path.suffix.lower() not in MANIFEST_SUFFIXES:
        return None
    index = survey(path).index
    readings = readings_of(index)
    if index.labels is None or len(readings) < 2:
        return None
    return agreement(readings, index.labels.codes.astype(np.int64), index.class_names)


def about(source: Source) -> About:
    """What is known of a support's images, for trust."""
    index = source.index
    columns: dict[str, Sequence[str | None]] = {
        name: index.column(name).texts() for name in SUBGROUPS
    }
    if "age" in index.others:
        columns["age"] = [age_band(text) for text in index.others["age"].texts()]
    return About(
        names=index.class_names,
        groups=source.groups,
        patients_known=index.patients.known,
        files=file_properties(index),
        columns=columns,
        readings=readings_of(index),
    )


def age_band(text: str | None) -> str | None:
    """The band of an age in years; None where it is no such number.

    >>> age_band("47"), age_band("080Y"), age_band("?")
    ('40 to 59', '80 and more', None)
    """
    digits = (text or "").strip().rstrip("Yy")
    try:
        age = float(digits)
    except ValueError:
        return None
    if not 0 <= age < 130:
        return None
    place = int(np.searchsorted(AGES, age, side="right"))
    if place == 0:
        return f"below {AGES[0]}"
    if place == len(AGES):
        return f"{AGES[-1]} and more"
    return f"{AGES[place - 1]} to {AGES[place] - 1}"


def trusted(
    predictor: SavedPredictor, source: Source, model: LoadedModel, *, seed: int = 0
) -> SavedPredictor:
    """The predictor with what was found out about it in its card, under ``trust``.

    As it is where it answers values. A prior that the run learned with its own head is not used
    for another.
    """
    if not predictor.class_names:
        return predictor
    prior = prior_of(model) if predictor.card.get("head") is None else None
    told = about(source)
    if told.names != predictor.class_names:  # classes without an image were left out
        told = replace(told, names=predictor.class_names)
    with on_one_core(is_light(predictor.task.learner, len(source))):
        found = assess(predictor.task, told, prior=prior, seed=seed % 2**31)
    card = {**predictor.card, "trust": found.to_dict()}
    if predictor.task.procedure is not None and found.estimate.folds:
        card["choice"] = {**card["choice"], "nested": True}
    return replace(predictor, card=card)


def with_sets(
    predictor: SavedPredictor, level: float | None, *, by_class: bool = False
) -> SavedPredictor:
    """The predictor, to answer with sets of this level too (None: as it is).

    Raises ``SettingsError`` where it cannot.
    """
    if level is None:
        if by_class:
            raise SettingsError("--sets-by-class goes with --sets, such as --sets 0.9.")
        return predictor
    check_level(level)
    trust = predictor.trust
    if not predictor.class_names or trust is None:
        raise SettingsError(
            "--sets needs a predictor of classes that was adapted with its estimate; adapt again "
            "without --no-estimate."
        )
    if trust.sets is None:
        raise SettingsError(
            "--sets: no images could be held out of the support, so that no set can be vouched "
            f"for ({trust.estimate.reason})."
        )
    return replace(predictor, set_level=level, set_by_class=by_class)


def set_promise(predictor: SavedPredictor) -> str | None:
    """What the sets of a predictor promise, in words; None where it makes none."""
    level, trust = predictor.set_level, predictor.trust
    if level is None or trust is None or trust.sets is None:
        return None
    rows, per_class = trust.estimate.by_class, predictor.set_by_class
    images, patients = [row.images for row in rows], [row.groups for row in rows]
    counts, unit = units(images, patients, trust.estimate.groups, per_class=per_class)
    folds = len(set(trust.sets.folds))
    return guarantee(counts, level, folds=folds, per_class=per_class, unit=unit)


def prior_of(model: LoadedModel) -> TrustPrior | None:
    """What a run learned about trust; None where it did not, raises ``CheckpointError``."""
    file = Path(PRIOR) if model.run is None else model.run / PRIOR
    if PRIOR in model.beside:
        held: Any = parsed_json(model.beside[PRIOR], where=file)
    elif model.run is None or not file.is_file():
        return None
    else:
        held = read_json(file)
    return TrustPrior.from_dict(held if isinstance(held, dict) else {"?": held}, where=str(file))


def keep_prior(
    run: Path, learner: AbstractLearner, sources: Sequence[Source], *, most_way: int, seed: int
) -> TrustPrior | None:
    """Learn about trust from a run's own sources, and keep it; None where that is not cheap."""
    prior = learn_prior(learner, sources, most_way=most_way, seed=seed)
    if prior is not None:
        write_json(run / PRIOR, prior.to_dict())
    return prior


def by_readers(source: Source, how: str) -> Source:
    """The source labelled by its readers: by ``majority``, or ``soft``.

    By majority a tie leaves the label. Soft: an image stands there once for each reader, with that
    reader's label, so that a learner weighs labels as readers do; held out it is one image all the
    same. What nobody has read keeps its label. Raises ``SettingsError`` without columns of readers
    or for another way, ``DataError`` where a class comes up that no image is labelled with.
    """
    if how not in ("majority", "soft"):
        raise SettingsError(f"--readers {how}: say majority or soft.")
    index = source.index
    readings = readings_of(index)
    if not readings or index.labels is None:
        raise SettingsError(
            f"--readers {how} needs a manifest with columns of readers (reader_1, reader_2, …)."
        )
    names, given = list(index.class_names), index.labels.codes.astype(np.int64)
    for texts in readings.values():
        names += sorted({t for t in texts if t is not None} - set(names))
    codes = codes_of(readings, index.class_names)
    if how == "majority":
        rows, chosen = np.arange(len(source)), majority(codes, given, len(names))
    else:
        unread = np.where((codes >= 0).any(0), -1, given)[None]
        votes = np.concatenate([codes, unread]).T
        rows, place = np.nonzero(votes >= 0)
        chosen = votes[rows, place]
    foreign = sorted({names[c] for c in np.unique(chosen)} - set(index.class_names))
    if foreign:
        raise DataError(
            f"readers call some images {', '.join(foreign)}, and no image is labelled so; mend the "
            "readers' columns or the labels."
        )
    taken = source.take(rows)
    labels = Column.from_texts([names[c] for c in chosen])
    return replace(taken, index=replace(taken.index, labels=labels))
