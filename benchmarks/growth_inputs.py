"""Works whose cost grows with the size of one input: tiles of a slide, leads of a signal."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from growth_timing import timed
from made_slide import write_slide
from medmeta.data.preprocess import Preprocessing
from medmeta.data.recording import Recording
from medmeta.data.signal_shape import prepare_signal
from medmeta.data.slide_tiles import read_tiles, tile_count
from medmeta.encoders import EncoderConfig, build_encoder
from medmeta.episode import InputSpec

_SECONDS, _RATE = 10, 500


def read_and_pool_tiles(n: int) -> float:
    """So many tiles of one slide, read and pooled by attention to one embedding."""
    random = np.random.default_rng(0)
    pictures = [Image.fromarray(random.integers(60, 190, (256, 256, 3), np.uint8)) for _ in "abcd"]
    shape = Preprocessing(size=32, mpp=0.25, tissue=0)
    encoder = build_encoder(
        EncoderConfig(name="slicewise", options={"image": {"options": {"width": 16}}}),
        InputSpec(3, (n, 32, 32)),
        norm="group",
    ).eval()
    with tempfile.TemporaryDirectory() as folder:
        slide = Path(folder) / "s.tif"
        write_slide(slide, pictures, side=2048)
        assert tile_count(slide, shape) >= n

        def work() -> None:
            tiles = torch.from_numpy(np.stack(read_tiles(slide, range(n), shape)))
            with torch.no_grad():
                encoder(tiles.permute(3, 0, 1, 2)[None].float() / 255)

        return timed(work)


def prepare_leads(n: int) -> float:
    """A recording of so many leads, ten seconds at 500 a second, brought to 1000 samples."""
    names = tuple(f"lead{i}" for i in range(n))
    values = np.random.default_rng(0).normal(0, 1, (n, _SECONDS * _RATE)).astype(np.float32)
    made = Recording(names, _RATE, values)
    shape = Preprocessing(samples=1000, leads=",".join(names))

    return timed(lambda: prepare_signal(made, shape))
