"""What ``adapt`` uses without a run where a path holds something else than pictures of classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medmeta.app.baselines import untrained_model
from medmeta.app.models import LoadedModel
from medmeta.app.support_kind import SupportKind, kind_of
from medmeta.data.listing import ScannedSource
from medmeta.data.preprocess import Preprocessing
from medmeta.encoders import Parts
from medmeta.encoders.parts import HAND_MADE_PARTS, LEARNED
from medmeta.episode import Target
from medmeta.learner import AbstractLearner
from medmeta.learners.auto.head import AutoHead

AUTOMATIC = "auto"
EACH_SLICE, EACH_MODALITY = "slicewise", "each_modality"
OF_SIGNALS = {"waveform": {"name": "waveform"}, "waves": {"name": "random_convolutions"}}
OF_RECORDS = {"record": {"name": "tabular", "options": {"width": 0}}}


def model_for(
    support: Path,
    box: LoadedModel,
    given: Mapping[str, Any],
    *,
    listed: ScannedSource | None = None,
) -> tuple[LoadedModel, str | None]:
    """A model for what lies at a path, and a sentence on what is used.

    The model in the ``box`` itself, and None, where it holds pictures of classes. ``given`` are the
    flags that say how files are read, of which those that were given are kept; ``listed`` what a
    survey of the path found, where there was one.
    """
    found = kind_of(support, given, listed=listed)
    if found is None:
        return box, None
    given = {name: value for name, value in given.items() if value is not None}
    prepared = Preprocessing.model_validate(
        {**box.card["preprocessing"], **found.preprocessing, **given}
    )
    parts = _parts(found, box)
    options = {"encoder": {"name": "parts", "options": {"parts": parts}}}
    target = Target("values", 1) if found.valued else Target("classes", 5)
    model = untrained_model(AUTOMATIC, options, prepared, target)
    learned = LEARNED in parts
    if learned:
        _give_weights(model.learner, box.learner)
    kept = ("medmeta", "sources", "step", "training") if learned else ("medmeta",)
    card = {**model.card, **{name: box.card[name] for name in kept if name in box.card}}
    beside = box.beside if learned else {}
    return replace(model, card=card, beside=beside), found.sentence


def _parts(found: SupportKind, box: LoadedModel) -> dict[str, Any]:
    """The encoders side by side, as configurations."""
    if found.kind == "signal":
        return dict(OF_SIGNALS)
    if found.kind == "record":
        return dict(OF_RECORDS)
    pictures: dict[str, Any] = {LEARNED: dict(box.card["options"]["encoder"])}
    pictures |= {name: {"name": spec.name} for name, spec in HAND_MADE_PARTS.items()}
    if found.kind == "volume":
        return {name: _wrapped(EACH_SLICE, one, pool="mean") for name, one in pictures.items()}
    if found.kind == "modalities":
        channels = box.preprocessing.channels
        return {
            name: _wrapped(EACH_MODALITY, one, channels=channels) for name, one in pictures.items()
        }
    return pictures


def _wrapped(name: str, image: Mapping[str, Any], **options: object) -> dict[str, Any]:
    return {"name": name, "options": {"image": dict(image), **options}}


def _give_weights(learner: AbstractLearner, box: AbstractLearner) -> None:
    """What the box has learned, into the same network wherever it lies in another learner."""
    mine, trained = _parts_in(learner), _parts_in(box).parts[LEARNED]
    network = mine.parts[LEARNED]
    if type(network) is not type(trained):  # it goes slice by slice, or modality by modality
        network = getattr(network, "encoder", network)
    network.load_state_dict(trained.state_dict())
    known = _head(box).known_variances()
    found: list[Tensor] = []
    for name, size in mine.sizes.items():
        own = known.get(name)
        if own is None or size % len(own):
            found.append(torch.zeros(size))
        else:
            found.append(own.repeat(size // len(own)))
    _head(learner).variances.copy_(torch.cat(found))


def _parts_in(learner: AbstractLearner) -> Parts:
    return next(module for module in learner.modules() if isinstance(module, Parts))


def _head(learner: AbstractLearner) -> AutoHead:
    return next(module for module in learner.modules() if isinstance(module, AutoHead))
