"""Signals drawn as the pictures that doctors read, one file for each recording."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from medmeta.app.asked import Asked, Found, find_asked
from medmeta.data.ecg_picture import SECONDS, draw_twelve_leads
from medmeta.data.preprocess import Preprocessing
from medmeta.data.recording import Recording
from medmeta.data.signals import NO_SIGNAL, SIGNAL, read_recording
from medmeta.data.synthetic_signals import ECG_CLASSES, is_synthetic, synthetic_recording
from medmeta.errors import SettingsError, StorageError, UnreadableImageError
from medmeta.storage import write_bytes

_RATE = 100.0
_SHOWN = 10


@dataclass(frozen=True)
class DrawnEcgs:
    """The pictures that were written, and which recordings could not be drawn, and why."""

    pictures: tuple[Path, ...]
    problems: tuple[tuple[Path, str], ...]


def draw_ecgs(
    paths: Sequence[Path],
    out: Path,
    *,
    scale: float = 4.0,
    csv_rate: float = 0.0,
    each: int = 4,
    skip_bad: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> DrawnEcgs:
    """Draw records, tables and folders of them as PNG below ``out``, in the same sub-folders.

    ``synthetic:ecg`` gives ``each`` of every class, in a folder for each. Raises ``SettingsError``
    where ``out`` is there already, and ``UnreadableImageError`` where a recording cannot be drawn
    and may not be left out; nothing is written then.
    """
    if out.exists():
        raise SettingsError(f"{out} is already there; choose another --out or remove it.")
    read = [path for path in paths if not is_synthetic(path)]
    found = find_asked(read, signals=True) if read else Found((), ())
    with _staged(out) as folder:
        pictures: list[Path] = []
        problems = list(found.problems)
        for done, item in enumerate(found.asked, start=1):
            try:
                pictures.append(_write(folder, _place(item), _recording(item, csv_rate), scale))
            except UnreadableImageError as error:
                problems.append((item.path, f"{item.path}: {error}"))
            if progress is not None:
                progress(done, len(found.asked))
        if len(read) < len(paths):
            pictures += [_write(folder, place, one, scale) for place, one in _synthetic(each)]
        if problems and not (skip_bad and pictures):
            raise _undrawn(problems, len(pictures))
    return DrawnEcgs(tuple(out / place for place in pictures), tuple(problems))


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """A folder that gets its name when all is written, and is gone where it is not."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise StorageError(f"{out}: cannot be made ({error.strerror}).") from None
    try:
        yield folder
        folder.rename(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _undrawn(problems: Sequence[tuple[Path, str]], n: int) -> UnreadableImageError:
    lines = "".join(f"\n  {text}" for _, text in problems[:_SHOWN])
    more = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return UnreadableImageError(
        f"{len(problems)} of {len(problems) + n} recordings cannot be drawn:{lines}{more}\nMend or "
        "remove them, or leave them out with --skip-bad."
    )


def _recording(item: Asked, csv_rate: float) -> Recording:
    """The seconds that fit on the paper."""
    if item.scan is None or item.scan.kind != SIGNAL:
        raise UnreadableImageError(NO_SIGNAL.replace("leave out --samples, or ", ""))
    prepared = Preprocessing(samples=round(SECONDS * _RATE), rate=_RATE, csv_rate=csv_rate)
    return read_recording(item.scan.files[0], prepared)


def _place(item: Asked) -> Path:
    """Where a picture goes below the folder: in the sub-folders that the recording lies in."""
    folders = [name for name in reversed(item.folders) if name not in ("", "..")]
    return Path(*folders, f"{item.path.stem}.png")


def _synthetic(each: int) -> list[tuple[Path, Recording]]:
    return [
        (Path(kind, f"{number:02}.png"), synthetic_recording(kind, number, seconds=SECONDS))
        for kind in ECG_CLASSES
        for number in range(each)
    ]


def _write(folder: Path, place: Path, recording: Recording, scale: float) -> Path:
    """Draw one and write it; its place below the folder."""
    file = io.BytesIO()
    Image.fromarray(draw_twelve_leads(recording, scale=scale)).save(file, "PNG")
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    first, number = place, 1
    while (folder / place).exists():  # x.hea and x.csv
        number += 1
        place = first.with_stem(f"{first.stem}-{number}")
    write_bytes(folder / place, file.getvalue())
    return place
