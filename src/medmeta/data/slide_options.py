"""How slides are cut into tiles: options of ``Preprocessing``."""

from __future__ import annotations

from pydantic import BaseModel, Field


class SlideOptions(BaseModel):
    """With ``mpp`` or ``tile`` inputs are tiles of slides, or of other large pictures.

    ``mpp`` are microns per pixel of the tiles, ``slide_mpp`` those of slides that do not say them.
    ``tile`` is the side of a tile in a picture's own pixels, in place of microns. Neighbours share
    ``overlap`` of their side, or more. Tiles are used of which the share ``tissue`` or more is
    neither glass nor black.
    """

    mpp: float = Field(
        default=0.0, ge=0, le=1000, description="microns per pixel of tiles; 0: no slides"
    )
    slide_mpp: float = Field(
        default=0.0, ge=0, le=1000, description="microns per pixel of slides that do not say"
    )
    tile: int = Field(
        default=0, ge=0, le=8192, description="side of tiles in a picture's own pixels; 0: by mpp"
    )
    overlap: float = Field(
        default=0.0, ge=0, le=0.9, description="share of its side that tiles share"
    )
    tissue: float = Field(
        default=0.5, ge=0, le=1, description="least share of a tile that is tissue"
    )

    @property
    def tiled(self) -> bool:
        """Whether pictures are cut into tiles."""
        return bool(self.mpp or self.tile)
