"""What ``medmeta adapt`` does without being told, beside everything else that could be done.

    python benchmarks/default_model.py                  all rows that are not there yet
    python benchmarks/default_model.py --tasks 20       a quick look; written nowhere

Six collections that the model in the box never saw, all classes with images enough, the same
tasks for every method, no patient or picture on both sides. ``default`` is what the model in the
box takes unless a search finds much better (``--budget 0``), ``default, searched`` is the whole of
``auto``; ``fixed: ...`` takes one of its candidates for every task; ``all images`` learns from all
images but the fold that is asked about. Written to ``docs/default_model.json`` as it goes on.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from default_model_bound import accuracy_from_all_images
from default_model_table import write_rows
from medmeta.app.models import load_model
from medmeta.data.preprocess import Preprocessing
from medmeta.data.source import Source
from medmeta.data.sources import open_source
from medmeta.encoders import AbstractEncoder
from medmeta.episode import InputSpec, Target
from medmeta.episodes.protocol import Protocol
from medmeta.evaluation.encoded import EncodedSource
from medmeta.evaluation.evaluate import Evaluation, evaluate
from medmeta.learner import HeadedLearner
from medmeta.learners import EmbeddingLearner, build_learner
from medmeta.learners.auto.candidates import LEARNED, candidates_of, default_of
from medmeta.learners.auto.choosing import Choice
from medmeta.learners.auto.head import AutoConfig, AutoHead
from medmeta.training.checkpoint import WEIGHTS
from page_tables import kept_rows

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "docs" / "default_model.json", ROOT / "docs" / "results.md"
SOURCES = ("busi_breast_us", "wbc1", "ph2", "brain_tumor_mri", "oct_dme", "malaria_cells_iml")
NOT_A_CLASS = {"malaria_cells_iml": "difficult"}
SHOTS = (1, 5, 10)
N_QUERY, TASKS, SEED = 8, 300, 2026
IMAGES = Preprocessing(channels=3, size=64)
SPEC = InputSpec(3, (64, 64))
DEFAULT, SEARCHED = "default", "default, searched"
UNTRAINED = {"border_only": "border", "raw_ridge": "pixels", "hog_colour_ridge": "hog_colour"}
MOST = Target("classes", 8)
PENALTIES = (0.01, 0.1, 1.0, 10.0)
CHOSEN_ON = ("pbc_blood", "mednist", "pneumonia_cxr")
"""Collections on which ridge's penalty on features without training is chosen."""


def source(data: Path, name: str) -> Source:
    """One collection, without what is no class of it."""
    found = open_source(data / f"{name}.npz", preprocessing=IMAGES)
    if name in NOT_A_CLASS:
        kept = [c for c in found.index.class_names if c != NOT_A_CLASS[name]]
        found = found.with_classes(kept)
    return found


def classes_of(given: Source) -> list[int]:
    """Those that have images enough for ten shots, by number."""
    codes = given.index.labels.codes  # type: ignore[union-attr]
    return np.flatnonzero(np.bincount(codes[codes >= 0]) >= max(SHOTS) + N_QUERY).tolist()


def protocol(given: Source, shot: int, tasks: int) -> Protocol:
    """All classes that have images enough for ten shots, so that all shots are of one task."""
    enough = len(classes_of(given))
    return Protocol(
        sources=(given.name,),
        n_way=(enough, enough),
        n_shot=(shot, shot),
        n_query=N_QUERY,
        episodes=tasks,
        seed=SEED,
        drop_small_classes=True,
    )


