"""How each learner is trained on Omniglot here, and at what it is tested."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from medmeta.training.settings import TrainingSettings

HELD_OUT_CHARACTERS = 64
Test = tuple[int, int, int]
"""Ways, shots, queries per class."""
FEW: tuple[Test, ...] = ((5, 1, 15), (5, 5, 15))
ALSO_TWENTY: tuple[Test, ...] = (*FEW, (20, 1, 15))
# As in the paper on MAML: as many queries as shots, which batch statistics see together.
TRANSDUCTIVE: tuple[Test, ...] = ((5, 1, 1), (5, 5, 5))

POOLED: dict[str, Any] = {"norm": "running"}
STRIDED = {"downsample": "stride", "embed": "mean"}


@dataclass(frozen=True)
class Recipe:
    """How one learner is trained here, and at what it is tested (way, shot, queries per class).

    ``learner`` is its name in the registry, ``variant`` what else is to be said of it.
    ``held_out`` background characters are kept from training to draw the learning curve and to
    choose the inner steps at test; none where the last weights are taken as they are.
    ``also_tested``: other options that the same weights are tested with, and what is said of them.
    ``frozen``: the recipe on whose encoder's embeddings it learns; that encoder stays as it is.
    ``starts_from``: the recipe with whose encoder's weights it begins, as ``train --init`` does.
    ``union_batch``: its encoder learns to tell all background classes apart, in batches of so many
    images, and the learner answers tasks with it; ways and shots are then of no account.
    """

    learner: str
    config: dict[str, Any]
    settings: TrainingSettings
    way: int
    shot: int
    n_query: int
    tasks_per_step: int = 1
    tests: tuple[Test, ...] = FEW
    held_out: int = 0
    test_steps: tuple[int, ...] = ()
    also_tested: tuple[tuple[str, dict[str, Any]], ...] = ()
    variant: str = ""
    frozen: str = ""
    starts_from: str = ""
    union_batch: int = 0


def _settings(steps: int, **others: Any) -> TrainingSettings:
    """Without validation unless told; a checkpoint every few minutes."""
    plain: dict[str, Any] = {"schedule": "cosine", "validate_every": 0, "checkpoint_every": 200}
    return TrainingSettings(steps=steps, **(plain | others))


def _episodic(name: str, steps: int, config: dict[str, Any] | None = None, **others: Any) -> Recipe:
    """An embedding learner trained like the prototypical one, in fewer steps of fewer ways."""
    settings = _settings(steps, clip_norm=0.0)
    defaults: dict[str, Any] = {"way": 20, "shot": 1, "n_query": 5, "tests": FEW}
    return Recipe(
        learner=name,
        config={"encoder": POOLED, **(config or {})},
        settings=settings,
        **(defaults | others),
    )


NARROW: dict[str, Any] = {"norm": "group", "options": {"downsample": "stride", "width": 16}}
"""The network of learned optimisers, which read every single weight: 64 numbers of 2×2 places."""


# The embeddings that they begin with have a squared length of 500: larger steps overshoot.
DESCENT: dict[str, Any] = {"inner_rate": 0.03, "inner_steps": 5}
PROPOSALS: dict[str, Any] = {"proposal_unit": "gradient", "proposal_weight": 0.5}
LONGER_STEPS: dict[str, Any] = {"steps": 2000, "learning_rate": 2e-3}
LSTM_START: dict[str, Any] = {"input_bias": -3.5, "forget_bias": 6.0}


def _learned_optimiser(
    name: str,
    config: dict[str, Any],
    *,
    shot: int,
    n_query: int,
    steps: int = 1200,
    learning_rate: float = 1e-3,
    variant: str = "",
) -> Recipe:
    """On a narrow network that begins as one trained to tell all classes apart."""
    return Recipe(
        learner=name,
        config={"max_way": 5, **config, "encoder": NARROW},
        settings=_settings(
            steps, learning_rate=learning_rate, validate_every=200, checkpoint_every=100
        ),
        way=5,
        shot=shot,
        n_query=n_query,
        tasks_per_step=4,
        tests=((5, shot, 15),),
        held_out=HELD_OUT_CHARACTERS,
        test_steps=(10, 20, 40),
        starts_from="pretrained_narrow",
        variant=variant,
    )


def _gradient(name: str, steps: int, config: dict[str, Any], **others: Any) -> Recipe:
    """A gradient learner on the stride-2 Conv-4 of the paper on MAML, transductive as there."""
    width, every = others.pop("width", 64), others.pop("validate_every", 250)
    norm = others.pop("norm", "batch")
    rate = others.pop("learning_rate", 2e-3)
    encoder = {"norm": norm, "options": {**STRIDED, "width": width}}
    defaults: dict[str, Any] = {
        "way": 5,
        "shot": 1,
        "n_query": 1,
        "tasks_per_step": 32,
        "tests": TRANSDUCTIVE if norm == "batch" else FEW,
        "held_out": HELD_OUT_CHARACTERS,
        "test_steps": (1, 2, 3, 5, 10),
    }
    return Recipe(
        learner=name,
        config={"max_way": 5, **config, "encoder": encoder},
        settings=_settings(steps, learning_rate=rate, validate_every=every, checkpoint_every=every),
        **(defaults | others),
    )


PLAIN = "plain descent within tasks"
MOMENTS = "Adam with the moments of its training, as the authors' code"
AMONG, ALONE = (
    "queries normalised among the support",
    "each query normalised with the support alone",
)
AMONG_SUPPORT: tuple[tuple[str, dict[str, Any]], ...] = (
    (AMONG, {"query_statistics": "support_and_queries"}),
    (ALONE, {"query_statistics": "support"}),
)
"""As the authors' code answers: transductively, and one query at a time."""


