"""Trained models on disk: building a learner from its card, and reading a run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from medmeta import box
from medmeta.app.assembling import assemble, blamed_on
from medmeta.app.cards import EvaluationCard, ModelCard, ShiftCard, check_card
from medmeta.app.run_folder import SEEN, hashes_from_bytes, load_seen
from medmeta.data.preprocess import Preprocessing
from medmeta.errors import CheckpointError, SettingsError
from medmeta.learner import AbstractLearner
from medmeta.settings import in_plain_words
from medmeta.storage import CARD, load_folder, read_json
from medmeta.training.checkpoint import (
    WEIGHTS,
    load_weights,
    model_folder,
    tensors_from_bytes,
)

MODEL_FORMAT = "medmeta-model/1"
EVALUATIONS = "evaluations"
SHIFTS = "shifts"
PACKED_SEEN = "seen.safetensors"  # in a model folder that is no run's


@dataclass(frozen=True)
class LoadedModel:
    """A learner with its card, in evaluation mode, and the run it comes from (if any).

    ``sha256`` is that of its card's file; empty where it has none. ``beside`` are the other files
    of a folder that is no run's: content hashes of the pictures seen, what it knows of trust.
    """

    learner: AbstractLearner
    card: Mapping[str, Any]
    run: Path | None = None
    sha256: str = ""
    beside: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def preprocessing(self) -> Preprocessing:
        """How its images were prepared, and must be."""
        return Preprocessing.model_validate(self.card["preprocessing"])

    def reading(self, **changes: Any) -> LoadedModel:
        """The same model with images read otherwise: ``window``, ``slices``, ``plane`` and so on.

        What is None stays as it was. Raises ``SettingsError``.
        """
        prepared = with_reading(self.card["preprocessing"], changes)
        card = {**self.card, "preprocessing": prepared.model_dump(mode="json")}
        return replace(self, card=card)

    @property
    def norm(self) -> str:
        """How its encoder normalises."""
        return str(self.card["options"].get("encoder", {}).get("norm") or "running")

    def seen_hashes(self) -> NDArray[np.uint64]:
        """Content hashes of the pictures it was trained or validated on."""
        if self.run is None:
            packed = self.beside.get(PACKED_SEEN)
            if packed is None:
                return np.zeros(0, dtype=np.uint64)
            return hashes_from_bytes(packed, where=Path(PACKED_SEEN))
        if not (self.run / SEEN).is_dir():
            raise CheckpointError(
                f"{self.run} lacks its folder {SEEN!r}, the pictures it learned from, so they "
                "cannot be left out; restore it from a copy."
            )
        return load_seen(self.run)

    def trained_classes(self) -> set[str]:
        """Names of the classes it was trained on, in lower case; of what it started from too."""
        return {name.lower() for _, name in classes_learned(self.card)}

    def evaluations(self, head: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """What ``medmeta evaluate`` found of this run under a head (None: its own) so far."""
        return [found for found in self.all_evaluations() if found.get("head") == head]

    def shifts(self, head: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """What ``medmeta evaluate --shift`` found of this run under a head (None: its own)."""
        if self.run is None or not (self.run / SHIFTS).is_dir():
            return []
        found = []
        for file in sorted((self.run / SHIFTS).glob("*/summary.json")):
            summary = read_json(file)
            check_card(ShiftCard, summary, where=file)
            found.append(summary)
        return [one for one in found if one.get("head") == head]

    def all_evaluations(self) -> list[dict[str, Any]]:
        """What ``medmeta evaluate`` found of this run's weights so far, under whatever head.

        What it found of weights from earlier in the training is no figure of these.
        """
        if self.run is None or not (self.run / EVALUATIONS).is_dir():
            return []
        found = []
        for file in sorted((self.run / EVALUATIONS).glob("*/summary.json")):
            summary = read_json(file)
            check_card(EvaluationCard, summary, where=file)
            if summary.get("model") in (None, "", self.sha256):
                found.append(summary)
        return found


def classes_learned(card: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Source and class of all that a model was trained on, and the one it started from."""
    before = card.get("init")
    return {
        (source["name"], name)
        for source in card.get("sources", [])
        for name in source.get("classes", [])
    } | (classes_learned(before["card"]) if before else set())


