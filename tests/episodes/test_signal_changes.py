from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch

from medmeta.data.index import Column
from medmeta.data.preprocess import Preprocessing
from medmeta.data.source import Source
from medmeta.data.synthetic_signals import synthetic_ecgs
from medmeta.episodes.loader import EpisodeLoader
from medmeta.episodes.modality_table import (
    ANY_SIGNAL,
    SIGNALS,
    AllowedSignal,
    allowed_of_signals,
)
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.episodes.signal_changes import SignalChanges, apply_to_signals, draw_for_signals
from medmeta.episodes.union import UnionBatches

NOTHING = AllowedSignal(gain=0, noise=0, wander=0, shift=0)


def changed(signals: torch.Tensor, allowed: AllowedSignal, seed: int = 0) -> torch.Tensor:
    tasks, n, leads, _ = signals.shape
    random = np.random.default_rng(seed)
    drawn = SignalChanges.of_tasks(
        [draw_for_signals(random, n, leads, allowed) for _ in range(tasks)]
    )
    return apply_to_signals(signals, drawn)


def some(tasks: int = 2, n: int = 3, leads: int = 4, length: int = 500) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(tasks, n, leads, length, generator=generator)


def test_where_nothing_is_allowed_nothing_changes() -> None:
    signals = some()
    torch.testing.assert_close(changed(signals, NOTHING), signals)


def test_gain_is_one_factor_for_all_leads_of_a_signal_and_within_bounds() -> None:
    signals = some()
    factor = changed(signals, AllowedSignal(gain=0.2, noise=0, wander=0, shift=0)) / signals
    assert factor.amin() >= 0.8 - 1e-5
    assert factor.amax() <= 1.2 + 1e-5
    assert (factor.amax((2, 3)) - factor.amin((2, 3))).max() < 1e-4
    assert factor.std() > 0.01


def test_shift_moves_all_leads_together_and_repeats_the_end() -> None:
    ramp = torch.arange(100.0).expand(1, 8, 2, 100)
    moved = changed(ramp, AllowedSignal(gain=0, noise=0, wander=0, shift=0.1))
    torch.testing.assert_close(moved[:, :, 0], moved[:, :, 1])
    by = 50 - moved[0, :, 0, 50]
    assert by.abs().max() <= 10
    assert len(set(by.tolist())) > 3
    assert ((moved >= 0) & (moved <= 99)).all()
    assert (moved.diff(dim=3) >= 0).all()  # time runs forwards


def test_noise_and_wander_have_their_size() -> None:
    still = torch.zeros(4, 30, 3, 2000)
    noise = changed(still, AllowedSignal(gain=0, noise=0.1, wander=0, shift=0))
    spread = noise.std(dim=3)
    assert spread.max() < 0.105
    assert spread.mean() == pytest.approx(0.05, abs=0.01)
    wave = changed(still, AllowedSignal(gain=0, noise=0, wander=0.2, shift=0))
    assert wave.abs().max() <= 0.2
    turns = (wave[..., 1:] * wave[..., :-1] < 0).sum(3)
    assert turns.max() <= 9  # at most four turns, each of which crosses zero twice


def test_what_is_allowed_by_modality() -> None:
    rows = np.array([0, 1])
    assert allowed_of_signals(Column.from_texts(["ECG", "ecg"]), rows) is ANY_SIGNAL  # two names
    assert allowed_of_signals(Column.from_texts(["ecg", "ecg"]), rows) is SIGNALS["ECG"]
    assert allowed_of_signals(Column.from_texts(["ECG", "ECG"]), rows) is SIGNALS["ECG"]
    assert allowed_of_signals(Column.from_texts([None, "ECG"]), rows) is ANY_SIGNAL
    assert ANY_SIGNAL.wander == 0


def test_tasks_of_signals_are_changed_the_same_way_again() -> None:
    source = synthetic_ecgs(Preprocessing(samples=200), each=6)
    protocol = Protocol(
        sources=(source.name,), n_way=(3, 3), n_shot=(1, 1), n_query=2, norm="batch"
    )
    sampler = TaskSampler([source], protocol)
    plain = EpisodeLoader(sampler).batch(0)
    loader = EpisodeLoader(sampler, augment="modality")
    one, again = loader.batch(0).support.inputs, loader.batch(0).support.inputs
    assert isinstance(one, torch.Tensor)
    assert isinstance(again, torch.Tensor)
    assert isinstance(plain.support.inputs, torch.Tensor)
    assert one.dtype == plain.support.inputs.dtype == torch.float32
    torch.testing.assert_close(one, again, rtol=0, atol=0)
    assert (one - plain.support.inputs).abs().mean() > 0.01
    union = UnionBatches([source], 4, seed=1, augment="light")
    batch = union.batch(0).query.inputs
    assert isinstance(batch, torch.Tensor)
    assert batch.shape == (1, 4, 12, 200)


@pytest.mark.parametrize("augment", ["light", "modality", "tasks"])
def test_masks_are_shifted_with_their_signals(
    augment: Literal["light", "modality", "tasks"],
) -> None:
    """A plateau of 3 on nothing, marked: it stays marked wherever it goes."""
    signals, masks = np.zeros((12, 1, 200), np.float16), np.zeros((12, 200), np.uint8)
    for k in range(12):
        signals[k, 0, 60 + 5 * k :][:20] = 3
        masks[k, 60 + 5 * k :][:20] = 1
    plain = Source.from_arrays("made", signals, ["x"] * 12)
    index = replace(plain.index, structures=("plateau",), labels=None)
    source = replace(plain, index=index, masks=masks)
    asked = Protocol(
        sources=("made",), kind="masks", n_way=(2, 2), n_shot=(3, 3), n_query=3, tasks_per_batch=2
    )
    support = EpisodeLoader(TaskSampler([source], asked), augment=augment).batch(0).support
    assert isinstance(support.inputs, torch.Tensor)
    high = support.inputs[:, :, 0] > 1.5
    assert high.any()
    assert torch.equal(high, support.labels == 1)
