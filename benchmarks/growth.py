"""How cost grows with images, episodes, ways, inner steps and workers.

    python benchmarks/growth.py                     every curve that docs/growth.json lacks
    python benchmarks/growth.py --curves ways       this one, anew
    python benchmarks/growth.py --quick             whether all run at all; nothing is kept

Writes ``docs/growth.json``, the picture ``docs/growth.svg`` and the table of ``docs/speed.md``,
each with the exponent fitted to the points: cost grows as the size to this power.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from growth_curves import CURVES, Curve
from growth_picture import exponent, picture
from machine_limits import describe_machine, load_average
from medmeta.storage import write_bytes, write_json
from page_tables import kept_rows, replace_between

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "growth.json"
PICTURE = ROOT / "docs" / "growth.svg"
PAGE = ROOT / "docs" / "speed.md"
BEGIN, END = "<!-- growth table: begin -->", "<!-- growth table: end -->"


def measured(curve: Curve, *, quick: bool) -> dict[str, Any]:
    """The curve's points and exponent, told as they come."""
    points = []
    for size, cost in curve.points(quick=quick):
        print(f"{curve.name} {size:,}: {cost:.4g} {curve.unit}", flush=True)
        points.append([size, float(f"{cost:.4g}")])
    return {
        "name": curve.name,
        "work": curve.work,
        "axis": curve.axis,
        "unit": curve.unit,
        "points": points,
        "exponent": round(exponent(points), 3),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "machine": describe_machine(),
        "load_average_before": load_average(),
        "command": f"python benchmarks/growth.py --curves {curve.name}",
    }


def table(curves: Sequence[Mapping[str, Any]]) -> str:
    """The picture, and the curves as a Markdown table."""
    lines = [
        f"![How cost grows, both axes logarithmic]({PICTURE.name})",
        "",
        "| work | against | points | exponent |",
        "|---|---|---|---|",
    ]
    for curve in curves:
        points = ", ".join(f"{n:,}: {cost:.3g} {curve['unit']}" for n, cost in curve["points"])
        lines.append(f"| {curve['work']} | {curve['axis']} | {points} | {curve['exponent']:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure curves and write them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--curves", help="names, with commas")
    parser.add_argument("--quick", action="store_true", help="try them out; keep nothing")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    listed = kept_rows(RESULTS)
    held = {curve["name"]: curve for curve in listed}
    known = {curve.name for curve in CURVES}
    wanted = set(arguments.curves.split(",")) if arguments.curves else known - set(held)
    if arguments.quick and not arguments.curves:
        wanted = known
    if not wanted <= known:
        parser.error(f"no curve is called {', '.join(sorted(wanted - known))}")
    for curve in CURVES:
        if curve.name not in wanted:
            continue
        held[curve.name] = measured(curve, quick=arguments.quick)
        if not arguments.quick:
            ordered = [held[c.name] for c in CURVES if c.name in held]
            write_json(RESULTS, ordered)
            write_bytes(PICTURE, picture(ordered).encode())
            replace_between(PAGE, BEGIN, END, table(ordered))


if __name__ == "__main__":
    main()
