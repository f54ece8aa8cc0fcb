"""The basic profile of DICOM's confidentiality (PS3.15 annex E), applied to one data set.

Which elements go, are emptied, replaced or given another UID is the table of dicom-anonymizer
(edition 2026c); medmeta walks through all levels, and makes UIDs, patients' ids and dates
pseudonyms that agree between files.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import uuid
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from medmeta.data.pseudonyms import pseudonym
from medmeta.errors import MissingExtraError, UnreadableImageError
from medmeta.version import __version__

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

Dates = Literal["remove", "shift"]

EDITION = "2026c"
MAX_DEPTH = 32
_STANDARD = "1.2.840.10008."  # UIDs of the standard's own, which say nothing of a person
_CLASSES = ("ClassUID", "SyntaxUID", "CodingSchemeUID", "MappingResourceUID",
            "ContextUID")  # fmt: skip
_TEXTS = frozenset(("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UN", "UR", "UT"))
# Numbers, ages, dates, times and UIDs that are written out, whatever their length.
_WRITTEN = {
    **{kind: re.compile(r"[0-9eE+\-. \0]*") for kind in ("DS", "IS")},
    **{kind: re.compile(r"[0-9:+\-. \0]*") for kind in ("DA", "DT", "TM", "UI")},
    "AS": re.compile(r"[0-9]*[DWMY]?[ \0]*"),
}
_BIRTH = (0x0010, 0x0030)
# Dates of birth and death in another calendar, and which; comments on the scheduled step.
_LEFT_BY_THE_TABLE = ((0x0010, 0x0033), (0x0010, 0x0034), (0x0010, 0x0035), (0x0040, 0x0400))
_MAX_DAYS = 3650
_DELETE, _EMPTY, _DUMMY, _UID = "X", "Z", "D", "U"
# Where the table leaves a choice: what the file's kind always allows.
_TAKEN = {"X_TAGS": _DELETE, "Z_TAGS": _EMPTY, "D_TAGS": _DUMMY, "U_TAGS": _UID,
          "X_Z_TAGS": _EMPTY, "Z_D_TAGS": _DUMMY, "X_D_TAGS": _DUMMY, "X_Z_D_TAGS": _DUMMY,
          "X_Z_U_STAR_TAGS": _UID}  # fmt: skip


class Cleaner:
    """Cleans data sets; equal identifiers become equal pseudonyms under one ``salt``.

    ``dates`` are removed as the profile has it, or each patient's are moved by a number of days of
    their own, at most ten years back (the profile's option of modified dates).
    """

    def __init__(self, salt: bytes, *, dates: Dates = "remove") -> None:
        self._salt = salt
        self._dates = dates
        self._actions = _profile()
        self._days = 0

    def clean(self, dataset: Dataset) -> int:
        """Clean a data set in place; returns how many damaged elements were left out.

        Raises ``UnreadableImageError`` without the file's name where it is no whole object.
        """
        if not dataset.get("SOPClassUID") or not dataset.get("SOPInstanceUID"):
            raise UnreadableImageError("does not say what it is (SOP class and instance).")
        # Pseudonyms of all that identifies are made before anything is gone.
        patient = str(dataset.get("PatientID") or dataset.get("StudyInstanceUID") or "")
        digits = int(pseudonym(f"days {patient}", self._salt), 16)
        self._days = 1 + digits % _MAX_DAYS
        damaged = self._level(dataset, 0)
        _say_what_was_done(dataset, pseudonym(patient, self._salt), self._dates)
        return damaged

    def uid(self, old: str) -> str:
        """Another UID for a UID, the same whenever it is asked; the standard's own stay.

        Below 2.25, where any UUID is a UID (PS3.5 annex B.2).
        """
        if not old or old.startswith(_STANDARD):
            return old
        key = hashlib.sha256(self._salt).digest()
        digest = hashlib.blake2b(old.strip("\0 ").encode(), key=key, digest_size=16).digest()
        return f"2.25.{uuid.UUID(bytes=digest, version=5).int}"

    def _level(self, dataset: Dataset, depth: int) -> int:
        if depth > MAX_DEPTH:
            raise UnreadableImageError("nests its sequences too deeply; it is damaged.")
        damaged = 0
        for tag in list(dataset.keys()):
            if _never_kept(tag):
                del dataset[tag]
                continue
            try:
                element = dataset[tag]
            except Exception:  # a damaged value may raise almost anything, and may hold anything
                element = None
            if element is None or _text_in_disguise(element):
                del dataset[tag]
                damaged += 1
            else:
                damaged += self._one(dataset, element, depth)
        return damaged

    def _one(self, dataset: Dataset, element: DataElement, depth: int) -> int:
        damaged = 0
        place = (element.tag.group, element.tag.element)
        action = self._actions.get(place)
        if element.VR in ("DA", "DT") and self._dates == "shift" and place != _BIRTH:
            element.value = _each(element.value, self._moved)
        elif action == _DELETE or (action is None and element.VR in ("PN", "UN")):
            del dataset[element.tag]
        elif action == _EMPTY:
            element.value = [] if element.VR == "SQ" else None
        elif action == _DUMMY:
            self._replace(dataset, element)
        elif element.VR == "UI":
            if action == _UID or not element.keyword.endswith(_CLASSES):
                element.value = _each(element.value, self.uid)
        elif element.VR == "SQ":
            damaged += sum(self._level(item, depth + 1) for item in element.value)
        elif element.VR in ("DA", "DT") and action is None:
            element.value = None
        return damaged

    def _replace(self, dataset: Dataset, element: DataElement) -> None:
        """A dummy of the element's kind; all through a sequence."""
        from dicomanonymizer.simpledicomanonymizer import replace_element

        if element.VR == "SQ":
            for item in element.value:
                for inner in list(item):
                    self._replace(item, inner)
        elif element.VR == "UI":
            element.value = _each(element.value, self.uid)
        else:
            try:
                replace_element(element)
            except (NotImplementedError, ValueError, TypeError):  # kinds that it has no dummy for
                del dataset[element.tag]

    def _moved(self, text: str) -> str:
        """A date, or the date of a date and time, some days earlier; nothing where it is none."""
        try:
            day = datetime.datetime.strptime(text[:8], "%Y%m%d").date()
            return f"{day - datetime.timedelta(self._days):%Y%m%d}{text[8:]}"
        except (ValueError, OverflowError):
            return ""


def _each(value: Any, change: Any) -> Any:
    """A value, or each of several, changed."""
    if value is None or value == "":
        return value
    if isinstance(value, str):
        return change(value)
    try:
        return [change(str(one)) for one in value]
    except TypeError:
        return change(str(value))


def _text_in_disguise(element: DataElement) -> bool:
    """Whether text stands where a number, a date or a UID should; pydicom may let it through."""
    from pydicom.datadict import dictionary_VR

    expected = set(dictionary_VR(element.tag).split(" or "))
    if element.VR in _TEXTS and not expected & _TEXTS:
        return True
    if element.VR not in _WRITTEN or element.value is None:
        return False
    values = element.value if element.VM > 1 else [element.value]
    return not all(_WRITTEN[element.VR].fullmatch(str(value)) for value in values)


def _never_kept(tag: Any) -> bool:
    """Private, unknown to the standard, in an overlay or a curve, padding, or a group's length."""
    from pydicom.datadict import dictionary_has_tag

    group, element = tag.group, tag.element
    drawn = 0x5000 <= group <= 0x50FF or 0x6000 <= group <= 0x60FF
    return (
        tag.is_private
        or drawn
        or group in (0x0002, 0xFFFC)
        or element == 0
        or not dictionary_has_tag(tag)
    )


def _say_what_was_done(dataset: Dataset, patient: str, dates: Dates) -> None:
    from pydicom import Dataset as Item

    dataset.PatientID = patient
    dataset.PatientName = patient
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = f"medmeta {__version__}, dicom-anonymizer, PS3.15 {EDITION}"
    codes = [("113100", "Basic Application Confidentiality Profile")]
    if dates == "shift":
        codes.append(("113107", "Retain Longitudinal Temporal Information Modified Dates Option"))
    items = []
    for value, meaning in codes:
        item = Item()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
        items.append(item)
    dataset.DeidentificationMethodCodeSequence = items
    changed = "MODIFIED" if dates == "shift" else "REMOVED"
    dataset.LongitudinalTemporalInformationModified = changed


@cache
def _profile() -> dict[tuple[int, int], str]:
    """What to do with each element of the profile; X, Z, D or U."""
    try:
        from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
    except ImportError:
        raise MissingExtraError(
            "dicom-anonymizer", "deidentify", "making clean copies of DICOM files"
        ) from None
    table = dicom_anonymization_database_selector(f"dicomfields_{EDITION}")
    found = {
        (tag[0], tag[1]): action
        for name, action in _TAKEN.items()
        for tag in table[name]
        if len(tag) == 2  # of four: curves and overlays, which are never kept
    }
    return {**dict.fromkeys(_LEFT_BY_THE_TABLE, _DELETE), **found}
