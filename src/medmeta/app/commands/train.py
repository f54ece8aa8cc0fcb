"""``medmeta train``: meta-train a learner on sources."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medmeta.app.commands.asked_model import check_no_predictor
from medmeta.app.commands.options import (
    AllowExternal,
    AsJson,
    CsvRate,
    Depth,
    DropSmall,
    Leads,
    Modalities,
    Mpp,
    Overlap,
    Patches,
    Plane,
    Profile,
    Rate,
    Record,
    Resample,
    Samples,
    Scaling,
    SkipBad,
    Slices,
    SlideMpp,
    Spacing,
    Split,
    Standardise,
    TextEncoder,
    Tile,
    TimePoint,
    Tissue,
    Use,
    Window,
)
from medmeta.app.commands.run_options import (
    TRACE,
    asked,
    end_stopped,
    request_from,
    tell,
    use_threads,
)
from medmeta.app.commands.spread import SpreadCommand
from medmeta.app.profile import profiled
from medmeta.app.terminal import check_place, percent, say, waiting


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train", cls=SpreadCommand)(train)


def train(
    out: Annotated[Path, typer.Option("--out", help="Folder of the run.")],
    source: Annotated[
        list[Path] | None,
        typer.Option("--source", help="Folders, manifests or npz files to learn from."),
    ] = None,
    learner: Annotated[str | None, typer.Option(help="See 'medmeta learners'.")] = None,
    init: Annotated[
        Path | None, typer.Option(help="A run whose encoder to start from, of 'medmeta pretrain'.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="conv4, resnet12, joined, … (docs/learners.md), external:….")
    ] = None,
    norm: Annotated[str | None, typer.Option(help="group, running, batch or none.")] = None,
    way: Annotated[str | None, typer.Option(help="Classes per task: 5, or a range 2-5.")] = None,
    shot: Annotated[str | None, typer.Option(help="Support images per class: 5 or 1-5.")] = None,
    query: Annotated[int | None, typer.Option(help="Query images per class.")] = None,
    target: Annotated[str | None, typer.Option(help="classes, masks or values.")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A learner's option: inner_rate=0.1.")
    ] = None,
    tasks_per_step: Annotated[int | None, typer.Option(help="Tasks per step.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the images in pixels.")] = None,
    channels: Annotated[int | None, typer.Option(help="1 grey, 3 colour.")] = None,
    fit: Annotated[str | None, typer.Option(help="pad, crop or stretch to a square.")] = None,
    window: Window = None,
    slices: Slices = None,
    plane: Plane = None,
    time_point: TimePoint = None,
    depth: Depth = None,
    spacing: Spacing = None,
    patches: Patches = None,
    resample: Resample = None,
    mpp: Mpp = None,
    slide_mpp: SlideMpp = None,
    tile: Tile = None,
    overlap: Overlap = None,
    tissue: Tissue = None,
    samples: Samples = None,
    rate: Rate = None,
    leads: Leads = None,
    scaling: Scaling = None,
    csv_rate: CsvRate = None,
    modalities: Modalities = None,
    record: Record = None,
    text_encoder: TextEncoder = None,
    use: Use = None,
    task_by: Annotated[
        str | None, typer.Option(help="Draw each task within one group: sex,age_band,site.")
    ] = None,
    optimiser: Annotated[str | None, typer.Option(help="adam, adamw or sgd.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Step size.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Weight decay.")] = None,
    momentum: Annotated[float | None, typer.Option(help="Momentum, of sgd.")] = None,
    schedule: Annotated[
        str | None, typer.Option(help="constant, cosine, halving or linear.")
    ] = None,
    halve_every: Annotated[int | None, typer.Option(help="Steps, with halving.")] = None,
    clip_norm: Annotated[float | None, typer.Option(help="Gradient norm's bound; 0: none.")] = None,
    precision: Annotated[str | None, typer.Option(help="float32 or bfloat16.")] = None,
    task_map: Annotated[
        str | None, typer.Option(help="auto, loop, vmap, loop-workers or vmap-workers.")
    ] = None,
    inner_checkpoint: Annotated[
        bool, typer.Option("--inner-checkpoint", help="Less memory over inner steps, more time.")
    ] = False,
    augment: Annotated[
        str | None, typer.Option(help="none, light, or modality: see docs/augmentation.md.")
    ] = None,
    split: Split = None,
    standardise: Standardise = None,
    validation: Annotated[str | None, typer.Option(help="auto, classes, images or none.")] = None,
    validate_every: Annotated[int | None, typer.Option(help="Steps between validations.")] = None,
    patience: Annotated[int | None, typer.Option(help="Validations to wait; 0: for ever.")] = None,
    checkpoint_every: Annotated[int | None, typer.Option(help="Steps between saves.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of these same options.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an earlier run.")] = False,
    skip_bad: SkipBad = False,
    drop_small: DropSmall = False,
    allow_external: AllowExternal = False,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    threads: Annotated[int | None, typer.Option(help="Processor threads.")] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Log to TensorBoard.")] = False,
    profile: Profile = False,
    as_json: AsJson = False,
) -> None:
    """Meta-train a learner on tasks drawn from sources.

    Example: medmeta train --source images_a images_b --learner prototypical --way 2-5 --shot 5
    --steps 2000 --out run
    """
    given = asked(locals())
    if given.pop("inner_checkpoint", False):
        given["set_"] = [*given.get("set_", []), "inner_checkpoint=true"]
    check_place(out)
    from medmeta.app.train_run import TrainRequest
    from medmeta.app.train_run import train as train_run

    request = request_from(
        TrainRequest, given, config, where="medmeta train", defaults=_learner_defaults
    )
    check_no_predictor(request.init, "--init")
    if threads is not None:
        use_threads(threads)

    try:
        with profiled(out / TRACE if profile else None, aside=as_json), waiting() as progress:
            done = train_run(
                request,
                out,
                resume=resume,
                say=None if as_json else say,
                tensorboard=tensorboard,
                report=lambda r: progress(
                    "training", r.step, r.steps, f"loss {r.loss:.3f}, validation {percent(r.score)}"
                ),
                progress=progress,
            )
    except KeyboardInterrupt:  # before the first step, or the second Ctrl-C
        end_stopped(out, as_json=as_json)
    tell(done, as_json=as_json)


def _learner_defaults(values: dict[str, Any]) -> dict[str, Any]:
    """How the learner's method is trained."""
    from medmeta.learners import learner_spec

    defaults = learner_spec(str(values.get("learner", "prototypical"))).config.training_defaults
    return {
        "learning_rate": defaults.learning_rate,
        "optimiser": defaults.optimiser,
        "clip_norm": defaults.clip_norm,
    }
