"""What a person sees in the terminal: tables, progress, JSON, and plain words for errors.

Results go to standard output, everything else to standard error, so that ``--json`` can be piped.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import textwrap
import time
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from medmeta.errors import SettingsError

PATIENCE = 2.0
LINE_EVERY = 15.0
TEXT = 8  # characters: no column of text is made narrower


class _Console(Console):
    """A console that leaves a closed pipe to the command line, which knows its exit code."""

    def on_broken_pipe(self) -> None:
        """Rich would end with exit code 1."""
        raise BrokenPipeError


out = _Console(highlight=False, soft_wrap=False, emoji=False)
err = _Console(stderr=True, highlight=False, emoji=False)


def emit_json(content: Any) -> None:
    """One JSON object on standard output; a figure that is not defined (NaN) is null."""
    text = json.dumps(_defined(content), indent=2, default=str, allow_nan=False)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """A remark to the person, not part of the result."""
    err.print(shown(text), soft_wrap=True)


def shown(text: object) -> str:
    r"""Text for the terminal: no markup in it counts, nothing in it steers the terminal.

    >>> shown("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    whole = str(text).encode("utf-8", "backslashreplace").decode()
    return escape("".join(map(_harmless, whole)))


def given_arguments() -> tuple[str, ...]:
    """What the person wrote after ``medmeta``."""
    context = click.get_current_context(silent=True)
    given = context.find_root().obj if context is not None else None
    return given if isinstance(given, tuple) else tuple(sys.argv[1:])


def command_line(*arguments: object) -> str:
    """A command to be pasted, calling medmeta as it was called now."""
    return shlex.join([_program(), *map(str, arguments)])


def _harmless(character: str) -> str:
    """Control and direction characters as their codes."""
    if character in "\n\t" or unicodedata.category(character)[0] != "C":
        return character
    return character.encode("unicode_escape").decode()


def _program() -> str:
    called = Path(sys.argv[0])
    found = shutil.which("medmeta")
    if called.stem != "medmeta" or (found and Path(found).resolve() == called.resolve()):
        return "medmeta"
    near = os.path.relpath(called)
    return near if not near.startswith("..") else str(called)


def _defined(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _defined(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_defined(value) for value in content]
    return None if isinstance(content, float) and content - content != 0 else content


def show_table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[object]], *, console: Console = out
) -> None:
    """A table; columns of numbers stand to the right.

    Figures are never broken: where the terminal is too narrow the lines go, then texts are broken.
    """
    least = [_least_width(name, [row[i] for row in rows]) for i, name in enumerate(header)]
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    if sum(least) + 3 * len(least) + 1 > console.width:
        table.box, table.padding, table.pad_edge = None, (0, 1, 0, 0), False
    for place, name in enumerate(header):
        numeric = bool(rows) and all(_is_number(row[place]) for row in rows)
        justify: Literal["right", "left"] = "right" if numeric else "left"
        figures = bool(rows) and all(_is_figures(row[place]) for row in rows)
        words = "\n".join(textwrap.wrap(name, least[place], break_long_words=False))
        table.add_column(
            words if figures else name, justify=justify, overflow="fold", no_wrap=figures
        )
    for row in rows:
        table.add_row(*(shown(cell) for cell in row))
    console.print(table)


def show_facts(title: str, facts: Mapping[str, object], *, console: Console = out) -> None:
    """Names and values, one pair per line."""
    console.print(f"[bold]{shown(title)}[/bold]", soft_wrap=True)
    width = max(map(len, facts), default=0)
    for name, value in facts.items():  # never broken: paths and hashes are there to be copied
        console.print(f"  {escape(name):<{width}}  {shown(value)}", soft_wrap=True)


def percent(value: float | None) -> str:
    """A share as a percentage with one decimal.

    >>> percent(0.5)
    '50.0'
    >>> percent(-1e-9)
    '0.0'
    """
    if value is None or value != value:
        return "–"
    return f"{round(100 * value, 1) + 0.0:.1f}"  # the sum takes the sign from a zero


def _least_width(name: str, cells: Sequence[object]) -> int:
    """Characters that a column must have: its figures, or a little text; and its name's words."""
    widest = max((len(str(cell)) for cell in cells), default=0)
    needed = widest if all(map(_is_figures, cells)) else min(widest, TEXT)
    return max(needed, *map(len, name.split()))


def _is_figures(cell: object) -> bool:
    """Numbers and intervals, which must stay on one line to be read."""
    return not any(c.isalpha() for c in str(cell))


def _is_number(cell: object) -> bool:
    return isinstance(cell, int | float) or str(cell).replace(".", "", 1).lstrip("-–").isdigit()


class Waiting:
    """Progress that shows itself once two seconds have passed.

    A bar where standard error is a terminal, a line every fifteen seconds where it is not.
    """

    def __init__(self) -> None:
        self.started = self.spoken = time.monotonic()
        self.bar: Progress | None = None
        self.bars: dict[str, Any] = {}

    def __call__(self, what: str, done: int, total: int, detail: str = "") -> None:
        """Say how far ``what`` has come."""
        now = time.monotonic()
        if now - self.started < PATIENCE:
            return
        if err.is_terminal:
            self._draw(what, done, total, detail)
        elif now - self.spoken >= LINE_EVERY or (done == total and now - self.spoken > PATIENCE):
            self.spoken = now
            say(f"{what}: {done} of {total}{'  ' + detail if detail else ''}")

    def _draw(self, what: str, done: int, total: int, detail: str) -> None:
        if self.bar is None:
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed}/{task.total}"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[detail]}"),
                console=err,
                transient=True,
            )
            self.bar.start()
        if what not in self.bars:
            self.bars[what] = self.bar.add_task(shown(what), total=total, detail="")
        self.bar.update(self.bars[what], completed=done, total=total, detail=shown(detail))

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.stop()


def check_out(path: Path | None, *, suffixes: Sequence[str]) -> None:
    """Refuse a file to write that cannot be, or that is a person's own of another kind.

    Asked before the work, so that an hour's answers do not fail at the last step. Raises
    ``SettingsError``.
    """
    if path is None:
        return
    if path.is_dir():
        name = f"result{suffixes[0]}"
        raise SettingsError(f"--out {path} is a folder; name a file, such as {path / name}.")
    if path.exists() and path.suffix.lower() not in suffixes:
        raise SettingsError(
            f"--out {path} is there already and is no {suffixes[0]} file; it would be lost. "
            "Choose another name."
        )
    check_place(path)


def check_place(path: Path) -> None:
    """Refuse a file or folder to make where none can be made; raises ``SettingsError``."""
    parent = next((p for p in path.absolute().parents if p.exists()), None)
    if parent is not None and not (parent.is_dir() and os.access(parent, os.W_OK)):
        raise SettingsError(f"--out {path} cannot be written: {parent} is no folder to write in.")


def check_new(out: Path) -> None:
    """Refuse a folder that is there already, or that cannot be; raises ``SettingsError``."""
    if out.exists() or out.is_symlink():
        raise SettingsError(f"{out} is already there; choose another --out or remove it.")
    check_place(out)


@contextmanager
def waiting() -> Iterator[Waiting]:
    """Progress for the length of a block."""
    progress = Waiting()
    try:
        yield progress
    finally:
        progress.close()
