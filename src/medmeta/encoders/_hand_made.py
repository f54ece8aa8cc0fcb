"""What features without learning share: how they are asked for, and what they look at."""

from __future__ import annotations

import importlib
import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from medmeta.encoders._interface import VectorEncoder
from medmeta.episode import InputSpec
from medmeta.errors import MissingExtraError, SettingsError

DARKEST, BRIGHTEST = -2.0, 2.0  # of the floats that encoders are given
LEAST_SIDE = 16
MIDDLE = 0.625  # radius of the middle disc, of half a side
LUMINANCE = (0.299, 0.587, 0.114)


class HandMadeEncoder(VectorEncoder):
    """Features of each image by itself; nothing is learned, and there is no gradient.

    A subclass sets ``embedding_size`` and writes ``features``. Raises ``SettingsError`` where
    images are too small for it.
    """

    def __init__(self, name: str, input_spec: InputSpec) -> None:
        super().__init__()
        if min(input_spec.size) < LEAST_SIDE:
            raise SettingsError(
                f"{name} needs images of at least {LEAST_SIDE}×{LEAST_SIDE}, not {input_spec.size}."
            )

    @abstractmethod
    def features(self, shares: Tensor) -> Tensor:
        """Float32 images in 0 to 1, ``(N, C, H, W)``, to ``(N, embedding_size)``."""

    def embed(self, inputs: Tensor) -> Tensor:
        """The features ``(N, embedding_size)``."""
        return outside_torch(inputs, self._scaled)

    def _scaled(self, images: Tensor) -> Tensor:
        shares = ((images.float() - DARKEST) / (BRIGHTEST - DARKEST)).clamp(0, 1)
        return self.features(shares).to(images.dtype)


class OutsideTorch(torch.autograd.Function):
    """A function of each image that torch cannot look into: without gradient, also in ``vmap``."""

    @staticmethod
    def forward(images: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        return function(images.detach())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None]:
        return None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int, None], images: Tensor, function: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, int]:
        tasks = images.movedim(in_dims[0], 0)
        found = OutsideTorch.apply(tasks.flatten(0, 1), function)  # type: ignore[no-untyped-call]
        return found.unflatten(0, tasks.shape[:2]), 0


def outside_torch(images: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """``function`` of ``(N, ...)``, without gradient, also in ``vmap``."""
    found: Tensor = OutsideTorch.apply(images, function)  # type: ignore[no-untyped-call]
    return found


def brightness(shares: Tensor) -> Tensor:
    """What is looked at for shape and grain: the luminance of colours, else every channel.

    ``(N, C, H, W)`` to ``(N, 1, H, W)`` of three channels, else unchanged.

    >>> brightness(torch.ones(1, 3, 2, 2)).shape, brightness(torch.ones(1, 2, 2, 2)).shape
    (torch.Size([1, 1, 2, 2]), torch.Size([1, 2, 2, 2]))
    """
    if shares.shape[1] != len(LUMINANCE):
        return shares
    return torch.einsum("c,nchw->nhw", shares.new_tensor(LUMINANCE), shares)[:, None]


def n_brightness(channels: int) -> int:
    """How many channels ``brightness`` gives."""
    return 1 if channels == len(LUMINANCE) else channels


def middle_disc(size: tuple[int, ...]) -> Tensor:
    """Which pixels lie in the middle, ``(H, W)``: what is imaged is mostly there.

    >>> disc = middle_disc((64, 64))
    >>> bool(disc[32, 32]), bool(disc[0, 0])
    (True, False)
    """
    lines = [torch.linspace(-1, 1, side) for side in size]
    y, x = torch.meshgrid(*lines, indexing="ij")
    return torch.hypot(y, x) < MIDDLE


def share_histograms(values: Tensor, bins: int) -> Tensor:
    """Of each channel, square roots of the shares of values in each bin between 0 and 1.

    ``(N, C, n)`` to ``(N, C × bins)``; a channel's has length 1.

    >>> share_histograms(torch.tensor([[[0.1, 0.2, 0.3, 1.0]]]), 4)
    tensor([[0.7071, 0.5000, 0.0000, 0.5000]])
    """
    places = (values * bins).long().clamp(max=bins - 1)
    counts = values.new_zeros(*values.shape[:2], bins)
    counts.scatter_add_(2, places, torch.ones_like(values))
    return (counts / values.shape[2]).sqrt().flatten(1)


def to_length_one(features: Tensor, size: int) -> Tensor:
    """Features whose mean square is about 1 over ``size`` numbers, from ones of length 1."""
    return features * math.sqrt(size)


def skimage_feature(name: str, encoder: str) -> Callable[..., Any]:
    """A function of scikit-image's; it comes with an extra, and is imported here alone.

    Raises ``MissingExtraError``.
    """
    try:
        feature = importlib.import_module("skimage.feature")
    except ImportError:
        raise MissingExtraError("scikit-image", "features", f"the encoder {encoder}") from None
    return getattr(feature, name)  # type: ignore[no-any-return]
