"""Tables on pages of the documentation, rewritten between two marks."""

from __future__ import annotations

from pathlib import Path

from medmeta.storage import write_bytes


def replace_between(page: Path, begin: str, end: str, text: str) -> None:
    """Put ``text`` between the marks of a page; a page without them is left as it is."""
    if not page.exists():
        return
    held = page.read_text()
    if begin in held and end in held:
        head, rest = held.split(begin, 1)
        tail = rest.split(end, 1)[1]
        write_bytes(page, f"{head}{begin}\n{text}\n{end}{tail}".encode())
