"""Nearly identical pictures: found after honest distortions, not where pictures only look alike."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from medmeta.data.near_duplicates import (
    ALIKE,
    MOST_PICTURES,
    frequencies,
    near_pairs,
    thumbnail,
)
from medmeta.data.preprocess import content_hash

Picture = NDArray[np.uint8]


def pictures(n: int, *, seed: int = 0) -> list[Picture]:
    """Smooth noise: pictures that have nothing in common."""
    chance = np.random.default_rng(seed)
    smooth = gaussian_filter(chance.normal(0, 1, (n, 96, 80)), (0, 5, 5)) * 400 + 128
    return list(smooth.clip(0, 255).astype(np.uint8))


def found_among(images: list[Picture], **options: float) -> list[tuple[int, int]]:
    thumbnails = np.stack([thumbnail(image) for image in images])
    hashes = np.array([content_hash(image) for image in images], dtype=np.uint64)
    rows = near_pairs(thumbnails, hashes, **options).rows  # type: ignore[arg-type]
    return [(int(a), int(b)) for a, b in rows]


def saved_as_jpeg(image: Picture, quality: int) -> Picture:
    held = io.BytesIO()
    Image.fromarray(image).save(held, "JPEG", quality=quality)
    return np.asarray(Image.open(held))


@pytest.mark.parametrize(
    "distort",
    [
        lambda p: np.asarray(Image.fromarray(p).resize((40, 48), Image.Resampling.BILINEAR)),
        lambda p: np.asarray(Image.fromarray(p).resize((160, 192), Image.Resampling.BICUBIC)),
        lambda p: saved_as_jpeg(p, 30),
        lambda p: (p * 0.7 + 30).astype(np.uint8),
        lambda p: (255 * (p / 255) ** 0.9).astype(np.uint8),
        lambda p: np.stack([p, p, p - (p > 0)], 2).astype(np.uint8),
    ],
    ids=["half the size", "twice the size", "JPEG", "brightness", "gamma", "as colour"],
)
def test_a_changed_copy_is_found(distort: object) -> None:
    images = pictures(40)
    assert callable(distort)
    assert found_among([*images, distort(images[7])]) == [(7, 40)]


def test_pictures_with_nothing_in_common_are_not() -> None:
    assert found_among(pictures(300)) == []


def test_a_mirrored_or_a_cropped_picture_is_missed() -> None:
    """The page of the documentation says so."""
    images = pictures(5)
    assert found_among([*images, images[0][:, ::-1].copy(), images[1][8:-8, 8:-8]]) == []


def test_identical_pictures_are_no_near_duplicates_and_the_first_stands_for_all() -> None:
    images = pictures(4)
    brighter = (images[2] * 0.9).astype(np.uint8)
    assert found_among([*images, images[2].copy(), brighter]) == [(2, 5)]


def test_pictures_without_contrast_are_not_like_each_other() -> None:
    flat = [np.full((8, 8), level, np.uint8) for level in (0, 10, 200)]
    assert found_among(flat) == []


def test_all_pairs_are_those_that_a_full_table_has() -> None:
    """Among 2,000 pictures in families of neighbours, by brute force in double precision."""
    chance = np.random.default_rng(1)
    bases = np.stack([thumbnail(p) for p in pictures(500)]).astype(np.float64)
    family = bases.repeat(4, 0) + chance.normal(0, 4, (2000, 32, 32))
    thumbnails = family.clip(0, 255).astype(np.uint8)
    vectors = frequencies(thumbnails).astype(np.float64)
    table = np.triu(vectors @ vectors.T, 1)
    clear = {(int(a), int(b)) for a, b in np.argwhere(table >= ALIKE + 1e-4)}
    able = {(int(a), int(b)) for a, b in np.argwhere(table >= ALIKE - 1e-4)}
    rows = near_pairs(thumbnails, np.arange(2000, dtype=np.uint64)).rows
    found = {(int(a), int(b)) for a, b in rows}
    assert len(clear) > 2000
    assert len(clear - found) <= len(clear) // 100
    assert found <= able


def test_only_pairs_across_sides_where_sides_are_given() -> None:
    images = pictures(6)
    copies = [(image * 0.9).astype(np.uint8) for image in images[:2]]
    thumbnails = np.stack([thumbnail(p) for p in [*images, *copies]])
    hashes = np.arange(8, dtype=np.uint64)
    sides = np.array([0, 0, 0, 0, 0, 0, 0, 1])
    assert near_pairs(thumbnails, hashes, sides=sides).rows.tolist() == [[1, 7]]


def test_too_many_pictures_are_not_looked_through() -> None:
    blank = np.broadcast_to(np.zeros((32, 32), np.uint8), (MOST_PICTURES + 1, 32, 32))
    assert not near_pairs(blank, np.zeros(MOST_PICTURES + 1, np.uint64)).looked


def test_between_patients_of_real_chest_films_and_oct_there_are_none(shared_data: Path) -> None:
    """Of 1.7 million pairs of pictures, which are all of the same view, none is called a copy."""
    for name in ("pneumonia_cxr", "oct_dme"):
        with np.load(shared_data / "classification" / f"{name}.npz", allow_pickle=False) as held:
            images, patients = held["images"], held["patient_ids"]
        thumbnails = np.stack([thumbnail(p) for p in images])
        hashes = np.array([content_hash(p) for p in images], dtype=np.uint64)
        a, b = near_pairs(thumbnails, hashes).rows.T
        assert (patients[a] != patients[b]).sum() == 0


def test_of_real_pictures_saved_as_jpeg_every_one_is_found(shared_data: Path) -> None:
    with np.load(shared_data / "classification" / "oct_dme.npz", allow_pickle=False) as held:
        images = list(held["images"][:200])
    copies = [saved_as_jpeg(image, 50) for image in images]
    found = set(found_among([*images, *copies]))
    first = {content_hash(p): i for i, p in reversed(list(enumerate(images)))}
    assert {(first[content_hash(p)], 200 + i) for i, p in enumerate(images)} <= found | {
        (first[content_hash(p)], 200 + i)
        for i, p in enumerate(images)
        if first[content_hash(p)] != i  # an identical picture stands for it
    }
