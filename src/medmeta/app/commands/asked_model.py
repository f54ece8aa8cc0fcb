"""Which model ``medmeta evaluate`` measures: a run, heads on it, or an untrained learner."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmeta.errors import SettingsError

if TYPE_CHECKING:
    from medmeta.app.models import LoadedModel

NOT_BOTH = (
    "name a RUN (first: medmeta evaluate RUN --source PATH), or --learner for an untrained one, "
    "not both."
)


def check_no_predictor(model: Path | None, flag: str) -> None:
    """Raise ``SettingsError`` for a predictor where a run or a model is asked for."""
    from medmeta.app.mask_workbench import is_mask_predictor
    from medmeta.app.workbench import is_predictor

    if model is not None and (is_predictor(model) or is_mask_predictor(model)):
        raise SettingsError(
            f"{flag} {model} is a predictor of 'medmeta adapt', not a model: name the run that it "
            "was made from. ('medmeta predict' and 'medmeta report' take predictors.)"
        )


def untrained(
    learner: str | None,
    encoder: str | None,
    set_: list[str],
    images: dict[str, Any],
    *,
    allow_external: bool,
) -> LoadedModel:
    """A learner with fresh weights, as the flags name it."""
    from medmeta.app.baselines import untrained_model
    from medmeta.app.run_request import give_weights, learner_options
    from medmeta.app.train_run import TrainRequest
    from medmeta.episode import Target
    from medmeta.settings import options_from_texts, validated

    if learner is None:
        raise SettingsError(NOT_BOTH)
    values = {"preprocessing": images, "options": options_from_texts(set_)}
    request = validated(TrainRequest, {**values, "encoder": encoder}, where="medmeta evaluate")
    model = untrained_model(
        learner,
        learner_options(request),
        request.preprocessing,
        Target("classes", 5),
        allow_external=allow_external,
    )
    return replace(model, card={**model.card, **dict(give_weights(request, model.learner))})


def head_options(head: list[str] | None, set_: list[str] | None) -> dict[str, Any]:
    """The options of each head, by its name; those of a single one need not be named so."""
    from medmeta.learners import LEARNERS
    from medmeta.learners.building import check_no_encoder
    from medmeta.settings import options_from_texts

    if not head or not set_:
        return {}
    options = options_from_texts(set_)
    if len(set(head)) == 1:
        return {head[0]: options}
    check_no_encoder(options)
    strangers = [name for name in options if name not in head and name in LEARNERS]
    if strangers:
        raise SettingsError(
            f"--set {strangers[0]}: {strangers[0]} is not among --head {' '.join(head)}; name it "
            "there too, or leave its options out."
        )
    unnamed = [name for name, value in options.items() if name not in head or value == str(value)]
    if unnamed:
        raise SettingsError(
            f"--set {unnamed[0]}: with several heads, say whose option it is, such as "
            f"--set {head[0]}.{unnamed[0]}=…"
        )
    return options


def check_no_head(head: list[str] | None) -> None:
    """Raise ``SettingsError`` for a head without a run to put it on."""
    if head:
        raise SettingsError(
            "--head goes with a RUN, on whose encoder it is put; an untrained head is "
            f"--learner {head[0]}."
        )


def check_nothing_set(
    learner: str | None, encoder: str | None, set_: list[str] | None, shape: dict[str, Any]
) -> None:
    """A run has its learner, encoder, options and the ``shape`` of its inputs already."""
    if learner is not None:
        raise SettingsError(NOT_BOTH)
    for name, value in shape.items():
        if value is not None:
            raise SettingsError(f"a RUN has the --{name} that it was trained with; leave it out.")
    if encoder is not None or set_:
        raise SettingsError(
            "a RUN is measured with the encoder and options that it was trained with; --encoder "
            "is for an untrained --learner, and --set for that or for a --head."
        )
