"""Several modalities of one patient, each through the same encoder of pictures or volumes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from medmeta.encoders._interface import (
    AbstractEncoder,
    EncoderConfig,
    EncoderSpec,
    Norm,
    VectorEncoder,
)
from medmeta.episode import Inputs, InputSpec
from medmeta.errors import SettingsError
from medmeta.input_parts import IMAGE, PRESENT
from medmeta.settings import Settings


class EachModalityOptions(Settings):
    """Options: ``image``, the encoder of one modality, which has so many ``channels``."""

    image: EncoderConfig = EncoderConfig()
    channels: int = Field(3, ge=1, le=3)


class EachModality(VectorEncoder):
    """The embeddings of all modalities side by side; those that are missing are zeros.

    So an encoder that was trained on pictures serves for any number of modalities. Of a mapping
    with an ``image`` ``(N, C × M, *space)`` and ``present`` ``(N, M)``.
    """

    def __init__(
        self,
        options: EachModalityOptions,
        input_spec: InputSpec,
        norm: Norm,
        parts: Sequence[AbstractEncoder],
    ) -> None:
        super().__init__()
        (self.encoder,) = parts
        self.modalities = _modalities(input_spec)
        self.embedding_size = self.modalities * self.encoder.embedding_size

    def embed(self, inputs: Inputs) -> Tensor:
        """``(N, M × embedding_size of one)``."""
        assert not isinstance(inputs, Tensor)
        images, there = inputs[IMAGE].chunk(self.modalities, dim=1), inputs[PRESENT] > 0
        found = [self.encoder(one) * there[:, [m]] for m, one in enumerate(images)]
        return torch.cat(found, dim=1)


def _modalities(input_spec: InputSpec) -> int:
    present = input_spec.part(PRESENT)
    if present is None or input_spec.part(IMAGE) is None:
        raise SettingsError("each_modality takes images of several modalities; name them.")
    return present.channels


def _parts(
    options: EachModalityOptions, input_spec: InputSpec
) -> list[tuple[EncoderConfig, InputSpec]]:
    image, modalities = input_spec.part(IMAGE), _modalities(input_spec)
    assert image is not None
    if image.channels != options.channels * modalities:
        raise SettingsError(
            f"each_modality: {modalities} modalities of {options.channels} channels are not the "
            f"{image.channels} that there are; say channels={image.channels // modalities}."
        )
    return [(options.image, InputSpec(options.channels, image.size))]


SPEC = EncoderSpec(
    "each_modality",
    "an encoder of pictures or volumes on each modality",
    EachModalityOptions,
    EachModality,
    _parts,
    takes=frozenset({"mapping"}),
)
