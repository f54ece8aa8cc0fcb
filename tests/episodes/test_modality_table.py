"""Laws of the table of what may happen to a picture, and how modalities are recognised."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from medmeta.data.catalogue import catalogue
from medmeta.data.index import Column
from medmeta.data.modality_kinds import kind_of
from medmeta.data.synthetic import MODALITIES
from medmeta.episodes.modality_table import (
    ANY,
    TABLE,
    Allowed,
    allowed_for,
    allowed_in_all,
    allowed_of,
)

GREY = ("X-ray", "mammography", "CT", "MRI", "nuclear", "ultrasound", "OCT", "grey microscopy")
UPRIGHT = ("X-ray", "mammography", "CT", "MRI", "nuclear", "ultrasound", "OCT", "photograph",
           "fundus photograph")  # fmt: skip
SIDED = ("X-ray", "CT", "MRI", "nuclear")


def least(allowed: Allowed, other: Allowed) -> bool:
    return all(getattr(allowed, f.name) <= getattr(other, f.name) for f in fields(Allowed))


def test_no_colour_is_changed_where_there_is_none() -> None:
    assert [name for name, allowed in TABLE.items() if not allowed.colour] == list(GREY)


def test_nothing_upright_is_turned_over_and_slides_are_in_all_eight_ways() -> None:
    turned = {name for name, allowed in TABLE.items() if allowed.any_way_up}
    assert turned.isdisjoint(UPRIGHT)
    assert {"histology", "blood smear", "dermoscopy", "endoscopy"} <= turned
    assert set(UPRIGHT) | turned == set(TABLE)


def test_nothing_is_mirrored_where_the_side_matters() -> None:
    assert [name for name, allowed in TABLE.items() if not allowed.mirror] == list(SIDED)


def test_hounsfield_units_are_changed_less_than_anything_else() -> None:
    assert TABLE["CT"].gain == min(allowed.gain for allowed in TABLE.values())
    assert TABLE["CT"].brightness == min(allowed.brightness for allowed in TABLE.values())


@pytest.mark.parametrize("name", TABLE)
def test_every_strength_is_small_and_an_unknown_picture_gets_no_more(name: str) -> None:
    allowed = TABLE[name]
    assert 0 < allowed.rotation <= 15
    assert 0 < allowed.shift <= 0.1
    assert 0 < allowed.zoom <= 0.1
    assert 0 < allowed.gain < 0.5
    assert 0 < allowed.brightness <= 0.3
    assert 0 <= allowed.colour <= 0.2
    assert 0 <= allowed.noise <= 0.15  # of a range of 4
    assert 0 <= allowed.softness < 1
    assert allowed.mirror or not allowed.any_way_up
    assert least(ANY, allowed)
    assert allowed_for(name) is allowed


def test_what_is_allowed_in_both_is_a_meet() -> None:
    for a in TABLE.values():
        assert a.both(a) == a
        for b in TABLE.values():
            both = a.both(b)
            assert both == b.both(a)
            assert least(both, a)
            assert least(both, b)
            assert {getattr(both, f.name) for f in fields(Allowed)} <= {
                getattr(x, f.name) for x in (a, b) for f in fields(Allowed)
            }
    assert allowed_in_all(TABLE.values()) == ANY


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("CR", "DX", "chest X-ray", "Chest x ray", "X-ray", "x_ray", "CXR"), "X-ray"),
        (("MG", "mammography"), "mammography"),
        (("ct", "CT "), "CT"),
        (("MR", "MRI", "mri"), "MRI"),
        (("PT", "NM"), "nuclear"),
        (("US", "ultrasound", "Ultrasound"), "ultrasound"),
        (("OPT", "oct"), "OCT"),
        (("OP", "fundus photograph", "Retinal fundus"), "fundus photograph"),
        (("XC", "photograph"), "photograph"),
        (("dermoscopy", "Dermatoscopy"), "dermoscopy"),
        (("ES",), "endoscopy"),
        (("SM", "Histopathology"), "histology"),
        (("blood smear",), "blood smear"),
        (("fluorescence microscopy", "Electron microscopy"), "grey microscopy"),
    ],
)
def test_modalities_are_recognised_as_dicom_and_people_write_them(
    words: tuple[str, ...], name: str
) -> None:
    for word in words:
        assert allowed_for(word) is TABLE[name], word


@pytest.mark.parametrize("word", ["", None, "handwriting", "OT", "CTMR", "shape"])
def test_what_is_not_recognised_is_treated_as_anything(word: str | None) -> None:
    assert allowed_for(word) is ANY


def test_medmetas_own_modalities_are_all_recognised() -> None:
    assert all(allowed_for(name) is not ANY for name in MODALITIES)
    named = {entry.modality for entry in catalogue().values()} - {"shape"}
    assert all(allowed_for(name) is not ANY for name in named)


def test_a_task_of_several_modalities_gets_what_all_of_them_allow() -> None:
    column = Column.from_texts(["CT", "MR", "histology", None])
    rows = np.arange(4)
    assert allowed_of(column, rows[:1]) == TABLE["CT"]
    assert allowed_of(column, rows[:2]) == TABLE["CT"].both(TABLE["MRI"])
    assert allowed_of(column, rows[2:]) == ANY
    assert allowed_of(column, np.array([2, 2])) == TABLE["histology"]


def test_what_augmentation_knows_by_name_quality_shifts_know_too() -> None:
    """But for nuclear imaging, to which only the faults of any image apply."""
    unknown = {name for name in TABLE if kind_of(name) == "unknown"}
    assert unknown == {"nuclear"}
