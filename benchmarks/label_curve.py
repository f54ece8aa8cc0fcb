"""What the model in the box promises of more labels, against what they brought.

    python benchmarks/label_curve.py

From the default's accuracy with few images of a class (``docs/default_model.json``) the prior in
the box says what more of them will bring; beside it stands what was measured. Accuracies are means
over 300 tasks, so the interval is almost that of the exponent alone: that of one small support is
wider. The prior has learned on none of these collections (``benchmarks/box_prior.py``). Writes
``docs/label_curve.json`` and the table of ``docs/trust.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from medmeta.app.models import load_model
from medmeta.app.trusting import prior_of
from medmeta.storage import write_json
from medmeta.trust.decisions import more_labels
from medmeta.trust.prior import TrustPrior
from medmeta.trust.results import Figure
from page_tables import kept_rows, replace_between

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- label curve table: begin -->", "<!-- label curve table: end -->"
METHOD = "default"
STEPS = ((1, 5), (5, 10))


@dataclass(frozen=True)
class Promise:
    """From ``fewer`` to ``more`` images of a class: what was promised, and the ``truth``."""

    source: str
    fewer: int
    more: int
    now: float
    expected: float
    low: float
    high: float
    truth: float

    @property
    def holds(self) -> bool:
        """Whether the interval holds the truth."""
        return self.low <= self.truth <= self.high

    @property
    def exponent(self) -> float:
        """By which power errors fell in truth.

        >>> round(Promise("a", 5, 10, 0.6, 0.7, 0.6, 0.8, 0.8).exponent, 6)
        1.0
        """
        return math.log((1 - self.now) / (1 - self.truth)) / math.log(self.more / self.fewer)


def promised(
    source: str, accuracies: dict[int, Figure], prior: TrustPrior, fewer: int, more: int
) -> Promise:
    """One step of the curve; ``accuracies`` by images of a class."""
    now, then = accuracies[fewer], accuracies[more].value
    (point,) = more_labels(
        now, fewer, exponent=prior.exponent, spread=prior.exponent_spread, added=(more - fewer,)
    )
    expected, low, high = point.accuracy.value, point.accuracy.low, point.accuracy.high
    assert None not in (now.value, then, expected, low, high)
    return Promise(
        source, fewer, more, *(float(x or 0) for x in (now.value, expected, low, high, then))
    )


def table(promises: Sequence[Promise]) -> str:
    """A line for each step and collection; what the interval does not hold is bold."""
    lines = [
        "| images per class | collection | now | promised | interval | in truth | exponent |",
        "|" + "---|" * 7,
    ]
    for one in promises:
        now, expected, low, high, truth = (
            f"{100 * x:.1f}" for x in (one.now, one.expected, one.low, one.high, one.truth)
        )
        told = truth if one.holds else f"**{truth}**"
        lines.append(
            f"| {one.fewer} to {one.more} | {one.source} | {now} | {expected} | {low} to {high} | "
            f"{told} | {one.exponent:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Compare, and write both."""
    prior = prior_of(load_model(Path("medmeta-base")))
    assert prior is not None
    found: dict[str, dict[int, Figure]] = {}
    for row in kept_rows(ROOT / "docs" / "default_model.json"):
        if row["method"] == METHOD:
            shares = (row[name] / 100 for name in ("accuracy", "low", "high"))
            found.setdefault(row["source"], {})[row["shot"]] = Figure(*shares)
    promises = [
        promised(source, accuracies, prior, fewer, more)
        for fewer, more in STEPS
        for source, accuracies in sorted(found.items())
        if {fewer, more} <= accuracies.keys()
    ]
    rows = [{**asdict(one), "holds": one.holds, "exponent": one.exponent} for one in promises]
    rounded = [
        {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in rows
    ]
    write_json(ROOT / "docs" / "label_curve.json", rounded)
    replace_between(ROOT / "docs" / "trust.md", BEGIN, END, table(promises))
    print(table(promises))
    print(f"{sum(one.holds for one in promises)} of {len(promises)} intervals hold the truth")


if __name__ == "__main__":
    main()
