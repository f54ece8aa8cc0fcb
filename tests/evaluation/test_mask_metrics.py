"""Overlap by hand, surfaces and losses against MONAI."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medmeta.episode import Target
from medmeta.evaluation.mask_metrics import (
    centreline_dice,
    mask_metrics,
    overlap,
    structure_metrics,
    surfaces,
)
from medmeta.mask_loss import soft_dice_loss
from medmeta.task_loss import task_loss


def test_overlap_by_hand() -> None:
    truth = np.array([[[1, 1, 2, 0], [0, 0, 2, -1]]])
    given = np.array([[[1, 2, 2, 0], [0, 0, 0, 1]]])
    found = overlap(given, truth, 3)
    np.testing.assert_allclose(found["dice"], [[2 / 3, 2 * 1 / 4]])
    np.testing.assert_allclose(found["iou"], [[1 / 2, 1 / 3]])
    np.testing.assert_allclose(found["area_error"], [[1 / 2, 0]])


def test_empty_masks_follow_the_convention() -> None:
    nothing, something = np.zeros((2, 3), dtype=int), np.ones((2, 3), dtype=int)
    assert overlap(nothing, nothing, 2)["dice"] == 1
    assert overlap(something, nothing, 2)["dice"] == 0
    assert overlap(nothing, something, 2)["iou"] == 0
    assert np.isnan(overlap(something, nothing, 2)["area_error"]).all()
    means = mask_metrics(nothing[None, None], nothing[None, None], 2)
    assert means["dice"].tolist() == [1.0]
    assert np.isnan(means["area_error"]).all()


def test_the_dice_loss_is_monai_s() -> None:
    losses = pytest.importorskip("monai.losses", reason="the extra segmentation")
    logits = torch.randn(3, 4, 6, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(4, (3, 6, 5), generator=torch.Generator().manual_seed(1))
    theirs = losses.DiceLoss(
        include_background=False, to_onehot_y=True, softmax=True, smooth_nr=1.0, smooth_dr=1.0,
        reduction="none",
    )(logits, labels[:, None])  # fmt: skip
    ours = soft_dice_loss(logits, labels)
    torch.testing.assert_close(ours, theirs.flatten(1).mean(1))
    entropy = torch.nn.functional.cross_entropy(logits, labels, reduction="none").flatten(1).mean(1)
    whole = task_loss(logits[:, None], labels[:, None], Target("masks", 4))
    torch.testing.assert_close(whole, ours + entropy)


def test_the_focal_loss_is_monai_s() -> None:
    losses = pytest.importorskip("monai.losses", reason="the extra segmentation")
    logits = torch.randn(3, 4, 6, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(4, (3, 6, 5), generator=torch.Generator().manual_seed(1))
    theirs = losses.FocalLoss(
        to_onehot_y=True, gamma=2.0, use_softmax=True, include_background=True, reduction="none"
    )(logits, labels[:, None]).sum(1).flatten(1).mean(1)  # fmt: skip
    target = Target("masks", 4)
    whole = task_loss(logits[:, None], labels[:, None], target, focal=2.0)
    torch.testing.assert_close(whole - soft_dice_loss(logits, labels), theirs)
    plain = task_loss(logits[:, None], labels[:, None], target, focal=0.0)
    torch.testing.assert_close(plain, task_loss(logits[:, None], labels[:, None], target))


def test_unlabelled_pixels_count_nothing() -> None:
    logits = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(2, (1, 4, 4), generator=torch.Generator().manual_seed(1))
    labels[:, 2:] = -1
    other = logits.clone()
    other[:, :, 2:] += 9
    torch.testing.assert_close(soft_dice_loss(logits, labels), soft_dice_loss(other, labels))
    target = Target("masks", 2)
    first = task_loss(logits[None], labels[None], target)
    torch.testing.assert_close(first, task_loss(other[None], labels[None], target))


def test_distances_by_hand() -> None:
    pytest.importorskip("monai", reason="the extra segmentation")
    truth = np.zeros((2, 12, 12), dtype=int)
    truth[0, 2:6, 2:6] = 1
    given = np.zeros_like(truth)
    given[0, 2:6, 5:9] = 1  # three pixels to the right
    found = surfaces(given, truth, 2, spacing=(1.0, 2.0), tolerance=10.0)
    assert found["hd95"][0, 0] == pytest.approx(6.0)
    assert np.isnan(found["hd95"][1, 0])
    assert found["surface_dice"].tolist() == [[1.0], [1.0]]
    assert surfaces(given, truth, 2, tolerance=0.5)["surface_dice"][0, 0] < 1


def test_structures_apart() -> None:
    pytest.importorskip("monai", reason="the extra segmentation")
    truth = np.zeros((2, 2, 12, 12), dtype=int)  # two tasks of two queries
    truth[0, 0, 2:6, 2:6] = 1
    truth[0, 0, 8:12, 8:12] = 2
    given = truth.copy()
    given[0, 0] = np.roll(truth[0, 0], 1, axis=1)
    found = structure_metrics(given, truth, 3, distances=True)
    assert found["dice"].shape == (2, 2)
    # Structure 1 moved by one of four columns, and neither anywhere in the second query.
    assert found["dice"][0, 0] == pytest.approx((0.75 + 1) / 2)
    assert found["hd95"][0, 0] == pytest.approx(1.0)  # where it is not defined, it does not count
    assert found["surface_dice"][0, 0] == pytest.approx(1.0)
    assert found["dice"][1].tolist() == [1, 1]
    assert np.isnan(found["hd95"][1]).all()
    assert found["centreline_dice"][1].tolist() == [1, 1]


def test_centre_lines() -> None:
    line = np.zeros((20, 20), dtype=bool)
    line[9:12, 2:18] = True
    half = line.copy()
    half[:, 10:] = False
    assert centreline_dice(line, line) == 1.0
    assert centreline_dice(~line & line, line) == 0.0
    assert centreline_dice(half, line) == pytest.approx(2 * 0.5 / 1.5, abs=0.05)
