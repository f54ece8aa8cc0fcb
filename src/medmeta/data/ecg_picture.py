"""Twelve leads on paper: 25 mm/s, 10 mm/mV, three rows of four leads and a rhythm strip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from medmeta.data.recording import STANDARD_LEADS, Recording
from medmeta.data.signal_shape import FEWEST, lead_of, leads_by_name
from medmeta.errors import UnreadableImageError

SECONDS = 10.0
_COLUMN_SECONDS = 2.5
_ROWS = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
_RHYTHM = "II"
_PAPER, _THIN, _THICK, _INK = (255, 253, 250), (250, 222, 215), (236, 170, 160), (20, 20, 20)
_MARGIN, _CALIBRATION, _ROW = 5, 10, 30  # millimetres
_MM_PER_SECOND, _MM_PER_MILLIVOLT = 25.0, 10.0


@dataclass(frozen=True)
class _Sheet:
    """A picture whose places are millimetres from its upper left corner, ``scale`` pixels each."""

    picture: Image.Image
    scale: float

    def line(self, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> None:
        """Ink through places in millimetres; broken where a value is not known."""
        pen = ImageDraw.Draw(self.picture)
        known = np.isfinite(ys)
        ends = np.flatnonzero(np.diff(known.astype(int))) + 1
        for places in np.split(np.arange(len(ys)), ends):
            if len(places) and known[places[0]]:
                points = np.stack([xs[places], ys[places]], axis=1) * self.scale
                width = max(1, round(0.35 * self.scale))
                pen.line([(x, y) for x, y in points.tolist()], _INK, width, joint="curve")

    def text(self, x: float, y: float, words: str) -> None:
        """Words whose upper left corner is at a place."""
        font = ImageFont.load_default(size=3.2 * self.scale)
        ImageDraw.Draw(self.picture).text((x * self.scale, y * self.scale), words, _INK, font)


def draw_twelve_leads(recording: Recording, *, scale: float = 4.0) -> NDArray[np.uint8]:
    """The first ten seconds of a 12-lead ECG as a picture ``(H, W, 3)``, ``scale`` pixels a mm.

    Limb leads that are missing are worked out from I and II. Nothing but names of leads and the
    scale is written on it. Raises ``UnreadableImageError`` (the reason alone) for a missing lead or
    one too short.
    """
    if recording.values.shape[1] < FEWEST:
        raise UnreadableImageError("is too short to be drawn; export it whole.")
    known = leads_by_name(recording)
    leads = {name: lead_of(name, known) for name in STANDARD_LEADS}
    width = 2 * _MARGIN + _CALIBRATION + SECONDS * _MM_PER_SECOND
    height = 2 * _MARGIN + 4 * _ROW + 5
    sheet = _Sheet(_paper(width, height, scale), scale)
    for row, names in enumerate(_ROWS):
        baseline = _MARGIN + _ROW * (row + 0.5)
        _calibration(sheet, baseline)
        for column, name in enumerate(names):
            begin = column * _COLUMN_SECONDS
            part = _part(leads[name], recording.rate, begin, begin + _COLUMN_SECONDS)
            _lead(sheet, name, part, recording.rate, begin, baseline)
    baseline = _MARGIN + _ROW * 3.5
    _calibration(sheet, baseline)
    whole = _part(leads[_RHYTHM], recording.rate, 0, SECONDS)
    _lead(sheet, _RHYTHM, whole, recording.rate, 0, baseline)
    sheet.text(_MARGIN, height - _MARGIN - 1, "25 mm/s   10 mm/mV")
    return np.asarray(sheet.picture)


def _paper(width: float, height: float, scale: float) -> Image.Image:
    """Squares of 1 mm, every fifth line darker."""
    size = round(width * scale), round(height * scale)
    paper = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(paper)
    for colour, step in ((_THIN, 1), (_THICK, 5)):
        for mm in range(0, int(max(width, height)) + 1, step):
            at = round(mm * scale)
            if at < size[0]:
                pen.line([(at, 0), (at, size[1])], colour)
            if at < size[1]:
                pen.line([(0, at), (size[0], at)], colour)
    return paper


def _part(
    values: NDArray[np.float64], rate: float, begin: float, end: float
) -> NDArray[np.float64]:
    """Some seconds of a lead, about the lead's own median."""
    middle = float(np.nanmedian(values)) if np.isfinite(values).any() else 0.0
    return values[round(begin * rate) : round(end * rate)] - middle


def _lead(
    sheet: _Sheet, name: str, values: NDArray[np.float64], rate: float, begin: float, y: float
) -> None:
    left = _MARGIN + _CALIBRATION + begin * _MM_PER_SECOND
    times = np.arange(len(values)) / rate * _MM_PER_SECOND
    sheet.line(left + times, y - values * _MM_PER_MILLIVOLT)
    sheet.text(left + 1, y - _ROW / 2 + 1, name)


def _calibration(sheet: _Sheet, y: float) -> None:
    """One millivolt for 0.2 s."""
    xs = np.array([0.0, 2.0, 2.0, 7.0, 7.0, 9.0]) + _MARGIN
    ys = y - np.array([0.0, 0.0, 1.0, 1.0, 0.0, 0.0]) * _MM_PER_MILLIVOLT
    sheet.line(xs, ys)
