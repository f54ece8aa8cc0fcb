"""Measuring one learner on the medical tasks, beside the reference, task by task."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from medical_recipes import (
    HAND_MADE,
    N_QUERY,
    PENALTIES,
    REFERENCE,
    SEED,
    SHOTS,
    TASKS,
    TESTED_ON,
    TRAINED_ON,
    Features,
)
from medical_table import Row, key, write_rows
from medmeta.app.baselines import untrained_model
from medmeta.app.evaluate_run import EvaluatedSource, EvaluationRequest, evaluate_model
from medmeta.app.models import LoadedModel
from medmeta.data.preprocess import Preprocessing
from medmeta.data.source import Source
from medmeta.data.sources import open_source
from medmeta.encoders import AbstractEncoder, EncoderConfig, build_encoder
from medmeta.encoders.joined import Joined, JoinedOptions
from medmeta.encoders.mirrored import MirrorAveraged
from medmeta.episode import InputSpec, Target
from medmeta.evaluation.intervals import paired_difference
from medmeta.learner import AbstractLearner
from medmeta.learners import EmbeddingLearner, build_head
from page_tables import kept_rows

IMAGES = Preprocessing(channels=3, size=64)
SPEC = InputSpec(3, (64, 64))
MOST_CLASSES = Target("classes", 5)


@dataclass(frozen=True)
class Asked:
    """A line of the table: who answers, on what, and the command that makes it."""

    learner: str
    encoder: str
    tasks: int
    command: str
    told: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = TESTED_ON
    shots: tuple[int, ...] = SHOTS

    def key(self, source: str, shot: int) -> tuple[str, str, str, int]:
        """Of one of its rows."""
        return (self.learner, self.encoder, source, shot)


class AllStages(AbstractEncoder):
    """Another encoder's stages, pooled and joined, in place of its embedding."""

    def __init__(self, encoder: AbstractEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        with torch.no_grad():
            pooled = encoder.pooled_stages(torch.zeros(1, *SPEC.shape))
        self.embedding_size = pooled.shape[1]

    def stages(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        """The pooled stages ``(N, embedding_size, 1)``, as the one stage."""
        return [self.encoder.pooled_stages(inputs)[..., None]]

    def summarise(self, feature_map: torch.Tensor) -> torch.Tensor:
        """Drop the one position."""
        return feature_map.flatten(1)


class Bench:
    """Sources, records and tables; each row is written as soon as it is measured."""

    def __init__(
        self, data: Path, runs: Path, docs: Path, *, again: bool = False, device: str = "cpu"
    ) -> None:
        self.data, self.runs, self.again, self.device = data, runs, again, device
        self.results, self.page = docs / "medical.json", docs / "results.md"
        self.records = runs / "medical-records"
        self.records.mkdir(parents=True, exist_ok=True)
        self._sources: dict[str, Source] = {}
        self._penalties: dict[str, float] = {}

    def source(self, name: str) -> Source:
        """Read once."""
        if name not in self._sources:
            path = self.data / f"{name}.npz"
            self._sources[name] = open_source(path, preprocessing=IMAGES)
        return self._sources[name]

    def is_done(self, asked: Asked) -> bool:
        """Whether all its rows are there already."""
        known = {key(row) for row in kept_rows(self.results)}
        wanted = {asked.key(source, shot) for source in asked.sources for shot in asked.shots}
        return wanted <= known and not self.again

    def measure(self, asked: Asked, build: Callable[[], LoadedModel]) -> None:
        """Measure what is not known yet, and write it."""
        if self.is_done(asked):
            return
        known = set() if self.again else {key(row) for row in kept_rows(self.results)}
        model = build()
        for source in asked.sources:
            for shot in asked.shots:
                if asked.key(source, shot) not in known:
                    row = self._row(asked, model, source, shot)
                    print(row["learner"], row["encoder"], source, shot, row["accuracy"], flush=True)
                    write_rows(self.results, self.page, [row])

    def compare_all(self) -> None:
        """Differences anew, also of rows that were measured before the reference was."""
        rows = []
        for row in kept_rows(self.results):
            asked = Asked(row["learner"], row["encoder"], row["tasks"], row["command"])
            held = self._record(asked, row["source"], row["shot"])
            if held.exists():
                found = np.load(held, allow_pickle=False)
                gap = self._beside_reference(asked, row["source"], row["shot"], found)
                rows.append({**row, "difference": gap})
        write_rows(self.results, self.page, rows)

    def _record(self, asked: Asked, source: str, shot: int) -> Path:
        name = f"{asked.learner}-{asked.encoder}-{source}-{shot}.npy".replace("/", "_")
        return self.records / name

    def _row(self, asked: Asked, model: LoadedModel, source: str, shot: int) -> Row:
        start = time.monotonic()
        found = evaluated(model, self.source(source), shot, asked.tasks, self.device)
        spent = time.monotonic() - start
        accuracies = found.evaluation.records["accuracy"]
        np.save(self._record(asked, source, shot), accuracies, allow_pickle=False)
        summary = found.evaluation.summary["accuracy"]
        return {
            "learner": asked.learner,
            "encoder": asked.encoder,
            "source": source,
            "shot": shot,
            "way": int(found.evaluation.records["n_way"][0]),
            "accuracy": round(100 * summary.mean, 2),
            "interval": round(100 * (summary.high - summary.mean), 2),
            "tasks": summary.tasks,
            "seed": SEED,
            "n_query": N_QUERY,
            "transductive": model.learner.traits.transductive,
            "difference": self._beside_reference(asked, source, shot, accuracies),
            "seconds_per_task": float(f"{spent / summary.tasks:.3g}"),
            "device": self.device,
            "options": dict(model.card["options"]) if asked.encoder != "Conv-4" else {},
            "command": asked.command,
            **asked.told,
        }

    def _beside_reference(
        self, asked: Asked, source: str, shot: int, accuracies: np.ndarray
    ) -> dict[str, float] | None:
        """The mean gap to the reference on the same tasks, with its interval, in points."""
        if (asked.learner, asked.encoder) == REFERENCE:
            return None
        theirs = self._reference(source, shot)
        shared = min(len(theirs), len(accuracies))
        gap = paired_difference(accuracies[:shared], theirs[:shared])
        return {k: round(100 * getattr(gap, k), 2) for k in ("mean", "low", "high")}

    def _reference(self, source: str, shot: int) -> np.ndarray:
        """The reference's accuracies, measured again where their record is not at hand."""
        learner, encoder = REFERENCE
        held = self._record(Asked(learner, encoder, TASKS, ""), source, shot)
        if not held.exists():
            model = self.untrained(learner, HAND_MADE)
            found = evaluated(model, self.source(source), shot, TASKS).evaluation
            np.save(held, found.records["accuracy"], allow_pickle=False)
        found_before: np.ndarray = np.load(held, allow_pickle=False)
        return found_before

    def untrained(self, head: str, features: Features) -> LoadedModel:
        """A head on features; nothing is trained, but ridge's penalty is chosen elsewhere."""
        options: dict[str, Any] = {
            "encoder": {"name": features.encoder, "options": features.options}
        }
        if head == "ridge":
            options["regularisation"] = self.penalty(features)
        return untrained_model(head, options, IMAGES, MOST_CLASSES)

    def penalty(self, features: Features) -> float:
        """Ridge's penalty that does best at five shots on the collections that others train on."""
        if features.called not in self._penalties:
            scores = {}
            for penalty in PENALTIES:
                encoder = {"name": features.encoder, "options": features.options}
                options = {"encoder": encoder, "regularisation": penalty}
                model = untrained_model("ridge", options, IMAGES, MOST_CLASSES)
                found = [evaluated(model, self.source(s), 5, 60) for s in TRAINED_ON]
                scores[penalty] = sum(f.evaluation.summary["accuracy"].mean for f in found)
            self._penalties[features.called] = max(scores, key=lambda p: scores[p])
        return self._penalties[features.called]

    def with_head(self, model: LoadedModel, head: str) -> LoadedModel:
        """The run's encoder under another head."""
        return self._on(model, head, _encoder(model))

    def variant(self, model: LoadedModel, head: str, called: str) -> LoadedModel:
        """A head on what is made of the run's encoder: all stages, flips, features beside it."""
        encoder = _encoder(model)
        if "all stages" in called:
            encoder = AllStages(encoder)
        if "flips" in called:
            encoder = MirrorAveraged(encoder)
        if "hand-made" in called:
            config = EncoderConfig(name=HAND_MADE.encoder, options=HAND_MADE.options)
            made = build_encoder(config, SPEC, norm="running")
            options = JoinedOptions(parts=("conv4", HAND_MADE.encoder))
            encoder = Joined(options, SPEC, "running", [encoder, made])
        return self._on(model, head, encoder.eval())

    def _on(self, model: LoadedModel, head: str, encoder: AbstractEncoder) -> LoadedModel:
        torch.manual_seed(0)
        built = build_head(head, None, InputSpec(encoder.embedding_size, ()), MOST_CLASSES)
        learner: AbstractLearner = EmbeddingLearner(encoder, built).eval()
        card = {**model.card, "options": {"head": head}}
        return LoadedModel(learner, card, None)

    def fine_tuned(self, model: LoadedModel | None) -> LoadedModel:
        """The run's network tuned on each support; without a run, a fresh one for each task."""
        options = {
            "max_way": MOST_CLASSES.size,
            "initial": "fresh" if model is None else "learned",
            "encoder": {"name": "conv4", "norm": "group"},
        }
        made = untrained_model("fine_tuning", options, IMAGES, MOST_CLASSES)
        if model is not None:
            held = {f"0.{name}": value for name, value in _encoder(model).state_dict().items()}
            network = cast(torch.nn.Module, made.learner.network)
            missing = network.load_state_dict(held, strict=False)
            assert not missing.unexpected_keys
        return made


def evaluated(
    model: LoadedModel, source: Source, shot: int, tasks: int, device: str = "cpu"
) -> EvaluatedSource:
    """The model on tasks of one source, all its classes at once."""
    request = EvaluationRequest(
        shots=(shot,),
        query=N_QUERY,
        episodes=tasks,
        drop_small=True,
        baselines=False,
        seed=SEED,
    )
    asked = LoadedModel(model.learner, model.card, None)
    (row,) = evaluate_model(asked, [source], request, device=device)
    return row


def _encoder(model: LoadedModel) -> AbstractEncoder:
    return cast(EmbeddingLearner, model.learner).encoder
