"""Synthetic anatomy: what is drawn, what is measured, and how hard it is to tell apart."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import RidgeClassifier

from medmeta.data._anatomy import Frame, grid, label_map
from medmeta.data.synthetic import (
    MEASURES,
    MODALITIES,
    STRUCTURES,
    SyntheticImages,
    synthetic_anatomy,
    synthetic_sources,
)
from medmeta.errors import SettingsError, UnknownNameError

# In these the organ itself is the finding (or there is none): no structure is marked on top.
WITHOUT_FINDING = {
    "normal-chest", "cardiomegaly",
    "normal-liver", "steatosis", "splenomegaly", "aortic-aneurysm",
    "normal-brain", "hydrocephalus", "atrophy",
    "normal-tissue", "normal-stroma",
}  # fmt: skip
FINDING = {"X-ray": 2, "CT": 4, "MRI": 3, "ultrasound": 2, "histology": 2, "dermoscopy": 1}


@pytest.fixture(scope="module")
def collection() -> list[SyntheticImages]:
    return synthetic_anatomy(images_per_class=12)


def _of(collection: list[SyntheticImages], modality: str) -> SyntheticImages:
    return next(images for images in collection if images.modality == modality)


def _rows(images: SyntheticImages, label: str) -> NDArray[np.intp]:
    return np.flatnonzero(np.array(images.labels) == label)


def test_there_are_enough_modalities_and_classes() -> None:
    assert len(MODALITIES) >= 5
    names = [name for classes in MODALITIES.values() for name in classes]
    assert len(names) >= 45
    assert len(set(names)) == len(names)
    assert MODALITIES.keys() == STRUCTURES.keys() == MEASURES.keys()


def test_shapes_and_counts(collection: list[SyntheticImages]) -> None:
    for images in collection:
        classes = MODALITIES[images.modality]
        n = 12 * len(classes)
        channels = 3 if images.modality in ("histology", "dermoscopy") else 1
        assert images.pixels.shape == (n, channels, 64, 64)
        assert images.pixels.dtype == np.uint8
        assert images.masks.shape == (n, 64, 64)
        assert images.masks.dtype == np.uint8
        assert images.values.dtype == np.float32
        assert len(images.values) == len(images.patients) == len(images.sites) == n
        assert images.labels == tuple(name for name in classes for _ in range(12))


def test_no_two_pictures_are_equal_and_none_is_flat(collection: list[SyntheticImages]) -> None:
    for images in collection:
        assert len({p.tobytes() for p in images.pixels}) == len(images.pixels)
        assert images.pixels.std(axis=(1, 2, 3)).min() > 5


def test_the_same_seed_draws_the_same_and_another_seed_another() -> None:
    first, again, other = (
        synthetic_anatomy(images_per_class=2, size=32, seed=seed) for seed in (5, 5, 6)
    )
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a.pixels, b.pixels)
        np.testing.assert_array_equal(a.masks, b.masks)
        assert a.labels == c.labels
        assert (a.pixels != c.pixels).any(axis=(1, 2, 3)).all()


def test_any_part_is_the_same_alone_and_in_the_whole(collection: list[SyntheticImages]) -> None:
    for modality in MODALITIES:
        whole = _of(collection, modality)
        alone = synthetic_anatomy(images_per_class=3, modalities=[modality])[0]
        rows = np.concatenate([_rows(whole, name)[:3] for name in MODALITIES[modality]])
        np.testing.assert_array_equal(alone.pixels, whole.pixels[rows])
        np.testing.assert_array_equal(alone.masks, whole.masks[rows])
        assert alone.patients == tuple(whole.patients[i] for i in rows)
        assert alone.sites == tuple(whole.sites[i] for i in rows)


def test_another_process_draws_the_same() -> None:
    """Python salts its own hash in each process; nothing may hang on it."""
    code = (
        "from medmeta.data.synthetic import synthetic_anatomy as draw;"
        "import hashlib; a = draw(images_per_class=1, size=28, modalities=['X-ray', 'CT']);"
        "print(hashlib.sha256(b''.join(i.pixels.tobytes() for i in a)).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": salt, "PYTHONPATH": os.pathsep.join(sys.path)},
        ).stdout
        for salt in ("1", "2")
    }  # fmt: skip
    assert len(digests) == 1


def test_a_patient_has_one_class_and_one_site(collection: list[SyntheticImages]) -> None:
    for images in collection:
        classes, sites, counts = defaultdict(set), defaultdict(set), defaultdict(int)
        for who, label, site in zip(images.patients, images.labels, images.sites, strict=True):
            classes[who].add(label)
            sites[who].add(site)
            counts[who] += 1
        assert all(len(found) == 1 for found in classes.values())
        assert all(len(found) == 1 for found in sites.values())
        # 12 pictures of a class are two rounds of patients with one, two and three pictures.
        assert sorted(counts.values()) == sorted([1, 2, 3] * 2 * len(MODALITIES[images.modality]))


def test_every_class_is_seen_at_every_site(collection: list[SyntheticImages]) -> None:
    for images in collection:
        sites = np.array(images.sites)
        assert len(set(sites)) == 3
        for name in MODALITIES[images.modality]:
            assert len(set(sites[_rows(images, name)])) == 3


def test_pictures_of_a_patient_share_the_body(collection: list[SyntheticImages]) -> None:
    """The heart's size varies less within a patient than between patients."""
    images = _of(collection, "X-ray")
    who, values = np.array(images.patients), images.values
    labels = np.array(images.labels)
    within, between = [], []
    for name in ("normal-chest", "nodule", "pneumothorax", "miliary-nodules", "pacemaker"):
        people = [values[(who == p) & (labels == name)] for p in set(who[labels == name])]
        within += [p.var(ddof=1) for p in people if len(p) > 1]
        between.append(np.var([p.mean() for p in people], ddof=1))
    assert np.mean(within) < np.mean(between)


