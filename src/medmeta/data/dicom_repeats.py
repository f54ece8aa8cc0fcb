"""Files that say they are the same image: copies counted once, contradictions said."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from medmeta.data.index import Problem

if TYPE_CHECKING:
    from medmeta.data.dicom import DicomFile


def without_repeats(files: Sequence[DicomFile]) -> tuple[list[DicomFile], list[Problem]]:
    """One file for each image, and what was found.

    Files of one SOP instance UID and one content are counted once. Where the content differs (an
    image that was packed anew, or one that was changed) all are kept, with a warning: they are of
    one patient and never on both sides of a task.
    """
    groups: dict[str, list[DicomFile]] = {}
    for number, file in enumerate(files):
        groups.setdefault(file.instance or f"alone {number}", []).append(file)
    kept: list[DicomFile] = []
    problems: list[Problem] = []
    for members in groups.values():
        first = members[0]
        contents: dict[bytes, DicomFile] = {}
        if len(members) == 1:
            kept.append(first)
            continue
        for member in members:
            known = contents.setdefault(_content(member), member)
            if known is not member:
                what = f"is a copy of {known.where}; it is counted once."
                problems.append(Problem("warning", member.where, what))
                continue
            kept.append(member)
            if member is not first:
                what = (
                    f"has the image identifier of {first.where} and other content; both are used. "
                    "If one is a changed copy, remove it."
                )
                problems.append(Problem("warning", member.where, what))
    return kept, problems


def _content(file: DicomFile) -> bytes:
    with file.path.open("rb") as stream:
        return hashlib.file_digest(stream, "blake2b").digest()
