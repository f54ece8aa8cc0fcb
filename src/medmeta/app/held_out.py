"""What is kept from training to choose the best checkpoint by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medmeta.data.source import Source
from medmeta.data.splits import split_classes, split_rows
from medmeta.episodes.pools import class_pools
from medmeta.episodes.protocol import Protocol
from medmeta.evaluation.evaluate import evaluate
from medmeta.learner import AbstractLearner

Validation = Literal["auto", "classes", "images", "none"]
FRACTION = 0.2
METRICS = {"classes": "accuracy", "masks": "dice", "values": "r_squared"}
EPISODES = 60  # of each source at each validation


@dataclass(frozen=True)
class Held:
    """The parts to train on and to validate on, how they were told apart, and what to say of it."""

    training: tuple[Source, ...]
    validation: tuple[Source, ...]
    how: str
    notes: tuple[str, ...] = ()

    def protocol(self, source: Source, training: Protocol, episodes: int) -> Protocol:
        """Validation tasks of a held-out source: as in training, with the ways and shots it has."""
        way = 1
        if training.kind == "classes":
            able = len(class_pools(source, _validation_protocol(training))[0])
            way = max(2, min(training.n_way[1], able))
        elif training.kind == "masks":
            way = training.n_way[0]
        return training.model_copy(
            update={
                "sources": (source.name,),
                "n_way": (way, way),
                "n_shot": (training.n_shot[0], training.n_shot[0]),
                "n_query": min(training.n_query, 10),
                "episodes": episodes,
                "tasks_per_batch": 10,
                "drop_small_classes": True,
                "seed": (training.seed + 1) % 2**63,
            }
        )


def validator(
    held: Held, protocol: Protocol, device: str
) -> Callable[[AbstractLearner], float] | None:
    """The mean score over tasks of the held-out sources; None where nothing is held out."""
    metric = METRICS[protocol.kind]

    def validate(learner: AbstractLearner) -> float:
        scores = [
            evaluate(learner, source, held.protocol(source, protocol, EPISODES), device=device)
            .summary[metric]
            .mean
            for source in held.validation
        ]
        # A source whose values are all alike has none (R squared), and says nothing of others.
        defined = [score for score in scores if score == score]
        return float(np.mean(defined)) if defined else float("nan")

    return validate if held.validation else None


def hold_out(sources: Sequence[Source], protocol: Protocol, validation: Validation) -> Held:
    """Keep a part of the sources from training.

    ``classes``: a fifth of each source's classes (at least two) where it keeps enough for the
    largest way; ``images``: a fifth of the images, of other patients; ``auto``: classes where any
    source can give them, else images. A source that can give neither is trained on whole. What is
    held out of one source is not trained on in another either.
    """
    if validation == "none":
        return Held(
            tuple(sources), (), "none", ("Nothing is held out: the last weights are kept.",)
        )
    if validation in ("auto", "classes") and protocol.kind == "classes":
        held = _by_classes(sources, protocol)
        if held.validation:
            return _apart(held, sources, protocol)
    held = _by_images(sources, protocol)
    if not held.validation:
        note = "Too few images to hold any out: the last weights are kept, unvalidated."
        return Held(tuple(sources), (), "none", (note,))
    return _apart(held, sources, protocol)


def _by_classes(sources: Sequence[Source], protocol: Protocol) -> Held:
    training, validation = [], []
    check = _validation_protocol(protocol)
    for source in sources:
        able = [pool.name for pool in class_pools(source, check)[0]]
        count = max(2, round(FRACTION * len(able)))
        if len(able) - count < max(protocol.n_way[1], 2):
            training.append(source)
            continue
        _, out = split_classes(able, count=count, seed=protocol.seed)
        kept = [name for name in source.index.class_names if name not in set(out)]
        part = source.with_classes(sorted(out))
        linked = np.isin(source.groups, source.groups[_rows_of(source, out)])
        rest = _only(source.take(np.flatnonzero(~linked)), kept)
        if not _gives_tasks(rest, source, protocol):  # patients who have images of many classes
            training.append(source)
            continue
        training.append(rest)
        validation.append(part)
    classes = sum(len(s.index.class_names) for s in validation)
    of = "1 source" if len(validation) == 1 else f"{len(validation)} sources"
    note = f"Held out to choose the best weights by: {classes} classes of {of}."
    return Held(tuple(training), tuple(validation), "classes", (note,))


def _by_images(sources: Sequence[Source], protocol: Protocol) -> Held:
    training, validation = [], []
    check = _validation_protocol(protocol)
    for source in sources:
        labels = source.index.labels
        codes = None if labels is None else labels.codes
        kept, out = split_rows(source.groups, codes, FRACTION, protocol.seed)
        part = source.take(out)
        enough = len(class_pools(part, check)[0]) >= (2 if protocol.kind == "classes" else 1)
        before = len(class_pools(source, protocol)[0])
        still_enough = len(class_pools(source.take(kept), protocol)[0]) == before
        training.append(source.take(kept) if enough and still_enough else source)
        if enough and still_enough:
            validation.append(part)
    note = (
        "Held out to choose the best weights by: a fifth of the images, of classes that are also "
        "trained on (no source has classes to spare); the score says nothing about new classes."
    )
    return Held(tuple(training), tuple(validation), "images", (note,))


def _apart(held: Held, sources: Sequence[Source], protocol: Protocol) -> Held:
    """Without what is held out of one source and stands in the training part of another."""
    validated = np.concatenate([part.hashes for part in held.validation])
    training, left_out, shared = [], 0, 0
    for source, part in zip(sources, held.training, strict=True):
        linked = np.isin(source.groups, source.groups[np.isin(source.hashes, validated)])
        twice = np.isin(part.hashes, source.hashes[linked])
        if not twice.any():
            training.append(part)
            continue
        rest = part.take(np.flatnonzero(~twice))
        if protocol.kind == "classes":
            rest = _only(rest, rest.index.class_names)
        if _gives_tasks(rest, part, protocol):
            left_out += int(twice.sum())
            training.append(rest)
        else:
            shared += int(np.isin(validated, part.hashes).sum())
            training.append(part)
    notes = list(held.notes)
    if left_out:
        notes.append(
            f"{left_out} pictures are not trained on, as they, or others of their patients, are "
            "held out of another source."
        )
    if shared:
        notes.append(
            f"warning: {shared} pictures that are held out are trained on as well, in another "
            "source, which has too few without them: validation says too much. Give each once."
        )
    return Held(tuple(training), held.validation, held.how, tuple(notes))


def _gives_tasks(part: Source, whole: Source, protocol: Protocol) -> bool:
    """Whether a part still gives tasks as the whole did, with no class too small that was not."""
    (kept, small), (before, small_before) = (class_pools(s, protocol) for s in (part, whole))
    most = protocol.n_way[1] if protocol.kind == "classes" else 1
    if len(kept) < min(most, len(before)):
        return False
    newly = {pool.name for pool in small} - {pool.name for pool in small_before}
    return protocol.drop_small_classes or not newly


def _validation_protocol(protocol: Protocol) -> Protocol:
    shot = protocol.n_shot[0]
    n_query = min(protocol.n_query, 10)
    return protocol.model_copy(update={"n_shot": (shot, shot), "n_query": n_query})


def _rows_of(source: Source, classes: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    labels = source.index.labels
    assert labels is not None
    codes = [labels.names.index(name) for name in classes]
    return np.flatnonzero(np.isin(labels.codes, codes))


def _only(source: Source, names: Sequence[str]) -> Source:
    """Without the names of classes that are gone."""
    labels = source.index.labels
    present = {text for text in labels.texts() if text is not None} if labels is not None else set()
    return source.with_classes([name for name in names if name in present])
