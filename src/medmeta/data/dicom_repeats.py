"""Files that say they are the same image: copies counted once, contradictions refused."""

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
    image that was packed anew, or one that was changed) none is used: which one is right cannot
    be known.
    """
    groups: dict[str, list[DicomFile]] = {}
    for number, file in enumerate(files):
        groups.setdefault(file.instance or f"alone {number}", []).append(file)
    kept: list[DicomFile] = []
    problems: list[Problem] = []
    for members in groups.values():
        contents: dict[bytes, list[DicomFile]] = {}
        if len(members) > 1:
            for member in members:
                contents.setdefault(_content(member), []).append(member)
        if len(contents) <= 1:
            kept.append(members[0])
            for member in members[1:]:
                what = f"is a copy of {members[0].where}; it is counted once."
                problems.append(Problem("warning", member.where, what))
            continue
        for same in contents.values():
            other = next(m for m in members if m not in same)
            what = (
                f"has the image identifier of {other.where} and other content; keep the one that "
                "is right."
            )
            problems += [Problem("error", member.where, what) for member in same]
    return kept, problems


def _content(file: DicomFile) -> bytes:
    with file.path.open("rb") as stream:
        return hashlib.file_digest(stream, "blake2b").digest()
