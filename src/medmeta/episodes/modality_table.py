"""Which random changes leave a picture of each modality a possible picture of its class.

The table is data; what draws from it and applies it is in ``alterations``. Strengths are those of
normalised pictures (-2 to 2), angles are degrees, shifts are shares of the side.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from medmeta.data.index import Column


@dataclass(frozen=True)
class AllowedSignal:
    """The most that may happen to a signal; 0 means never.

    Its leads have a deviation of about 1. ``gain`` 0.2: times 0.8 to 1.2, all leads alike, since
    their proportions tell where the heart's axis lies. ``noise``: the largest standard deviation;
    ``wander``: the largest swing of a slow wave under each lead; ``shift`` along time, in shares of
    the length, with what is at the end beyond it. Time never runs backwards, and no lead is turned
    upside down.
    """

    gain: float = 0.2
    noise: float = 0.1
    wander: float = 0.2
    shift: float = 0.1


SIGNALS: Mapping[str, AllowedSignal] = MappingProxyType({"ECG": AllowedSignal()})
"""What is allowed of signals, by modality; of another all of it, but no wander."""

ANY_SIGNAL = AllowedSignal(wander=0.0)


@dataclass(frozen=True)
class Allowed:
    """The most that may happen to a picture; 0 or False means never.

    ``mirror``: left and right change places, in the whole task or not at all, since it can turn one
    class into another. ``any_way_up``: all eight ways of turning and mirroring a square, each
    picture by itself, where nothing says which way is up. ``rotation`` either way; ``shift`` along
    both axes; ``zoom`` 0.1: from 1/1.1 to 1.1. ``gain`` 0.25: times 0.75 to 1.25; ``brightness`` is
    added. ``colour``: gain of the channels against each other, of coloured pictures only.
    ``noise``: its largest standard deviation; ``softness``: the largest share that is taken from a
    3 by 3 binomial blur.
    """

    mirror: bool = False
    any_way_up: bool = False
    rotation: float = 5.0
    shift: float = 0.05
    zoom: float = 0.05
    gain: float = 0.1
    brightness: float = 0.1
    colour: float = 0.0
    noise: float = 0.1
    softness: float = 0.3

    def both(self, other: Allowed) -> Allowed:
        """What is allowed in both: for a task of two modalities.

        >>> TABLE["X-ray"].both(TABLE["dermoscopy"]).any_way_up
        False
        """
        least = {f.name: min(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        return Allowed(**least)


# Where a field is not named it is the class's own: small, and harmless to any picture.
# fmt: off
TABLE: Mapping[str, Allowed] = MappingProxyType({
    # Upright and seen from the front. Mirrored it would show situs inversus, which is a finding and
    # which one person in 10,000 has. (Many published models mirror chests all the same.)
    "X-ray": Allowed(zoom=0.1, gain=0.25, brightness=0.3),
    # Left and right breast are each other's mirror image.
    "mammography": Allowed(mirror=True, zoom=0.1, gain=0.25, brightness=0.2),
    # Grey values are Hounsfield units seen through a window: little may be done to them. The side
    # tells organs apart (left and right kidney, liver and spleen).
    "CT": Allowed(rotation=10, zoom=0.1),
    # The units of MRI are arbitrary, so its contrast may vary more; the side matters as in CT.
    "MRI": Allowed(rotation=10, zoom=0.1, gain=0.25, brightness=0.2),
    "nuclear": Allowed(rotation=10, zoom=0.1, gain=0.2),
    # A probe is held either way round, but depth and its shadows go down.
    "ultrasound": Allowed(mirror=True, zoom=0.1, gain=0.25, brightness=0.3, noise=0.15),
    # Left and right eye are each other's mirror image; the retina's layers are never upside down.
    "OCT": Allowed(mirror=True, zoom=0.1, gain=0.2, brightness=0.2, noise=0.15),
    "fundus photograph": Allowed(
        mirror=True, rotation=15, zoom=0.1, gain=0.25, brightness=0.2, colour=0.1),
    "photograph": Allowed(
        mirror=True, rotation=10, zoom=0.1, gain=0.25, brightness=0.3, colour=0.1),
    # A lens on the skin, a scope in a hollow organ, a slide: no way is up.
    "dermoscopy": Allowed(
        mirror=True, any_way_up=True, rotation=15, shift=0.1, zoom=0.1,
        gain=0.25, brightness=0.3, colour=0.1),
    "endoscopy": Allowed(
        mirror=True, any_way_up=True, rotation=15, shift=0.1, zoom=0.1,
        gain=0.25, brightness=0.3, colour=0.1),
    # Stain differs between laboratories: Tellez et al. 2019, Medical Image Analysis 58, 101544.
    "histology": Allowed(
        mirror=True, any_way_up=True, rotation=15, shift=0.1, zoom=0.1,
        gain=0.25, brightness=0.3, colour=0.2),
    # The size of a cell tells its kind: it is hardly zoomed.
    "blood smear": Allowed(
        mirror=True, any_way_up=True, rotation=15, gain=0.25, brightness=0.3, colour=0.15),
    "grey microscopy": Allowed(
        mirror=True, any_way_up=True, rotation=15, shift=0.1, zoom=0.1, gain=0.25, brightness=0.3),
})
# fmt: on
"""What is allowed, by modality."""

# What a manifest or a header may call it, in small letters and figures only. DICOM's codes are
# those of PS3.3 C.7.3.1.1.1.
_ALSO: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "X-ray": ("chestxray", "cr", "dx", "rg", "rf", "cxr", "radiograph", "radiography"),
        "mammography": ("mg", "mammogram"),
        "CT": ("computedtomography", "cbct"),
        "MRI": ("mr", "magneticresonance"),
        "nuclear": ("pt", "pet", "nm", "spect"),
        "ultrasound": ("us", "sonography", "echo", "echocardiography"),
        "OCT": ("opt", "oct", "opticalcoherencetomography"),
        "fundus photograph": ("op", "fundus", "retinalfundus", "fundusphotography"),
        "photograph": ("xc", "photography", "clinicalphotography"),
        "dermoscopy": ("dms", "dermatoscopy"),
        "endoscopy": ("es", "colonoscopy", "gastroscopy"),
        "histology": ("sm", "histopathology", "cytology", "pathology"),
        "blood smear": ("bloodfilm", "peripheralblood"),
        "grey microscopy": ("fluorescencemicroscopy", "electronmicroscopy", "fluorescence"),
    }
)


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


_BY_WORD: Mapping[str, Allowed] = MappingProxyType(
    {
        _plain(word): allowed
        for name, allowed in TABLE.items()
        for word in (name, *_ALSO.get(name, ()))
    }
)


def allowed_in_all(entries: Iterable[Allowed]) -> Allowed:
    """What is allowed in each of several modalities."""
    first, *rest = entries
    for other in rest:
        first = first.both(other)
    return first


ANY = allowed_in_all(TABLE.values())
"""What is allowed in every modality of the table: for pictures of an unknown one."""


def allowed_of(modalities: Column, rows: NDArray[np.int64]) -> Allowed:
    """What may happen to some rows of a source together."""
    return allowed_in_all(
        ANY if code < 0 else allowed_for(modalities.names[code])
        for code in np.unique(modalities.codes[rows])
    )


def allowed_of_signals(modalities: Column, rows: NDArray[np.int64]) -> AllowedSignal:
    """The same of signals: what their one modality allows, or any."""
    codes = set(modalities.codes[rows].tolist())
    names = {modalities.names[code] if code >= 0 else "" for code in codes}
    by_word = {_plain(name): allowed for name, allowed in SIGNALS.items()}
    return by_word.get(_plain(names.pop()), ANY_SIGNAL) if len(names) == 1 else ANY_SIGNAL


def allowed_for(modality: str | None) -> Allowed:
    """What may happen to a picture of a modality, however it is spelt; ``ANY`` where not known.

    >>> allowed_for("MR") is TABLE["MRI"], allowed_for("Chest X-ray").mirror
    (True, False)
    >>> allowed_for("handwriting") is ANY
    True
    """
    return _BY_WORD.get(_plain(modality or ""), ANY)
