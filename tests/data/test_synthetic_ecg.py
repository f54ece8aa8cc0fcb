from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import find_peaks

from medmeta.data.preprocess import Preprocessing
from medmeta.data.synthetic_signals import ECG_CLASSES, synthetic_ecgs, synthetic_recording

RATE = 500.0


def leads(kind: str, number: int = 0) -> dict[str, NDArray[np.float64]]:
    made = synthetic_recording(kind, number, seconds=20, rate=RATE)
    assert made.values.shape == (12, 10_000)
    return {
        name: values.astype(np.float64) - np.median(values)
        for name, values in zip(made.leads, made.values, strict=True)
    }


def beats(kind: str, number: int = 0) -> NDArray[np.float64]:
    """Times of the QRS complexes, by the steepness of lead II and V5 together."""
    found = leads(kind, number)
    calm = [np.convolve(found[name], np.ones(15) / 15, mode="same") for name in ("II", "V5")]
    steep = np.abs(np.gradient(calm[0])) + np.abs(np.gradient(calm[1]))
    smooth = np.convolve(steep, np.ones(40) / 40, mode="same")
    peaks, _ = find_peaks(smooth, height=smooth.max() * 0.5, distance=int(0.2 * RATE))
    return peaks / RATE


@pytest.mark.parametrize(
    ("kind", "slowest", "fastest"),
    [
        ("sinus rhythm", 57, 100),
        ("sinus bradycardia", 32, 50),
        ("sinus tachycardia", 110, 156),
        ("third-degree AV block", 26, 44),
        ("ventricular tachycardia", 145, 205),
    ],
)
def test_rhythms_have_their_rate(kind: str, slowest: float, fastest: float) -> None:
    for number in range(0, 8, 2):  # of different patients
        rate = 60 / np.median(np.diff(beats(kind, number)))
        assert slowest <= rate <= fastest


def test_fibrillation_is_irregular_and_sinus_rhythm_is_not() -> None:
    def irregular(kind: str) -> float:
        steps = [np.diff(beats(kind, number)) for number in range(0, 8, 2)]
        return float(np.mean([step.std() / step.mean() for step in steps]))

    assert irregular("sinus rhythm") < 0.08
    assert irregular("atrial fibrillation") > 0.15


def test_the_limb_leads_obey_einthoven_but_for_their_noise() -> None:
    found = leads("atrial flutter")
    assert np.abs(found["I"] + found["III"] - found["II"]).max() < 0.4
    assert np.corrcoef(found["aVR"], -(found["I"] + found["II"]) / 2)[0, 1] > 0.9


def after_beats(kind: str, lead: str) -> float:
    """The ST segment, 0.09 s after the beat, over the level just before the P wave."""
    levels = []
    for number in range(0, 12, 2):
        found = leads(kind, number)[lead]
        for at in beats(kind, number)[1:-1]:
            place = round(at * RATE)
            levels.append(found[place + 40 : place + 55].mean() - found[place - 140])
    return float(np.median(levels))


def test_infarctions_lift_the_st_segment_where_they_are() -> None:
    assert after_beats("anterior STEMI", "V2") > after_beats("sinus rhythm", "V2") + 0.2
    assert after_beats("inferior STEMI", "III") > after_beats("sinus rhythm", "III") + 0.2
    assert after_beats("inferior STEMI", "aVL") < after_beats("sinus rhythm", "aVL") - 0.1


def test_a_recording_depends_on_its_own_number_alone() -> None:
    small = Preprocessing(samples=200)
    few = synthetic_ecgs(small, each=2, classes=ECG_CLASSES[:2])
    many = synthetic_ecgs(small, each=4, classes=ECG_CLASSES[:2])
    np.testing.assert_array_equal(few.pixels, many.pixels[[0, 1, 4, 5]])
    assert len(np.unique(many.hashes)) == 8
    one, *_, last = many.index.patients.codes.tolist()
    assert many.index.patients.codes.tolist()[:2] == [one, one]
    assert len(many.index.patients.names) == 4
    assert last != one


def test_another_seed_is_another_heart() -> None:
    one = synthetic_recording("long QT", 0, seed=0)
    other = synthetic_recording("long QT", 0, seed=1)
    assert np.abs(one.values - other.values).max() > 0.1
