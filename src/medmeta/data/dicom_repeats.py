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

    Two files with one SOP instance UID must hold the same bytes; where they differ, neither is
    used.
    """
    groups: dict[str, list[DicomFile]] = {}
    for number, file in enumerate(files):
        groups.setdefault(file.instance or f"alone {number}", []).append(file)
    kept: list[DicomFile] = []
    problems: list[Problem] = []
    for members in groups.values():
        first = members[0]
        if len(members) == 1 or len({_content(member) for member in members}) == 1:
            kept.append(first)
            for member in members[1:]:
                what = f"is the same image as {first.where}; it is counted once."
                problems.append(Problem("warning", member.where, what))
            continue
        for member in members:
            other = next(m for m in members if m is not member)
            what = (
                f"has the same image identifier as {other.where}, and other content; keep the one "
                "that is right."
            )
            problems.append(Problem("error", member.where, what))
    return kept, problems


def _content(file: DicomFile) -> bytes:
    with file.path.open("rb") as stream:
        return hashlib.file_digest(stream, "blake2b").digest()
