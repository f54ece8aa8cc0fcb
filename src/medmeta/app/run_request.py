"""What decides how a run goes, however it is trained, and the sources and device it asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import Field, ValidationInfo, field_validator

from medmeta.app.brought import EncoderFile, is_encoder_file, open_encoder_file
from medmeta.app.held_out import Validation
from medmeta.app.support import conflicting_pictures, remarks_on_volumes
from medmeta.data.beside import check_modalities, record_texts
from medmeta.data.listing import scan
from medmeta.data.manifest import Asked
from medmeta.data.mask_sources import open_mask_source
from medmeta.data.naming import check_each_once, told_apart
from medmeta.data.patients import unknown_patients
from medmeta.data.preprocess import Preprocessing
from medmeta.data.records import RecordSchema, refuse_personal
from medmeta.data.sentences import permit
from medmeta.data.source import Source
from medmeta.data.sources import open_source
from medmeta.encoders import Norm
from medmeta.episode import InputSpec
from medmeta.episodes.protocol import parse_range
from medmeta.errors import SettingsError
from medmeta.learner import AbstractLearner
from medmeta.settings import Settings
from medmeta.training.settings import TrainingSettings

AnyRequest = TypeVar("AnyRequest", bound="RunRequest")


class RunRequest(Settings):
    """What ``train`` and ``pretrain`` both ask for, as flags, TOML or Python give it.

    ``sources`` are folders, manifests or npz files; ``options`` are the learner's own
    (``inner_rate``, ``encoder.options.width``). ``device`` ``auto`` takes a GPU where there is one.
    ``split`` takes only the images that each source itself says are of it; ``standardise`` brings
    grey levels together by a column, such as the site. ``record`` names columns between commas;
    ``text_encoder`` (``external:package.module:factory``) makes vectors of those of free text.
    """

    sources: tuple[Path, ...] = ()
    options: dict[str, Any] = Field(default_factory=dict)
    encoder: str | None = None
    norm: Norm | None = None
    way: str = "5"
    shot: str = "5"
    query: int = Field(15, ge=1, le=10_000)
    preprocessing: Preprocessing = Preprocessing()
    training: TrainingSettings = TrainingSettings()
    validation: Validation = "auto"
    record: str = ""
    text_encoder: str = ""
    split: str = ""
    standardise: str = ""
    skip_bad: bool = False
    allow_external: bool = False
    device: str = "auto"

    @field_validator("validation")
    @classmethod
    def _for_patience(cls, validation: Validation, info: ValidationInfo) -> Validation:
        training = info.data.get("training")
        if validation == "none" and training is not None and training.patience:
            raise ValueError(f"none leaves --patience {training.patience} nothing to wait for")
        return validation

    @property
    def input_spec(self) -> InputSpec:
        """The shape of the prepared images."""
        return self.preprocessing.input_spec


def learner_options(request: RunRequest) -> dict[str, Any]:
    """The learner's options with ``--encoder`` and ``--norm`` put in their place."""
    options = {k: dict(v) if isinstance(v, Mapping) else v for k, v in request.options.items()}
    encoder = options.setdefault("encoder", {})
    if not isinstance(encoder, dict):
        raise SettingsError("--set encoder=NAME: use --encoder NAME, or --set encoder.name=NAME.")
    if (file := encoder_file(request)) is not None:
        given = {**file.config["options"], **encoder.get("options", {})}
        encoder |= {**file.config, "options": given}
    elif request.encoder is not None:
        encoder["name"] = request.encoder
    if request.norm is not None:
        encoder["norm"] = request.norm
    return options


def encoder_file(request: RunRequest) -> EncoderFile | None:
    """The file of weights that ``--encoder`` names; None where it names an encoder.

    Raises ``CheckpointError``.
    """
    named = request.encoder
    return open_encoder_file(Path(named)) if named and is_encoder_file(named) else None


def give_weights(
    request: RunRequest, learner: AbstractLearner
) -> tuple[tuple[str, dict[str, str]], ...]:
    """Put the weights of ``--encoder FILE`` into a fresh learner; what its card says of them.

    Nothing where it names no file. Raises ``CheckpointError``.
    """
    file = encoder_file(request)
    if file is None:
        return ()
    file.give(learner)
    return (("encoder_file", file.record),)


def refuse_other_tasks(training: TrainingSettings) -> None:
    """Raise ``SettingsError`` where tasks that are not of masks should become other ones."""
    if training.augment == "tasks":
        raise SettingsError("--augment tasks makes other tasks of masks; say light or modality.")


