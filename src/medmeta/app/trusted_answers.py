"""What is said of an answer beside its probabilities: is it novel, and which classes may be."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmeta.episode import Inputs
from medmeta.errors import SettingsError
from medmeta.learner import AdaptedTask
from medmeta.trust.novelty import ALL_REASONS, Detector, Seen, judge
from medmeta.trust.results import Trust
from medmeta.trust.set_rules import SetMaker


class TrustedAnswers:
    """Novelty and sets for images asked about, fitted once to a predictor's support.

    ``embeddings`` ``(S, D)`` and ``pixels`` uint8 ``(S, C, H, W)`` are the support's. Raises
    ``SettingsError`` where sets of a ``level`` cannot be made.
    """

    def __init__(
        self,
        task: AdaptedTask,
        trust: Trust,
        embeddings: NDArray[np.float32],
        pixels: NDArray[np.uint8],
        *,
        level: float | None,
        per_class: bool = False,
    ) -> None:
        labels = task.support.labels[0].numpy()
        temperature = trust.calibration.temperature if trust.calibration else 1.0
        self.rule = trust.novelty
        self.detector = None
        if self.rule is not None:
            nothing = np.zeros((len(labels), 0))
            support = Seen(embeddings.astype(np.float64), nothing, pixels.astype(np.float32))
            self.detector = Detector(support, labels, temperature=temperature)
        self.maker = None
        if level is not None:
            if trust.sets is None:
                raise SettingsError("no images could be held out, so that no set can be made.")
            self.maker = SetMaker(task, trust.sets, level=level, per_class=per_class)

    def told(
        self,
        embedded: Inputs,
        logits: NDArray[np.float64],
        likeness: NDArray[np.float32],
        pixels: NDArray[np.uint8],
    ) -> dict[str, Any]:
        """Columns of answers, for prepared images ``pixels`` and what was made of them."""
        found: dict[str, Any] = {}
        if self.detector is not None and self.rule is not None:
            asked = Seen(likeness.astype(np.float64), logits, pixels.astype(np.float32))
            novelty = judge(self.rule, self.detector, asked)
            found["novelty"] = novelty.score
            found["reason"] = np.array(
                [ALL_REASONS.index(text) for text in novelty.reasons], dtype=np.int64
            )
        if self.maker is not None:
            found["sets"] = self.maker.sets(embedded)
        return found
