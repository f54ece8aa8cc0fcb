"""How far a predictor can be trusted, on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from medmeta.app.terminal import percent, say, show_facts, show_table
from medmeta.trust.results import Agreement, Estimate, Figure, Trust

MOST_SUSPECTS = 5


def interval(figure: Figure | None) -> str:
    """A share as a percentage with its interval.

    >>> interval(Figure(0.5, 0.25, 0.75))
    '50.0 [25.0, 75.0]'
    """
    if figure is None or figure.value is None:
        return "–"
    if figure.low is None or figure.high is None:
        return percent(figure.value)
    return f"{percent(figure.value)} [{percent(figure.low)}, {percent(figure.high)}]"


def show_trust(trust: Trust, names: Sequence[str], image_names: Sequence[str]) -> None:
    """What to know before acting on an answer: the alarm first, then figures, then doubts."""
    estimate = trust.estimate
    if trust.shortcuts is not None and trust.shortcuts.alarm:
        say(f"warning: {trust.shortcuts.text}")
    if estimate.reason:
        say(f"How good it is cannot be said: {estimate.reason}.")
    else:
        _show_estimate(estimate)
        if not estimate.enough:
            say(
                f"These are too few images to say how good it is; with about {estimate.needed} "
                "the interval would be 30 points wide."
            )
    _show_rest(trust)
    flagged = [s for s in trust.suspects if s.flagged][:MOST_SUSPECTS]
    if flagged:
        rows = [
            (image_names[s.image], names[s.given], names[s.suggested], f"{s.doubt:.2f}")
            for s in flagged
        ]
        show_table("Labels to look at again", ["image", "label", "looks like", "doubt"], rows)
    if trust.agreement is not None:
        show_agreement(trust.agreement)
    for note in trust.notes:
        say(note)


def show_agreement(found: Agreement) -> None:
    """How far readers agree."""
    facts: dict[str, object] = {"images read": found.images}
    for pair, kappa in found.kappas.items():
        facts[f"kappa of {pair}"] = "–" if kappa is None else f"{kappa:.2f}"
    if len(found.readers) > 2 and found.fleiss is not None:
        facts["kappa of all (Fleiss)"] = f"{found.fleiss:.2f}"
    facts["without a majority for the label"] = len(found.disputed)
    show_facts("Readers", facts)


def _show_estimate(estimate: Estimate) -> None:
    title = f"On images held out ({estimate.repeats} × {estimate.folds} folds), %"
    unit = "patients" if estimate.patients_known else "images"
    rows: list[tuple[str, str, str]] = [
        (name.replace("_", " "), interval(figure), f"{estimate.groups} {unit}")
        for name, figure in estimate.figures.items()
    ]
    for one in estimate.by_class:
        counted = f"{one.images} images"
        rows.append((f"sensitivity, {one.name}", interval(one.sensitivity), counted))
        rows.append((f"specificity, {one.name}", interval(one.specificity), ""))
    rows.append(("always the commonest class", percent(estimate.chance), ""))
    if estimate.soft_accuracy is not None:
        rows.append(("readers who agree", percent(estimate.soft_accuracy), ""))
    show_table(title, ["figure", "value [95 % interval]", "of"], rows)


def _show_rest(trust: Trust) -> None:
    facts: dict[str, object] = {}
    held = trust.calibration
    if held is not None:
        before, after = (r.ece_debiased if r else None for r in (held.before, held.after))
        facts["calibration"] = (
            f"temperature {held.temperature:.3g}; error {percent(before)} points before, "
            f"{percent(after)} after"
        )
    for one in trust.sets.coverage if trust.sets is not None else ():
        kind = "sets" if one.kind == "marginal" else "sets within classes"
        facts[f"{kind} at {percent(one.level)} %"] = one.guarantee
    if trust.shortcuts is not None:
        for tried in trust.shortcuts.tried:
            facts[f"from {tried.name} alone, %"] = interval(tried.accuracy)
    if trust.novelty is not None:
        facts["novelty"] = f"flags about {percent(trust.novelty.alarm_rate)} % of ordinary images"
    if facts:
        show_facts("Trust", facts)
