"""Small random changes to the signals of tasks: drawn as numbers first, applied afterwards.

Noise, a wandering baseline, gain and a shift in time, within what the modality table allows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medmeta.data.preprocess import as_float
from medmeta.episodes.modality_table import AllowedSignal
from medmeta.episodes.per_task import PerTask

_NOISE = 4096  # samples of the noise that a task's leads are given parts of


@dataclass(frozen=True)
class SignalChanges(PerTask):
    """What happens to each of ``n`` signals of a task, or ``(T, n)`` of several.

    ``gain`` and ``shift`` ``(..., n)``, the latter in shares of the length; of each lead
    ``(..., n, C)`` the ``swing`` of its slow wave, the wave's ``turns`` over the length and where
    it begins (``phase``); ``noise`` ``(..., n)`` is the deviation of a noise that begins in
    ``tile`` ``(..., 4096)`` at ``corner`` ``(..., n, C)``.
    """

    gain: NDArray[np.float32]
    shift: NDArray[np.float32]
    swing: NDArray[np.float32]
    turns: NDArray[np.float32]
    phase: NDArray[np.float32]
    noise: NDArray[np.float32]
    tile: NDArray[np.float32]
    corner: NDArray[np.int64]


def is_signal_batch(inputs: Tensor) -> bool:
    """Whether inputs of tasks are signals: ``(T, n, C, L)``."""
    return inputs.ndim == 4


def draw_for_signals(
    random: np.random.Generator, n: int, n_leads: int, allowed: AllowedSignal
) -> SignalChanges:
    """Draw what happens to ``n`` signals; uniformly within what is allowed."""
    each = (n, n_leads)
    return SignalChanges(
        gain=(1 + allowed.gain * random.uniform(-1, 1, n)).astype(np.float32),
        shift=(allowed.shift * random.uniform(-1, 1, n)).astype(np.float32),
        swing=(allowed.wander * random.uniform(0, 1, each)).astype(np.float32),
        turns=random.uniform(0.5, 4, each).astype(np.float32),
        phase=random.uniform(0, 2 * np.pi, each).astype(np.float32),
        noise=(allowed.noise * random.uniform(0, 1, n)).astype(np.float32),
        tile=random.standard_normal(_NOISE, dtype=np.float32),
        corner=random.integers(_NOISE, size=each),
    )


def apply_to_signals(signals: Tensor, drawn: SignalChanges) -> Tensor:
    """Changed signals ``(T, n, C, L)``, float32.

    Shifted in time first, what lies beyond an end being what is at it; then gain, wave and noise.
    """
    tasks, n, leads, length = signals.shape
    floats = as_float(signals)

    def on(values: NDArray[np.float32], *shape: int) -> Tensor:
        return torch.from_numpy(values).to(floats.device).reshape(shape)

    places = torch.arange(length, device=floats.device)
    from_where = _from_where(drawn, length, floats.device)
    shifted = floats.gather(3, from_where[:, :, None].expand(floats.shape))
    of_lead = (tasks, n, leads, 1)
    angle = 2 * torch.pi * on(drawn.turns, *of_lead) * places / length + on(drawn.phase, *of_lead)
    wave = on(drawn.swing, *of_lead) * angle.sin()
    corner = torch.from_numpy(drawn.corner).to(floats.device)[..., None]
    tile = torch.from_numpy(drawn.tile).to(floats.device)
    task = torch.arange(tasks, device=floats.device)[:, None, None, None]
    noise = tile[task, (corner + places) % _NOISE] * on(drawn.noise, tasks, n, 1, 1)
    return shifted * on(drawn.gain, tasks, n, 1, 1) + wave + noise


def shifted_masks(masks: Tensor, drawn: SignalChanges) -> Tensor:
    """Masks ``(T, n, L)`` of signals, shifted in time as ``apply_to_signals`` shifts these."""
    return masks.gather(2, _from_where(drawn, masks.shape[2], masks.device))


def _from_where(drawn: SignalChanges, length: int, device: torch.device) -> Tensor:
    """Which sample comes to each place ``(T, n, L)``."""
    moved = torch.from_numpy(drawn.shift).to(device)[..., None] * length
    places = torch.arange(length, device=device)
    return (places - moved.round().long()).clamp(0, length - 1)
