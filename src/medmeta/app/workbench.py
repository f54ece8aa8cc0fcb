"""From a support set to a saved predictor, and from images to predictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medmeta.app.cards import PredictorCard, check_card
from medmeta.app.models import LoadedModel, assemble, blamed_on, with_head
from medmeta.data.preprocess import Preprocessing, as_float
from medmeta.data.source import Source
from medmeta.episode import LabelledSet, Target
from medmeta.errors import CheckpointError, SamplingError, SettingsError
from medmeta.evaluation.metrics import softmax
from medmeta.learner import AdaptedTask, HeadedLearner, adapt_task
from medmeta.learners import configuration
from medmeta.storage import CARD, load_folder, read_json, save_folder
from medmeta.training.checkpoint import (
    WEIGHTS,
    load_weights,
    tensors_from_bytes,
    tensors_to_bytes,
)
from medmeta.version import __version__

PREDICTOR_FORMAT = "medmeta-predictor/1"
SUPPORT = "support.safetensors"
BATCH = 256
NEAREST = 3


@dataclass(frozen=True)
class Predictions:
    """Answers for ``Q`` images.

    ``outputs`` ``(Q, K)`` are class probabilities, or values. ``nearest`` ``(Q, m)`` numbers the
    support images that are most alike in the embedding (in the logits, for a learner without one),
    ``similarity`` ``(Q, m)`` is their cosine. ``embeddings`` ``(Q, D)``.
    """

    outputs: NDArray[np.float64]
    nearest: NDArray[np.int64]
    similarity: NDArray[np.float64]
    embeddings: NDArray[np.float32]


@dataclass(frozen=True)
class SavedPredictor:
    """One learned task, ready to be asked and to be saved.

    ``pixels`` uint8 ``(S, C, H, W)`` are the prepared support images. Support images are called
    by class and number (``"benign #3"``), since a file's name may name a patient.
    """

    task: AdaptedTask
    card: Mapping[str, Any]
    pixels: NDArray[np.uint8]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the probabilities; empty for values."""
        return tuple(self.card["class_names"])

    @property
    def preprocessing(self) -> Preprocessing:
        """How images must be prepared."""
        return Preprocessing.model_validate(self.card["preprocessing"])

    @property
    def support_labels(self) -> NDArray[Any]:
        """Class numbers ``(S,)``, or values ``(S, 1)``."""
        return self.task.support.labels[0].numpy()

    @property
    def support_names(self) -> tuple[str, ...]:
        """Pseudonyms of the support images."""
        if not self.class_names:
            return tuple(f"image #{i + 1}" for i in range(len(self.pixels)))
        count: Counter[int] = Counter()
        names = []
        for label in self.support_labels:
            count[int(label)] += 1
            names.append(f"{self.class_names[int(label)]} #{count[int(label)]}")
        return tuple(names)

    @property
    def support_embeddings(self) -> NDArray[np.float32]:
        """What nearest images are found by, ``(S, D)``."""
        _, embeddings = _answer(self.task, self.task.support.inputs)  # type: ignore[arg-type]
        return embeddings

    def learned_from(self, pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which of some prepared images ``(Q, C, H, W)`` are support images, ``(Q,)``."""
        known = {image.tobytes() for image in self.pixels}
        return np.array([image.tobytes() in known for image in pixels], dtype=bool)

    def predict(self, pixels: NDArray[np.uint8]) -> Predictions:
        """Answer prepared images uint8 ``(Q, C, H, W)``."""
        together = self.task.learner.traits.transductive
        size = max(1, len(pixels)) if together else BATCH
        parts = [
            _answer(
                self.task, as_float(torch.from_numpy(pixels[first : first + size].copy()))[None]
            )
            for first in range(0, len(pixels), size)
        ]
        raw = np.concatenate([p[0] for p in parts]).astype(np.float64)
        embeddings = np.concatenate([p[1] for p in parts])
        nearest, similarity = _nearest(embeddings, self.support_embeddings)
        classes = self.task.target.kind == "classes"
        return Predictions(softmax(raw) if classes else raw, nearest, similarity, embeddings)

    def save(self, folder: Path) -> str:
        """Save as a folder; returns the SHA-256 of its card, for ``--expect-sha256``.

        Raises ``StorageError`` where the disk refuses or the folder is there already.
        """
        support = {
            "pixels": torch.from_numpy(self.pixels),
            "labels": self.task.support.labels[0],
        }
        weights = tensors_to_bytes(self.task.learner.state_dict())
        parts = {WEIGHTS: weights, SUPPORT: tensors_to_bytes(support)}
        return save_folder(folder, self.card, parts)


def adapt(
    model: LoadedModel,
    support: Source,
    *,
    head: str | None = None,
    head_options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> SavedPredictor:
    """Learn one task from a source of labelled images.

    ``head`` puts another head on the model's encoder. Raises ``SamplingError`` for fewer than two
    classes, ``UnsupportedTaskError`` where the learner does not take the task.
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
            )
    target = Target("values", 1) if valued else Target("classes", len(names))
    learner = model.learner
    chosen = None
    if head is not None:
        options = configuration(head, head_options).model_dump(mode="json")
        chosen = {"name": head, "options": options}
        learner = with_head(learner, head, options, target).eval()
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
        "evaluations": model.evaluations(),
        "support": {"images": len(support), "patients_known": index.patients.known},
    }
    pixels = support.gather(np.arange(len(support)))
    labels = index.values[:, None] if valued and index.values is not None else None
    if labels is None:
        assert index.labels is not None
        labels = index.labels.codes.astype(np.int64)
    return _adapted(learner, card, pixels, torch.from_numpy(labels), target, seed)


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
            built = with_head(built, card["head"]["name"], card["head"]["options"], target)
    weights = tensors_from_bytes(parts[WEIGHTS], where=folder / WEIGHTS)
    load_weights(built, weights, where=folder / WEIGHTS)
    support = tensors_from_bytes(parts[SUPPORT], where=folder / SUPPORT)
    _check_support(support, card, target, where=folder / SUPPORT)
    pixels = support["pixels"].numpy()
    with blamed_on(folder / CARD):
        return _adapted(built.eval(), card, pixels, support["labels"], target, card["seed"])


