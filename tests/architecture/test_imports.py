"""Imports go one way: no cycles, and no module outside the layers that import-linter holds."""

from __future__ import annotations

import ast
import tomllib
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.architecture.source_tree import SOURCE, TREES, imports


def sorted_modules(trees: dict[str, ast.Module]) -> list[str]:
    return list(TopologicalSorter({name: imports(name, trees) for name in trees}).static_order())


def test_no_module_imports_itself_through_others() -> None:
    try:
        order = sorted_modules(TREES)
    except CycleError as error:
        pytest.fail("these modules import each other: " + " <- ".join(error.args[1]))
    assert len(order) == len(TREES)


def test_a_cycle_would_be_found() -> None:
    trees = {
        "p.a": ast.parse("def f():\n    from p import b"),
        "p.b": ast.parse("import p.a"),
    }
    with pytest.raises(CycleError):
        sorted_modules(trees)
    trees["p.b"] = ast.parse("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import p.a")
    assert sorted_modules(trees) == ["p.b", "p.a"]


@pytest.mark.parametrize("module", TREES)
def test_imports_are_absolute(module: str) -> None:
    relative = [
        node.lineno
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == [], "write them out, so that a search for the module finds them"


def test_every_part_of_the_package_has_its_layer() -> None:
    project = tomllib.loads((SOURCE.parent / "pyproject.toml").read_text("utf-8"))
    layers = {
        part.strip(" ()").removeprefix("medmeta.")
        for contract in project["tool"]["importlinter"]["contracts"]
        for layer in contract.get("layers", [])
        for part in layer.split("|")
    }
    parts = {name.split(".")[1] for name in TREES if "." in name}
    assert parts <= layers, "name it in [tool.importlinter] of pyproject.toml"
