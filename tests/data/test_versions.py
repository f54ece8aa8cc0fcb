"""A source with worsened versions of its images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medmeta.data.source import Source
from medmeta.data.versions import SourceVersions


def darker(pixels: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    return pixels // 2


def by_seed(pixels: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    return np.full_like(pixels, seed % 251)


def test_each_version_is_made_of_its_own_image_and_seeded_by_its_hash() -> None:
    pixels = np.arange(5 * 16, dtype=np.uint8).reshape(5, 1, 4, 4)
    source = Source.from_arrays("s", pixels, list("aabbb")).take(np.array([1, 3, 4]))
    versions = SourceVersions.of(source, [darker, by_seed])
    assert len(versions) == 9
    rows = np.array([[0, 3, 6], [2, 5, 8]])
    found = versions.gather(rows)
    assert found.shape == (2, 3, 1, 4, 4)
    for line, image in zip(found, (1, 4), strict=True):
        np.testing.assert_array_equal(line[0], pixels[image])
        np.testing.assert_array_equal(line[1], pixels[image] // 2)
        seed = int(source.hashes[(1, 3, 4).index(image)])
        assert set(line[2].ravel().tolist()) == {seed % 251}
    assert versions.index.labels is not None
    assert versions.index.labels.texts() == ["a", "b", "b"] * 3
    np.testing.assert_array_equal(source.gather(np.arange(3)), pixels[[1, 3, 4]])  # untouched
