"""What becomes of volumes and modalities that lie on different grids: ``Preprocessing``'s."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator

WIDEST_SPACING = 50.0  # mm
_CHOICES = "same, any, or millimetres up to 50"


class GridOptions(BaseModel):
    """``spacing`` is of whole volumes, ``resample`` of modalities, ``patches`` of masks.

    ``spacing`` ``same`` refuses volumes whose voxels differ in size, ``any`` stretches each to the
    same grid, and a number of mm brings each to voxels of that size, of which the middle is
    taken. ``resample`` ``linear`` or ``nearest`` brings the modalities of a patient to the grid of
    the first that is there, by where their NIfTI files lie in space; ``no`` refuses other grids.
    With ``patches`` a volume is learned in so many blocks, of as many voxels as the preprocessing's
    depth and size, at its own voxels or at the spacing in mm, and marked block by block.
    """

    spacing: str = Field(
        default="same", description="whole volumes' voxels: same, any, or brought to so many mm"
    )
    resample: Literal["no", "linear", "nearest"] = Field(
        default="no", description="how modalities are brought to the grid of the first"
    )
    patches: int = Field(
        default=0, ge=0, le=512, description="blocks of a volume with masks; 0: all of it at once"
    )

    @field_validator("spacing", mode="before")
    @classmethod
    def _known_spacing(cls, given: Any) -> str:
        text = f"{given:g}" if isinstance(given, (int, float)) else str(given).strip().lower()
        if text in ("same", "any"):
            return text
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 < value <= WIDEST_SPACING:
            raise ValueError(f"choose {_CHOICES}")
        return f"{value:g}"

    @property
    def spacing_mm(self) -> float | None:
        """The size of voxels that whole volumes are brought to; None: they keep theirs."""
        return None if self.spacing in ("same", "any") else float(self.spacing)
