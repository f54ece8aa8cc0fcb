"""A model as a folder of its own, small enough to be given away: as in the box."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from medmeta.app.cards import About
from medmeta.app.models import MODEL_FORMAT, PACKED_SEEN, LoadedModel
from medmeta.app.run_folder import hashes_to_bytes
from medmeta.app.trusting import PRIOR
from medmeta.box import MOST_BYTES
from medmeta.errors import SettingsError
from medmeta.storage import CARD, read_json, save_folder
from medmeta.training.checkpoint import WEIGHTS, tensors_to_bytes
from medmeta.version import __version__

HALF, SINGLE = "float16", "float32"


@dataclass(frozen=True)
class Packed:
    """A folder that was written: the ``sha256`` of its card, the size of all of it.

    ``change`` is the largest change of a weight, in units of the largest of its tensor.
    """

    folder: Path
    sha256: str
    n_bytes: int
    n_seen: int
    change: float


def pack(
    model: LoadedModel,
    folder: Path,
    *,
    about: Mapping[str, Any] | None = None,
    half: bool = True,
    most_bytes: int | None = MOST_BYTES,
) -> Packed:
    """Save a model with all that using it needs, and without what only going on with it does.

    Weights become float16 (``half``), and float32 again when they are loaded. Content hashes of
    the pictures seen stay, so that evaluation leaves them out, and so does what the run knows of
    trust. Raises ``SettingsError`` where it is larger than ``most_bytes``, ``StorageError``.
    """
    full = model.learner.state_dict()
    kept = {name: _halved(tensor) if half else tensor for name, tensor in full.items()}
    parts = {WEIGHTS: tensors_to_bytes(kept)}
    seen = model.seen_hashes()
    if len(seen):
        parts[PACKED_SEEN] = hashes_to_bytes(seen)
    if (prior := _prior(model)) is not None:
        parts[PRIOR] = prior
    told = {k: v for k, v in model.card.items() if k != "sha256"}
    card = {"medmeta": __version__, **told, "format": MODEL_FORMAT, "kept_as": _kept_as(kept)}
    if about is not None:
        card["about"] = checked_about(about, where="the card's words")
    n_bytes = sum(map(len, parts.values()))
    if most_bytes is not None and n_bytes > most_bytes:
        raise SettingsError(
            f"this model takes {n_bytes / 1e6:.1f} MB ({len(parts[WEIGHTS]) / 1e6:.1f} MB of them "
            f"weights), and at most {most_bytes / 1e6:g} MB are wanted: give --most-mb, or train a "
            "smaller encoder."
        )
    sha256 = save_folder(folder, card, parts)
    n_bytes += (folder / CARD).stat().st_size
    return Packed(folder, sha256, n_bytes, len(seen), _largest_change(full, kept))


def read_about(file: Path) -> dict[str, Any]:
    """What a person wrote about a model, from JSON; raises ``CheckpointError``, ``SettingsError``.

    ``what``, ``recipe``: a text each; ``data``, ``licences``, ``figures``, ``limits``: lists.
    """
    return checked_about(read_json(file), where=str(file))


def checked_about(told: Any, *, where: str) -> dict[str, Any]:
    """The same once it is known to be such; raises ``SettingsError``."""
    try:
        return About.model_validate(told).model_dump(exclude_unset=True)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "the whole"
        raise SettingsError(
            f"{where}: {name}: {first['msg'].lower()}. It is one JSON object with what and recipe "
            "(texts), data, licences, figures and limits (lists)."
        ) from None


def _halved(tensor: Tensor) -> Tensor:
    """As float16, but for what is small, is no matrix, or would not survive it."""
    if not tensor.is_floating_point() or tensor.ndim < 2:
        return tensor
    half = tensor.to(torch.float16)
    return half if bool(half.isfinite().all()) else tensor


def _kept_as(weights: Mapping[str, Tensor]) -> str:
    return HALF if any(t.dtype == torch.float16 for t in weights.values()) else SINGLE


def _largest_change(full: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> float:
    changes = [0.0]
    for name, tensor in full.items():
        if kept[name].dtype != tensor.dtype:
            gap = (kept[name].to(tensor.dtype) - tensor).abs().max()
            changes.append(float(gap / tensor.abs().max().clamp(min=1e-30)))
    return max(changes)


def _prior(model: LoadedModel) -> bytes | None:
    """What the model knows of trust, as its file."""
    if PRIOR in model.beside:
        return model.beside[PRIOR]
    file = None if model.run is None else model.run / PRIOR
    return file.read_bytes() if file is not None and file.is_file() else None
