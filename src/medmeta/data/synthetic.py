"""Seeded synthetic anatomy in six modalities, with masks and measured values.

For learning across many diagnostic classes where no data may be had, and for tests. It looks like
medicine and is none: no figure measured on it says anything about patients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medmeta.data import (
    _draw_ct,
    _draw_histology,
    _draw_mri,
    _draw_skin,
    _draw_ultrasound,
    _draw_xray,
)
from medmeta.data._anatomy import Picture, Subject, area_share, diameter, width_ratio
from medmeta.data._chance import chance_of
from medmeta.data.index import Column
from medmeta.data.source import Source
from medmeta.errors import SettingsError, UnknownNameError

N_SITES = 3
SIZES = (28, 256)
# Six pictures of a class belong to three patients, who have one, two and three of them.
_PATIENT_OF_SIX = (0, 1, 1, 2, 2, 2)

Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class _Recipe:
    """How pictures of one modality are drawn, and what is measured on their masks."""

    slug: str
    classes: tuple[str, ...]
    structures: tuple[str, ...]
    draw: Callable[[Subject, str], Picture]
    measure: Callable[[Mask], float]
    measured: str


_RECIPES: Mapping[str, _Recipe] = {
    "X-ray": _Recipe(
        "xray", _draw_xray.CLASSES, _draw_xray.STRUCTURES, _draw_xray.draw,
        lambda m: width_ratio(m, 3), "cardiothoracic ratio: width of the heart over the chest's",
    ),
    "CT": _Recipe(
        "ct", _draw_ct.CLASSES, _draw_ct.STRUCTURES, _draw_ct.draw,
        lambda m: diameter(m, 4), "diameter of the finding over the picture's width",
    ),
    "MRI": _Recipe(
        "mri", _draw_mri.CLASSES, _draw_mri.STRUCTURES, _draw_mri.draw,
        lambda m: area_share(m, 2, (1, 2, 3)), "area of the ventricles over the brain's",
    ),
    "ultrasound": _Recipe(
        "ultrasound", _draw_ultrasound.CLASSES, _draw_ultrasound.STRUCTURES, _draw_ultrasound.draw,
        lambda m: diameter(m, 2), "diameter of the finding over the picture's width",
    ),
    "histology": _Recipe(
        "histology", _draw_histology.CLASSES, _draw_histology.STRUCTURES, _draw_histology.draw,
        lambda m: area_share(m, 1, (0, 1, 2)), "area of the nuclei over the picture's",
    ),
    "dermoscopy": _Recipe(
        "dermoscopy", _draw_skin.CLASSES, _draw_skin.STRUCTURES, _draw_skin.draw,
        lambda m: diameter(m, 1), "diameter of the lesion over the picture's width",
    ),
}  # fmt: skip

MODALITIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {name: recipe.classes for name, recipe in _RECIPES.items()}
)
"""Names of the classes of each modality."""

STRUCTURES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {name: recipe.structures for name, recipe in _RECIPES.items()}
)
"""Names of what the masks of each modality mark 1, 2, ...; 0 is background."""

MEASURES: Mapping[str, str] = MappingProxyType(
    {name: recipe.measured for name, recipe in _RECIPES.items()}
)
"""What the values of each modality measure, on the mask."""


@dataclass(frozen=True)
class SyntheticImages:
    """All pictures of one modality.

    ``pixels`` uint8 ``(n, C, H, W)``, C 1 (grey) or 3; ``masks`` uint8 ``(n, H, W)``, numbered as
    in ``STRUCTURES``; ``values`` float32 ``(n,)``, measured as ``MEASURES`` says.
    """

    name: str
    modality: str
    pixels: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    values: NDArray[np.float32]
    labels: tuple[str, ...]
    patients: tuple[str, ...]
    sites: tuple[str, ...]


def synthetic_anatomy(
    *,
    images_per_class: int = 40,
    size: int = 64,
    seed: int = 0,
    modalities: Sequence[str] | None = None,
) -> list[SyntheticImages]:
    """Draw the collection: one ``SyntheticImages`` per modality, classes in order.

    ``size`` is the side of the pictures, 28 to 256 pixels; ``modalities`` are keys of
    ``MODALITIES`` (all, unless given). Each picture depends on the seed, its modality, its class,
    its number and its size alone, so a longer collection begins with the shorter one's pictures.

    Raises ``SettingsError`` for counts, sizes or seeds that cannot be used and
    ``UnknownNameError`` for a modality that there is not.

    >>> scans = synthetic_anatomy(images_per_class=2, size=32, modalities=["MRI"])[0]
    >>> scans.pixels.shape, scans.labels[:3]
    ((24, 1, 32, 32), ('normal-brain', 'normal-brain', 'hydrocephalus'))
    """
    _check(images_per_class, size, seed)
    names = list(_RECIPES) if modalities is None else list(dict.fromkeys(modalities))
    if not names:
        raise SettingsError(f"modalities is empty: choose from {', '.join(_RECIPES)}.")
    for name in names:
        if name not in _RECIPES:
            raise UnknownNameError("synthetic modality", name, _RECIPES)
    return [_collect(name, images_per_class, size, seed) for name in names]


def synthetic_sources(
    *,
    images_per_class: int = 40,
    size: int = 64,
    seed: int = 0,
    channels: Literal[1, 3] = 3,
    modalities: Sequence[str] | None = None,
) -> list[Source]:
    """Draw the collection as sources for tasks, one per modality.

    Pictures have ``channels`` channels: grey is repeated, colour becomes its luminance. The other
    arguments, and what is raised, are as in ``synthetic_anatomy``.
    """
    if channels not in (1, 3):
        raise SettingsError(f"channels={channels}: a picture has 1 channel (grey) or 3 (colour).")
    return [
        _source(images, channels)
        for images in synthetic_anatomy(
            images_per_class=images_per_class, size=size, seed=seed, modalities=modalities
        )
    ]


def _check(images_per_class: int, size: int, seed: int) -> None:
    if images_per_class < 1:
        raise SettingsError(f"images_per_class={images_per_class}: ask for at least 1.")
    if not SIZES[0] <= size <= SIZES[1]:
        raise SettingsError(f"size={size}: choose a side of {SIZES[0]} to {SIZES[1]} pixels.")
    if seed < 0:
        raise SettingsError(f"seed={seed}: choose 0 or more.")


def _collect(modality: str, images_per_class: int, size: int, seed: int) -> SyntheticImages:
    recipe = _RECIPES[modality]
    pixels, masks, labels, patients, sites = [], [], [], [], []
    for kind in recipe.classes:
        for number in range(images_per_class):
            patient = number // 6 * 3 + _PATIENT_OF_SIX[number % 6]
            site = (patient + patient // 3) % N_SITES
            picture = recipe.draw(_subject(size, seed, modality, kind, number, patient, site), kind)
            pixels.append(np.rint(255 * picture.pixels).astype(np.uint8))
            masks.append(picture.mask)
            labels.append(kind)
            patients.append(f"{recipe.slug}-{kind}-p{patient:04d}")
            sites.append(f"{recipe.slug}-site-{site + 1}")
    return SyntheticImages(
        name=f"synthetic-{recipe.slug}",
        modality=modality,
        pixels=np.stack(pixels),
        masks=np.stack(masks),
        values=np.array([recipe.measure(mask) for mask in masks], dtype=np.float32),
        labels=tuple(labels),
        patients=tuple(patients),
        sites=tuple(sites),
    )


def _subject(
    size: int, seed: int, modality: str, kind: str, number: int, patient: int, site: int
) -> Subject:
    return Subject(
        size=size,
        body=chance_of(seed, modality, kind, "patient", patient),
        scanner=chance_of(seed, modality, "site", site),
        scene=chance_of(seed, modality, kind, "scene", number),
        grain=chance_of(seed, modality, kind, "grain", number),
    )


def _source(images: SyntheticImages, channels: int) -> Source:
    pixels = images.pixels
    if channels == 3 and pixels.shape[1] == 1:
        pixels = np.repeat(pixels, 3, axis=1)
    elif channels == 1 and pixels.shape[1] == 3:
        weights = np.array([0.299, 0.587, 0.114])
        grey = np.einsum("nchw,c->nhw", pixels, weights)
        pixels = np.rint(grey).astype(np.uint8)[:, None]
    source = Source.from_arrays(
        images.name, pixels, images.labels, patients=images.patients, modality=images.modality
    )
    return replace(source, index=replace(source.index, sites=Column.from_texts(images.sites)))
