"""The picture of the tutorial: made-up anatomies that were never trained on, marked from three.

    python benchmarks/segmentation_picture.py --run runs/segmentation/conditioned_unet-64

Writes ``docs/segmentation.png``.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medmeta.app.mask_files import overlay
from medmeta.app.mask_workbench import adapt_masks
from medmeta.app.models import load_model
from medmeta.data.source import Source
from medmeta.data.synthetic_structures import synthetic_structures

ROOT = Path(__file__).resolve().parents[1]
N_SUPPORT, SCALE = 3, 2
SEEDS = {"organs": 41, "tubes": 43, "regions": 53}


def binary(source: Source) -> Source:
    """The structure that most images hold, alone."""
    value = int(source.marked[:, 1:].sum(0).argmax()) + 1
    masks = (source.masks == value).astype(np.uint8) if source.masks is not None else None
    index = replace(source.index, structures=("structure",), others={})
    return replace(source, index=index, masks=masks)


def row(run: Path, kind: str, seed: int) -> NDArray[np.uint8]:
    """One anatomy: a support image, its mask, a query, the answer, how unsure it is."""
    model = load_model(run)
    size = model.preprocessing.size
    source = binary(synthetic_structures(1, images=5, size=size, seed=seed, kinds=(kind,)))
    predictor = adapt_masks(model, source.take(np.arange(N_SUPPORT)))
    asked = source.gather(np.array([N_SUPPORT]))
    answer = predictor.answer(asked, uncertainty=True)
    assert answer.uncertainty is not None
    shown, first = asked[0].transpose(1, 2, 0), source.gather(np.array([0]))[0].transpose(1, 2, 0)
    mask = answer.probabilities[0].argmax(0).astype(np.uint8)
    truth = source.gather_masks(np.array([0]))[0]
    grey = np.rint(255 * answer.uncertainty[0].clip(0, 1)).astype(np.uint8)
    tiles = [first, _grey(255 * truth), shown, overlay(shown, mask), _grey(grey)]
    return np.concatenate([np.pad(t, ((1, 1), (1, 1), (0, 0))) for t in tiles], axis=1)


def _grey(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(values[..., None], 3, axis=2)


def main() -> None:
    """Draw all rows and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    given = parser.parse_args()
    rows = np.concatenate([row(given.run, kind, seed) for kind, seed in SEEDS.items()])
    picture = Image.fromarray(rows)
    large = picture.resize((SCALE * picture.width, SCALE * picture.height))
    large.quantize(128).save(ROOT / "docs" / "segmentation.png", optimize=True)


if __name__ == "__main__":
    main()
