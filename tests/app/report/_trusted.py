"""A made-up report with all that trust finds out, and maps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medmeta.app.report.content import ExplanationContent, ReportContent
from medmeta.trust.results import (
    Agreement,
    Bin,
    Calibration,
    ClassFigures,
    Decisions,
    Estimate,
    Figure,
    LabelPoint,
    NetBenefit,
    NoveltyRule,
    OperatingPoint,
    Reliability,
    SetCoverage,
    SetRule,
    Shortcut,
    Shortcuts,
    Subgroup,
    Suspect,
    Trust,
)
from tests.app.report._example import example_content

SOURCE = "The images may tell the classes apart by their source: the border gives 90 %."


def example_trust(names: tuple[str, ...], *, enough: bool = True, alarm: bool = True) -> Trust:
    half = Figure(0.75, 0.6, 0.86)
    bins = (Bin(0.4, 0.5, 4, 0.45, 1), Bin(0.8, 0.9, 16, 0.84, 13), Bin(0.9, 1.0, 0, None, 0))
    reliability = Reliability(bins, 0.08, 0.03, 0.4, 0.6)
    thresholds = np.linspace(0.05, 0.95, 19)
    return Trust(
        estimate=Estimate(
            images=20,
            groups=12,
            patients_known=True,
            chance=1 / len(names),
            folds=5,
            repeats=10,
            figures={
                "accuracy": half,
                "balanced_accuracy": half,
                "auroc": Figure(0.88, 0.7, 0.97),
            },
            by_class=tuple(ClassFigures(name, 5, 3, half, half) for name in names),
            cross_validated=0.73,
            correction=0.02,
            interval="exact binomial, 12 patients",
            enough=enough,
            needed=64,
        ),
        calibration=Calibration(1.7, (0.0,) * len(names), 20, reliability, reliability),
        sets=SetRule(
            (0,) * 20,
            (0.0,) * 20,
            (
                SetCoverage("marginal", 0.9, (0.8, 0.92), 1.6, "held"),
                SetCoverage(
                    "class-conditional",
                    0.9,
                    (0.8, 1.0),
                    float(len(names)),
                    "no guarantee possible with 5 images per class at level 90 %: sets within each "
                    "class need 9",
                ),
            ),
        ),
        novelty=NoveltyRule({"limit": 1.0}, 0.05, 20),
        suspects=(
            Suspect(3, 0, 1, 0.1, 0.8, 0.85, True),
            Suspect(4, 0, 1, 0.4, 0.5, 0.55, False),
        ),
        shortcuts=Shortcuts(
            0.75, (Shortcut("border", Figure(0.9, 0.7, 0.98), alarm),), alarm, SOURCE * alarm
        ),
        decisions=Decisions(
            tuple(OperatingPoint(n, "sensitivity 90 %", 0.31, half, half) for n in names[:2]),
            tuple(
                NetBenefit(names[1], float(t), 0.3 - 0.1 * float(t), 0.4 - float(t))
                for t in thresholds
            ),
            (LabelPoint(2, half, measured=True), LabelPoint(15, half, measured=False)),
            (Subgroup("site", "north", 6, half, "6 are too few to compare"),),
        ),
        agreement=Agreement(("a", "b"), 20, {"a, b": 0.7}, 0.68, (2, 3)),
        notes=("A note of the trust pass.",),
        seconds=1.2,
    )


def trusted_content(n_query: int = 60, *, language: str = "en", **changes: bool) -> ReportContent:
    content = example_content(n_query=n_query)
    assert content.query is not None
    sets = content.query.probabilities > 0.2
    reasons = tuple("no support image is near it" if i < 3 else "" for i in range(n_query))
    across, down = np.meshgrid(np.linspace(-1, 1, 64), np.linspace(-1, 1, 64))
    rows = np.arange(min(8, n_query))
    heat = np.stack([np.sin(3 * across + i) * np.cos(2 * down) for i in rows]).astype(np.float32)
    return replace(
        content,
        query=replace(
            content.query,
            sets=sets,
            novelty=reasons,
            novelty_score=np.linspace(2, 0, n_query),
        ),
        trust=example_trust(content.class_names, **changes),
        explanation=ExplanationContent(
            rows=rows,
            classes=content.query.probabilities[rows].argmax(1),
            maps=heat,
            of_support=False,
            deletion=0.31,
            insertion=0.62,
            random_deletion=0.44,
            random_insertion=0.51,
            correlation=0.12,
        ),
        language=language,
    )
