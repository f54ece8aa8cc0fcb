"""What kind of image a modality is, however it was written: DICOM's abbreviations, or words."""

from __future__ import annotations

from typing import Literal

from medmeta.data.index import Column

Kind = Literal["x-ray", "CT", "MRI", "ultrasound", "OCT", "photograph", "unknown"]

_WRITTEN: dict[Kind, tuple[str, ...]] = {
    "x-ray": ("cr", "dx", "dr", "mg", "rg", "rf", "xa", "px", "io", "xray", "chestxray", "cxr",
              "radiograph", "radiography", "mammography", "mammogram"),
    "CT": ("ct", "cbct", "computedtomography"),
    "MRI": ("mr", "mri", "flair", "magneticresonance", "brainmri"),
    "ultrasound": ("us", "ultrasound", "ivus", "sonography", "echo", "echocardiography"),
    "OCT": ("opt", "oct", "retinaloct", "ivoct", "opticalcoherencetomography"),
    "photograph": ("xc", "op", "es", "gm", "sm", "dms", "dermoscopy", "dermatoscopy", "skin",
                   "fundus", "retinalfundus", "fundusphotograph", "fundusphotography",
                   "histology", "histopathology", "pathology", "cytology", "bloodsmear",
                   "bloodfilm", "peripheralblood", "microscopy", "greymicroscopy",
                   "endoscopy", "colonoscopy", "gastroscopy", "photograph", "photography",
                   "clinicalphotography"),
}  # fmt: skip
_KIND = {text: kind for kind, texts in _WRITTEN.items() for text in texts}


def kind_of(modality: str | None) -> Kind:
    """The kind that a modality's name stands for.

    >>> kind_of("Chest X-ray"), kind_of("MR"), kind_of("thermography")
    ('x-ray', 'MRI', 'unknown')
    """
    text = "".join(c for c in (modality or "").casefold() if c.isalnum())
    return _KIND.get(text, "unknown")


def common_kind(modalities: Column) -> Kind:
    """The one kind that all images of a source are; unknown where there are several or none."""
    codes = set(modalities.codes.tolist())
    kinds = {kind_of(None if code < 0 else modalities.names[code]) for code in codes}
    return kinds.pop() if len(kinds) == 1 else "unknown"
