"""``medmeta pretrain``: train an encoder on all classes of the sources at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medmeta.app.commands.options import (
    AllowExternal,
    AsJson,
    CsvRate,
    Depth,
    Leads,
    Mpp,
    Overlap,
    Plane,
    Profile,
    Rate,
    Samples,
    Scaling,
    SkipBad,
    Slices,
    SlideMpp,
    Spacing,
    Split,
    Standardise,
    Tile,
    TimePoint,
    Tissue,
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
from medmeta.app.terminal import check_place, command_line, percent, say, waiting


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("pretrain", cls=SpreadCommand)(pretrain)


def pretrain(
    out: Annotated[Path, typer.Option("--out", help="Folder of the run.")],
    source: Annotated[
        list[Path] | None,
        typer.Option("--source", help="Folders, manifests or npz files to learn from."),
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="conv4, resnet12, … (docs/learners.md), external:….")
    ] = None,
    norm: Annotated[
        str | None, typer.Option(help="group, running, batch or none; MAML needs group.")
    ] = None,
    classifier: Annotated[
        str | None, typer.Option(help="linear or cosine; thrown away afterwards.")
    ] = None,
    draw: Annotated[
        str | None, typer.Option(help="What comes equally often: images, or classes.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per step.")] = None,
    head: Annotated[
        str | None, typer.Option(help="Answers tasks: at validation, and unless told otherwise.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="The encoder's or the head's: encoder.options.width=32."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the images in pixels.")] = None,
    channels: Annotated[int | None, typer.Option(help="1 grey, 3 colour.")] = None,
    fit: Annotated[str | None, typer.Option(help="pad, crop or stretch to a square.")] = None,
    window: Window = None,
    slices: Slices = None,
    plane: Plane = None,
    time_point: TimePoint = None,
    depth: Depth = None,
    spacing: Spacing = None,
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
    augment: Annotated[
        str | None, typer.Option(help="light (each image by itself), modality, or none.")
    ] = None,
    split: Split = None,
    standardise: Standardise = None,
    validation: Annotated[str | None, typer.Option(help="auto, classes, images or none.")] = None,
    way: Annotated[str | None, typer.Option(help="Validation: classes per task.")] = None,
    shot: Annotated[str | None, typer.Option(help="Validation: support images per class.")] = None,
    query: Annotated[int | None, typer.Option(help="Validation: query images per class.")] = None,
    validate_every: Annotated[int | None, typer.Option(help="Steps between validations.")] = None,
    patience: Annotated[int | None, typer.Option(help="Validations to wait; 0: for ever.")] = None,
    checkpoint_every: Annotated[int | None, typer.Option(help="Steps between saves.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of these same options.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an earlier run.")] = False,
    skip_bad: SkipBad = False,
    allow_external: AllowExternal = False,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    threads: Annotated[int | None, typer.Option(help="Processor threads.")] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Log to TensorBoard.")] = False,
    profile: Profile = False,
    as_json: AsJson = False,
) -> None:
    """Train an encoder to tell all classes of all sources apart, with no tasks.

    The best weights are chosen by few-shot tasks of held-out classes. Afterwards any learner
    starts from it (medmeta train --init RUN), and any head works on it (evaluate, adapt --head).

    Example: medmeta pretrain --source images_a images_b --steps 2000 --out pretrained
    """
    given = asked(locals())
    check_place(out)
    from medmeta.app.pretrain_run import PretrainRequest
    from medmeta.app.pretrain_run import pretrain as pretrain_run

    request = request_from(
        PretrainRequest, given, config, where="medmeta pretrain", defaults=_defaults
    )
    if threads is not None:
        use_threads(threads)
    try:
        with profiled(out / TRACE if profile else None, aside=as_json), waiting() as progress:
            done = pretrain_run(
                request,
                out,
                resume=resume,
                say=None if as_json else say,
                tensorboard=tensorboard,
                report=lambda r: progress(
                    "pre-training",
                    r.step,
                    r.steps,
                    f"loss {r.loss:.3f}, validation {percent(r.score)}",
                ),
                progress=progress,
            )
    except KeyboardInterrupt:  # before the first step, or the second Ctrl-C
        end_stopped(out, as_json=as_json)
    tell(done, as_json=as_json)
    say(f"Or: {command_line('train', '--init', done.run)} --source PATH --learner NAME --out RUN")


def _defaults(values: dict[str, Any]) -> dict[str, Any]:
    """Images are varied unless told otherwise, as in all published pre-training."""
    return {"augment": "light"}
