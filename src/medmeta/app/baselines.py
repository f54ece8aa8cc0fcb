"""What a run is measured beside: ridge regression on raw pixels, and learners without training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch

from medmeta.app.cards import spec_in_card
from medmeta.app.models import LoadedModel
from medmeta.data.preprocess import Preprocessing
from medmeta.data.source import Source
from medmeta.episode import InputSpec, Target
from medmeta.episodes.protocol import Protocol
from medmeta.evaluation.encoded import EncodedSource, Progressed, encodes_apart
from medmeta.evaluation.evaluate import Evaluation, evaluate
from medmeta.learner import AbstractLearner, HeadedLearner
from medmeta.learners import build_learner, configuration

RAW_RIDGE = "ridge on raw pixels"
Told = Callable[[str, int, int], None]


def ridge_on_raw_pixels(
    spec: InputSpec, source: Source, protocols: Sequence[Protocol], progress: Told | None = None
) -> dict[Protocol, Evaluation]:
    """How far ridge regression on the pixels themselves comes on the same tasks.

    (And on the numbers of the record, where there is one.)
    Protocols of values are left out.
    """
    asked = [protocol for protocol in protocols if protocol.kind == "classes"]
    if not asked:
        return {}
    # One learner for all of them, for it takes any number of classes: so one encoding serves all.
    target = Target("classes", max(protocol.n_way[1] for protocol in asked))
    raw = build_learner("ridge", {"encoder": _raw(spec)}, spec, target)
    (encoded,) = encoded_sources([raw], source)
    return {
        protocol: evaluate(
            raw,
            source,
            protocol,
            encoded=encoded,
            progress=told_by(f"{source.name}, {RAW_RIDGE}", protocol, progress),
        )
        for protocol in asked
    }


def _raw(spec: InputSpec) -> dict[str, Any]:
    """The encoder that takes inputs as they are."""
    plain = {"name": "pixels"}
    if spec.kind != "mapping":
        return plain
    return {"name": "fusion", "options": {"fusion": "late", "image": plain, "record": plain}}


def encoded_sources(
    learners: Sequence[AbstractLearner],
    source: Source,
    progress: Told | None = None,
    *,
    device: str = "cpu",
) -> list[EncodedSource | None]:
    """What each learner's encoder makes of a source: one for all heads that share an encoder.

    None for a learner whose encoder does not look at each image alone.
    """
    told = None if progress is None else partial(progress, f"{source.name}, encoding images")
    made: dict[int, EncodedSource] = {}
    found: list[EncodedSource | None] = []
    for learner in learners:
        if not encodes_apart(learner):
            found.append(None)
            continue
        key = id(_encoder(learner))
        if key not in made:
            headed = cast(HeadedLearner, learner)
            made[key] = EncodedSource(headed, source, device=device, progress=told)
        found.append(made[key])
    return found


def _encoder(learner: AbstractLearner) -> object:
    """What a learner's embeddings come from: its encoder, or itself where that has no name."""
    return getattr(learner, "encoder", learner)


def told_by(what: str, protocol: Protocol, progress: Told | None) -> Progressed | None:
    """Progress that says of what it is."""
    return None if progress is None else partial(progress, f"{what}, {protocol.describe()}")


def untrained_model(
    learner: str,
    options: Mapping[str, Any],
    preprocessing: Preprocessing,
    target: Target,
    *,
    allow_external: bool = False,
) -> LoadedModel:
    """A learner with fresh weights as a model: baselines such as ridge on raw pixels."""
    spec = preprocessing.input_spec
    config = configuration(learner, options, spec, kind=target.kind)
    torch.manual_seed(0)
    built = build_learner(learner, config, spec, target, allow_external=allow_external).eval()
    card = {
        "learner": learner,
        "options": config.model_dump(mode="json"),
        "input_spec": spec_in_card(spec),
        "target": {"kind": target.kind, "size": target.size},
        "preprocessing": preprocessing.model_dump(mode="json"),
        "sources": [],
    }
    return LoadedModel(built, card)
