"""What ``medmeta evaluate --shift`` shows: a table for each source, column and shot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medmeta.app.terminal import percent, say, show_table

if TYPE_CHECKING:
    from medmeta.app.shift_results import ShiftRow

INTERVAL = "difference [95 %]"


def show_shifts(rows: Sequence[ShiftRow]) -> None:
    """Tables of all rows, then what must be said of them."""
    for row in rows:
        content = row.to_dict()
        shown = _show_groups if "groups" in content else _show_quality
        shown(content, f"{content['source']}, {row.found.protocol.describe()}{_head(content)}")
    for note in dict.fromkeys(f"{row.found.source}: {n}" for row in rows for n in row.notes):
        say(note)


def _show_groups(content: Mapping[str, Any], what: str) -> None:
    table = [
        [
            group["name"],
            group["images"],
            percent(group["inside"]["mean"]),
            percent(group["outside"]["mean"]),
            _difference(group["difference"]),
        ]
        for group in content["groups"]
    ]
    table.append(["all", "", "", "", _difference(content["difference"])])
    show_table(
        f"{_metric(content)} by {content['column']}: {what}; the same queries, labelled images "
        "from the same group (inside) or from all others (outside)",
        [content["column"], "images", "inside", "outside", INTERVAL],
        table,
    )
    for name, why in content["left_out"].items():
        say(f"{content['source']}, {content['column']} {name} is left out: {why}")
    if content["unknown_images"]:
        say(
            f"{content['source']}: {content['unknown_images']} images without "
            f"{content['column']} are not used."
        )


def _show_quality(content: Mapping[str, Any], what: str) -> None:
    if content["column"] == "parts":
        _show_parts(content, what)
        return
    table = [["as it is", "", percent(content["clean"]["mean"]), ""]]
    for worse in content["worsened"]:
        table.append(
            [
                worse["distortion"],
                worse["severity"],
                percent(worse["worse"]["mean"]),
                _difference(worse["difference"]),
            ]
        )
    show_table(
        f"{_metric(content)} by quality of the query: {what}; images taken as {content['kind']}",
        ["query", "severity", "mean", INTERVAL],
        table,
    )


def _show_parts(content: Mapping[str, Any], what: str) -> None:
    table = [["all that is known", percent(content["clean"]["mean"]), ""]]
    for left in content["worsened"]:
        table.append(
            [left["distortion"], percent(left["worse"]["mean"]), _difference(left["difference"])]
        )
    show_table(
        f"{_metric(content)} by what is known of a patient: {what}; withheld from labelled and "
        "asked alike",
        ["known", "mean", INTERVAL],
        table,
    )


def _metric(content: Mapping[str, Any]) -> str:
    return "Accuracy, %" if content["metric"] == "accuracy" else "R², %"


def _head(content: Mapping[str, Any]) -> str:
    return f", head {content['head']['name']}" if content["head"] else ""


def _difference(gap: Mapping[str, Any]) -> str:
    return f"{percent(gap['mean'])} [{percent(gap['low'])}, {percent(gap['high'])}]"
