"""A made-up report for tests: blobs as embeddings, noise as images."""

from __future__ import annotations

from typing import Any

import numpy as np

from medmeta.app.report.content import (
    EvaluationContent,
    QueryContent,
    ReportContent,
    SupportContent,
)


def example_evaluation(source: str = "hospital B", **changes: Any) -> EvaluationContent:
    accuracy = {
        "mean": 0.72,
        "low": 0.71,
        "high": 0.73,
        "spread": 0.1,
        "worst_tenth": 0.51,
        "tasks": 600,
    }
    evaluation = {
        "source": source,
        "protocol": {"n_way": [4, 4], "n_shot": [5, 5], "n_query": 15},
        "summary": {"accuracy": accuracy | changes, "auroc": None},
        "calibration_error": None,
        "dropped": {"rare": 1},
    }
    return EvaluationContent(evaluation, "new classes", {"ridge on raw pixels": 0.6})


def example_content(
    *,
    n_classes: int = 4,
    n_shot: int = 5,
    n_query: int = 60,
    channels: int = 3,
    names: tuple[str, ...] | None = None,
    known: bool = True,
) -> ReportContent:
    rng = np.random.default_rng(0)
    names = names or tuple(f"kind {k}" for k in range(n_classes))
    support = np.repeat(np.arange(n_classes), n_shot)
    query = rng.integers(0, n_classes, n_query)
    centres = rng.normal(size=(n_classes, 16))
    support_at = centres[support] + 0.3 * rng.normal(size=(len(support), 16))
    query_at = centres[query] + 2.5 * rng.normal(size=(n_query, 16))
    scores = -np.square(query_at[:, None] - centres).sum(-1) / 4
    probabilities = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    similarity = query_at @ support_at.T
    similarity /= np.linalg.norm(query_at, axis=1)[:, None] * np.linalg.norm(support_at, axis=1)
    nearest = np.argsort(-similarity, 1)[:, :3]

    def pixels(n: int) -> Any:
        return rng.integers(0, 256, (n, channels, 64, 64), dtype=np.uint8)

    steps = range(1, 11)
    return ReportContent(
        title="Four kinds",
        learner="Prototypical Networks on conv4",
        class_names=names,
        support=SupportContent(
            pixels(len(support)),
            support,
            tuple(f"labelled {i}" for i in range(len(support))),
            support_at.astype(np.float32),
        ),
        query=QueryContent(
            pixels(n_query),
            query if known else np.full(n_query, -1),
            tuple(f"image {i + 1}" for i in range(n_query)),
            probabilities,
            query_at.astype(np.float32),
            nearest,
            np.take_along_axis(similarity, nearest, 1),
        ),
        evaluations=(example_evaluation(),),
        curve=[{"step": s, "loss": 1 / s} for s in steps]
        + [{"step": s, "validation": s / 20} for s in steps],
        training_sources=({"name": "blood cells", "images": 800, "patients": None},),
        data_notes=("Images were scaled to 64 by 64 pixels.",),
        warnings=("The patients are not known.",),
        provenance={"medmeta": "0.1.0", "seed": "0"},
    )