def _reptile(
    norm: str,
    variant: str,
    steps: int = 20000,
    also_tested: tuple[tuple[str, dict[str, Any]], ...] = (),
    **inner: Any,
) -> Recipe:
    """The paper's: 10 training shots, 5 inner steps of 10 images, outer rate 1 falling to 0.

    Plain descent within tasks unless told: Adam that starts afresh in each takes its first step by
    the sign of the gradient alone, and learned more slowly on held-out characters.
    """
    n_query = 9
    encoder = {"norm": norm, "options": {"downsample": "stride"}}
    return Recipe(
        learner="reptile",
        config={
            "max_way": 5,
            "encoder": encoder,
            **(inner or {"inner_optimiser": "sgd", "inner_rate": 0.1}),
        },
        settings=_settings(
            steps,
            optimiser="sgd",
            learning_rate=1.0,
            schedule="linear",
            clip_norm=0.0,
            validate_every=500,
            checkpoint_every=100,
        ),
        way=5,
        shot=1,
        n_query=n_query,
        tasks_per_step=5,
        tests=((5, 1, 1), (5, 5, 1)),
        held_out=HELD_OUT_CHARACTERS,
        test_steps=(5, 10, 50),
        also_tested=also_tested,
        variant=variant,
    )


def _pretrained(encoder: dict[str, Any], variant: str) -> Recipe:
    """An encoder that learns to tell all background classes apart, in batches of 128 images."""
    return Recipe(
        learner="prototypical",
        config={"encoder": encoder},
        settings=_settings(4000, clip_norm=0.0),
        way=5,
        shot=1,
        n_query=15,
        held_out=HELD_OUT_CHARACTERS,
        variant=variant,
        union_batch=128,
    )


def _leo(*, shot: int, frozen: str = "pretrained") -> Recipe:
    """On the embeddings of a network that tells all classes apart, as the paper's.

    Latents as many as four times the embedding's 64 numbers, and no dropout: better on held-out
    characters than the paper's 64 latents, which were for 640 numbers.
    """
    return Recipe(
        learner="leo",
        config={"encoder": POOLED, "latent_size": 256, "dropout": 0.0},
        settings=_settings(6000, learning_rate=1e-3, clip_norm=0.1),
        way=5,
        shot=shot,
        n_query=5,
        tasks_per_step=8,
        tests=FEW if shot == 1 else ((5, shot, 15),),
        frozen=frozen,
        variant=f"on the encoder of {frozen}",
    )


