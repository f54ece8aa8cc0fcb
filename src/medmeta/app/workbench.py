"""From a support set to a saved predictor, and back from its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medmeta.app.assembling import assemble, blamed_on, input_spec_from, with_head
from medmeta.app.cards import check_card
from medmeta.app.models import LoadedModel
from medmeta.app.predictor import SUPPORT, Beside, SavedPredictor, as_inputs
from medmeta.app.predictor_cards import PredictorCard
from medmeta.data.left_out import left_out
from medmeta.data.preprocess import Preprocessing
from medmeta.data.source import Source
from medmeta.data.standardise import Levels
from medmeta.episode import LabelledSet, Target
from medmeta.errors import CheckpointError, SamplingError, SettingsError
from medmeta.evaluation.cores import is_light, on_one_core
from medmeta.input_parts import IMAGE, RECORD
from medmeta.learner import Settled, adapt_task
from medmeta.learners.building import head_configuration
from medmeta.storage import CARD, load_folder, read_json
from medmeta.training.checkpoint import WEIGHTS, load_weights, tensors_from_bytes
from medmeta.version import __version__

__all__ = ["SavedPredictor", "adapt", "is_predictor", "load_predictor"]

PREDICTOR_FORMAT = "medmeta-predictor/1"


def adapt(
    model: LoadedModel,
    support: Source,
    *,
    head: str | None = None,
    head_options: Mapping[str, Any] | None = None,
    seed: int = 0,
    levels: Levels | None = None,
    seconds: float | None = None,
) -> SavedPredictor:
    """Learn one task from a source of labelled images.

    ``levels``: what the support's grey levels were brought to, for its answers to do likewise.
    ``head`` puts another head on the model's encoder. A learner that has choices to make for this
    task makes them within so many ``seconds``; they go into the card. Raises ``SamplingError`` for
    fewer than two classes, ``UnsupportedTaskError`` where the learner does not take the task.
    """
    if not 0 <= seed < 2**63:
        raise SettingsError(f"--seed {seed}: a seed is 0 or more, and less than 2^63.")
    index = support.index
    valued = model.card["target"]["kind"] == "values"
    if (index.values is None) if valued else (index.labels is None):
        has, takes = ("classes", "values") if valued else ("values", "classes")
        raise SamplingError(f"{support.name} has {has}, but this model was trained on {takes}.")
    names = () if valued else index.class_names
    if not valued and len(names) < 2:
        raise SamplingError(
            f"{support.name} has one class only ({', '.join(names)}); there is nothing to tell "
            "apart. Add a folder per class."
        )
    if not valued and index.labels is not None:
        present = [names[code] for code in np.unique(index.labels.codes)]
        if len(present) < len(names):  # an npz may name classes that it has no image of
            return adapt(
                model,
                support.with_classes(present),
                head=head,
                head_options=head_options,
                seed=seed,
                levels=levels,
                seconds=seconds,
            )
    target = Target("values", 1) if valued else Target("classes", len(names))
    learner = model.learner
    chosen = None
    if head is not None:
        options = head_configuration(head, head_options).model_dump(mode="json")
        chosen = {"name": head, "options": options}
        learner = with_head(learner, head, options, input_spec_from(model.card), target).eval()
    card = {
        "format": PREDICTOR_FORMAT,
        "medmeta": __version__,
        **{k: model.card[k] for k in ("learner", "options", "input_spec", "preprocessing")},
        "target": {"kind": target.kind, "size": target.size},
        "model_target": model.card["target"],
        "head": chosen,
        "class_names": list(names),
        "seed": seed,
        "model": {k: v for k, v in model.card.items() if k not in ("sha256", "options")},
        "evaluations": model.evaluations(chosen),
        "support": {
            "images": len(support),
            "patients_known": index.patients.known,
            "volumes": support.n_volumes,
        },
        "standardise": None if levels is None else levels.to_dict(),
        "left_out": left_out([index]),
    }
    pixels = support.gather(np.arange(len(support)))
    labels = index.values[:, None] if valued and index.values is not None else None
    if labels is None:
        assert index.labels is not None
        labels = index.labels.codes.astype(np.int64)
    task = LabelledSet(
        as_inputs(pixels, support.beside),
        torch.from_numpy(labels)[None],
        torch.tensor([seed]),
        torch.from_numpy(support.groups)[None],
    )
    with torch.no_grad(), on_one_core(is_light(learner, len(support))):
        settled = learner.settled(task, target, seconds=seconds)
        adapted = adapt_task(settled.learner, task, target, embeddings=settled.support_embeddings)
        adapted = replace(adapted, procedure=settled.procedure)
    card = {**card, **_choice_in_card(card, settled)}
    return SavedPredictor(adapted, card, pixels, support.beside)


def _choice_in_card(card: Mapping[str, Any], settled: Settled) -> dict[str, Any]:
    """Where the options lie from which the learner is built again: with the choice made."""
    if not settled.record:
        return {"choice": None}
    if card["head"] is None:
        return {"options": {**card["options"], **settled.options}, "choice": settled.record}
    options = {**card["head"]["options"], **settled.options}
    return {"head": {**card["head"], "options": options}, "choice": settled.record}


def is_predictor(folder: Path) -> bool:
    """Whether a folder says that it is a saved predictor; raises ``CheckpointError``."""
    card = read_json(folder / CARD) if (folder / CARD).is_file() else {}
    return isinstance(card, dict) and card.get("format") == PREDICTOR_FORMAT


def load_predictor(
    folder: Path, *, expected_sha256: str | None = None, allow_external: bool = False
) -> SavedPredictor:
    """Load a saved predictor: the learner is rebuilt and adapts to the saved support again.

    Raises ``CheckpointError`` where anything is missing, damaged or altered.
    """
    what = f"{folder} holds no predictor; give the folder that 'medmeta adapt --out' wrote."
    if not (folder / CARD).is_file():
        raise CheckpointError(what)
    card, parts = load_folder(folder, expected_sha256=expected_sha256)
    if card.get("format") != PREDICTOR_FORMAT or not {WEIGHTS, SUPPORT} <= parts.keys():
        raise CheckpointError(
            f"{what} (Its format is {card.get('format')!r}; this version reads "
            f"{PREDICTOR_FORMAT!r}.)"
        )
    check_card(PredictorCard, card, where=folder / CARD)
    torch.manual_seed(0)
    target = Target(card["target"]["kind"], int(card["target"]["size"]))
    with blamed_on(folder / CARD):
        built = assemble({**card, "target": card["model_target"]}, allow_external=allow_external)
        if card["head"]:
            head = card["head"]
            built = with_head(built, head["name"], head["options"], input_spec_from(card), target)
    weights = tensors_from_bytes(parts[WEIGHTS], where=folder / WEIGHTS)
    load_weights(built, weights, where=folder / WEIGHTS)
    support = tensors_from_bytes(parts[SUPPORT], where=folder / SUPPORT)
    _check_support(support, card, target, where=folder / SUPPORT)
    named = {n: t.numpy() for n, t in support.items() if n not in ("pixels", "labels")}
    known = support["pixels"].numpy(), {n: named[n] for n in _beside(card) if n in named}
    with blamed_on(folder / CARD):
        return _adapted(built.eval(), card, known, support["labels"], target, card["seed"])


def _beside(card: Mapping[str, Any]) -> dict[str, int]:
    """What stands beside the pictures of a predictor, in order, and how many numbers it has."""
    spec = Preprocessing.model_validate(card["preprocessing"]).input_spec
    if spec.kind == "vector":
        return {RECORD: spec.channels}
    return {name: part.channels for name, part in spec.parts if name != IMAGE}


def _check_support(
    support: Mapping[str, Tensor], card: Mapping[str, Any], target: Target, *, where: Path
) -> None:
    pixels, labels = support.get("pixels"), support.get("labels")
    prepared = Preprocessing.model_validate(card["preprocessing"])
    dtype = torch.float16 if prepared.samples else torch.uint8
    fits = pixels is not None and pixels.dtype == dtype and pixels.shape[1:] == prepared.shape
    for name, size in _beside(card).items():
        values = support.get(name)
        wanted = None if pixels is None else (len(pixels), size)
        there = values is not None and values.dtype == torch.float32
        fits = fits and there and values is not None and tuple(values.shape) == wanted
    if fits and labels is not None and pixels is not None:
        if target.kind == "classes":
            fits = labels.dtype == torch.int64 and labels.shape == pixels.shape[:1]
            fits = fits and set(labels.tolist()) == set(range(target.size))
        else:
            fits = labels.dtype == torch.float32 and labels.shape == (len(pixels), 1)
    if not fits or labels is None:
        raise CheckpointError(
            f"{where} does not hold the support set that the card speaks of; adapt again."
        )


def _adapted(
    learner: Any,
    card: Mapping[str, Any],
    known: tuple[NDArray[np.uint8], Beside],
    labels: Tensor,
    target: Target,
    seed: int,
) -> SavedPredictor:
    support = LabelledSet(as_inputs(*known), labels[None], torch.tensor([seed]))
    with torch.no_grad():
        return SavedPredictor(adapt_task(learner, support, target), card, *known)