def load_model(
    path: Path, *, expected_sha256: str | None = None, allow_external: bool = False
) -> LoadedModel:
    """Load the model of a run, a model folder itself, or a model in the box by its name.

    Raises ``CheckpointError`` where it is missing, damaged or altered, or of another version.
    """
    place, pinned = place_of(path)
    return _load(path, place, pinned, expected_sha256, allow_external=allow_external)


def load_boxed(name: str, *, expected_sha256: str | None = None) -> LoadedModel:
    """Load a model in the box, whatever folders lie beside; raises ``CheckpointError``."""
    return _load(Path(name), box.box_folder(name), box.PINNED[name], expected_sha256)


def _load(
    path: Path,
    place: Path,
    pinned: str | None,
    expected_sha256: str | None,
    *,
    allow_external: bool = False,
) -> LoadedModel:
    is_model = (place / CARD).is_file()
    folder = place if is_model else _newest_model(place)
    card, parts = load_folder(folder, expected_sha256=expected_sha256)
    if pinned is not None:
        _check_pinned(path, folder, pinned)
    if card.get("format") != MODEL_FORMAT or WEIGHTS not in parts:
        saved_by = f", saved by medmeta {card['medmeta']}" if card.get("medmeta") else ""
        raise CheckpointError(
            f"{folder} holds no model of this version of medmeta (format "
            f"{card.get('format')!r}{saved_by}; expected {MODEL_FORMAT!r}); give the folder that "
            "'medmeta train --out' wrote."
        )
    check_card(ModelCard, card, where=folder / CARD)
    torch.manual_seed(0)
    with blamed_on(folder / CARD):
        learner = assemble(card, allow_external=allow_external)
    weights = tensors_from_bytes(parts[WEIGHTS], where=folder / WEIGHTS)
    load_weights(learner, weights, where=folder / WEIGHTS)
    digest = hashlib.sha256((folder / CARD).read_bytes()).hexdigest()
    beside = {name: content for name, content in parts.items() if name != WEIGHTS}
    return LoadedModel(learner.eval(), card, None if is_model else place, digest, beside)


def place_of(path: Path) -> tuple[Path, str | None]:
    """The folder that is meant, and the hash that its card must have where it is in the box.

    A folder of that name goes before a model in the box. Raises ``CheckpointError``.
    """
    if path.is_dir():
        return path, None
    if (name := str(path)) in box.PINNED:
        return box.box_folder(name), box.PINNED[name]
    raise CheckpointError(
        f"{path} is not there; give the folder that 'medmeta train' wrote, or the name of a model "
        f"in the box ({box.in_words()})."
    )


def _check_pinned(name: Path, folder: Path, pinned: str) -> None:
    if hashlib.sha256((folder / CARD).read_bytes()).hexdigest() != pinned:
        raise CheckpointError(
            f"{name}: the model in this installation of medmeta is not the one that it came with; "
            "it was damaged or altered. Install medmeta again."
        )


def verify_run(model: LoadedModel) -> None:
    """Compare everything else in a model's run with its hashes; raises ``CheckpointError``."""
    if model.run is not None:
        model.seen_hashes()
        for folder in sorted(model.run.glob("checkpoint-*")):
            load_folder(folder)


def _newest_model(run: Path) -> Path:
    try:
        return model_folder(run)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{run}: the card of its newest checkpoint is incomplete or damaged ({error!r}); "
            "restore it from a copy."
        ) from None


def with_reading(preprocessing: Mapping[str, Any], changes: Mapping[str, Any]) -> Preprocessing:
    """How images are prepared, with what of ``changes`` is not None; ``SettingsError`` otherwise.

    >>> with_reading({"size": 64}, {"slices": 3, "plane": None}).slices
    3
    """
    given = {name: value for name, value in changes.items() if value is not None}
    try:
        return Preprocessing.model_validate({**preprocessing, **given})
    except ValidationError as error:
        first = error.errors()[0]
        flag = f"--{str(first['loc'][0]).replace('_', '-')}" if first["loc"] else "the images"
        raise SettingsError(f"{flag}: {in_plain_words(first['msg'])}.") from None
