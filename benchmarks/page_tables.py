"""Figures kept as JSON, and tables made from them on pages of the documentation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medmeta.storage import write_bytes


def kept_rows(results: Path) -> list[dict[str, Any]]:
    """What was measured before; nothing where there is no file yet."""
    rows: list[dict[str, Any]] = json.loads(results.read_text()) if results.exists() else []
    return rows


def replace_between(page: Path, begin: str, end: str, text: str) -> None:
    """Put ``text`` between the marks of a page; a page without them is left as it is."""
    if not page.exists():
        return
    held = page.read_text()
    if begin in held and end in held:
        head, rest = held.split(begin, 1)
        tail = rest.split(end, 1)[1]
        write_bytes(page, f"{head}{begin}\n{text}\n{end}{tail}".encode())
