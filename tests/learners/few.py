"""Options that spare time in tests of all learners, where the defaults would cost seconds."""

from __future__ import annotations

from typing import Any

from medmeta.learners import LEARNERS

FEW: dict[str, dict[str, Any]] = {
    "auto": {"tried": 3},
    "baseline": {"epochs": 10, "rate": 1.0},
    "baseline_plus_plus": {"epochs": 10, "rate": 0.3},
    "fine_tuning": {"test_steps": 5, "rate": 0.02},
    "ensemble": {"copies": 1, "folds": 2, "members": ("ridge",)},
    "gradient_boosting": {"rounds": 5},
    "meta_rf": {"trees": 4, "depths": (100, 1), "leaves": (1,), "shares": (0.5,)},
    "mlp": {"hidden": 8, "decay": 5.0},
    "random_forest": {"trees": 5},
}

# Those of masks answer pixels, and are looked at in ``segmentation/``.
OF_CLASSES = [name for name, spec in LEARNERS.items() if spec.family != "segmentation"]
