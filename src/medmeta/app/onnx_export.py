"""A model as one ONNX graph: support, labels and queries in, logits out; checked, then written."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medmeta.app.assembling import input_spec_from, with_head
from medmeta.app.models import LoadedModel
from medmeta.app.onnx_graphs import EmbeddingGraph, EpisodeGraph, PredictorGraph, example_episode
from medmeta.app.predictor import SavedPredictor
from medmeta.episode import InputSpec, Target
from medmeta.errors import MissingExtraError, UnsupportedTaskError
from medmeta.learner import AbstractLearner, name_of
from medmeta.learners import build_head, configuration, head_names
from medmeta.storage import write_bytes
from medmeta.version import __version__

TOLERANCE = 1e-4
"""Of the largest number of the answer, at least of 1."""

OPSET = 18
PIXELS = "float32, (level / 255 - 0.5) / 0.25 of 8-bit images as medmeta prepares them"


@dataclass(frozen=True)
class Exported:
    """A graph that was written: what goes in and out, and how far from torch it was at most."""

    file: Path
    inputs: dict[str, list[Any]]
    outputs: dict[str, list[Any]]
    difference: float
    n_bytes: int


def export_model(
    model: LoadedModel,
    file: Path,
    *,
    head: str | None = None,
    head_options: Mapping[str, Any] | None = None,
    encoder_only: bool = False,
) -> Exported:
    """Write ``support``, one-hot ``labels``, ``query`` → ``logits``, for any way, shots, queries.

    ``head``: with another head on the model's encoder. ``encoder_only``: ``images`` →
    ``embeddings``. The graph's answers are compared with torch's before anything is written.
    Raises ``UnsupportedTaskError`` that names what can be exported, ``MissingExtraError``.
    """
    spec, target = input_spec_from(model.card), Target("classes", 3)
    if spec.kind == "mapping" or model.card["target"]["kind"] != "classes":
        raise UnsupportedTaskError(
            "only models of classes that take one kind of input can be exported to ONNX; this one "
            f"is of {model.card['target']['kind']}, of inputs of kind {spec.kind}."
        )
    learner = model.learner
    if head is not None:
        options = configuration(head, head_options).model_dump(mode="json")
        learner = with_head(learner, head, options, spec, target).eval()
    told = {"medmeta.card_sha256": model.sha256, "medmeta.inputs": PIXELS}
    if encoder_only:
        if not learner.traits.has_head:
            raise UnsupportedTaskError(f"{name_of(learner)} has no encoder of its own to export.")
        return _exported(EmbeddingGraph(learner), file, [(_queries(spec, n),) for n in (3, 5)],
                         names=(("images",), ("embeddings",)), told=told)  # fmt: skip
    if not learner.traits.one_graph:
        raise _cannot(learner)
    episodes = [example_episode(spec, n_way=w, n_shot=s, n_query=q)
                for w, s, q in ((3, 2, 4), (5, 1, 1), (2, 6, 3))]  # fmt: skip
    names = (("support", "labels", "query"), ("logits",))
    return _exported(EpisodeGraph(learner), file, episodes, names=names, told=told)


def export_predictor(predictor: SavedPredictor, file: Path) -> Exported:
    """Write ``query`` → ``logits`` and ``probabilities`` of one learned task, its support in it.

    Raises as ``export_model`` does.
    """
    spec = predictor.preprocessing.input_spec
    if spec.kind == "mapping" or not predictor.class_names or predictor.card.get("standardise"):
        raise UnsupportedTaskError(
            "only predictors of classes that take one kind of input, with grey levels as they are, "
            "can be exported to ONNX."
        )
    told = {"medmeta.classes": json.dumps(predictor.class_names), "medmeta.inputs": PIXELS}
    held = predictor.trust.calibration if predictor.trust else None
    scaling = (1.0, ()) if held is None else (held.temperature, tuple(held.bias))
    graph = PredictorGraph(predictor.task, *scaling)
    names = (("query",), ("logits", "probabilities"))
    return _exported(graph, file, [(_queries(spec, n),) for n in (3, 5)], names=names, told=told)


def exportable() -> tuple[str, ...]:
    """The heads that a graph can hold with any support, sorted."""
    spec, target = InputSpec(8, ()), Target("classes", 2)
    able = []
    for name in head_names():
        try:
            if build_head(name, None, spec, target).traits.one_graph:
                able.append(name)
        except UnsupportedTaskError:
            continue
    return tuple(able)


def _cannot(learner: AbstractLearner) -> UnsupportedTaskError:
    return UnsupportedTaskError(
        f"{name_of(learner)} does not learn by one graph of operators, so ONNX cannot hold it; "
        f"these can, as learners or by --head on a run that is an encoder with a head: "
        f"{', '.join(exportable())}. A predictor of 'medmeta adapt' can often be exported instead."
    )


def _queries(spec: InputSpec, n: int) -> Tensor:
    chance = torch.Generator().manual_seed(n)
    return torch.rand(n, *spec.shape, generator=chance) * 4 - 2


def _exported(
    graph: nn.Module,
    file: Path,
    examples: Sequence[tuple[Tensor, ...]],
    *,
    names: tuple[tuple[str, ...], tuple[str, ...]],
    told: Mapping[str, str],
) -> Exported:
    """Trace the graph on the first example, compare on all of them, and write."""
    content = _traced(graph.eval(), examples[0], names, told)
    difference, inputs, outputs = _compared(graph, content, examples)
    if not difference <= TOLERANCE:
        raise UnsupportedTaskError(
            f"the graph's answers differ from torch's by {difference:.1e} of the largest, more "
            f"than {TOLERANCE:g}; nothing was written."
        )
    write_bytes(file, content)
    return Exported(file, inputs, outputs, difference, len(content))


def _traced(
    graph: nn.Module,
    example: tuple[Tensor, ...],
    names: tuple[tuple[str, ...], tuple[str, ...]],
    told: Mapping[str, str],
) -> bytes:
    """The graph as ONNX, without what its tracing says of this machine."""
    operators, ir = _libraries()
    axes = getattr(graph, "axes")  # noqa: B009 - a module's attributes have no type
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                graph, example, dynamo=True, verbose=False, dynamic_shapes=axes,
                input_names=names[0], output_names=names[1], opset_version=OPSET,
                custom_translation_table=operators.TRANSLATIONS,
            )  # fmt: skip
    except Exception as error:  # torch's exporter and learners' code raise all kinds
        raise UnsupportedTaskError(
            "this model does something that ONNX cannot hold "
            f"({type(error).__name__}); nothing was written. An encoder that computes outside "
            "torch, such as hog_colour, and learners that train within a task are among these; "
            f"with a network as encoder these heads can: {', '.join(exportable())}."
        ) from error
    assert program is not None
    for function in operators.FUNCTIONS:
        held = ir.serde.deserialize_function(function.to_function_proto())
        program.model.functions.setdefault(held.identifier(), held)
    program.model.opset_imports[operators.HERE.domain] = operators.HERE.version
    ir.passes.common.RemoveUnusedFunctionsPass()(program.model)
    ir.passes.common.ClearMetadataAndDocStringPass()(program.model)
    program.model.metadata_props.update(told)
    program.model.producer_name, program.model.producer_version = "medmeta", __version__
    content: bytes = program.model_proto.SerializeToString()
    return content


def _compared(
    graph: nn.Module, content: bytes, examples: Sequence[tuple[Tensor, ...]]
) -> tuple[float, dict[str, list[Any]], dict[str, list[Any]]]:
    """The largest difference from torch, in units of the largest number; and both ends' shapes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    worst = 0.0
    for example in examples:
        given = {one.name: x.numpy() for one, x in zip(session.get_inputs(), example, strict=True)}
        with torch.no_grad():
            wanted = graph(*example)
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        for found, right in zip(session.run(None, given), wanted, strict=True):
            gap = (torch.from_numpy(found) - right).abs().max() / right.abs().max().clamp(min=1)
            worst = max(worst, float(gap.nan_to_num(nan=float("inf"))))
    ends = [{one.name: list(one.shape) for one in end()}
            for end in (session.get_inputs, session.get_outputs)]  # fmt: skip
    return worst, ends[0], ends[1]


def _libraries() -> tuple[Any, Any]:
    """What ONNX needs; it comes with an extra, and is imported here and in ``onnx_operators``."""
    try:
        import onnx_ir
        import onnx_ir.passes.common
        import onnxruntime  # noqa: F401  (looked for before the work, used after it)

        from medmeta.app import onnx_operators
    except ImportError:
        raise MissingExtraError(
            "onnx, onnxruntime and onnxscript", "onnx", "exporting to ONNX"
        ) from None
    return onnx_operators, onnx_ir


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporter says to its developers."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
