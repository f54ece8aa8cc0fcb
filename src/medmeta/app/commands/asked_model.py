"""Which model ``medmeta evaluate`` measures: a run, heads on it, or an untrained learner."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from medmeta.errors import SettingsError

if TYPE_CHECKING:
    from medmeta.app.models import LoadedModel

NOT_BOTH = (
    "name a RUN (first: medmeta evaluate RUN --source PATH), or --learner for an untrained one, "
    "not both."
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
    from medmeta.settings import options_from_texts

    if not head or not set_:
        return {}
    options = options_from_texts(set_)
    if len(set(head)) == 1:
        return {head[0]: options}
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
