"""What is worth saying of a DICOM picture: text burnt in, faces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom import Dataset

_OFTEN_WRITTEN_ON = frozenset(("US", "ES", "XC", "OT", "SC"))
_HEAD_WORDS = ("HEAD", "BRAIN", "SKULL", "FACE", "ORBIT", "SINUS")
_FINE_MM = 3.0


def worth_saying(header: Dataset) -> Iterator[str]:
    """Sentences about one file; what they tell is never about a person."""
    burnt = str(header.get("BurnedInAnnotation") or "").upper()
    kinds = [str(kind).upper() for kind in header.get("ImageType") or []]
    modality = str(header.get("Modality") or "").upper()
    if burnt == "YES":
        yield "says that text is burnt into its picture, perhaps a name; look at it."
    elif burnt != "NO" and (modality in _OFTEN_WRITTEN_ON or "SCREEN SAVE" in kinds):
        yield "may have text burnt into its picture, as such pictures often do; look at it."
    if _shows_a_face(header, modality):
        yield "is a head scan in fine slices, from which the face can be rebuilt."


def _shows_a_face(header: Dataset, modality: str) -> bool:
    body = str(header.get("BodyPartExamined") or "").upper()
    if modality not in ("CT", "MR", "PT") or not any(word in body for word in _HEAD_WORDS):
        return False
    thickness = header.get("SliceThickness")
    try:
        return thickness is None or float(thickness) <= _FINE_MM
    except (TypeError, ValueError):
        return True
