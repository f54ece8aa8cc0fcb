"""Superpixels as structures: masks that follow their pictures, by the same chance each time."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import Generator, Philox
from numpy.typing import NDArray

from medmeta.data.source import Source
from medmeta.data.superpixel_structures import (
    DARK,
    LARGEST,
    SMALLEST,
    structures_of,
    superpixel_structures,
)
from medmeta.errors import DataError, SettingsError

LEVELS = (60, 140, 220)


def stripes(size: int = 48) -> NDArray[np.uint8]:
    """Three broad stripes of three greys, ``(3, H, W)``."""
    row = np.repeat(LEVELS, size // 3).astype(np.uint8)
    return np.broadcast_to(row, (3, size, size)).copy()


def source_of(*pictures: NDArray[np.uint8], name: str = "stripes") -> Source:
    return Source.from_arrays(name, np.stack(pictures), labels=["picture"] * len(pictures))


def chance(seed: int) -> Generator:
    return Generator(Philox(key=np.array([seed, 0], dtype=np.uint64)))


def test_a_structure_is_what_looks_alike() -> None:
    """Stripes of one grey each: whichever of them is marked is marked whole, up to its edges."""
    picture, found = stripes(), 0
    for seed in range(20):
        labels = structures_of(picture, chance(seed))
        if labels is None:
            continue
        for value in np.unique(labels[labels > 0]):
            shown = picture[0][labels == value]
            level = np.bincount(shown).argmax()
            assert level in LEVELS
            assert (shown == level).mean() > 0.9
            assert SMALLEST <= (labels == value).mean() <= LARGEST
            found += 1
    assert found > 10


def test_masks_follow_their_pictures() -> None:
    """After bending and turning, the marked pixels are still those of one grey."""
    made = superpixel_structures([source_of(stripes(), stripes())], 2, images=6, seed=3)
    for pixels, mask in zip(made.pixels, made.masks if made.masks is not None else [], strict=True):
        for value in np.unique(mask[mask > 0]):
            inside = pixels[0][mask == value].astype(float)
            assert np.median(np.abs(inside - np.median(inside))) < 12


def test_families_are_pictures_and_copies_differ() -> None:
    made = superpixel_structures([source_of(stripes(), stripes())], 2, images=3)
    assert len(made) == 6
    assert made.index.column("family").texts() == ["stripes 0000"] * 3 + ["stripes 0001"] * 3
    assert len(np.unique(made.hashes)) == 6
    again = superpixel_structures([source_of(stripes(), stripes())], 2, images=3)
    assert np.array_equal(made.pixels, again.pixels)
    other = superpixel_structures([source_of(stripes(), stripes())], 2, images=3, seed=1)
    assert not np.array_equal(made.pixels, other.pixels)


def test_sources_take_turns() -> None:
    first, second = (source_of(*[stripes()] * 9, name=name) for name in ("first", "second"))
    made = superpixel_structures([first, second], 8, images=1)
    drawn = [text.split()[0] for text in made.index.column("family").texts()]
    assert min(drawn.count("first"), drawn.count("second")) >= 2  # some pictures are passed over


def test_air_is_no_structure() -> None:
    assert structures_of(np.full((3, 32, 32), DARK - 1, np.uint8), chance(0)) is None


def test_too_few_or_unlike_pictures_are_refused() -> None:
    with pytest.raises(DataError, match="3 pictures with superpixels were asked for"):
        superpixel_structures([source_of(stripes())], 3)
    with pytest.raises(DataError, match="2 shapes"):
        superpixel_structures([source_of(stripes()), source_of(stripes(30))], 1)
    with pytest.raises(DataError, match="square"):
        superpixel_structures([source_of(stripes()[:, :24])], 1)
    with pytest.raises(SettingsError, match="one or more"):
        superpixel_structures([source_of(stripes())], 0)
    with pytest.raises(SettingsError, match="one or more"):
        superpixel_structures([source_of(stripes())], 1, images=0)