RECIPES: dict[str, Recipe] = {
    "prototypical": Recipe(
        learner="prototypical",
        config={"encoder": POOLED},
        settings=_settings(8000, clip_norm=0.0),
        way=60,
        shot=1,
        n_query=5,
        tests=ALSO_TWENTY,
    ),
    "matching": _episodic("matching", 4000, tests=ALSO_TWENTY),
    "siamese": _episodic("siamese", 4000, {"balanced": True}),
    "relation": _episodic(
        "relation",
        10000,
        # Maps of 3×3, where the paper's 7×7 take a quarter of a minute a step here.
        {"encoder": {"norm": "running", "options": {"pools": 3}}, "width": 64},
        way=5,
        n_query=10,
    ),
    "relation_paper": _episodic(
        "relation",
        10000,
        {"encoder": {"norm": "running", "options": {"pools": 2}}, "width": 64},
        way=5,
        n_query=19,
        variant="maps of 7×7, as in the paper",
    ),
    "ridge": _episodic("ridge", 4000, tests=ALSO_TWENTY),
    "logistic": _episodic("logistic", 4000),
    "svm": _episodic("svm", 4000),
    "memory_network": _episodic("memory_network", 4000),
    "meta_memory": _episodic("meta_memory", 4000),
    "anil": _episodic(
        "anil",
        3000,
        {"max_way": 5},
        way=5,
        n_query=5,
        tasks_per_step=8,
        held_out=HELD_OUT_CHARACTERS,
        test_steps=(5, 10, 20),
    ),
    "maml": _gradient("maml", 9000, {"inner_rate": 1.0, "inner_steps": 1}),
    "maml_inductive": _gradient(
        "maml",
        4000,
        {"inner_rate": 1.0, "inner_steps": 1},
        norm="group",
        n_query=5,
        tasks_per_step=4,
        learning_rate=1e-3,
        validate_every=1000,
    ),
    "fomaml": _gradient(
        "maml",
        4000,
        {"inner_rate": 1.0, "inner_steps": 1, "first_order": True},
        variant="first order",
    ),
    "maml_five": _gradient(
        "maml",
        4000,
        {"inner_rate": 1.0, "inner_steps": 1},
        shot=5,
        n_query=5,
        tasks_per_step=8,
        validate_every=1000,
        tests=((5, 5, 5),),
    ),
    "meta_sgd": _gradient(
        "meta_sgd",
        7000,
        {"inner_rate": 0.4, "inner_steps": 1},
        tasks_per_step=8,
        learning_rate=1e-3,
        validate_every=1000,
    ),
    "reptile": _reptile("group", PLAIN),
    "reptile_transductive": _reptile("batch", PLAIN, also_tested=AMONG_SUPPORT),
    "reptile_adam": _reptile("batch", "Adam begun afresh in each task", inner_optimiser="adam"),
    "reptile_moments": _reptile(
        "batch",
        MOMENTS,
        inner_optimiser="adam",
        inner_moments="gathered",
        also_tested=AMONG_SUPPORT,
    ),
    "meta_lstm": _learned_optimiser("meta_lstm", LSTM_START, shot=1, n_query=5, steps=4000),
    "meta_lstm_five": _learned_optimiser("meta_lstm", LSTM_START, shot=5, n_query=5, steps=4000),
    # As many queries as shots: each of the two folds is then such a support.
    "metal": _learned_optimiser(
        "metal", {**DESCENT, **PROPOSALS}, shot=1, n_query=1, **LONGER_STEPS
    ),
    "metal_five": _learned_optimiser(
        "metal", {**DESCENT, **PROPOSALS}, shot=5, n_query=5, **LONGER_STEPS
    ),
    "maml_as_metal": _learned_optimiser(
        "maml",
        DESCENT,
        shot=1,
        n_query=1,
        **LONGER_STEPS,
        variant="network, start, steps and tasks as METAL's",
    ),
    "maml_as_metal_five": _learned_optimiser(
        "maml",
        DESCENT,
        shot=5,
        n_query=5,
        **LONGER_STEPS,
        variant="network, start, steps and tasks as METAL's",
    ),
    "meta_networks": _episodic("meta_networks", 1000, way=5, tasks_per_step=8),
    "mann": _episodic("mann", 4000, way=5, tasks_per_step=8),
    # As the paper on LEO trained the network whose embeddings it learns on.
    "pretrained": _pretrained(POOLED, "encoder trained to tell all classes apart"),
    "pretrained_narrow": _pretrained(NARROW, "narrow encoder trained to tell all classes apart"),
    "leo": _leo(shot=1),
    "leo_five": _leo(shot=5),
    "leo_narrow": _leo(shot=1, frozen="pretrained_narrow"),
}

SHARED_ENCODER = "prototypical"
"""The recipe whose encoder the heads below are used on."""

FINE_TUNED = ("meta_lstm", "meta_lstm_five", "metal", "metal_five")
"""Recipes from whose learned start plain fine-tuning is tested too, as ``NAME:fine_tuning``."""

FINE_TUNING: tuple[dict[str, Any], ...] = tuple(
    {"rate": rate, "momentum": momentum, "test_steps": steps}
    for rate in (0.003, 0.01, 0.03, 0.1)
    for momentum in (0.0, 0.9)
    for steps in (1, 5, 20, 40)
)
"""Its options, of which those best on held-out characters are taken."""

HEADS: dict[str, tuple[Test, ...]] = {
    "nearest_centroid": FEW,
    "simple_shot": FEW,
    "linear_probe": FEW,
    "baseline": FEW,
    "baseline_plus_plus": FEW,
    "logistic": FEW,
    "svm": FEW,
    "ridge": ALSO_TWENTY,
    "matching": FEW,
    "kernel_svm": FEW,
    "random_forest": FEW,
    "gradient_boosting": FEW,
    "mlp": FEW,
    "sgd": FEW,
    "meta_svm": FEW,
    "meta_rf": FEW,
    "meta_gd": FEW,
    "meta_nn": FEW,
    "ensemble": FEW,
    "bd_cspn": FEW,
    "laplacian_shot": FEW,
    "tim": FEW,
    "pt_map": FEW,
}
"""Tested on the shared encoder as they are, nothing trained across tasks."""

SLOW_HEADS = {"gradient_boosting": 200, "ensemble": 100}
"""Those that take seconds for each task: tested on the first so many of the same tasks."""
