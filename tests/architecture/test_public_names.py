"""What is public is listed, in order, importable and documented."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib.metadata import version

import pytest

import medmeta


def listing_order(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions: the order in which ruff sorts ``__all__``."""
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2, name)


def test_the_public_list_is_sorted_and_without_repeats() -> None:
    assert list(medmeta.__all__) == sorted(set(medmeta.__all__), key=listing_order)


@pytest.mark.parametrize("name", medmeta.__all__)
def test_a_public_name_imports_and_is_documented(name: str) -> None:
    value = getattr(medmeta, name)
    if inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value):
        assert (inspect.getdoc(value) or "").strip()


def test_dir_shows_what_is_public() -> None:
    assert set(medmeta.__all__) <= set(dir(medmeta))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        medmeta.no_such_name  # noqa: B018


def test_the_version_is_the_distribution_s() -> None:
    assert medmeta.__version__ == version("medmeta")


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, medmeta; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
