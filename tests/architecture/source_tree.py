"""The project's own source, parsed once, for the tests of its architecture."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src"
PATHS = sorted((SOURCE / "medmeta").rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {module_name(path): ast.parse(path.read_text("utf-8"), str(path)) for path in PATHS}
FILES = {module_name(path): path for path in PATHS}


def dotted(node: ast.AST) -> str:
    """``a.b.c`` of a chain of attributes; what is not a name in it is a question mark."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return "?"


def walk_runtime(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under ``if TYPE_CHECKING``, which are never executed."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and dotted(child.test).endswith("TYPE_CHECKING"):
            for other in child.orelse:
                yield from walk_runtime(other)
        else:
            yield from walk_runtime(child)


def imports(module: str, trees: dict[str, ast.Module]) -> dict[str, int]:
    """Modules among ``trees`` that ``module`` imports anywhere, with the line of the import."""
    found: dict[str, int] = {}
    for node in walk_runtime(trees[module]):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [
                inner if (inner := f"{node.module}.{alias.name}") in trees else node.module
                for alias in node.names
            ]
        else:
            continue
        for name in names:
            if name in trees and name != module:
                found.setdefault(name, node.lineno)
    return found
