"""Every snippet of the README and of docs/ runs, in order, as its reader would run it.

Python blocks of one page share one namespace. In ``console`` blocks each line that begins with
``$ medmeta`` is run and must end with exit code 0; what it prints is not compared. A block that
cannot run here has ``<!-- not run: reason -->`` directly before it.
"""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.docs.conftest import write_classes
from tests.docs.loaded_process import HAS_SERVER, run_medmeta
from tests.docs.snippets import Snippet, snippets

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUNNABLE = {"python", "console"}
SHELL_WORDS = {"|", ">", ">>", "<", "&&", ";", "2>"}
SECONDS = 300


def run_python(page: Path, snippet: Snippet, namespace: dict[str, Any]) -> None:
    """Run one block; errors name the page and the line."""
    if snippet.text.lstrip().startswith(">>>"):
        test = doctest.DocTestParser().get_doctest(
            snippet.text, {}, page.name, str(page), snippet.line - 1
        )
        test.globs = namespace
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        doctest.DebugRunner(optionflags=flags).run(test, clear_globs=False)
        return
    padding = "\n" * (snippet.line - 1)
    exec(compile(padding + snippet.text, str(page), "exec"), namespace)


def run_command(where: str, command: str) -> None:
    """Run one command line with this interpreter's ``medmeta``; a failure shows what it printed."""
    binaries = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "100",
    }
    words = shlex.split(command, comments=True)
    through_shell = bool(SHELL_WORDS & set(words))
    if HAS_SERVER and words[0] == "medmeta" and not through_shell:
        done = run_medmeta(words[1:], environment, seconds=SECONDS)
    else:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command] if through_shell else words,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    if done.returncode != 0:
        pytest.fail(
            f"{where}: `{command}` ended with {done.returncode}\n{done.stdout}{done.stderr}"
        )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
@pytest.mark.usefixtures("reader_folder")
def test_the_page_s_snippets_run(page: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for snippet in snippets(page.read_text("utf-8")):
        if snippet.not_run is not None:
            continue
        if snippet.language == "python":
            run_python(page, snippet, namespace)
        elif snippet.language == "console":
            for line, command in snippet.commands():
                run_command(f"{page.name}:{line}", command)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_command_hides_where_it_is_not_run(page: Path) -> None:
    hidden = [
        snippet.line
        for snippet in snippets(page.read_text("utf-8"))
        if snippet.language not in RUNNABLE
        and re.search(r"^(\$ )?medmeta |^(import|from) medmeta", snippet.text, re.MULTILINE)
    ]
    assert hidden == [], "use ```console with `$ medmeta ...`, or ```python"


def test_blocks_are_found_with_their_line_language_and_reason() -> None:
    page = (
        "text\n\n```python\nx = 1\n```\n\n<!-- not run: takes an hour -->\n\n"
        "```console\n$ medmeta train \\\n>   --tasks 9\nsaved\n$ medmeta x\n```\n"
    )
    first, second = snippets(page)
    assert first == Snippet(4, "python", "x = 1\n", None)
    assert second.not_run == "takes an hour"
    assert second.commands() == [(10, "medmeta train --tasks 9"), (13, "medmeta x")]


def test_a_comment_that_is_not_directly_before_the_block_has_no_effect() -> None:
    page = "<!-- not run: a -->\ntext\n```python\n1 / 0\n```\n"
    assert snippets(page)[0].not_run is None


def test_an_open_block_is_an_error() -> None:
    with pytest.raises(ValueError, match="line 2"):
        snippets("a\n```python\nx\n")


@pytest.mark.usefixtures("reader_folder")
def test_the_reader_s_folder_is_as_described() -> None:
    assert len(list(Path("my_images").rglob("*.png"))) == 24
    assert len(list(Path("training_images").rglob("*.png"))) == 96
    assert len(Path("my_images.csv").read_text("utf-8").splitlines()) == 25
    assert len(list(Path("new_images").iterdir())) == 6
    assert len(Path("my_sites.csv").read_text("utf-8").splitlines()) == 97
    assert len(Path("my_patients.csv").read_text("utf-8").splitlines()) == 25
    pictures = [path.read_bytes() for path in Path().rglob("*.png")]
    assert len(pictures) == len(set(pictures)) == 24 + 96 + 6 + 96 + 80 + 34


def test_failures_name_page_and_line() -> None:
    page = Path("page.md")
    with pytest.raises(ZeroDivisionError) as caught:
        run_python(page, Snippet(7, "python", "x = 1\nx / 0\n", None), {})
    assert (Path(caught.traceback[-1].path).name, caught.traceback[-1].lineno) == ("page.md", 7)
    with pytest.raises(doctest.DocTestFailure):
        run_python(page, Snippet(1, "python", ">>> 1 + 1\n3\n", None), {})
    with pytest.raises(pytest.fail.Exception, match="ended with 3"):
        run_command("page.md:1", "bash -c 'exit 3'")
    with pytest.raises(pytest.fail.Exception, match=r"page.md:2: .* ended with 2\n.*no_such_file"):
        run_command("page.md:2", "medmeta report no_such_file")


@pytest.mark.skipif(not HAS_SERVER, reason="needs forks of loaded libraries")
def test_a_command_in_a_loaded_process_is_one_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plain = subprocess.run(
        [Path(sys.executable).parent / "medmeta", "learners", "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    forked = run_medmeta(["learners", "--json"], dict(os.environ), seconds=SECONDS)
    assert (forked.returncode, forked.stdout) == (0, plain.stdout)
    for name in ("a", "b"):  # the server began elsewhere
        write_classes(tmp_path / name / f"only_in_{name}", ["x", "y"], 2, first_seed=0)
        monkeypatch.chdir(tmp_path / name)
        inspected = ["data", "inspect", f"only_in_{name}"]
        assert run_medmeta(inspected, dict(os.environ), seconds=SECONDS).returncode == 0
    with pytest.raises(subprocess.TimeoutExpired):
        run_medmeta(["quickstart", "--out", "q"], dict(os.environ), seconds=0.5)
