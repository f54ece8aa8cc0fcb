"""Tasks of masks made of pictures that nobody marked: parts of each, found by their grey alone.

After self-supervised few-shot segmentation (Ouyang et al. 2020, section 3.2): a picture falls into
superpixels (Felzenszwalb and Huttenlocher 2004), one of them is the structure, and support and
query are the same picture bent and lit otherwise. Made-up anatomies bring thousands of shapes;
these bring the textures of real devices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import NDArray
from scipy import ndimage

from medmeta.data.index import Column
from medmeta.data.source import Source
from medmeta.data.synthetic_structures import MOST, moved_places
from medmeta.errors import DataError, SettingsError

SMALLEST, LARGEST = 0.004, 0.5  # of the picture
DARK = 12  # grey levels: what is darker all over is taken for air
ALIKE, TISSUE = 14, 0.4  # grey levels; how often a structure is all that looks alike

Pictures = NDArray[np.uint8]


def superpixel_structures(
    sources: Sequence[Source], n_pictures: int, *, images: int = 6, seed: int = 0
) -> Source:
    """A source whose families are pictures of ``sources``, each ``images`` times, with masks.

    The pictures are drawn from all sources alike, and each has up to ``MOST`` structures; one that
    has none (it is all alike) is passed over. Needs scikit-image. Raises ``DataError`` where the
    pictures are too few, of unlike shapes, or not square, ``SettingsError`` for less than one.

    >>> from medmeta.data.synthetic_structures import synthetic_structures
    >>> made = superpixel_structures([synthetic_structures(3, images=1, size=32)], 2, images=2)
    >>> len(made), made.gather_masks(np.array([0])).shape
    (4, (1, 32, 32))
    """
    if n_pictures < 1 or images < 1:
        raise SettingsError(f"{n_pictures} pictures, each {images} times: ask for one or more.")
    shapes = {source.pixels.shape[1:] for source in sources}
    if len(shapes) != 1:
        raise DataError(f"pictures of {len(shapes)} shapes: read all at one size and colour.")
    (shape,) = shapes
    if len(shape) != 3 or shape[1] != shape[2]:
        raise DataError(f"pictures of {shape}: superpixels are of square pictures.")
    pixels, masks = [], []
    families: list[str] = []
    for name, random, picture in _drawn(sources, seed):
        if len(families) == n_pictures:
            break
        labels = structures_of(picture, random)
        if labels is not None:
            shown, marked = _copies(picture, labels, random, images)
            pixels.append(shown)
            masks.append(marked)
            families.append(f"{name} {len(families):04d}")
    if len(families) < n_pictures:
        raise DataError(
            f"{n_pictures} pictures with superpixels were asked for, and there are "
            f"{len(families)}: give more images."
        )
    made = Source.from_arrays(
        "superpixels", np.concatenate(pixels), labels=["superpixels"] * (n_pictures * images)
    )
    names = tuple(f"structure {value}" for value in range(1, MOST + 1))
    repeated = [family for family in families for _ in range(images)]
    index = replace(
        made.index, labels=None, others={"family": Column.from_texts(repeated)}, structures=names
    )
    return replace(made, index=index, masks=np.concatenate(masks))


def structures_of(picture: Pictures, random: Generator) -> NDArray[np.uint8] | None:
    """Up to ``MOST`` structures of a picture ``(C, H, W)``: ``(H, W)``, 0 where there is none.

    A structure is a superpixel, or all superpixels whose mean is about as bright. None where no
    part is neither air nor nearly the whole picture.
    """
    from skimage.segmentation import felzenszwalb

    size = picture.shape[-1]
    scale = np.exp(random.uniform(np.log(20), np.log(400)))
    parts = felzenszwalb(
        picture.transpose(1, 2, 0), scale=scale, sigma=size / 128, channel_axis=-1,
        min_size=round(SMALLEST * size**2),
    )  # fmt: skip
    level = ndimage.mean(picture.mean(0), parts, np.arange(parts.max() + 1))
    labels = np.zeros((size, size), dtype=np.uint8)
    for number in range(1, int(random.integers(1, MOST + 1)) + 1):
        part = int(random.integers(len(level)))
        if level[part] < DARK:
            continue
        own = np.abs(level - level[part]) < ALIKE if random.random() < TISSUE else None
        marked = parts == part if own is None else own[parts]
        if SMALLEST <= marked.mean() <= LARGEST:
            labels[marked] = number
    return labels if labels.any() else None


def _drawn(sources: Sequence[Source], seed: int) -> Iterator[tuple[str, Generator, Pictures]]:
    """Pictures of all sources in turn, in an order that the seed says, each with its chance."""
    found = []
    for place, source in enumerate(sources):
        random = Generator(Philox(key=np.array([seed, place], dtype=np.uint64)))
        for turn, row in enumerate(random.permutation(len(source)).tolist()):
            found.append((turn, place, row))
    for _, place, row in sorted(found):
        key = np.array([seed, (place + 1 << 32) + row], dtype=np.uint64)
        picture = sources[place].gather(np.array([row]))[0]
        yield sources[place].name, Generator(Philox(key=key)), picture


def _copies(
    picture: Pictures, labels: NDArray[np.uint8], random: Generator, images: int
) -> tuple[Pictures, NDArray[np.uint8]]:
    """The picture ``images`` times, each bent and lit otherwise, and its labels with it."""
    size = picture.shape[-1]
    bend, turn = random.uniform(0.02, 0.1), random.uniform(0, 0.4)
    pixels, masks = [], []
    for _ in range(images):
        places = moved_places(random, size, bend, turn)
        moved = np.stack(
            [ndimage.map_coordinates(c, places, order=1, mode="nearest") for c in picture]
        )
        bright = (moved / 255.0) ** np.exp(random.uniform(-0.4, 0.4))
        noisy = bright + random.uniform(0, 0.04) * random.standard_normal((1, size, size))
        pixels.append(np.rint(255 * noisy.clip(0, 1)).astype(np.uint8))
        masks.append(ndimage.map_coordinates(labels, places, order=0, mode="nearest"))
    return np.stack(pixels), np.stack(masks)