def _check_support(
    support: Mapping[str, Tensor], card: Mapping[str, Any], target: Target, *, where: Path
) -> None:
    pixels, labels = support.get("pixels"), support.get("labels")
    shape = Preprocessing.model_validate(card["preprocessing"]).shape
    fits = pixels is not None and pixels.dtype == torch.uint8 and pixels.shape[1:] == shape
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
    pixels: NDArray[np.uint8],
    labels: Tensor,
    target: Target,
    seed: int,
) -> SavedPredictor:
    images = as_float(torch.from_numpy(pixels))[None]
    support = LabelledSet(images, labels[None], torch.tensor([seed]))
    with torch.no_grad():
        return SavedPredictor(adapt_task(learner, support, target), card, pixels)


def _answer(task: AdaptedTask, images: Tensor) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Outputs ``(Q, K)`` and what nearest images are found by ``(Q, D)``."""
    with torch.no_grad():
        if task.head_predictor is None:
            outputs = task.predictor(images)[0].numpy()
            centred = outputs - outputs.mean(1, keepdims=True)
            return outputs, centred if task.target.kind == "classes" else outputs
        embeddings = cast(HeadedLearner, task.learner).encode(images)
        return task.head_predictor(embeddings)[0].numpy(), embeddings[0].numpy()


def _nearest(
    queries: NDArray[np.float32], support: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The most similar support images by cosine, and how similar."""
    cosine = _unit(queries) @ _unit(support).T
    nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :NEAREST]
    return nearest, np.take_along_axis(cosine, nearest, 1)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float64)
