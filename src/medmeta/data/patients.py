"""What must be said where it is not known whose images a source holds."""

from __future__ import annotations

import numpy as np

from medmeta.data.index import SourceIndex


def unknown_patients(index: SourceIndex) -> str:
    """Whose images are not known, as the beginning of a sentence; empty where all are known."""
    n = len(index)
    unknown = int(np.count_nonzero(index.patients.codes < 0))
    if not unknown:
        return ""
    if unknown == n:
        return "Patients are not known"
    return f"The patient of {unknown} of {n} images is not known"
