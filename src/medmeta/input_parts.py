"""Names of the parts of an input that is a mapping, for those who make and those who take it.

(Apart from ``episode``, so that reading data needs no torch.)
"""

from __future__ import annotations

IMAGE, PRESENT, RECORD = "image", "present", "record"
"""Pictures or volumes; which modalities of them there are; the patient's record."""
