"""Rules on the source that no linter holds: names and sizes of files, nothing that runs data."""

from __future__ import annotations

import ast

import pytest

from tests.architecture.source_tree import FILES, TREES, dotted

MAX_LINES = 300
LONGER_WITH_REASON: dict[str, str] = {}  # module: why it cannot be two

VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}

# A file that is loaded must not be able to run code, so nothing here may unpickle or evaluate.
PICKLING_MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "shelve", "marshal"}
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "torch.load",
    "torch.save",
    "joblib.load",
    "joblib.dump",
}


def code_runners(tree: ast.Module) -> list[tuple[int, str]]:
    """Line and name of each use of something that may run what it reads."""
    found = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name.split(".")[0] for alias in node.names]
            names = [name for name in names if name in PICKLING_MODULES]
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name for name in inner if name in FORBIDDEN_CALLS]
            names += {node.module.split(".")[0]} & PICKLING_MODULES
        elif isinstance(node, ast.Name | ast.Attribute) and dotted(node) in FORBIDDEN_CALLS:
            names = [dotted(node)]
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            safe = isinstance(node.value, ast.Constant) and node.value.value is False
            names = [] if safe else ["allow_pickle"]
        found += [(getattr(node, "lineno", 0), name) for name in names]
    return found


@pytest.mark.parametrize("module", TREES)
def test_nothing_runs_what_it_reads(module: str) -> None:
    assert code_runners(TREES[module]) == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import pickle", ["pickle"]),
        ("from torch import load", ["torch.load"]),
        ("torch.load(p, weights_only=True)", ["torch.load"]),
        ("eval('1')", ["eval"]),
        ("run = exec", ["exec"]),
        ("np.load(p, allow_pickle=True)", ["allow_pickle"]),
        ("np.load(p, allow_pickle=False)\nf().eval()\nmodel.eval()\nre.compile('x')", []),
    ],
)
def test_what_runs_data_would_be_found(code: str, found: list[str]) -> None:
    assert [name for _, name in code_runners(ast.parse(code))] == found


@pytest.mark.parametrize("module", FILES)
def test_a_file_is_named_after_its_purpose(module: str) -> None:
    assert not VAGUE_NAMES & {part.strip("_") for part in module.split(".")}


@pytest.mark.parametrize("module", FILES)
def test_a_file_is_short(module: str) -> None:
    lines = len(FILES[module].read_text("utf-8").splitlines())
    assert lines <= MAX_LINES or module in LONGER_WITH_REASON


@pytest.mark.parametrize("module", TREES)
def test_a_module_says_what_it_is_for(module: str) -> None:
    assert ast.get_docstring(TREES[module])
