"""Rows of a source as what learners take: stored integers, normalised images, or embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medmeta.data.preprocess import as_float
from medmeta.data.source import Source
from medmeta.episode import Inputs, map_inputs
from medmeta.input_parts import IMAGE

View = Callable[[NDArray[np.int64]], Inputs]
"""Rows ``(n,)`` of a source to its inputs or embeddings ``(n, ...)``.

uint8 images are as they are stored: the loader normalises them, a whole batch at once."""


def stored_view(source: Source) -> View:
    """Inputs as they are stored, images as uint8, in the host's memory.

    A tensor, or a mapping where something stands beside the pictures.
    """
    return lambda rows: stored_inputs(source, rows)


def stored_inputs(source: Source, rows: NDArray[np.int64]) -> Inputs:
    """Of some rows ``(n,)``: pictures uint8 ``(n, C, *space)``, or a mapping with records."""
    beside = {name: values[rows] for name, values in source.beside.items()}
    has_pictures = source.pixels.shape[1]
    pixels = source.gather(rows) if has_pictures else source.pixels[:0]
    return inputs_of(pixels, beside)


def inputs_of(pixels: NDArray[np.uint8], beside: Mapping[str, NDArray[np.float32]]) -> Inputs:
    """Pictures ``(n, C, *space)`` and what stands beside them: a tensor if there is but one."""
    known = {name: torch.from_numpy(values) for name, values in beside.items()}
    if not pixels.shape[1]:
        return next(iter(known.values()))
    images = torch.from_numpy(pixels)
    return {IMAGE: images, **known} if known else images


def normalised(inputs: Inputs, device: torch.device | str = "cpu") -> Inputs:
    """Stored inputs on the device, images as normalised float32; what is float already stays."""
    return map_inputs(lambda values: as_float(values.to(device)), inputs)


def pixel_view(source: Source, device: torch.device | str = "cpu") -> View:
    """Images as normalised float32, gathered as integers and converted on the device."""
    return lambda rows: normalised(stored_inputs(source, rows), device)


def embedding_view(embeddings: Tensor) -> View:
    """Rows of embeddings ``(n, D)`` that were computed once."""
    return lambda rows: embeddings.index_select(0, torch.from_numpy(rows).to(embeddings.device))
