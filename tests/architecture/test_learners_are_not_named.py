"""What works with any learner asks for its traits, never for its class."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.architecture.source_tree import TREES, dotted

BLIND = ("checks", "data", "episodes", "evaluation", "training", "trust")
BLIND_MODULES = [m for m in TREES if m.split(".")[1:2] and m.split(".")[1] in BLIND]
CLASS_TESTS = {"isinstance", "issubclass"}


def learner_classes() -> set[str]:
    """Names of all classes of learners and encoders, and of the abstract learner."""
    homes = ("medmeta.learners.", "medmeta.encoders.")
    return {"AbstractLearner"} | {
        node.name
        for module, tree in TREES.items()
        if module.startswith(homes)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }


def compared_classes(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and name of each class that something is compared with."""
    for node in ast.walk(tree):
        classes: list[ast.AST] = []
        if isinstance(node, ast.Call) and dotted(node.func) in CLASS_TESTS:
            classes = list(ast.walk(node.args[1]))
        elif isinstance(node, ast.MatchClass):
            classes = [node.cls]
        elif isinstance(node, ast.Compare) and "type(" in ast.unparse(node):
            classes = [part for side in node.comparators for part in ast.walk(side)]
        for part in classes:
            if isinstance(part, ast.Name | ast.Attribute):
                yield part.lineno, dotted(part).rpartition(".")[2]


@pytest.mark.parametrize("module", BLIND_MODULES)
def test_no_learner_is_told_by_its_class(module: str) -> None:
    named = [use for use in compared_classes(TREES[module]) if use[1] in learner_classes()]
    assert named == [], "ask learner.traits instead"


@pytest.mark.parametrize(
    "code",
    [
        "isinstance(x, (int, metric.Prototypical))",
        "type(x) is Prototypical",
        "match x:\n    case Prototypical(): pass",
        "issubclass(type(x), int | Prototypical)",
    ],
)
def test_a_test_of_the_class_would_be_found(code: str) -> None:
    assert "Prototypical" in {name for _, name in compared_classes(ast.parse(code))}
