"""What a saved model is, in words: of the box, of a run, of a predictor."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medmeta import box
from medmeta.app.mask_workbench import is_mask_predictor, load_mask_predictor
from medmeta.app.models import LoadedModel, load_model, verify_run
from medmeta.app.workbench import is_predictor, load_predictor
from medmeta.data.preprocess import Preprocessing
from medmeta.data.slices import slices_in_words
from medmeta.errors import CheckpointError, MedmetaError
from medmeta.learner import AbstractLearner
from medmeta.storage import CARD, read_json
from medmeta.training.checkpoint import model_folder

ABOUT = ("what", "data", "licences", "recipe", "figures", "limits")
DEEPEST = 3  # folders below the one that is listed


@dataclass(frozen=True)
class Told:
    """A saved model whose every hash was compared.

    ``kind``: box, run, model (a folder of its own) or predictor. ``sha256`` is its card's.
    """

    kind: str
    card: Mapping[str, Any]
    sha256: str
    learner: AbstractLearner
    evaluations: list[dict[str, Any]] = field(default_factory=list)

    @property
    def n_weights(self) -> int:
        """How many numbers were learned."""
        return sum(parameter.numel() for parameter in self.learner.parameters())


def told_of(
    path: Path, *, expected_sha256: str | None = None, allow_external: bool = False
) -> Told:
    """Open a model, run or predictor and compare all its hashes; raises ``CheckpointError``."""
    if path.is_file():
        raise CheckpointError(
            f"{path} is a file, and a run, a predictor and a model are folders; name one. What is "
            f"in images or a table: 'medmeta data inspect {path}'."
        )
    given: dict[str, Any] = {"expected_sha256": expected_sha256, "allow_external": allow_external}
    if is_predictor(path) or is_mask_predictor(path):
        masks = is_mask_predictor(path)
        saved = load_mask_predictor(path, **given) if masks else load_predictor(path, **given)
        card = dict(saved.card)
        evaluations = card.pop("evaluations", [])
        digest = hashlib.sha256((path / CARD).read_bytes()).hexdigest()
        return Told("predictor", card, digest, saved.task.learner, evaluations)
    model = load_model(path, **given)
    verify_run(model)
    return Told(_kind(model, path), model.card, model.sha256, model.learner,
                model.all_evaluations())  # fmt: skip


def _kind(model: LoadedModel, path: Path) -> str:
    if model.run is not None:
        return "run"
    return "model" if path.is_dir() else "box"


def facts_of(told: Told) -> dict[str, Any]:
    """Learner, encoder, inputs and training, by what each is called."""
    card = told.card
    model_card = card.get("model", card)
    size, channels = card["preprocessing"]["size"], card["preprocessing"]["channels"]
    return {
        "format": card["format"],
        "learner": card["learner"],
        "head": (card.get("head") or {}).get("name", "its own"),
        "encoder": card["options"]["encoder"]["name"],
        "normalisation": card["options"]["encoder"]["norm"],
        "images": f"{size}×{size}, {channels} channels",
        **_inputs(Preprocessing.model_validate(card["preprocessing"])),
        "classes": ", ".join(card.get("class_names", card.get("structures", [])))
        or _how_many(told),
        **_origin(model_card),
        "trained for": f"{model_card.get('step', '?')} steps",
        "trained on": ", ".join(s["name"] for s in model_card.get("sources", [])),
    }


def _how_many(told: Told) -> str:
    """How many classes a task may have: some networks end in an output for each."""
    if told.card["target"]["kind"] == "values":
        return "none: it answers values"
    most = told.learner.traits.max_way
    return "any" if most is None else f"at most {most}"


def about(card: Mapping[str, Any]) -> dict[str, list[str]]:
    """What people wrote about it, each heading with its lines; a predictor has its model's."""
    held = card.get("model", card).get("about") or {}
    found = {}
    for name in ABOUT:
        lines = held.get(name) or []
        texts = [lines] if isinstance(lines, str) else [_line(one) for one in lines]
        if texts:
            found[name] = texts
    return found


def listed(folder: Path | None) -> list[dict[str, Any]]:
    """The models in the box, and those below a folder: a row each, from its card alone.

    What cannot be read has a ``problem`` in its row.
    """
    rows = [_row(name, "box", box.box_folder(name)) for name in sorted(box.PINNED)]
    if folder is not None:
        rows += [_row(str(path), kind, path) for path, kind in _below(folder)]
    return rows


def _below(folder: Path) -> Iterator[tuple[Path, str]]:
    """Folder and kind of each model, the nearest first."""
    depth = len(folder.parts)
    for place, names, files in os.walk(folder):
        here = Path(place)
        names[:] = sorted(name for name in names if not name.startswith("."))
        if any(name.startswith("checkpoint-") for name in names):
            yield here, "run"
            names.clear()
        elif CARD in files:
            yield here, "model"
            names.clear()
        elif len(here.parts) - depth >= DEEPEST:
            names.clear()


def _row(name: str, kind: str, folder: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "kind": kind}
    try:
        place = model_folder(folder) if kind == "run" else folder
        card = read_json(place / CARD)
        row |= {
            "kind": "predictor" if "model" in card else kind,
            "learner": card["learner"],
            "encoder": card["options"]["encoder"]["name"],
            "size": card["preprocessing"]["size"],
            "channels": card["preprocessing"]["channels"],
            "megabytes": round(sum(f.stat().st_size for f in place.iterdir()) / 1e6, 2),
        }
    except (MedmetaError, KeyError, TypeError, OSError) as error:
        told = isinstance(error, MedmetaError)
        row["problem"] = str(error) if told else "its card is not one of a model of medmeta"
    return row


def _line(told: str | Mapping[str, Any]) -> str:
    return told if isinstance(told, str) else ", ".join(f"{k} {v}" for k, v in told.items())


def _origin(card: Mapping[str, Any]) -> dict[str, str]:
    """How its encoder came about, where that was not by tasks alone."""
    facts = {}
    before, union = card.get("init"), card.get("pretraining")
    if before:
        facts["started from"] = f"the model with SHA-256 {before['sha256']}"
    if isinstance(union, dict):
        facts["pre-trained"] = f"to tell {union.get('classes', '?')} classes apart"
    return facts


def _inputs(prepared: Preprocessing) -> dict[str, str]:
    """What is read of each patient, beside the size of its pictures."""
    told = {"volumes": slices_in_words(prepared)}
    if prepared.modalities and prepared.has_picture:
        told["modalities"] = ", ".join(prepared.modalities)
    if prepared.record is not None and prepared.has_record:
        told["record"] = ", ".join(
            f"{c.name} ({', '.join(c.categories) or c.kind})" for c in prepared.record.columns
        )
    return told
