"""From a picture as it was read to the fixed shape that encoders take, and from there to floats."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ConfigDict, Field, field_validator, model_validator

from medmeta.data.grid_options import GridOptions
from medmeta.data.records import RecordSchema
from medmeta.data.signal_options import SignalOptions
from medmeta.data.signal_traces import traces
from medmeta.data.slide_options import SlideOptions
from medmeta.data.windows import OWN, parse_window
from medmeta.errors import DataError, SettingsError
from medmeta.input_parts import IMAGE, PRESENT, RECORD

if TYPE_CHECKING:
    from torch import Tensor

    from medmeta.episode import InputSpec


class Preprocessing(SignalOptions, SlideOptions, GridOptions):
    """How pictures are brought to one shape; part of every protocol and saved predictor.

    ``size`` is the side of the square in pixels. ``fit`` says what becomes of a picture that is
    not square: ``"pad"`` keeps all of it between black bars, ``"crop"`` keeps its middle square,
    ``"stretch"`` bends it.

    The rest is of DICOM and NIfTI: ``window`` says which values are shown (``file``: as each file
    says itself); ``slices`` of a volume are used, evenly spread over its middle half (1: the middle
    one); ``plane`` cuts NIfTI volumes, where DICOM series keep the slices that were taken;
    ``time_point``, from 1, is the volume of a NIfTI file that holds several. With ``depth`` a
    volume is one input, learned whole: so many of its slices, evenly spread over all of it (a
    slice more than once where it has fewer).

    ``modalities`` are a manifest's columns that name a file of each; they become channels, one
    after the other. ``record``: what is taken of a patient beside the pictures; ``use``: which of
    the two is learned from.

    Signals, slides and different grids have options of their own: ``SignalOptions``,
    ``SlideOptions``, ``GridOptions``.

    >>> Preprocessing(size=32).shape
    (3, 32, 32)
    >>> Preprocessing(size=32, channels=1, depth=24).shape
    (1, 24, 32, 32)
    >>> Preprocessing(samples=1000, leads="II,V1").shape
    (2, 1000)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(default=64, ge=16, le=512, description="side of the square, in pixels")
    channels: Literal[1, 3] = Field(default=3, description="1 for grey, 3 for colour")
    fit: Literal["pad", "stretch", "crop"] = Field(
        default="pad", description="what becomes of a picture that is not square"
    )
    window: str = Field(default=OWN, description="lung, brain, …, the file's own, or 40,400")
    slices: int = Field(default=1, ge=1, le=512, description="slices of a volume that are used")
    plane: Literal["axial", "coronal", "sagittal"] = Field(
        default="axial", description="how NIfTI volumes are cut"
    )
    time_point: int = Field(default=1, ge=1, description="which volume of a NIfTI file, from 1")
    depth: int = Field(
        default=0, ge=0, le=512, description="slices of a volume that is learned whole; 0: not"
    )
    modalities: tuple[str, ...] = Field(
        default=(), max_length=16, strict=False, description="columns that name a file of each"
    )
    record: RecordSchema | None = Field(default=None, description="the patient's record")
    use: Literal["both", "image", "record"] = Field(
        default="both", description="of pictures and records, what is learned from"
    )

    @field_validator("modalities", mode="before")
    @classmethod
    def _between_commas(cls, given: Any) -> Any:
        return (
            [name.strip().lower() for name in given.split(",")] if isinstance(given, str) else given
        )

    @model_validator(mode="after")
    def _each_named_once(self) -> Preprocessing:
        if len(set(self.modalities)) < len(self.modalities):
            raise ValueError("one modality is named twice")
        if self.samples and (self.depth or self.tiled or self.modalities):
            raise ValueError("samples are of signals: leave out depth, mpp, tile and modalities")
        if self.mpp and self.tile:
            raise ValueError("tiles are cut by mpp or by tile, not by both")
        if self.spacing_mm is not None and (not self.depth or self.tiled):
            raise ValueError("spacing in mm is of whole volumes: say depth too")
        if self.patches and (not self.depth or self.tiled or self.modalities):
            raise ValueError("patches are of whole volumes with masks: say depth too")
        if self.resample != "no" and not self.modalities:
            raise ValueError("resample is of modalities: name them, or leave it out")
        return self

    @field_validator("window")
    @classmethod
    def _known_window(cls, text: str) -> str:
        try:
            parse_window(text)
        except SettingsError as error:
            raise ValueError(str(error).removeprefix("--window ")) from None
        return text.strip().lower()

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        """``(C, H, W)`` of a prepared picture, or slice."""
        return (self.channels, self.size, self.size)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(C, H, W)`` of a prepared picture, ``(C, D, H, W)`` of a whole volume.

        ``C`` are the channels of all modalities; there are none where pictures are not used.
        ``(C, L)`` of a signal, whose channels are its leads.
        """
        if not self.has_picture:
            return (0, 1, 1)
        if self.samples:
            return (len(self.lead_names), self.samples)
        channels = self.channels * max(1, len(self.modalities))
        space = (self.depth, self.size, self.size) if self.depth else (self.size, self.size)
        return (channels, *space)

    @property
    def has_picture(self) -> bool:
        """Whether pictures are learned from."""
        return self.use != "record"

    @property
    def has_record(self) -> bool:
        """Whether records are learned from."""
        return self.record is not None and self.use != "image"

    @property
    def input_spec(self) -> InputSpec:
        """What learners are given: a picture, volume, signal or record, or a mapping."""
        from medmeta.episode import InputSpec  # here: it needs torch, and --help does not

        parts = {}
        if self.has_picture:
            parts[IMAGE] = InputSpec(self.shape[0], self.shape[1:])
        if self.has_picture and self.modalities:
            parts[PRESENT] = InputSpec(len(self.modalities), ())
        if self.has_record and self.record is not None:
            parts[RECORD] = InputSpec(self.record.size, ())
        return next(iter(parts.values())) if len(parts) == 1 else InputSpec.of_parts(**parts)


def prepare(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """A picture ``(H, W)`` or ``(H, W, 3)`` as uint8 ``(C, size, size)``.

    Grey is repeated to three channels; colour becomes grey by its luma (ITU-R 601). Shrinking
    averages over the area each new pixel covers; a picture of the right size is left as it is.

    >>> upright = np.full((8, 4), 9, np.uint8)
    >>> prepare(upright, Preprocessing(size=16, channels=1))[0, 0, ::5].tolist()
    [0, 9, 9, 0]
    """
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or 0 in pixels.shape:
        raise DataError(f"a picture is uint8 (H, W) or (H, W, 3), not {_described(pixels)}.")
    if pixels.ndim == 3 and pixels.shape[2] != 3:
        raise DataError(f"a picture has 1 or 3 channels, not {_described(pixels)}.")
    if pixels.ndim == 3 and preprocessing.channels == 1:
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))
    if pixels.shape[:2] != (preprocessing.size, preprocessing.size):
        pixels = _resized(pixels, preprocessing)
    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(np.broadcast_to(planes, preprocessing.picture_shape))


def as_pictures(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """What people are shown of inputs ``(n, C, [D,] H, W)``: pictures of one or three channels.

    Of a volume the middle slice; of several modalities the first; of a signal ``(n, C, L)`` its
    traces.

    >>> as_pictures(np.zeros((2, 4, 9, 5, 5), np.uint8)).shape
    (2, 1, 5, 5)
    """
    if pixels.ndim == 3:
        return traces(pixels)
    flat = pixels[:, :, pixels.shape[2] // 2] if pixels.ndim == 5 else pixels
    return flat if flat.shape[1] in (1, 3) else flat[:, :1]


def _described(pixels: NDArray[np.uint8]) -> str:
    return f"{pixels.dtype} {pixels.shape}"


def _resized(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """``(size, size[, 3])`` by bilinear resampling, antialiased when it shrinks."""
    height, width = pixels.shape[:2]
    size = preprocessing.size
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    bilinear = Image.Resampling.BILINEAR
    if preprocessing.fit == "pad":
        longest = max(height, width)
        new_height = max(1, round(height * size / longest))
        new_width = max(1, round(width * size / longest))
        top, left = (size - new_height) // 2, (size - new_width) // 2
        padded = np.zeros((size, size, *pixels.shape[2:]), dtype=np.uint8)
        scaled = picture.resize((new_width, new_height), bilinear)
        padded[top : top + new_height, left : left + new_width] = np.asarray(scaled)
        return padded
    box = (0.0, 0.0, float(width), float(height))
    if preprocessing.fit == "crop":
        side = min(height, width)
        left, top = (width - side) // 2, (height - side) // 2
        box = (float(left), float(top), float(left + side), float(top + side))
    return np.asarray(picture.resize((size, size), bilinear, box=box))


def content_hash(pixels: NDArray[Any]) -> int:
    """64 bits that are equal for equal pictures, whatever the layout they are held in.

    ``pixels`` is ``(H, W)``, ``(1, H, W)``, ``(3, H, W)``, ``(H, W, 1)`` or ``(H, W, 3)``; colour
    whose channels are all equal is the grey picture. Where first and last axis could both be the
    channels, the first is taken.

    >>> grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    >>> content_hash(grey) == content_hash(np.stack([grey] * 3))
    True
    """
    planes = pixels
    if planes.ndim == 3 and planes.shape[0] not in (1, 3):
        planes = planes.transpose(2, 0, 1)
    if planes.ndim == 3 and (
        len(planes) == 1
        or (np.array_equal(planes[0], planes[1]) and np.array_equal(planes[0], planes[2]))
    ):
        planes = planes[0]
    digest = hashlib.blake2b(str(planes.shape).encode(), digest_size=8)
    digest.update(np.ascontiguousarray(planes).data)
    return int.from_bytes(digest.digest(), "little")


def as_float(batch: Tensor) -> Tensor:
    """uint8 ``(..., C, H, W)`` to float32 of the same shape: ``(x / 255 - 0.5) / 0.25``.

    Floats (signals, embeddings) keep their values.

    The same for every picture, so that brightness, which may be the sign looked for, is kept and a
    picture's floats do not depend on the batch that it is in.

    >>> import torch
    >>> as_float(torch.tensor([0, 255], dtype=torch.uint8)).tolist()
    [-2.0, 2.0]
    """
    if batch.is_floating_point():
        return batch.float()
    return batch.float().mul_(4 / 255).sub_(2)
