"""How good embeddings are on collections that were never trained on, while training goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medmeta.encoders import AbstractEncoder, EncoderConfig, build_encoder
from medmeta.episode import InputSpec
from medmeta.learners.heads.ridge import ridge_weights, with_constant
from pretrain_banks import SIZE, collection
from pretrain_views import as_network_takes

WAY, SHOT, QUERY, TASKS, PENALTY = 3, 5, 10, 200, 0.3
MOST_OF_A_CLASS = 200


class Development:
    """Three-way five-shot tasks of one collection, the same at every asking."""

    def __init__(self, path: Path, *, seed: int) -> None:
        bank = collection(path, path.stem, "", 0.0)
        rng = np.random.default_rng(seed)
        rows = [np.flatnonzero(bank.labels.numpy() == c) for c in range(bank.n_classes)]
        rows = [rng.permutation(r)[:MOST_OF_A_CLASS] for r in rows]
        self.name = path.stem
        self.pictures = as_network_takes(bank.pixels[np.concatenate(rows)].float() / 255)
        ends = np.cumsum([len(r) for r in rows])
        starts = ends - [len(r) for r in rows]
        self.tasks = np.stack([self._task(rng, starts, ends) for _ in range(TASKS)])
        made = build_encoder(
            EncoderConfig(name="hog_colour"), InputSpec(3, (SIZE, SIZE)), norm="none"
        )
        self.hand_made = _embedded(made, self.pictures)

    def _task(self, rng: np.random.Generator, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        classes = rng.choice(len(starts), size=WAY, replace=False)
        size = SHOT + QUERY
        return np.stack([
            starts[c] + rng.choice(ends[c] - starts[c], size=size, replace=False) for c in classes
        ])  # fmt: skip

    def accuracies(self, encoder: AbstractEncoder) -> dict[str, float]:
        """In per cent: of the learned features, the hand-made ones, and both side by side."""
        learned = _embedded(encoder, self.pictures)
        parts = {"learned": [learned], "hand-made": [self.hand_made]}
        parts["both"] = [learned, self.hand_made]
        return {name: round(100 * self._accuracy(given), 2) for name, given in parts.items()}

    def _accuracy(self, parts: list[Tensor]) -> float:
        rows = torch.from_numpy(self.tasks)  # (T, way, shot + query)
        known = torch.cat([_prepared(part[rows], SHOT) for part in parts], dim=-1)
        support, query = known[:, :, :SHOT].flatten(1, 2), known[:, :, SHOT:].flatten(1, 2)
        labels = torch.arange(WAY).repeat_interleave(SHOT).expand(len(rows), -1)
        design = with_constant(support)
        strength = PENALTY * support.square().sum(-1).mean(1)
        weights = ridge_weights(design, F.one_hot(labels, WAY).to(design.dtype), strength)
        answers = (with_constant(query) @ weights).argmax(-1)
        truth = torch.arange(WAY).repeat_interleave(QUERY)
        return float((answers == truth).float().mean())


def _prepared(features: Tensor, shot: int) -> Tensor:
    """``(T, way, n, D)`` in units of the support's spread, a length of about 1 each."""
    support = features[:, :, :shot].flatten(1, 2)
    mean = support.mean(1)[:, None, None]
    spread = support.var(1, correction=0)
    spread = (0.7 * spread + 0.3 * spread.mean(-1, keepdim=True)).sqrt()[:, None, None]
    return F.normalize((features - mean) / spread.clamp(min=1e-6), dim=-1)


def _embedded(encoder: AbstractEncoder, pictures: Tensor) -> Tensor:
    encoder = encoder.eval()
    with torch.inference_mode():
        return torch.cat([encoder(part) for part in pictures.split(100)])  # type: ignore[no-untyped-call]
