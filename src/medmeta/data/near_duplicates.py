"""Pictures that are nearly the same: resized, saved again, a little brighter, or the next frame.

A picture is known by its low spatial frequencies: the 16 × 16 lowest coefficients of the cosine
transform of a thumbnail, without their mean and brought to length 1, so that brightness and
contrast do not matter. Two pictures are near duplicates where the cosine of these is ``ALIKE`` or
more. Pairs are looked for among pictures that agree in a few bits (on which side of the median of
all they lie, in random directions; Charikar 2002), so that no table of all pairs is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ALIKE = 0.99
MOST_PICTURES = 200_000
MOST_PAIRS = 1_000_000
THUMBNAIL = 32
_KEPT = 16  # lowest frequencies along each side
_BANDS = 12
_BUCKET = 4096  # pictures of one bucket compared with each other at once
_FLAT = 1e-3  # a picture without contrast is like any other

Thumbnails = NDArray[np.uint8]


@dataclass(frozen=True)
class NearPairs:
    """Pairs ``(k, 2)`` of rows, the smaller first, and how alike each is (the cosine).

    ``looked``: whether they were looked for at all; ``whole``: False where there were more than are
    kept.
    """

    rows: NDArray[np.int64]
    alike: NDArray[np.float32]
    looked: bool = True
    whole: bool = True


def thumbnail(pixels: NDArray[np.uint8]) -> Thumbnails:
    """A picture ``(H, W)``, ``(H, W, 3)`` or ``(C, H, W)`` as a grey square ``(32, 32)``."""
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3) and pixels.shape[2] not in (1, 3):
        pixels = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    picture = Image.fromarray(np.ascontiguousarray(pixels)).convert("L")
    shrinks = min(picture.size) >= THUMBNAIL
    how = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    return np.asarray(picture.resize((THUMBNAIL, THUMBNAIL), how))


def frequencies(thumbnails: Thumbnails) -> NDArray[np.float32]:
    """``(n, 32, 32)`` to unit vectors ``(n, 255)``; zeros for pictures without contrast."""
    from scipy.fft import dctn

    found = np.zeros((len(thumbnails), _KEPT * _KEPT - 1), dtype=np.float32)
    for first in range(0, len(thumbnails), _BUCKET):
        part = thumbnails[first : first + _BUCKET].astype(np.float32) / 255
        low = dctn(part, axes=(1, 2), norm="ortho")[:, :_KEPT, :_KEPT].reshape(len(part), -1)[:, 1:]
        length = np.linalg.norm(low, axis=1, keepdims=True)
        found[first : first + _BUCKET] = np.where(length > _FLAT, low / (length + 1e-12), 0)
    return found


def near_pairs(
    thumbnails: Thumbnails,
    hashes: NDArray[np.uint64],
    *,
    alike: float = ALIKE,
    sides: NDArray[np.int64] | None = None,
) -> NearPairs:
    """All pairs of nearly, but not wholly identical pictures, the most alike first.

    ``thumbnails`` ``(n, 32, 32)`` and content ``hashes`` ``(n,)``; of identical pictures the first
    stands for all. With ``sides`` ``(n,)`` only pairs across sides are kept. Time grows with the
    pictures and the pairs that are found, not with the square of their number.
    """
    if len(thumbnails) > MOST_PICTURES:
        return NearPairs(np.zeros((0, 2), np.int64), np.zeros(0, np.float32), False, False)
    first = np.unique(hashes if sides is None else _by_side(hashes, sides), return_index=True)[1]
    rows = np.sort(first)
    vectors = frequencies(thumbnails[rows])
    varied = vectors.any(1)
    rows, vectors = rows[varied], vectors[varied]
    found: list[NDArray[np.int64]] = []
    total, whole = 0, True
    for codes in _bands(vectors):
        pairs = _in_buckets(codes, vectors, alike)
        if sides is not None:
            ours = sides[rows]
            pairs = pairs[ours[pairs[:, 0]] != ours[pairs[:, 1]]]
        found.append(pairs[:MOST_PAIRS])
        total += len(pairs)
        if total > MOST_PAIRS:
            whole = False
            break
    pairs = np.unique(np.concatenate([np.zeros((0, 2), np.int64), *found]), axis=0)
    return _sorted(pairs, rows, vectors, hashes, whole=whole)


def _by_side(hashes: NDArray[np.uint64], sides: NDArray[np.int64]) -> NDArray[np.int64]:
    """A number for each pair of picture and side."""
    _, codes = np.unique(hashes, return_inverse=True)
    return np.asarray(codes * (int(sides.max(initial=0)) + 1) + sides, dtype=np.int64)


def _sorted(
    pairs: NDArray[np.int64],
    rows: NDArray[np.int64],
    vectors: NDArray[np.float32],
    hashes: NDArray[np.uint64],
    *,
    whole: bool,
) -> NearPairs:
    cosines = np.einsum("ij,ij->i", vectors[pairs[:, 0]], vectors[pairs[:, 1]])
    named = rows[pairs]
    other = hashes[named[:, 0]] != hashes[named[:, 1]]
    named, cosines = named[other], cosines[other]
    order = np.lexsort((named[:, 1], named[:, 0], -cosines))
    return NearPairs(named[order], cosines[order].astype(np.float32), whole=whole)


def _bands(vectors: NDArray[np.float32]) -> Iterator[NDArray[np.int64]]:
    """Bucket numbers ``(n,)`` of all pictures, band after band; about 32 pictures to a bucket."""
    bits = int(np.clip(np.log2(max(len(vectors), 1)) - 5, 1, 16))
    random = np.random.Generator(np.random.Philox(key=bits))
    for _ in range(_BANDS if len(vectors) > 64 else 1):
        if len(vectors) <= 64:
            yield np.zeros(len(vectors), dtype=np.int64)
            return
        places = vectors @ random.standard_normal((vectors.shape[1], bits), dtype=np.float32)
        above = places > np.median(places, axis=0)
        yield (above * (1 << np.arange(bits))).sum(1)


def _in_buckets(
    codes: NDArray[np.int64], vectors: NDArray[np.float32], alike: float
) -> NDArray[np.int64]:
    """Pairs ``(k, 2)`` within buckets whose cosine is ``alike`` or more, the smaller row first."""
    order = np.argsort(codes, kind="stable")
    ends = np.flatnonzero(np.diff(codes[order])) + 1
    found = [np.zeros((0, 2), np.int64)]
    total = 0
    for bucket in np.split(order, ends):
        for start in range(0, len(bucket), _BUCKET):  # of a bucket that is too large, parts
            part = bucket[start : start + _BUCKET]
            if len(part) < 2:
                continue
            near = np.triu(vectors[part] @ vectors[part].T >= alike, 1)
            if near.any():
                pairs = part[np.argwhere(near)]
                found.append(pairs)
                total += len(pairs)
        if total > MOST_PAIRS:
            break
    return np.concatenate(found)
