"""What an evaluation is asked for, and what follows for each source: images, tasks, remarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from medmeta.app.measured import Measured, measured_learners, wanted_way
from medmeta.app.models import LoadedModel
from medmeta.app.run_folder import fingerprint
from medmeta.app.run_request import parse_way
from medmeta.data.duplicates import unlinked_near_pairs
from medmeta.data.left_out import remarks
from medmeta.data.near_duplicates import thumbnail
from medmeta.data.patients import unknown_patients
from medmeta.data.preprocess import as_pictures
from medmeta.data.source import Source
from medmeta.data.splits import of_split
from medmeta.data.standardise import left_as_they_are, standardised
from medmeta.episode import Target
from medmeta.episodes.pools import class_pools
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.errors import SamplingError, SettingsError
from medmeta.learner import check_task_fits
from medmeta.settings import Settings

_LOOKED_THROUGH = 20_000  # images; of more, nearly identical ones are left to 'data inspect'


class EvaluationRequest(Settings):
    """What to measure; ``way`` None: the run's own, or all classes of a source with fewer.

    ``heads`` are measured on the run's encoder in place of its own learner, each with its options
    in ``head_options`` by its name. ``split`` takes only those images that the source itself says
    are of it; ``standardise`` brings grey levels together by a column (docs/patients-and-sites.md);
    ``near_duplicates`` looks for pictures that are nearly the same, and says how many;
    ``distances`` measures surfaces and centre lines of masks.
    """

    way: str | None = None
    shots: tuple[PositiveInt, ...] = (1, 5)
    query: int = Field(15, ge=1, le=10_000)
    episodes: int = Field(600, ge=1)
    drop_small: bool = False
    patient_disjoint: bool = True
    baselines: bool = True
    tasks_per_batch: int = Field(20, ge=1)
    seed: int = Field(2026, ge=0, lt=2**63)
    heads: tuple[str, ...] = ()
    head_options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    split: str = ""
    standardise: str = ""
    near_duplicates: bool = False
    distances: bool = False


@dataclass(frozen=True)
class PlannedSource:
    """A source, what of it the model has not seen, who is asked by which protocol, and remarks."""

    source: Source
    fresh: Source
    asked: tuple[tuple[Measured, Protocol], ...]
    notes: tuple[str, ...]

    @property
    def excluded(self) -> int:
        """How many of its images are left out: they, or others of their patients, were seen."""
        return len(self.source) - len(self.fresh)

    @cached_property
    def fingerprint(self) -> str:
        """Of what is measured on; worked out once, whatever the learners and shots."""
        return fingerprint(self.fresh)


def plans(
    model: LoadedModel, sources: Sequence[Source], request: EvaluationRequest
) -> list[PlannedSource]:
    """What is to be measured of each source; raises before anything is.

    ``SettingsError`` where there is no source or two of one name, ``SamplingError`` where one
    cannot give such tasks.
    """
    if not sources:
        raise SettingsError("no source to evaluate on: give --source PATH, once or more.")
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(
                f"two sources are called {name!r}; results are kept by name, so rename a folder, "
                "or put each table into a folder of its own."
            )
    seen = model.seen_hashes()
    found = []
    for given in sources:
        source, notes = _chosen(model, given, request)
        known = _known(given, seen, patients=request.patient_disjoint)
        fresh = source.take(np.flatnonzero(~np.isin(source.hashes, known)))
        n_seen = int(np.isin(source.hashes, seen).sum())
        if not len(fresh):
            whose = "picture" if n_seen == len(source) else "patient"
            raise SamplingError(
                f"{source.name}: the run was trained on every {whose} of it, so they can measure "
                "nothing; give images that it has not seen."
            )
        measured = measured_learners(model, request, len(source.index.class_names))
        asked = tuple(
            (one, _planned(model, one, source, fresh, shot, request))
            for shot in dict.fromkeys(request.shots)
            for one in measured
        )
        of_patients = len(source) - len(fresh) - n_seen
        notes = (*_remarks(given, n_seen, of_patients), *notes, *_copies(fresh, request))
        found.append(PlannedSource(source, fresh, asked, notes))
    return found


def _known(source: Source, seen: NDArray[np.uint64], *, patients: bool) -> NDArray[np.uint64]:
    """Hashes of what a run has seen of a source; with all that is linked to it, by ``patients``."""
    itself = np.isin(source.hashes, seen)
    if not (patients and itself.any()):
        return source.hashes[itself]
    return source.hashes[np.isin(source.groups, source.groups[itself])]


def _chosen(
    model: LoadedModel, source: Source, request: EvaluationRequest
) -> tuple[Source, tuple[str, ...]]:
    """The split that is asked for, its grey levels brought together, and what to say of it."""
    notes = []
    if request.split:
        source, leak = of_split(source, request.split)
        notes.append(f"Only its split {request.split} is measured on: {len(source)} images.")
        notes += [leak] if leak else []
    trained = model.card.get("standardise")
    if not request.standardise:
        if trained:
            notes.append(
                f"warning: the run was trained on grey levels brought together by "
                f"{trained['column']}, and these are not; see --standardise."
            )
        return source, tuple(notes)
    reference = tuple(trained["reference"]) if trained else None
    (source,), levels = standardised([source], request.standardise, reference=reference)
    low, high = levels.reference
    of = "of the run's training" if trained else "which is the groups' mean"
    notes.append(
        f"Grey levels were brought together by {request.standardise}: {len(levels.groups)} groups, "
        f"to the range {low:.0f} to {high:.0f}, {of}; all images of a group were looked at."
    )
    if not trained and model.card.get("sources"):
        notes.append("The run itself was trained on grey levels as they are.")
    if n := left_as_they_are(source, request.standardise):
        notes.append(f"{n} images without {request.standardise} keep their grey levels.")
    return source, tuple(notes)


def _remarks(source: Source, n_seen: int, of_patients: int) -> list[str]:
    notes = remarks(source.index)  # they are kept, and a file's name may name a patient
    if n_seen:
        others = f", and {of_patients} others of the same patients" if of_patients else ""
        notes.append(f"{n_seen} pictures that the run has seen in training are left out{others}.")
    if unknown := unknown_patients(source.index):
        notes.append(f"{unknown}: one may stand in support and query of a task.")
    return notes


def _copies(source: Source, request: EvaluationRequest) -> list[str]:
    """How many pairs of pictures are nearly the same and may be on both sides of a task."""
    signals = source.pixels.dtype != np.uint8
    if not request.near_duplicates or signals or len(source) > _LOOKED_THROUGH:
        return []
    thumbnails = [
        thumbnail(as_pictures(source.gather(np.array([row])))[0]) for row in range(len(source))
    ]
    n = len(unlinked_near_pairs(source, np.stack(thumbnails)))
    if not n:
        return []
    pairs = "1 pair of pictures is" if n == 1 else f"{n} pairs of pictures are"
    return [
        f"{pairs} nearly identical, and no patient links them: one may be learned from and the "
        "other asked about ('medmeta data inspect' names some)."
    ]


def _planned(
    model: LoadedModel,
    one: Measured,
    source: Source,
    fresh: Source,
    shot: int,
    request: EvaluationRequest,
) -> Protocol:
    """The protocol, once it is known that the source can give its tasks and the model takes them.

    Where pictures were left out, the error says so, for else its counts would puzzle.
    """
    trained, has = str(model.card["target"]["kind"]), source.index.labels
    kind = _kind_of(source)
    if (trained == "masks") != (source.masks is not None) or (
        trained != "masks" and (trained == "values") != (has is None)
    ):
        raise SamplingError(f"{source.name} has {kind}, but this model is for {trained}.")
    try:
        protocol = _protocol(model, one, fresh, shot, request)
        TaskSampler([fresh], protocol)
    except SamplingError as error:
        gone = len(source) - len(fresh)
        if not gone:
            raise
        raise SamplingError(
            f"{error} ({gone} of its pictures were seen in training, or others of their patients.)"
        ) from None
    if protocol.kind != "values":
        check_task_fits(one.learner, Target(protocol.kind, protocol.n_way[1]))
    return protocol


def _kind_of(source: Source) -> str:
    if source.masks is not None:
        return "masks"
    return "values" if source.index.labels is None else "classes"


def _protocol(
    model: LoadedModel, one: Measured, source: Source, shot: int, request: EvaluationRequest
) -> Protocol:
    target = str(model.card["target"]["kind"])
    kind = target if target in ("masks", "values") else "classes"
    protocol = Protocol(
        sources=(source.name,),
        kind=kind,
        n_way=(1, 1) if kind == "values" else (2, 2),
        n_shot=(shot, shot),
        n_query=request.query,
        episodes=request.episodes,
        tasks_per_batch=request.tasks_per_batch,
        patient_disjoint=request.patient_disjoint,
        drop_small_classes=request.drop_small,
        norm=model.norm,
        transductive=one.learner.traits.transductive,
        seed=request.seed,
        split=request.split,
        standardise=request.standardise,
    )
    if kind == "values":
        return protocol
    if kind == "masks":
        way = parse_way(request.way) if request.way else model.card["protocol"]["n_way"]
        return protocol.model_copy(update={"n_way": (int(way[0]), int(way[1]))})
    kept, small = class_pools(source, protocol)
    classes = len(kept) + (0 if request.drop_small else len(small))
    most = one.learner.traits.max_way or classes
    way = wanted_way(model, request, min(classes, most))
    return protocol.model_copy(update={"n_way": way})
