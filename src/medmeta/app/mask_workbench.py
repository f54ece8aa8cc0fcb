"""From images with masks to a saved predictor of masks, and back from its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medmeta.app.assembling import assemble, blamed_on
from medmeta.app.cards import check_card
from medmeta.app.held_out_masks import with_held_out
from medmeta.app.mask_predictor import SavedMaskPredictor, labelled
from medmeta.app.models import LoadedModel
from medmeta.app.predictor import SUPPORT
from medmeta.app.predictor_cards import MaskPredictorCard
from medmeta.data.mask_shape import UNLABELLED
from medmeta.data.preprocess import Preprocessing
from medmeta.data.resampled import voxel_size
from medmeta.data.source import Source
from medmeta.episode import Target
from medmeta.errors import CheckpointError, SamplingError, SettingsError, UnsupportedTaskError
from medmeta.learner import adapt_task
from medmeta.storage import CARD, load_folder, read_json
from medmeta.training.checkpoint import WEIGHTS, load_weights, tensors_from_bytes
from medmeta.version import __version__

MASK_FORMAT = "medmeta-mask-predictor/1"


def adapt_masks(
    model: LoadedModel, support: Source, *, seed: int = 0, estimate: bool = False
) -> SavedMaskPredictor:
    """Learn one task of masks from a source of images with masks: all structures that it marks.

    ``estimate``: also find out how well, by leaving out marked images. Raises ``SamplingError``
    where nothing is marked, ``UnsupportedTaskError`` where the model is not for masks or takes
    fewer structures.
    """
    if not 0 <= seed < 2**63:
        raise SettingsError(f"--seed {seed}: a seed is 0 or more, and less than 2^63.")
    if model.card["target"]["kind"] != "masks":
        raise UnsupportedTaskError(
            f"this model was trained on {model.card['target']['kind']}, not on masks: use a run of "
            "'medmeta train --target masks'."
        )
    present = np.flatnonzero(support.marked[:, 1:].any(0))
    if not len(present):
        raise SamplingError(
            f"{support.name}: not one of its {len(support)} masks marks anything; give at least "
            "one image in which the structure is marked."
        )
    # As of classes: what is declared and nowhere marked is no part of the task.
    names = tuple(support.index.structures[i] for i in present.tolist())
    table = np.zeros(256, dtype=np.uint8)
    table[UNLABELLED], table[present + 1] = UNLABELLED, np.arange(1, len(names) + 1)
    pixels = support.gather(np.arange(len(support)))
    masks = table[support.gather_masks(np.arange(len(support)))]
    target = Target("masks", len(names) + 1)
    card = {
        "format": MASK_FORMAT,
        "medmeta": __version__,
        **{k: model.card[k] for k in ("learner", "options", "input_spec", "preprocessing")},
        "target": {"kind": "masks", "size": target.size},
        "model_target": model.card["target"],
        "structures": list(names),
        "seed": seed,
        "model": {k: v for k, v in model.card.items() if k not in ("sha256", "options")},
        "support": {
            "images": len(support),
            "patients_known": support.index.patients.known,
            "volumes": support.n_volumes,
            "voxels_mm": _voxels(
                support, Preprocessing.model_validate(model.card["preprocessing"])
            ),
        },
    }
    predictor = _adapted(model.learner, card, pixels, masks, target)
    return with_held_out(predictor, support.groups) if estimate else predictor


def _voxels(support: Source, preprocessing: Preprocessing) -> list[float] | None:
    """How large the voxels are that patches were learned at, where they were not resampled."""
    scan = support.index.scans[0] if support.index.scans else None
    if not preprocessing.patches or preprocessing.spacing != "same":
        return None
    known = voxel_size(scan, preprocessing.plane)
    return None if known is None else list(known)


def is_mask_predictor(folder: Path) -> bool:
    """Whether a folder says that it is a saved predictor of masks."""
    card = read_json(folder / CARD) if (folder / CARD).is_file() else {}
    return isinstance(card, dict) and card.get("format") == MASK_FORMAT


def load_mask_predictor(
    folder: Path, *, expected_sha256: str | None = None, allow_external: bool = False
) -> SavedMaskPredictor:
    """Load a saved predictor of masks: the learner is rebuilt and adapts again.

    Raises ``CheckpointError`` where anything is missing, damaged or altered.
    """
    card, parts = load_folder(folder, expected_sha256=expected_sha256)
    if card.get("format") != MASK_FORMAT or not {WEIGHTS, SUPPORT} <= parts.keys():
        raise CheckpointError(
            f"{folder} holds no predictor of masks; give the folder that 'medmeta adapt --task "
            "segmentation --out' wrote."
        )
    check_card(MaskPredictorCard, card, where=folder / CARD)
    torch.manual_seed(0)
    with blamed_on(folder / CARD):
        built = assemble({**card, "target": card["model_target"]}, allow_external=allow_external)
    weights = tensors_from_bytes(parts[WEIGHTS], where=folder / WEIGHTS)
    load_weights(built, weights, where=folder / WEIGHTS)
    support = tensors_from_bytes(parts[SUPPORT], where=folder / SUPPORT)
    target = Target("masks", int(card["target"]["size"]))
    _check_support(support, card, target, where=folder / SUPPORT)
    pixels, masks = support["pixels"].numpy(), support["masks"].numpy()
    with blamed_on(folder / CARD):
        return _adapted(built.eval(), card, pixels, masks, target)


def _check_support(
    support: Mapping[str, Tensor], card: Mapping[str, Any], target: Target, *, where: Path
) -> None:
    pixels, masks = support.get("pixels"), support.get("masks")
    shape = Preprocessing.model_validate(card["preprocessing"]).shape
    fits = pixels is not None and pixels.dtype == torch.uint8 and pixels.shape[1:] == shape
    if fits and masks is not None and pixels is not None:
        fits = masks.dtype == torch.uint8 and masks.shape == (len(pixels), *shape[1:])
        held = masks[masks != UNLABELLED]
        fits = fits and len(held) > 0 and int(held.max()) < target.size
    if not fits or masks is None:
        raise CheckpointError(
            f"{where} does not hold the support set that the card speaks of; adapt again."
        )


def _adapted(
    learner: Any, card: Mapping[str, Any], pixels: Any, masks: Any, target: Target
) -> SavedMaskPredictor:
    support = labelled(pixels, masks, int(card["seed"]))
    with torch.no_grad():
        task = adapt_task(learner, support, target)
    return SavedMaskPredictor(task, card, pixels, masks)
