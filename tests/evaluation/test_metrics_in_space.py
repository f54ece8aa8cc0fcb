"""Losses and figures of masks in three dimensions, against MONAI, SciPy and arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.losses import DiceLoss
from monai.metrics import compute_dice
from scipy import ndimage

from medmeta.episode import Target
from medmeta.evaluation.mask_metrics import mask_metrics, overlap, structure_metrics, surfaces
from medmeta.mask_loss import soft_dice_loss
from medmeta.task_loss import task_loss


def test_dice_loss_of_volumes_is_monais() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 3, 6, 7, 8), torch.randint(3, (3, 6, 7, 8))
    theirs = DiceLoss(
        include_background=False, to_onehot_y=True, softmax=True, reduction="none",
        smooth_nr=1.0, smooth_dr=1.0,
    )(logits, labels[:, None]).reshape(3, 2)  # fmt: skip
    torch.testing.assert_close(soft_dice_loss(logits, labels), theirs.mean(1))


def test_the_loss_of_a_volume_is_that_of_its_voxels_in_a_row() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 2, 4, 5, 6), torch.randint(-1, 2, (2, 3, 4, 5, 6))
    target = Target("masks", 2)
    flat = task_loss(logits.flatten(3), labels.flatten(2), target, focal=2.0)
    torch.testing.assert_close(task_loss(logits, labels, target, focal=2.0), flat)


def test_dice_of_volumes_is_monais() -> None:
    random = np.random.default_rng(0)
    given, truth = random.integers(0, 3, (2, 4, 6, 7, 8))
    found = overlap(given, truth, 3, axes=3)["dice"]
    hot = [
        torch.nn.functional.one_hot(torch.from_numpy(m), 3).movedim(-1, 1) for m in (given, truth)
    ]
    theirs = compute_dice(*hot, include_background=False)
    np.testing.assert_allclose(found, theirs.numpy(), atol=1e-6)
    assert found.shape == (4, 2)


def test_a_volume_counts_as_one_not_slice_by_slice() -> None:
    """One slice right, one wholly wrong: 2 * 4 / (4 + 8), not the mean of 1 and 0."""
    truth = np.zeros((1, 1, 2, 2, 2), dtype=np.int64)
    truth[...] = 1
    given = truth.copy()
    given[0, 0, 1] = 0
    assert mask_metrics(given, truth, 2)["dice"] == pytest.approx([2 * 4 / (4 + 8)])
    assert mask_metrics(given, truth, 2)["area_error"] == pytest.approx([0.5])
    each = structure_metrics(given, truth, 2)
    assert each["dice"] == pytest.approx(np.array([[2 / 3]]))


def test_distances_in_space_go_by_the_spacing() -> None:
    """Two slabs, three slices of 4 mm apart."""
    truth = np.zeros((1, 12, 8, 8), dtype=np.int64)
    truth[:, 2, :, :] = 1
    given = np.roll(truth, 3, axis=1)
    found = surfaces(given, truth, 2, spacing=(4.0, 1.0, 1.0))
    assert found["hd95"] == pytest.approx(np.array([[12.0]]))
    assert found["surface_dice"] == pytest.approx(np.array([[0.0]]))
    apart = ndimage.distance_transform_edt(truth[0] == 0, sampling=(4.0, 1.0, 1.0))
    assert apart[given[0] == 1].max() == pytest.approx(12.0)
    same = surfaces(truth, truth, 2, spacing=(4.0, 1.0, 1.0))
    assert same["surface_dice"] == pytest.approx(np.array([[1.0]]))


def test_tasks_of_volumes_have_distances_and_centre_lines() -> None:
    truth = np.zeros((1, 2, 10, 10, 10), dtype=np.int64)
    truth[..., 3:7, 3:7, 2:8] = 1
    found = structure_metrics(truth, truth, 2, distances=True)
    assert {name: float(values[0, 0]) for name, values in found.items()} == {
        "dice": 1.0, "iou": 1.0, "area_error": 0.0, "hd95": 0.0, "surface_dice": 1.0,
        "centreline_dice": 1.0,
    }  # fmt: skip
