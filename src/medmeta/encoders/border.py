"""The image's border alone: what it can tell of the classes is a shortcut, not the disease."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, cat

from medmeta.encoders._interface import AbstractEncoder, EncoderSpec, Norm
from medmeta.episode import InputSpec
from medmeta.errors import SettingsError
from medmeta.settings import Settings


class BorderOptions(Settings):
    """Options of the border: how many pixels of each side it takes in."""

    width: int = Field(4, ge=1, le=256)


class Border(AbstractEncoder):
    """The pixels within ``width`` of an edge: top, bottom, left, right; nothing is learned.

    Where a learner tells classes apart by these, they differ in how the images were taken, cropped
    or padded.

    >>> import torch
    >>> Border(BorderOptions(width=1), InputSpec(1, (3, 3)), "none")(
    ...     torch.arange(9.0).reshape(1, 1, 3, 3)
    ... )
    tensor([[0., 1., 2., 6., 7., 8., 3., 5.]])
    """

    def __init__(self, options: BorderOptions, input_spec: InputSpec, norm: Norm) -> None:
        super().__init__()
        self.width = options.width
        height, width = (side - 2 * options.width for side in input_spec.size)
        if min(height, width) < 1:
            raise SettingsError(
                f"a border {options.width} pixels wide leaves no middle of images of "
                f"{input_spec.size}: set a smaller width."
            )
        whole = input_spec.size[0] * input_spec.size[1]
        self.embedding_size = input_spec.channels * (whole - height * width)

    def stages(self, inputs: Tensor) -> list[Tensor]:
        """The border ``(N, C, pixels)``."""
        w = self.width
        rows = inputs[..., w:-w, :]
        parts = (inputs[..., :w, :], inputs[..., -w:, :], rows[..., :w], rows[..., -w:])
        return [cat([part.flatten(2) for part in parts], dim=2)]

    def summarise(self, feature_map: Tensor) -> Tensor:
        """Flatten."""
        return feature_map.flatten(1)


SPEC = EncoderSpec("border", "pixels of the image's border alone", BorderOptions, Border)
