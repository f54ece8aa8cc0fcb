"""Changes by modality: drawn within the table, applied as worked out by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from medmeta.data.preprocess import as_float
from medmeta.data.source import Source
from medmeta.episodes.alterations import Alterations, apply_alterations, draw_alterations
from medmeta.episodes.loader import EpisodeLoader
from medmeta.episodes.modality_table import TABLE, Allowed
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.episodes.union import UnionBatches

NOTHING = Allowed(rotation=0, shift=0, zoom=0, gain=0, brightness=0, noise=0, softness=0)


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def still(n: int = 1, channels: int = 1, **changed: Any) -> Alterations:
    """Nothing happens, but for what is named."""
    drawn = draw_alterations(random(), n, channels, NOTHING, colour=False)
    return dataclasses.replace(
        drawn,
        **{name: np.asarray(value, getattr(drawn, name).dtype) for name, value in changed.items()},
    )


def altered(image: list[list[float]], **changed: Any) -> Tensor:
    return apply_alterations(torch.tensor(image)[None, None], still(**changed))[0, 0]


def test_nothing_allowed_is_nothing_done() -> None:
    images = torch.rand(6, 3, 5, 4) * 4 - 2
    drawn = draw_alterations(random(), 6, 3, NOTHING, colour=True)
    assert torch.allclose(apply_alterations(images, drawn), images, atol=1e-6)


def test_gain_brightness_and_noise_by_hand() -> None:
    tile = np.zeros((64, 64))
    tile[63, 63], tile[63, 0], tile[0, 63], tile[0, 0] = 1, 2, 3, 4
    found = altered([[0.5, 1.0], [-1.0, 0.0]], gain=[[2]], brightness=[0.25], noise=[0.1],
                    tile=tile, corner=[[63, 63]])  # fmt: skip
    # 2x + 0.25 + 0.1 times the tile, which goes on round its edges; 2.25 + 0.2 is beyond the range
    assert torch.allclose(found, torch.tensor([[1.35, 2.0], [-1.45, 0.65]]), atol=1e-6)


def test_softening_by_hand() -> None:
    # 1-2-1 along both axes, edges repeated: a point of 1 in the middle keeps 1/4, sides 1/8.
    point = [[0.0, 0, 0], [0, 1, 0], [0, 0, 0]]
    whole = altered(point, softness=[1])
    assert torch.allclose(whole, torch.tensor([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16, atol=1e-6)
    half = altered(point, softness=[0.5])
    assert torch.allclose(half, (torch.tensor(point) + whole) / 2, atol=1e-6)
    corner = altered([[1.0, 0, 0], [0, 0, 0], [0, 0, 0]], softness=[1])
    assert corner[0, 0].item() == pytest.approx(9 / 16)  # three of four quarters, twice


def test_a_shift_takes_what_lies_there_and_the_edge_beyond() -> None:
    # 4 wide: a half side is 2 pixels, so 0.5 is one pixel to the right of the source.
    found = altered([[1.0, 2.0, -1.0, 0.0]] * 4, move=[[0.5, 0]])
    assert torch.allclose(found, torch.tensor([[2.0, -1.0, 0.0, 0.0]] * 4), atol=1e-6)
    down = altered([[1.0], [2.0], [-1.0], [0.0]], move=[[0, 0.5]])
    assert torch.allclose(down.flatten(), torch.tensor([2.0, -1.0, 0.0, 0.0]), atol=1e-6)


def test_a_quarter_turn_a_mirror_and_a_zoom_are_numpys() -> None:
    image = torch.randn(1, 1, 6, 6).clamp(-2, 2)
    turned = apply_alterations(image, still(map=[[[0, -1], [1, 0]]]))  # (x, y) from (-y, x)
    assert np.allclose(turned[0, 0].numpy(), np.rot90(image[0, 0].numpy()), atol=1e-5)
    mirrored = apply_alterations(image, still(map=[[[-1, 0], [0, 1]]]))
    assert np.allclose(mirrored[0, 0].numpy(), image[0, 0].numpy()[:, ::-1], atol=1e-5)
    # Magnified twice, the 2 by 2 in the middle of a 4 by 4 fill it, weighted 3 to 1 between.
    near = altered([[0.0] * 4, [0, 1, 0, 0], [0] * 4, [0] * 4], map=[[[0.5, 0], [0, 0.5]]])
    one = torch.tensor([0.75, 0.75, 0.25, 0.0])
    assert torch.allclose(near, torch.outer(one, one), atol=1e-6)


def test_an_angle_stays_an_angle_on_a_picture_that_is_not_square() -> None:
    image = torch.zeros(1, 1, 3, 5)
    image[..., 1, 3] = 1  # one pixel right of the middle
    turned = apply_alterations(image, still(map=[[[0, -1], [1, 0]]]))
    expected = torch.zeros(3, 5)
    expected[0, 2] = 1  # one pixel above it: (0, -1) comes from (1, 0)
    assert torch.allclose(turned[0, 0], expected, atol=1e-6)


def orientations(name: str, n: int = 400) -> set[tuple[int, ...]]:
    """Which of the eight ways of a square the pictures of many tasks are turned."""
    found = set()
    for seed in range(20):
        allowed = dataclasses.replace(TABLE[name], rotation=0.0, zoom=0.0)
        drawn = draw_alterations(random(seed), n // 20, 3, allowed, colour=True)
        found |= {tuple(np.round(m).astype(int).flatten()) for m in drawn.map}
    return found


def test_a_slide_is_turned_all_eight_ways_a_chest_none_and_an_eye_two() -> None:
    assert len(orientations("histology")) == len(orientations("blood smear")) == 8
    assert orientations("X-ray") == orientations("CT") == {(1, 0, 0, 1)}
    assert orientations("OCT") == {(1, 0, 0, 1), (-1, 0, 0, 1)}


def test_left_and_right_change_places_in_a_whole_task_or_not_at_all() -> None:
    sides = {
        tuple(
            np.sign(np.linalg.det(draw_alterations(random(s), 5, 3, TABLE["OCT"], colour=True).map))
        )
        for s in range(20)
    }
    assert sides == {(1.0,) * 5, (-1.0,) * 5}


@pytest.mark.parametrize("name", TABLE)
def test_what_is_drawn_lies_within_the_table(name: str) -> None:
    allowed = TABLE[name]
    drawn = draw_alterations(random(), 500, 3, allowed, colour=True)
    size = np.abs(np.linalg.det(drawn.map)) ** -0.5
    assert ((1 / (1 + allowed.zoom) - 1e-5 <= size) & (size <= 1 + allowed.zoom + 1e-5)).all()
    upright = np.abs(np.degrees(np.arctan2(drawn.map[:, 1, 0], drawn.map[:, 1, 1])))
    off = np.minimum(upright % 90, 90 - upright % 90) if allowed.any_way_up else upright
    assert off.max() <= allowed.rotation + 1e-3
    assert off.max() > 0.9 * allowed.rotation
    assert np.abs(drawn.move).max() <= 2 * allowed.shift
    grey = drawn.gain.mean(1)
    assert np.abs(grey - 1).max() <= (1 + allowed.gain) * (1 + allowed.colour) - 1
    spread = np.ptp(drawn.gain, axis=1)
    assert (spread > 1e-6).any() == bool(allowed.colour)
    assert np.abs(drawn.brightness).max() <= allowed.brightness
    assert drawn.noise.min() >= 0
    assert drawn.noise.max() <= allowed.noise
    assert drawn.softness.max() <= allowed.softness


def test_grey_pictures_in_three_channels_stay_grey() -> None:
    drawn = draw_alterations(random(), 5, 3, TABLE["histology"], colour=False)
    found = apply_alterations(torch.rand(5, 1, 9, 9).expand(5, 3, 9, 9), drawn)
    assert torch.equal(found[:, 0], found[:, 1])
    assert torch.equal(found[:, 0], found[:, 2])


def test_forbidding_one_thing_leaves_the_others_as_they_were() -> None:
    allowed = TABLE["dermoscopy"]
    whole = draw_alterations(random(3), 5, 3, allowed, colour=True)
    calm = draw_alterations(random(3), 5, 3, dataclasses.replace(allowed, noise=0), colour=True)
    assert not calm.noise.any()
    for field in dataclasses.fields(Alterations):
        if field.name != "noise":
            assert np.array_equal(getattr(whole, field.name), getattr(calm, field.name))


def test_several_tasks_are_altered_as_each_alone_and_pixels_as_their_floats() -> None:
    pixels = torch.from_numpy(random(1).integers(0, 256, (3, 6, 3, 8, 8), np.uint8))
    names = ("histology", "X-ray", "MRI")
    drawn = [draw_alterations(random(i), 6, 3, TABLE[m], colour=True) for i, m in enumerate(names)]
    before = pixels.clone()
    together = apply_alterations(pixels, Alterations.of_tasks(drawn))
    for task, alone in enumerate(drawn):
        assert torch.allclose(
            together[task], apply_alterations(as_float(pixels[task]), alone), atol=1e-5
        )
    assert torch.equal(pixels, before)
    assert together.abs().max() <= 2


def source(modality: str | None, seed: int = 1) -> Source:
    pixels = random(seed).integers(0, 256, (40, 1, 16, 16), np.uint8)
    labels = [f"c{i // 10}" for i in range(40)]
    return Source.from_arrays(modality or "s", pixels, labels, modality=modality)


def test_a_task_is_altered_the_same_way_whenever_it_is_drawn_and_by_its_modality() -> None:
    protocol = Protocol(sources=("s",), n_way=(2, 2), n_query=2)
    found = {}
    for modality in ("X-ray", "histology", None):
        sampler = TaskSampler([source(modality)], protocol)
        loader = EpisodeLoader(sampler, augment="modality")
        plain = EpisodeLoader(sampler).batch(3)
        first, second = loader.batch(3), loader.batch(3)
        assert torch.equal(first.support.inputs, second.support.inputs)
        assert torch.equal(first.query.labels, plain.query.labels)
        assert first.support.inputs.shape == plain.support.inputs.shape
        assert not torch.equal(first.support.inputs, plain.support.inputs)
        found[modality] = first.support.inputs
    assert not torch.equal(found["X-ray"], found["histology"])
    assert not torch.equal(found["X-ray"], found[None])


def test_pre_training_alters_each_picture_by_its_own_modality() -> None:
    both = [source("X-ray"), source("histology")]
    batches = UnionBatches(both, 12, seed=0, augment="modality")
    first, second = batches.batch(2), batches.batch(2)
    assert torch.equal(first.query.inputs, second.query.inputs)
    plain = UnionBatches(both, 12, seed=0).batch(2)
    assert first.query.inputs.shape == plain.query.inputs.shape
    assert torch.equal(first.query.labels, plain.query.labels)
    assert not torch.equal(first.query.inputs, plain.query.inputs)