def main() -> None:
    """Measure what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=ROOT / "shared/data/classification")
    parser.add_argument("--model", type=Path, default=Path("medmeta-base"))
    parser.add_argument("--sources", nargs="+", default=list(SOURCES))
    parser.add_argument("--tasks", type=int, default=TASKS)
    parser.add_argument("--fixed", nargs="*", help="candidates (all on all parts, unless named)")
    parser.add_argument("--searched", action="store_true", help="also with the search")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    bench = Bench(asked)
    for name in asked.sources:
        bench.measure(name)


class Bench:
    """The learners, and where rows go."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked = asked
        self.box = load_model(asked.model)
        learner = self.box.learner
        assert isinstance(learner, HeadedLearner)
        assert isinstance(learner.head, AutoHead)
        self.auto = learner
        self.parts = tuple(learner.head.sizes)
        every = [c.name for c in candidates_of(self.parts, "classes")]
        self.fixed = every[1:] if asked.fixed is None else asked.fixed  # the first is the default
        self._penalties: dict[str, float] = {}

    def measure(self, name: str) -> None:
        """All methods on one collection that have no row yet."""
        given = source(self.asked.data, name)
        known = {(r["method"], r["shot"]) for r in kept_rows(self.asked.out) if r["source"] == name}
        for encoder, rows in self._learners():
            wanted = [(m, b, s) for m, b in rows for s in SHOTS if (m, s) not in known]
            held: EncodedSource | None = None
            for method, build, shot in wanted:
                learner = build()
                held = held or EncodedSource(learner, given, budget=2**30)
                start = time.monotonic()
                found = evaluate(
                    learner, given, protocol(given, shot, self.asked.tasks), encoded=held
                )
                self._write(method, name, shot, found, time.monotonic() - start, encoder)
        if ("all images", 0) not in known:
            self._bound(given)

    def _learners(self) -> Iterator[tuple[str, list[tuple[str, Callable[[], HeadedLearner]]]]]:
        """By encoder, whose embeddings they share: methods with how they are made."""
        for method, encoder in UNTRAINED.items():
            yield encoder, [(method, partial(self._ridge, encoder))]
        rows: list[tuple[str, Callable[[], HeadedLearner]]]
        rows = [(DEFAULT, partial(self._on_box, default_of(self.parts, "classes").name))]
        if self.asked.searched:
            rows.append((SEARCHED, partial(self._on_box, None)))
        alone = f"{LEARNED}/standardised/ridge/1"
        rows.append(("box model alone", partial(self._on_box, alone)))
        rows += [(f"fixed: {c}", partial(self._on_box, c)) for c in self.fixed]
        yield "medmeta-base", rows

    def _ridge(self, encoder: str) -> HeadedLearner:
        options = {"encoder": {"name": encoder}, "regularisation": self._penalty(encoder)}
        return _headed(build_learner("ridge", options, SPEC, MOST).eval())

    def _penalty(self, encoder: str) -> float:
        """What does best at five shots on collections that are not measured on."""
        if encoder not in self._penalties:
            scores: dict[float, float] = dict.fromkeys(PENALTIES, 0.0)
            for name in CHOSEN_ON:
                given = source(self.asked.data, name)
                held = None
                for penalty in PENALTIES:
                    options = {"encoder": {"name": encoder}, "regularisation": penalty}
                    learner = _headed(build_learner("ridge", options, SPEC, MOST).eval())
                    held = held or EncodedSource(learner, given, budget=2**30)
                    asked = protocol(given, 5, 60)
                    found = evaluate(learner, given, asked, encoded=held)
                    scores[penalty] += found.summary["accuracy"].mean
            self._penalties[encoder] = max(scores, key=lambda p: scores[p])
        return self._penalties[encoder]

    def _on_box(self, candidate: str | None) -> HeadedLearner:
        if candidate is None:
            return self.auto
        head = self.auto.head
        assert isinstance(head, AutoHead)
        choice = Choice(members=(candidate,), temperatures=(1.0,))
        fixed = AutoHead(AutoConfig(choice=choice), head.sizes, MOST)
        fixed.load_state_dict(head.state_dict())
        encoder = self.auto.encoder
        assert isinstance(encoder, AbstractEncoder)
        return EmbeddingLearner(encoder, fixed).eval()

    def _bound(self, given: Source) -> None:
        held = EncodedSource(self.auto, given, budget=2**30)
        held.hold(np.arange(len(given)))
        embeddings = held.of(np.arange(len(given)))
        enough = classes_of(given)
        ridge = self._on_box(default_of(self.parts, "classes").name)
        mean, half = accuracy_from_all_images(ridge.head, embeddings, given, enough)
        self._row("all images", given.name, 0, mean, mean - half, mean + half, way=len(enough))

    def _write(
        self, method: str, name: str, shot: int, found: Evaluation, seconds: float, encoder: str
    ) -> None:
        summary = found.summary["accuracy"]
        self._row(
            method, name, shot, *(100 * v for v in (summary.mean, summary.low, summary.high)),
            tasks=summary.tasks, way=int(found.records["n_way"][0]), encoder=encoder,
            seconds_per_task=float(f"{seconds / summary.tasks:.3g}"),
            penalty=self._penalties.get(encoder),
        )  # fmt: skip

    def _row(
        self,
        method: str,
        name: str,
        shot: int,
        mean: float,
        low: float,
        high: float,
        **more: object,
    ) -> None:
        row = {
            "method": method, "source": name, "shot": shot, "accuracy": round(mean, 2),
            "low": round(low, 2), "high": round(high, 2), "seed": SEED, "n_query": N_QUERY,
            "weights": self.box.card["sha256"][WEIGHTS],
            "command": "python benchmarks/default_model.py", **more,
        }  # fmt: skip
        print(method, name, shot, row["accuracy"], flush=True)
        write_rows(self.asked.out, PAGE, [row])


def _headed(learner: object) -> HeadedLearner:
    assert isinstance(learner, HeadedLearner)
    return learner


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    main()