def test_masks_mark_known_structures_and_every_finding(collection: list[SyntheticImages]) -> None:
    for images in collection:
        assert images.masks.max() == len(STRUCTURES[images.modality])
        for mask, label in zip(images.masks, images.labels, strict=True):
            assert mask.any()
            marked = (mask == FINDING[images.modality]).any()
            assert marked == (label not in WITHOUT_FINDING), label


@pytest.mark.parametrize("modality", ["CT", "ultrasound", "dermoscopy"])
def test_diameters_are_those_of_the_mask(collection: list[SyntheticImages], modality: str) -> None:
    images = _of(collection, modality)
    area = (images.masks == FINDING[modality]).sum(axis=(1, 2))
    np.testing.assert_allclose(images.values, np.sqrt(4 * area / np.pi) / 64, rtol=1e-6)


def test_ratios_are_those_of_the_mask(collection: list[SyntheticImages]) -> None:
    brain = _of(collection, "MRI")
    expected = (brain.masks == 2).sum(axis=(1, 2)) / (brain.masks > 0).sum(axis=(1, 2))
    np.testing.assert_allclose(brain.values, expected, rtol=1e-6)
    cells = _of(collection, "histology")
    np.testing.assert_allclose(cells.values, (cells.masks == 1).mean(axis=(1, 2)), rtol=1e-6)
    chest = _of(collection, "X-ray")
    for mask, value in zip(chest.masks, chest.values, strict=True):
        heart = np.flatnonzero((mask == 3).any(axis=0))
        thorax = np.flatnonzero(mask.any(axis=0))
        expected = (heart[-1] - heart[0] + 1) / (thorax[-1] - thorax[0] + 1)
        assert value == pytest.approx(expected, rel=1e-6)


def test_values_follow_the_classes(collection: list[SyntheticImages]) -> None:
    chest, brain = _of(collection, "X-ray"), _of(collection, "MRI")
    big, usual = (chest.values[_rows(chest, n)] for n in ("cardiomegaly", "normal-chest"))
    assert big.min() > 0.5 > usual.max()  # the clinical bound of the cardiothoracic ratio
    wide, usual = (brain.values[_rows(brain, n)] for n in ("hydrocephalus", "normal-brain"))
    assert wide.min() > usual.max()


def test_findings_look_as_their_physics_says(collection: list[SyntheticImages]) -> None:
    def contrast(modality: str, label: str) -> float:
        images = _of(collection, modality)
        rows = _rows(images, label)
        grey, masks = images.pixels[rows].mean(axis=1), images.masks[rows]
        return float(grey[masks == FINDING[modality]].mean() - grey[masks == 1].mean())

    assert contrast("X-ray", "pleural-effusion") > 20
    assert contrast("X-ray", "pneumothorax") < -8
    assert contrast("CT", "bleed") > 20
    assert contrast("CT", "cyst") < -20
    assert contrast("MRI", "infarct-wedge") > 20
    assert contrast("MRI", "microbleeds") < -20
    assert contrast("ultrasound", "bright-mass") > 20
    assert contrast("ultrasound", "simple-cyst") < -50
    assert contrast("histology", "glands") > 50


