"""An encoder as a file: weights in safetensors, and beside them a card of what network they fit.

``my_encoder.safetensors`` has ``my_encoder.json``. The card names the network (one of medmeta's,
or ``external:package.module:factory``, which is imported only where the user allows it) and holds
the SHA-256 of the weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field
from torch import nn

from medmeta.app.assembling import encoder_of
from medmeta.app.cards import Card, check_card
from medmeta.encoders import ExternalEncoder
from medmeta.errors import CheckpointError, StorageError
from medmeta.learner import AbstractLearner
from medmeta.storage import read_json, write_bytes, write_json
from medmeta.training.checkpoint import load_weights, tensors_from_bytes, tensors_to_bytes

SUFFIX = ".safetensors"
FORMAT = "medmeta-encoder/1"
MOST_BYTES = 8 * 2**30


class EncoderCard(Card):
    """The card beside the weights."""

    format: str
    encoder: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    options: dict[str, Any] = Field(default_factory=dict)
    norm: str | None = None
    source: str = ""
    licence: str = ""


@dataclass(frozen=True)
class EncoderFile:
    """A file of weights, and what its card says of it."""

    file: Path
    card: Mapping[str, Any]

    @property
    def config(self) -> dict[str, Any]:
        """The network, as options of a learner's encoder name it."""
        named = {"name": self.card["encoder"], "options": dict(self.card.get("options", {}))}
        return named | ({"norm": self.card["norm"]} if self.card.get("norm") else {})

    @property
    def record(self) -> dict[str, str]:
        """What a model's card keeps of it: no path."""
        return {k: str(self.card.get(k, "")) for k in ("sha256", "source", "licence")}

    def give(self, learner: AbstractLearner) -> None:
        """Put the weights into a fresh learner's encoder; raises ``CheckpointError``."""
        try:
            content = self.file.read_bytes()
        except OSError as error:
            raise CheckpointError(f"{self.file} cannot be read: {error.strerror}.") from None
        if hashlib.sha256(content).hexdigest() != self.card["sha256"]:
            raise CheckpointError(
                f"{self.file} is not what its card {_card_of(self.file)} speaks of (its SHA-256 "
                "differs): it was damaged or altered. Restore it from a copy."
            )
        encoder = encoder_of(learner)
        inner = encoder.module if isinstance(encoder, ExternalEncoder) else encoder
        load_weights(inner, tensors_from_bytes(content, where=self.file), where=self.file)


def is_encoder_file(encoder: str | None) -> bool:
    """Whether ``--encoder`` names a file of weights, and not an encoder.

    >>> is_encoder_file("dino.safetensors"), is_encoder_file("conv4")
    (True, False)
    """
    return encoder is not None and encoder.lower().endswith(SUFFIX)


def open_encoder_file(file: Path) -> EncoderFile:
    """Read the card of a file of weights; raises ``CheckpointError`` where there is none."""
    if not file.is_file():
        raise CheckpointError(f"--encoder {file}: there is no such file.")
    if file.stat().st_size > MOST_BYTES:
        raise CheckpointError(f"{file} is larger than {MOST_BYTES // 2**30} GB.")
    place = _card_of(file)
    if not place.is_file():
        raise CheckpointError(
            f"{file} has no card beside it, {place.name}, which says what network its weights are "
            "of; medmeta.save_encoder writes both."
        )
    card = read_json(place)
    check_card(EncoderCard, card, where=place)
    if card["format"] != FORMAT:
        raise CheckpointError(
            f"{place} is of another version of medmeta (format {card['format']!r}, expected "
            f"{FORMAT!r})."
        )
    return EncoderFile(file, card)


def save_encoder(
    file: Path,
    module: nn.Module,
    encoder: str,
    *,
    options: Mapping[str, Any] | None = None,
    norm: str | None = None,
    source: str = "",
    licence: str = "",
) -> str:
    """Write a network's weights and the card beside them; returns the SHA-256 of the weights.

    ``encoder``: its name, such as ``external:my_encoder:architecture``, and its ``options``.
    Raises ``StorageError`` where a file is there already, or the disk refuses.
    """
    if file.suffix != SUFFIX:
        raise StorageError(f"{file}: a file of weights ends in {SUFFIX}.")
    for place in (file, _card_of(file)):
        if place.exists():
            raise StorageError(f"{place} is already there; choose another name or remove it.")
    content = tensors_to_bytes(module.state_dict())
    digest = hashlib.sha256(content).hexdigest()
    told = {"source": source, "licence": licence}
    card = {"format": FORMAT, "encoder": encoder, "options": dict(options or {}), "norm": norm,
            "sha256": digest, **told}  # fmt: skip
    write_bytes(file, content)
    write_json(_card_of(file), card)  # last: weights without a card are refused
    return digest


def _card_of(file: Path) -> Path:
    return file.with_suffix(".json")
