"""Finds the fenced blocks of a Markdown page."""

from __future__ import annotations

import re
from dataclasses import dataclass

NOT_RUN = re.compile(r"<!--\s*not run:\s*(?P<reason>\S.*?)\s*-->")
FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})\s*(?P<language>\w*)")


@dataclass(frozen=True)
class Snippet:
    """One fenced block: ``line`` is that of its first line of text, counted from 1."""

    line: int
    language: str
    text: str
    not_run: str | None  # the reason given in the comment before it

    def commands(self) -> list[tuple[int, str]]:
        """Line and text of each ``$ medmeta ...``, continued lines joined."""
        found: list[tuple[int, str]] = []
        continued = False
        for number, line in enumerate(self.text.splitlines(), self.line):
            if continued:
                found[-1] = (
                    found[-1][0],
                    f"{found[-1][1]} {line.strip().removeprefix('>').strip()}",
                )
            elif line.startswith("$ medmeta "):
                found.append((number, line.removeprefix("$ ")))
            else:
                continue
            continued = found[-1][1].endswith("\\")
            if continued:
                found[-1] = (found[-1][0], found[-1][1].removesuffix("\\").rstrip())
        return found


def snippets(page: str) -> list[Snippet]:
    """All fenced blocks of ``page``, in order; a block that is not closed raises ``ValueError``."""
    found: list[Snippet] = []
    lines = page.splitlines()
    reason: str | None = None
    number = 0
    while number < len(lines):
        line = lines[number]
        if opened := FENCE.match(line):
            end = number + 1
            while end < len(lines) and lines[end].strip() != opened["fence"]:
                end += 1
            if end == len(lines):
                raise ValueError(f"the block that begins in line {number + 1} is not closed")
            text = "\n".join(
                inner.removeprefix(opened["indent"]) for inner in lines[number + 1 : end]
            )
            found.append(Snippet(number + 2, opened["language"], text + "\n", reason))
            number, reason = end, None
        elif comment := NOT_RUN.fullmatch(line.strip()):
            reason = comment["reason"]
        elif line.strip():
            reason = None
        number += 1
    return found
