"""Names of DICOM's transfer syntaxes, and of what DICOM files hold besides pictures."""

from __future__ import annotations

import re

from medmeta.errors import UnreadableImageError

# PS3.5 section 10 and PS3.6 annex A, in words.
SYNTAXES: dict[str, str] = {
    "1.2.840.10008.1.2": "uncompressed, implicit",
    "1.2.840.10008.1.2.1": "uncompressed",
    "1.2.840.10008.1.2.1.99": "deflated",
    "1.2.840.10008.1.2.2": "uncompressed, big-endian",
    "1.2.840.10008.1.2.4.50": "JPEG baseline",
    "1.2.840.10008.1.2.4.51": "JPEG extended",
    "1.2.840.10008.1.2.4.57": "JPEG lossless",
    "1.2.840.10008.1.2.4.70": "JPEG lossless, first order",
    "1.2.840.10008.1.2.4.80": "JPEG-LS lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS near-lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.201": "HTJ2K lossless",
    "1.2.840.10008.1.2.4.202": "HTJ2K lossless, RPCL",
    "1.2.840.10008.1.2.4.203": "HTJ2K",
    "1.2.840.10008.1.2.5": "RLE lossless",
}

# By SOP class (PS3.4 annex B) or by modality (PS3.3 C.7.3.1.1.1).
NOT_PICTURES: dict[str, str] = {
    "1.2.840.10008.1.3.10": "an index of other files (DICOMDIR); name the folder it lies in",
    "AU": "sound",
    "DOC": "a document",
    "ECG": "an electrocardiogram as a signal",
    "EPS": "signals of an electrophysiology study",
    "HD": "haemodynamic signals",
    "KO": "a selection of other files (key objects)",
    "PLAN": "a plan of treatment",
    "PR": "how other files are to be shown (presentation state)",
    "REG": "how other files lie to each other (registration)",
    "RTPLAN": "a plan of radiotherapy",
    "RTRECORD": "a record of radiotherapy",
    "RTSTRUCT": "outlines drawn on other files (RT structure set)",
    "SR": "a structured report",
}


def syntax_name(identifier: str) -> str:
    """A transfer syntax in words. Raises ``UnreadableImageError`` for one that is not read.

    (Only identifiers of the standard are repeated: others may say anything.)

    >>> syntax_name("1.2.840.10008.1.2.5")
    'RLE lossless'
    """
    if identifier in SYNTAXES:
        return SYNTAXES[identifier]
    if re.fullmatch(r"1\.2\.840\.10008\.1\.2\.4\.10\d(\.1)?", identifier):
        raise UnreadableImageError("is a video (MPEG); export its frames uncompressed.")
    named = f", {identifier}" if re.fullmatch(r"1\.2\.840\.10008[.\d]{1,20}", identifier) else ""
    raise UnreadableImageError(
        f"is packed in a way that is not known (transfer syntax{named}); export it uncompressed."
    )
