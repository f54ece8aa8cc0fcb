"""Synthetic ECGs: rhythms and morphologies of the heart as a moving dipole, seen by twelve leads.

Each beat is a sum of Gaussian waves of the heart vector (x to the left, y down, z to the back;
millivolts), after McSharry et al. 2003; the leads see it through the matrix of Dower, Machado and
Osborne 1980. It looks like ECGs and is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Array = NDArray[np.float64]
Vector = tuple[float, float, float]

_DOWER = np.array([
    [0.632, -0.235, 0.059],  # I
    [0.235, 1.066, -0.132],  # II
    [-0.515, 0.157, -0.917],  # V1
    [0.044, 0.164, -1.387],
    [0.882, 0.098, -1.277],
    [1.213, 0.127, -0.601],
    [1.125, 0.127, -0.086],
    [0.831, 0.076, 0.230],  # V6
])  # fmt: skip


@dataclass(frozen=True)
class Wave:
    """A Gaussian of the heart vector: its middle and width in seconds from the R wave."""

    middle: float
    width: float
    vector: Vector


@dataclass(frozen=True)
class Heart:
    """How one patient's heart beats when nothing is wrong with it.

    ``pr`` is from P to R and ``qt`` from R to T at 60 beats a minute, in seconds; ``p`` and ``t``
    multiply these waves.
    """

    bpm: float
    pr: float = 0.16
    qt: float = 0.28
    p: float = 1.0
    t: float = 1.0
    t_width: float = 0.045
    spread: float = 0.03


_Q, _R, _S = (
    Wave(-0.028, 0.009, (-0.08, -0.02, -0.22)),
    Wave(0.0, 0.013, (0.95, 0.85, 0.35)),
    Wave(0.028, 0.011, (-0.15, -0.2, 0.45)),
)
_NORMAL = (_Q, _R, _S)
_T: Vector = (0.28, 0.22, -0.18)
_LEFT_BLOCK = (
    Wave(-0.03, 0.018, (0.35, 0.25, 0.25)),
    Wave(0.015, 0.02, (0.85, 0.35, 0.8)),
    Wave(0.065, 0.02, (0.8, 0.25, 0.75)),
)
_RIGHT_BLOCK = (_Q, _R, Wave(0.058, 0.02, (-0.5, 0.05, -0.65)))
_DELTA = (Wave(-0.05, 0.018, (0.35, 0.28, 0.15)), _R, _S)
_VENTRICULAR = (
    Wave(-0.02, 0.03, (-0.9, 0.5, -0.5)),
    Wave(0.06, 0.03, (-0.6, 0.9, 0.4)),
)
_AGAINST: Vector = (0.45, -0.4, 0.2)  # the T wave of beats that begin in a ventricle


class Tracing:
    """The heart vector ``(3, n)`` over time, to which beats are added."""

    def __init__(self, seconds: float, rate: float) -> None:
        self.seconds = seconds
        self.rate = rate
        self.vector: Array = np.zeros((3, round(seconds * rate)))
        self.times: Array = np.arange(self.vector.shape[1]) / rate

    def add(self, at: float, waves: Sequence[Wave], scale: float = 1.0) -> None:
        """Add waves around a time in seconds; what lies outside is not seen."""
        for wave in waves:
            middle, reach = at + wave.middle, 5 * wave.width
            first = max(0, int((middle - reach) * self.rate))
            last = max(0, int((middle + reach) * self.rate) + 1)
            off = (self.times[first:last] - middle) / wave.width
            self.vector[:, first:last] += np.outer(wave.vector, scale * np.exp(-0.5 * off**2))

    def beat(
        self,
        at: float,
        heart: Heart,
        qrs: Sequence[Wave] = _NORMAL,
        *,
        after: Sequence[Wave] = (),
        t: Vector = _T,
        p: bool = True,
    ) -> None:
        """One beat with its R wave at a time; ``after`` stands between it and the T wave."""
        if p:
            self.atrium(at - heart.pr, heart)
        self.add(at, qrs)
        self.add(at, after)
        middle = heart.qt * float(np.sqrt(60 / max(heart.bpm, 30)))
        self.add(at, [Wave(middle, heart.t_width, t)], heart.t)

    def atrium(self, at: float, heart: Heart) -> None:
        """A P wave."""
        self.add(at, [Wave(0.0, 0.022, (0.07, 0.11, -0.02))], heart.p)


def _beats(chance: Generator, seconds: float, bpm: float, spread: float) -> list[float]:
    """Times of beats, a share ``spread`` irregular."""
    at, found = -chance.uniform(0, 60 / bpm), []
    while at < seconds + 1:
        found.append(at)
        at += 60 / bpm * float(np.exp(spread * chance.standard_normal()))
    return found


Draw = Callable[[Tracing, Generator, Heart], None]


def _regular(
    qrs: Sequence[Wave] = _NORMAL,
    *,
    bpm: tuple[float, float] | None = None,
    after: Sequence[Wave] = (),
    t: Vector = _T,
    p: bool = True,
    **changes: tuple[float, float],
) -> Draw:
    """Every beat alike; ``bpm`` and ``changes`` are ranges that the heart's own are drawn from."""

    def draw(tracing: Tracing, chance: Generator, heart: Heart) -> None:
        drawn = {name: float(chance.uniform(*ends)) for name, ends in changes.items()}
        heart = replace(heart, **drawn)
        if bpm is not None:
            heart = replace(heart, bpm=float(chance.uniform(*bpm)))
        for at in _beats(chance, tracing.seconds, heart.bpm, heart.spread):
            tracing.beat(at, heart, qrs, after=after, t=t, p=p)

    return draw


