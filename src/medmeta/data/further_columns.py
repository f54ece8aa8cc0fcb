"""Columns of a manifest that images may be grouped by, beside those that every source has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medmeta.data.index import Column

MOST_COLUMNS = 32
MOST_NAMES = 1000  # different entries of one column: what has more tells images apart, not groups
_LONGEST = 200  # characters of an entry
# What is said of a single person or examination is no group, and need not be held in memory.
_PERSONAL = frozenset(
    (
        *("name", "surname", "forename", "patient_name", "patientname", "filename", "file_name"),
        *("id", "patient_id", "patientid", "mrn", "uid", "accession", "accession_number"),
        *("study", "study_uid", "series", "series_uid", "sop_instance_uid", "volume"),
        *("date", "study_date", "birth", "birthdate", "birth_date", "date_of_birth", "dob"),
        *("address", "phone", "email", "insurance", "ssn", "nhs_number"),
        *("physician", "referring_physician", "operator"),
    )
)
WHAT_IS_KEPT = (
    f"kept are up to {MOST_COLUMNS} columns with at most {MOST_NAMES} different entries, and none "
    "whose name is that of something personal, such as name, id or date"
)


def further_names(header: Sequence[str], known: Sequence[str]) -> list[str]:
    """The columns of a header that may be kept, in order; those that stand twice are not."""
    able = [
        name
        for name in header
        if name and name not in known and not is_personal(name) and header.count(name) == 1
    ]
    return able[:MOST_COLUMNS]


def further_columns(names: Sequence[str], cells: Sequence[Mapping[str, str]]) -> dict[str, Column]:
    """The columns of these names; without those that are empty, or hold too many or long texts.

    >>> found = further_columns(["device"], [{"device": "A"}, {"device": ""}])
    >>> found["device"].texts()
    ['A', None]
    """
    found: dict[str, Column] = {}
    for name in names:
        texts = [row.get(name) or None for row in cells]
        different = {text for text in texts if text is not None}
        few = 0 < len(different) <= MOST_NAMES
        if few and all(len(text) <= _LONGEST for text in different):
            found[name] = Column.from_texts(texts)
    return found


def is_personal(name: str) -> bool:
    """Whether a column of this name says something of a single person or examination."""
    return name.strip().replace(" ", "_").replace("-", "_") in _PERSONAL
