"""The figures of the streaming benchmark as JSON, and the table of ``docs/results.md``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medmeta.storage import write_json
from page_tables import replace_between

BEGIN, END = "<!-- mann stream: begin -->", "<!-- mann stream: end -->"

# Santoro et al. 2016, table 1: five random classes, one-hot labels; by instance.
PUBLISHED = {1: 36.4, 2: 82.8, 3: 91.0, 4: 92.6, 5: 94.9, 10: 98.1}


def write_table(results: Path, page: Path, result: dict[str, Any]) -> None:
    """Write the figures, and the page's table made from them."""
    paper = {str(instance): figure for instance, figure in PUBLISHED.items()}
    write_json(results, {**result, "paper": paper})
    replace_between(page, BEGIN, END, table(result))


def table(result: dict[str, Any]) -> str:
    """Accuracy by instance beside the paper's, and how far the training has come.

    >>> row = {"accuracy_by_instance": [40.0, 80.25], "interval": [1.0, 0.5], "streams": 16,
    ...     "steps": 500, "steps_planned": 1000, "seconds": 60.0}
    >>> print(table(row).splitlines()[3])
    | accuracy, % | 40.0 ± 1.0 | 80.2 ± 0.5 |
    """
    found = zip(result["accuracy_by_instance"], result["interval"], strict=True)
    numbers = range(1, len(result["interval"]) + 1)
    return "\n".join(
        [
            f"{result['steps']:,} of {result['steps_planned']:,} steps, "
            f"{result['seconds'] / 3600:.1f} hours; {result['streams']:,} streams.\n",
            f"| instance | {' | '.join(str(n) for n in numbers)} |",
            "|---" * (len(numbers) + 1) + "|",
            f"| accuracy, % | {' | '.join(f'{a:.1f} ± {i:.1f}' for a, i in found)} |",
            f"| paper | {' | '.join(str(PUBLISHED.get(n, '–')) for n in numbers)} |",
        ]
    )