def parse_way(text: str) -> tuple[int, int]:
    """``--way`` as a range; raises ``SettingsError`` for fewer than two classes."""
    way = parse_range(text, name="--way")
    if way[0] < 2:
        raise SettingsError(f"--way {text}: a task needs two classes or more to tell apart.")
    return way


def usable_device(name: str) -> str:
    """The device's name once it is known to work here; raises ``SettingsError``."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SettingsError(f"--device {name!r} cannot be used here: {reason}") from None
    return name


def with_record(request: AnyRequest) -> AnyRequest:
    """The request with what the columns of ``--record`` hold in its sources, if it names any.

    Raises ``DataError`` for a column without an entry, ``SettingsError`` for an encoder of
    sentences without one to encode.
    """
    names = [name.strip().lower() for name in request.record.split(",") if name.strip()]
    if request.text_encoder:
        if not names:
            raise SettingsError("--text-encoder goes with --record, which names its columns.")
        permit(request.text_encoder, allowed=request.allow_external)
    if request.preprocessing.record is not None:
        for encoder in request.preprocessing.record.encoders:
            permit(encoder, allowed=request.allow_external)
        return request
    if not names:
        if request.preprocessing.use != "both":
            raise SettingsError(
                f"--use {request.preprocessing.use} goes with --record, which names the columns of "
                "the patient's record."
            )
        return request
    refuse_personal(names)
    asked = Asked(
        modalities=request.preprocessing.modalities,
        spacing="any",
        texts=tuple(names),
        pictures=request.preprocessing.has_picture,
    )
    found = [scan(path, skip_bad=True, asked=asked).index for path in request.sources]
    if not any(len(index) for index in found):  # then it is the rows that are at fault
        for path in request.sources:
            scan(path, skip_bad=request.skip_bad, asked=asked)
    texts = [record_texts(index, names) for index in found]
    schema = RecordSchema.of(names, texts, encoder=request.text_encoder)
    prepared = request.preprocessing.model_copy(update={"record": schema})
    return request.model_copy(update={"preprocessing": prepared})


def opened_sources(
    request: RunRequest,
    progress: Callable[[str, int, int], None] | None,
    *,
    masks: bool = False,
) -> list[Source]:
    """The request's sources, read; raises ``SettingsError`` for none or one given twice.

    ``masks``: each image with its mask.
    """
    if not request.sources:
        raise SettingsError("no source to train on: give --source PATH, once or more.")
    check_each_once(request.sources)

    def told(path: Path) -> Callable[[int, int], None]:
        return lambda done, total: progress(f"reading {path}", done, total) if progress else None

    reading = open_mask_source if masks else open_source
    opened = [
        reading(
            path,
            preprocessing=request.preprocessing,
            skip_bad=request.skip_bad,
            progress=told(path),
        )
        for path in request.sources
    ]
    check_modalities(opened, request.preprocessing.modalities)
    return told_apart(opened, request.sources)


def remarks_on_precision(request: RunRequest, device: str) -> list[str]:
    """Whether half precision is slower here than single.

    Without instructions of its own a processor makes bfloat16 up of single precision (seen: six
    times slower, with AVX2 alone).
    """
    slow = torch.backends.cpu.get_cpu_capability() not in ("AVX512", "AMX")
    if request.training.precision != "bfloat16" or device != "cpu" or not slow:
        return []
    return [
        "This processor has no half precision of its own, so --precision bfloat16 is several times "
        "slower here than float32."
    ]


def remarks_on(sources: Sequence[Source], preprocessing: Preprocessing) -> list[str]:
    """What a person should know of the sources before they are trained on."""
    notes = []
    for source in sources:
        notes += [f"{source.name}: {p.where}: {p.what}" for p in source.index.problems]
        texts = [*conflicting_pictures(source), *remarks_on_volumes(source, preprocessing)]
        notes += [f"{source.name}: {text}" for text in texts]
        splits = sorted({t for t in source.index.splits.texts() if t is not None})
        if len(splits) > 1:
            notes.append(
                f"{source.name}: its column of splits ({', '.join(splits)}) is not followed; all "
                "its images are used. To learn from one part only, say which with --split."
            )
        if unknown := unknown_patients(source.index):
            notes.append(
                f"{source.name}: {unknown[0].lower()}{unknown[1:]}, so two images of one patient "
                "may stand on both sides of a task."
            )
    return notes
