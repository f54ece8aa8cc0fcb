"""Volumes through a network of pictures: slice by slice, and the slices pooled (2.5-D)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from medmeta.encoders._interface import AbstractEncoder, EncoderConfig, EncoderSpec, Norm
from medmeta.encoders._norm import uses_batch_statistics
from medmeta.episode import InputSpec
from medmeta.settings import Settings

_AT_ONCE = 2**17  # pixels


class SlicewiseOptions(Settings):
    """Options of the slice-wise encoder.

    ``image``: the encoder of a slice. ``pool``: the ``mean`` of the slices' embeddings, their
    ``max``, or their mean by learned ``attention``.
    """

    image: EncoderConfig = EncoderConfig()
    pool: Literal["mean", "max", "attention"] = "attention"


class Slicewise(AbstractEncoder):
    """Embeds each slice of ``(N, C, D, H, W)`` and pools the slices to ``(N, embedding_size)``.

    Attention: Ilse et al. 2018, Attention-based Deep Multiple Instance Learning, equation 8. The
    order of the slices does not matter, so what no slice shows by itself is not seen. Where no
    gradient is wanted, some slices are embedded at a time, so that memory does not grow with them.
    """

    def __init__(
        self,
        options: SlicewiseOptions,
        input_spec: InputSpec,
        norm: Norm,
        parts: Sequence[AbstractEncoder],
    ) -> None:
        super().__init__()
        (self.encoder,) = parts
        self.apart = not uses_batch_statistics(self.encoder)
        self.embedding_size = self.encoder.embedding_size
        self.pool = options.pool
        self.attention = Attention(self.embedding_size) if options.pool == "attention" else None

    def stages(self, inputs: Tensor) -> list[Tensor]:
        """The embeddings of all slices, ``(N, embedding_size, D)``, the only stage."""
        n, depth = inputs.shape[0], inputs.shape[2]
        slices = inputs.transpose(1, 2).flatten(0, 1)
        some = max(1, _AT_ONCE // slices[0, 0].numel())
        if torch.is_grad_enabled() or not self.apart:
            some = len(slices)
        embedded = torch.cat([self.encoder(part) for part in torch.split(slices, some)])
        return [embedded.reshape(n, depth, -1).mT]

    def summarise(self, feature_map: Tensor) -> Tensor:
        """Pool the slices."""
        if self.attention is not None:
            pooled: Tensor = self.attention(feature_map.mT)
            return pooled
        return feature_map.amax(2) if self.pool == "max" else feature_map.mean(2)


class Attention(nn.Module):
    """The mean of some embeddings ``(N, n, D)``, of which each says how much it counts: ``(N, D)``.

    It begins as the plain mean.
    """

    def __init__(self, size: int, hidden: int = 64) -> None:
        super().__init__()
        self.hidden = nn.Linear(size, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Weights are a softmax over the ``n``."""
        shares = self.score(torch.tanh(self.hidden(embeddings))).softmax(dim=1)
        mean: Tensor = (shares * embeddings).sum(1)
        return mean


def _parts(
    options: SlicewiseOptions, input_spec: InputSpec
) -> list[tuple[EncoderConfig, InputSpec]]:
    return [(options.image, InputSpec(input_spec.channels, input_spec.size[1:]))]


SPEC = EncoderSpec(
    "slicewise",
    "an encoder of pictures on each slice, the slices pooled",
    SlicewiseOptions,
    Slicewise,
    _parts,
    takes=frozenset({"volume"}),
)
