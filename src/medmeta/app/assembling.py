"""Learners put together: from a card, or from the encoder of another with another head."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medmeta.app.cards import spec_from_card
from medmeta.data.preprocess import Preprocessing
from medmeta.data.sentences import permit
from medmeta.encoders import AbstractEncoder
from medmeta.episode import InputSpec, Target
from medmeta.errors import CheckpointError, MedmetaError, UnsupportedTaskError
from medmeta.learner import AbstractLearner
from medmeta.learners import build_learner, build_on, names_on_encoders


def input_spec_from(card: Mapping[str, Any]) -> InputSpec:
    """The input shape that a card names."""
    return spec_from_card(card["input_spec"])


def assemble(card: Mapping[str, Any], *, allow_external: bool = False) -> AbstractLearner:
    """A learner of the kind that a checked card describes, with fresh weights.

    Raises ``MedmetaError`` where there is no such learner, or where it needs code from outside
    that was not allowed.
    """
    record = Preprocessing.model_validate(card["preprocessing"]).record
    for encoder in record.encoders if record is not None else ():
        permit(encoder, allowed=allow_external)
    return build_learner(
        card["learner"],
        card["options"],
        input_spec_from(card),
        Target(card["target"]["kind"], int(card["target"]["size"])),
        allow_external=allow_external,
    )


@contextlib.contextmanager
def blamed_on(file: Path) -> Iterator[None]:
    """What cannot be built from a card is the card's fault, not the user's settings."""
    try:
        yield
    except CheckpointError:
        raise
    except MedmetaError as error:
        raise CheckpointError(f"{file}: {error}") from None


def with_head(
    learner: AbstractLearner,
    name: str,
    options: Mapping[str, Any],
    input_spec: InputSpec,
    target: Target,
) -> AbstractLearner:
    """The learner's encoder under another head, or tuned within each task.

    Raises ``UnsupportedTaskError`` where the learner is not an encoder with a head.
    """
    encoder = getattr(learner, "encoder", None) if learner.traits.has_head else None
    if not isinstance(encoder, AbstractEncoder):
        raise UnsupportedTaskError(
            f"{type(learner).__name__} has no encoder of its own to put --head {name} on; use a "
            "run of 'medmeta pretrain' or of a learner that is a head itself "
            f"({', '.join(names_on_encoders())}), or leave out --head."
        )
    built = build_on(encoder, name, options, input_spec, target)
    if learner.traits.name == name:  # what it knows of source data
        known = learner.state_dict()
        if learner.traits.trainable:  # its weights begin anew, but not the mean that it has seen
            buffers = {buffer: held.shape for buffer, held in built.named_buffers()}
            known = {n: held for n, held in known.items() if buffers.get(n) == held.shape}
        built.load_state_dict(known, strict=not learner.traits.trainable)
    return built


def encoder_of(learner: AbstractLearner) -> AbstractEncoder:
    """The learner's encoder, wherever in it that lies, without what is wrapped around it.

    (Another way of reading the same weights: feature maps instead of embeddings, or flips.)
    """
    encoders = [module for module in learner.modules() if isinstance(module, AbstractEncoder)]
    if not encoders:
        raise UnsupportedTaskError(f"{type(learner).__name__} has no encoder.")
    size = len(encoders[0].state_dict())
    return [encoder for encoder in encoders if len(encoder.state_dict()) == size][-1]