def _ridge_accuracy(images: SyntheticImages, episodes: int) -> float:
    """5-way 5-shot on raw pixels, support and query of different patients."""
    rng = np.random.default_rng(0)
    x = images.pixels.reshape(len(images.labels), -1) / 255.0
    labels, patients = np.array(images.labels), np.array(images.patients)
    right = []
    for _ in range(episodes):
        support, query = [], []
        for name in rng.choice(MODALITIES[images.modality], 5, replace=False):
            rows = rng.permutation(_rows(images, name))
            support += list(rows[:5])
            query += [i for i in rows[5:] if patients[i] not in set(patients[rows[:5]])]
        model = RidgeClassifier(alpha=10).fit(x[support], labels[support])
        right.append((model.predict(x[query]) == labels[query]).mean())
    return float(np.mean(right))


@pytest.mark.parametrize("modality", list(MODALITIES))
def test_raw_pixels_beat_chance_and_leave_much_to_learn(modality: str) -> None:
    images = synthetic_anatomy(images_per_class=18, size=32, modalities=[modality])[0]
    accuracy = _ridge_accuracy(images, episodes=40)
    assert 0.25 < accuracy < 0.75  # chance is 0.2


@pytest.mark.parametrize("size", [28, 96])
def test_sizes_show_the_same_anatomy(size: int, collection: list[SyntheticImages]) -> None:
    usual = _of(collection, "MRI")
    drawn = synthetic_anatomy(images_per_class=1, size=size, modalities=["MRI"])[0]
    assert drawn.pixels.shape[2:] == (size, size)
    same = [_rows(usual, name)[0] for name in MODALITIES["MRI"]]
    np.testing.assert_allclose(
        (drawn.masks > 0).mean(axis=(1, 2)), (usual.masks[same] > 0).mean(axis=(1, 2)), atol=0.03
    )


def test_sources_carry_patients_sites_and_channels() -> None:
    images = synthetic_anatomy(images_per_class=3, size=32)
    for drawn, colour, grey in zip(
        images,
        synthetic_sources(images_per_class=3, size=32),
        synthetic_sources(images_per_class=3, size=32, channels=1),
        strict=True,
    ):
        assert colour.name == drawn.name
        assert tuple(colour.index.labels.texts()) == drawn.labels
        assert tuple(colour.index.patients.texts()) == drawn.patients
        assert tuple(colour.index.sites.texts()) == drawn.sites
        assert set(colour.index.modalities.texts()) == {drawn.modality}
        assert colour.pixels.shape[1] == 3
        assert grey.pixels.shape[1] == 1
        np.testing.assert_array_equal(
            colour.pixels, np.broadcast_to(drawn.pixels, colour.pixels.shape)
        )
    red, green, blue = (drawn.pixels[:, c].astype(float) for c in range(3))
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue
    np.testing.assert_allclose(grey.pixels[:, 0], luminance, atol=0.51)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"images_per_class": 0}, "images_per_class=0"),
        ({"size": 27}, "28 to 256"),
        ({"size": 257}, "28 to 256"),
        ({"seed": -1}, "seed=-1"),
        ({"modalities": []}, "modalities"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings: dict[str, object], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        synthetic_anatomy(**settings)


def test_unknown_modalities_and_channels_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'X-ray'"):
        synthetic_anatomy(modalities=["x-ray"])
    with pytest.raises(SettingsError, match="channels=2"):
        synthetic_sources(channels=2)


def test_dots_fill_the_area_of_their_ellipses() -> None:
    frame = Frame(*grid(64))
    cover = frame.dots(np.array([-0.5, 0.5]), np.array([-0.5, 0.5]), 0.2, 0.3, 0.7)
    assert cover.sum() * (2 / 64) ** 2 == pytest.approx(2 * np.pi * 0.2 * 0.3, rel=0.02)
    assert frame.soft(frame.ellipse(0, 0, 0.4, 0.4)).sum() * (2 / 64) ** 2 == pytest.approx(
        np.pi * 0.16, rel=0.02
    )


def test_dots_and_fields_agree_under_a_pose() -> None:
    frame = Frame.posed(np.random.default_rng(0), 64, turn=0.5, zoom=0.2, shift=0.2, warp=0.0)
    dot = frame.dots(0.1, -0.3, 0.3, 0.15, 0.4)
    field = frame.soft(frame.ellipse(0.1, -0.3, 0.3, 0.15, 0.4))
    both = np.minimum(dot, field).sum() / np.maximum(dot, field).sum()
    assert both > 0.93


def test_thin_structures_are_still_marked() -> None:
    assert label_map(np.zeros((2, 2)), np.array([[0.3, 0.0], [0.0, 0.1]])).tolist() == [
        [2, 0],
        [0, 0],
    ]
