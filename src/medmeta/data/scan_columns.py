"""What the headers of scans say, put into a table's columns where they are open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from medmeta.data.index import Column, SourceIndex
from medmeta.data.pseudonyms import pseudonym, user_salt
from medmeta.data.scan import Scan


def with_scans(index: SourceIndex, scans: Sequence[Scan | None]) -> SourceIndex:
    """The table whose rows lie in these scans, with what their headers say.

    What a manifest says goes before what a header says. Its patients become the pseudonyms that
    headers have, so that one patient is one, whoever names him. Without a scan nothing changes.
    """
    found = [scan for scan in scans if scan is not None]
    if not found:
        return index
    salt = user_salt()
    given = index.patients.texts()
    patients = [
        pseudonym(text, salt) if text is not None else None if scan is None else scan.patient
        for text, scan in zip(given, scans, strict=True)
    ]
    modalities = [
        text if text is not None or scan is None else scan.modality
        for text, scan in zip(index.modalities.texts(), scans, strict=True)
    ]
    others = dict(index.others)
    for name in sorted({name for scan in found for name in scan.others}):
        texts = zip(index.column(name).texts(), scans, strict=True)
        told = [t if t is not None or s is None else s.others.get(name) for t, s in texts]
        others[name] = Column.from_texts(told)
    said = dict.fromkeys(problem for scan in found for problem in scan.problems)
    return replace(
        index,
        patients=Column.from_texts(patients),
        modalities=Column.from_texts(modalities),
        others=others,
        problems=(*index.problems, *said),
        scans=tuple(scans),
    )