def _fibrillation(tracing: Tracing, chance: Generator, heart: Heart) -> None:
    heart = replace(heart, bpm=float(chance.uniform(75, 140)))
    for at in _beats(chance, tracing.seconds, heart.bpm, 0.22):
        tracing.beat(at, heart, p=False)
    turns = chance.uniform(4.5, 8, 4)
    swing = chance.uniform(0.02, 0.05, 4)
    phase = chance.uniform(0, 2 * np.pi, 4)
    waves = swing @ np.sin(2 * np.pi * np.outer(turns, tracing.times) + phase[:, None])
    tracing.vector += np.outer((-0.3, 0.5, -0.8), waves)


def _flutter(tracing: Tracing, chance: Generator, heart: Heart) -> None:
    atrial = float(chance.uniform(240, 320))
    heart = replace(heart, bpm=atrial / int(chance.choice([2, 3, 4])), spread=0.004)
    for at in _beats(chance, tracing.seconds, heart.bpm, heart.spread):
        tracing.beat(at, heart, p=False)
    share = (tracing.times * atrial / 60 + chance.random()) % 1
    saw = 0.5 - share + 0.1 * np.sin(2 * np.pi * share)
    tracing.vector += np.outer((0.02, 0.22, -0.14), saw)


def _premature(tracing: Tracing, chance: Generator, heart: Heart) -> None:
    every = int(chance.integers(2, 5))
    begun = int(chance.integers(every))
    for number, at in enumerate(_beats(chance, tracing.seconds, heart.bpm, heart.spread)):
        if (number + begun) % every:
            tracing.beat(at, heart)
        else:  # early, and the next one comes when it would have
            early = at - 0.35 * 60 / heart.bpm
            tracing.beat(early, heart, _VENTRICULAR, t=_AGAINST, p=False)


def _dissociated(tracing: Tracing, chance: Generator, heart: Heart) -> None:
    for at in _beats(chance, tracing.seconds, float(chance.uniform(70, 100)), heart.spread):
        tracing.atrium(at, heart)
    escape = replace(heart, bpm=float(chance.uniform(28, 42)))
    for at in _beats(chance, tracing.seconds, escape.bpm, 0.01):
        tracing.beat(at, escape, _LEFT_BLOCK, t=(-0.3, -0.15, -0.35), p=False)


_ANTERIOR = (Wave(0.11, 0.05, (0.12, 0.0, -0.35)),)
_INFERIOR = (Wave(0.11, 0.05, (-0.12, 0.38, 0.12)),)

KINDS: Mapping[str, Draw] = {
    "sinus rhythm": _regular(),
    "sinus bradycardia": _regular(bpm=(34, 48)),
    "sinus tachycardia": _regular(bpm=(115, 150)),
    "atrial fibrillation": _fibrillation,
    "atrial flutter": _flutter,
    "ventricular premature beats": _premature,
    "ventricular tachycardia": _regular(
        _VENTRICULAR, bpm=(150, 200), t=_AGAINST, p=False, spread=(0.005, 0.015)
    ),
    "first-degree AV block": _regular(pr=(0.27, 0.36), bpm=(55, 80)),
    "third-degree AV block": _dissociated,
    "left bundle branch block": _regular(_LEFT_BLOCK, t=(-0.3, -0.15, -0.35)),
    "right bundle branch block": _regular(_RIGHT_BLOCK, t=(0.3, 0.2, 0.15)),
    "pre-excitation": _regular(_DELTA, pr=(0.1, 0.12)),
    "anterior STEMI": _regular(after=_ANTERIOR, t=(0.3, 0.15, -0.45)),
    "inferior STEMI": _regular(after=_INFERIOR, t=(0.05, 0.45, -0.05)),
    "long QT": _regular(qt=(0.42, 0.5), bpm=(55, 75)),
    "hyperkalaemia": _regular(t=(0.75, 0.6, -0.7), p=True, t_width=(0.02, 0.026)),
}
"""How each class is drawn."""


def draw(
    kind: str, body: Generator, scene: Generator, *, seconds: float, rate: float
) -> NDArray[np.float32]:
    """Twelve leads of one recording ``(12, n)`` in millivolts, in their standard order.

    ``body`` is the patient's chance, ``scene`` the recording's own.
    """
    heart = Heart(
        bpm=float(body.uniform(60, 95)),
        pr=float(body.uniform(0.14, 0.19)),
        p=float(body.uniform(0.7, 1.3)),
        t=float(body.uniform(0.8, 1.25)),
    )
    tilt, size = body.normal(0, 0.12, 3), float(body.uniform(0.75, 1.3))
    tracing = Tracing(seconds, rate)
    KINDS[kind](tracing, scene, heart)
    eight = _DOWER @ (size * _turned(tilt) @ tracing.vector)
    one, two = eight[:2]
    limbs = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    leads = np.concatenate([np.stack(limbs), eight[2:]])
    return (leads + _disturbed(scene, tracing)).astype(np.float32)


def _turned(tilt: Array) -> Array:
    """A rotation about the three axes, one after the other."""
    found = np.eye(3)
    for axis, angle in enumerate(tilt):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        found = turn @ found
    return found


def _disturbed(chance: Generator, tracing: Tracing) -> Array:
    """Noise and a wandering baseline of each lead ``(12, n)``."""
    noise = chance.uniform(0.005, 0.02) * chance.standard_normal((12, len(tracing.times)))
    turns, phase = chance.uniform(0.1, 0.4, (12, 1)), chance.uniform(0, 2 * np.pi, (12, 1))
    wander: Array = chance.uniform(0, 0.08, (12, 1)) * np.sin(
        2 * np.pi * turns * tracing.times + phase
    )
    return np.asarray(noise + wander)
