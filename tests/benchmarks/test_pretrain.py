from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from medmeta.encoders import EncoderConfig, build_encoder
from medmeta.episode import InputSpec
from pretrain import ENCODER, Heads, Pretraining, _share_of_rate
from pretrain_banks import Bank, DrawnBank
from pretrain_programs import FAMILY, draw, programs
from pretrain_views import _hue, changed


def test_a_family_differs_in_one_to_three_parts_and_does_not_depend_on_how_many_there_are() -> None:
    few, many = programs(2, seed=3), programs(4, seed=3)
    for f in fields(few):
        torch.testing.assert_close(getattr(few, f.name), getattr(many, f.name)[: 2 * FAMILY])
    for family in range(4):
        rows = torch.arange(FAMILY) + family * FAMILY
        own = many.of(rows)
        common = 0
        for f in fields(own):
            values = getattr(own, f.name).reshape(FAMILY, -1)
            same = (values[:, None] == values[None]).all(-1).sum(1)
            common += int(same.max() > FAMILY // 2)
        assert common >= len(fields(own)) - 3 * FAMILY


def test_pictures_are_in_range_and_follow_the_generator() -> None:
    some = programs(6)
    first, again, other = (
        draw(some, size=32, chance=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert first.shape == (48, 3, 32, 32)
    assert float(first.min()) >= 0
    assert float(first.max()) <= 1
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_classes_that_are_grey_have_grey_pictures() -> None:
    some = programs(8)
    grey = (some.ground_colour.std(1) < 1e-6) & (some.object_colour.std(1) < 1e-6)
    grey &= (some.second_colour.std(1) < 1e-6) & (some.nucleus_colour.std(1) < 1e-6)
    assert 0 < int(grey.sum()) < len(grey)
    drawn = draw(some.of(grey.nonzero().flatten()), size=32, chance=torch.Generator())
    assert float((drawn.amax(1) - drawn.amin(1)).max()) < 1e-5


def test_changes_keep_the_range_and_a_turn_of_hue_keeps_greys() -> None:
    chance = torch.Generator().manual_seed(0)
    pictures = torch.rand(20, 3, 24, 24, generator=chance)
    found = changed(pictures, torch.full((20,), 3.0), chance)
    assert found.shape == pictures.shape
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    turned = _hue(torch.tensor([0.0, 1.0, 2.5]))
    torch.testing.assert_close(turned @ torch.ones(3, 1), torch.ones(3, 3, 1))
    torch.testing.assert_close(turned[0], torch.eye(3))
    torch.testing.assert_close(turned @ turned.mT, torch.eye(3).expand(3, 3, 3))


def test_a_bank_gives_every_class_alike_and_drawn_ones_four_of_a_family() -> None:
    pixels = torch.arange(12, dtype=torch.uint8)[:, None, None, None].expand(12, 3, 4, 4)
    bank = Bank("b", "", pixels, torch.tensor([0] * 10 + [1, 1]), 0.0)
    found, labels = bank.batch(400, torch.Generator().manual_seed(0))
    assert 150 < int(labels.sum()) < 250
    rows = (found[:, 0, 0, 0] * 255).round()
    assert bool(((rows >= 10) == (labels == 1)).all())
    drawn, classes = DrawnBank(programs(5)).batch(8, torch.Generator().manual_seed(1))
    assert len(drawn) == 8
    assert len(set(classes[:4].tolist())) == 4
    assert len(set((classes[:4] // FAMILY).tolist())) == 1


def test_each_bank_has_its_own_layer_and_begins_at_chance() -> None:
    encoder = build_encoder(
        EncoderConfig.model_validate(ENCODER), InputSpec(3, (64, 64)), norm="running"
    )
    heads = Heads(encoder, {"a": 5, "b": 7})
    labels = {"a": torch.tensor([0, 4]), "b": torch.tensor([6, 1, 2])}
    found = heads.losses(torch.randn(5, 3, 64, 64), labels)
    bound = 2 / np.sqrt(encoder.embedding_size)  # the layers' biases are drawn so small
    for name, n in (("a", 5), ("b", 7)):
        assert found[name].item() == pytest.approx(np.log(n), abs=bound)


def test_the_rate_goes_up_and_comes_down() -> None:
    assert _share_of_rate(0, 1000) == pytest.approx(1 / 200)
    assert _share_of_rate(500, 1000) == pytest.approx(0.5)
    assert _share_of_rate(1000, 1000) == pytest.approx(0.0)


@pytest.mark.long
def test_a_run_that_was_stopped_ends_like_one_that_was_not(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    for name, classes in (("pbc_blood", 3), ("mednist", 3), ("pneumonia_cxr", 3)):
        images = chance.integers(0, 256, (16 * classes, 64, 64), dtype=np.uint8)
        np.savez(tmp_path / name, images=images, labels=np.repeat(np.arange(classes), 16))
    images = chance.integers(0, 256, (60, 28, 28), dtype=np.uint8)
    evaluation = np.array([0, 0, 1], dtype=np.uint8)
    labels = np.repeat(np.arange(3), 20)
    held = {"images": images, "labels": labels, "class_is_evaluation": evaluation}
    np.savez(tmp_path / "omniglot28", **held)

    def run(folder: str) -> Pretraining:
        return Pretraining(tmp_path / folder, tmp_path, steps=4, seed=0, anatomy_images=2)

    torch.set_num_threads(1)
    whole = run("whole")
    whole.run(every=2)
    stopped = run("stopped")
    learn = stopped._learn

    def until_the_second() -> dict[str, float]:
        if stopped.step == 2:
            raise KeyboardInterrupt
        return learn()

    stopped._learn = until_the_second  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        stopped.run(every=2)
    again = run("stopped")
    again.run(every=2)
    assert [row["step"] for row in again.curve] == [row["step"] for row in whole.curve]
    for name, weights in whole.average.items():
        torch.testing.assert_close(again.average[name], weights, rtol=0, atol=0)
