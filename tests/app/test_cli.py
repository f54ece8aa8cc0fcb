"""The command line itself: its words, its exit codes, its JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from medmeta.app import cli, terminal
from medmeta.app.commands.spread import spread
from medmeta.app.terminal import check_out, check_place, emit_json, shown
from medmeta.errors import SettingsError
from medmeta.learners import LEARNERS
from tests.app._typed import folder, medmeta

GROUP = typer.main.get_command(cli.app)
assert isinstance(GROUP, click.Group)
DATA = ["inspect", "catalogue", "download", "deidentify"]
MODELS = ["list", "describe", "verify", "pack", "bring", "export"]
COMMANDS = [[name] for name in GROUP.commands if name not in ("data", "models")]
COMMANDS += [["data", name] for name in DATA] + [["models", name] for name in MODELS]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example_and_json(words: list[str]) -> None:
    ended = medmeta(*words, "--help")
    assert ended.code == 0
    assert "Example: medmeta " + " ".join(words) in " ".join(ended.out.split())
    assert "--json" in ended.out
    assert medmeta(*words, "-h").out == ended.out


def test_help_names_every_command() -> None:
    ended = medmeta("--help")
    assert ended.code == 0
    assert all(words[0] in ended.out for words in COMMANDS)
    assert medmeta().code == 2  # and shows the same
    assert medmeta("--version").out.startswith("medmeta ")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["evalute"], "Did you mean 'evaluate'?"),
        (["train"], "missing option '--out'"),
        (["adapt", "x"], "missing option '--out'"),
        (["predict"], "missing argument 'PREDICTOR'"),
        (["learners", "mamml"], "Did you mean 'maml'"),
        (["train", "--out", "x", "--sorce", "y"], "'--source'"),
        (["evaluate", "--source", "x"], "name a RUN"),
        (["data", "inspect", "gone"], "gone: there is no such file or folder"),
        (["inspect", "gone"], "gone is not there"),
        (["compare", "gone", "gone"], "RUN/evaluations"),
        (["quickstart", "--steps", "0"], "--steps"),
        (["quickstart", "--images-per-class", "3"], "--images-per-class"),
    ],
    ids=str,
)
def test_a_slip_of_the_hand(words: list[str], says: str) -> None:
    plain = medmeta(*words)
    assert plain.code == 2
    assert says in plain.err
    assert plain.err.count(says) == 1
    assert plain.out == ""
    told = medmeta(*words, "--json")
    assert told.code == 2
    assert says in told.json()["error"]["message"]


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C"),
        (MemoryError(), 2, "not enough memory"),
        (OSError(28, "No space left on device", "/a/b"), 2, "/a/b: No space left on device"),
        (ZeroDivisionError("oh"), 1, "a defect of medmeta"),
    ],
    ids=repr,
)
def test_what_goes_wrong_elsewhere(
    error: BaseException, code: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.delenv("MEDMETA_DEBUG", raising=False)
    monkeypatch.setattr("medmeta.data.inspection.inspect_source", fail)
    ended = medmeta("data", "inspect", "x", "--json")
    assert ended.code == code
    assert says in ended.err
    assert ended.json()["error"]["exit_code"] == code


def test_a_closed_pipe_ends_quietly() -> None:
    program = [sys.executable, "-c", "from medmeta.app.cli import main; main()"]
    child = subprocess.Popen(
        [*program, "doctor"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    said = child.stderr.read()
    child.stderr.close()
    assert child.wait(60) == 141
    assert said == ""


@pytest.mark.parametrize(
    "words", ["'--help'", "'doctor', '--json'", "'doctor'", "'train', '--help'", "'evaluate', '-h'"]
)
def test_torch_is_not_imported_without_need(words: str) -> None:
    code = (
        "import contextlib, sys\nfrom medmeta.app.cli import main\n"
        f"with contextlib.suppress(SystemExit):\n    main([{words}])\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'scipy', 'matplotlib', 'sklearn')))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr.decode()


def test_adapting_takes_nothing_of_scipy_and_scikit_learn(tmp_path: Path) -> None:
    """They take longer to import than an answer takes to compute."""
    folder(tmp_path / "images", ("dark", "bright"), 3)
    code = (
        "import contextlib, sys\nfrom medmeta.app.cli import main\n"
        "with contextlib.suppress(SystemExit):\n"
        f"    main(['adapt', {str(tmp_path / 'images')!r}, '--out', {str(tmp_path / 'p')!r},"
        " '--budget', '0'])\n"
        "heavy = ('sklearn', 'scipy', 'optuna')\n"
        "sys.exit(' '.join(name for name in heavy if name in sys.modules) or 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr.decode()[-500:]
    assert (tmp_path / "p").is_dir()


def test_doctor_and_learners_in_json() -> None:
    assert medmeta("doctor", "--json").json()["python"].startswith("3.")
    names = {row["name"] for row in medmeta("learners", "--json").json()}
    assert {"maml", "prototypical", "ridge"} <= names
    for name in names:
        assert medmeta("learners", name, "--json").json()["name"] == name
        assert "--set" in medmeta("learners", name).out


def test_a_learners_options_say_what_they_may_be() -> None:
    told = medmeta("learners", "maml", "--json").json()["options"]
    assert told["step_weights"]["type"] == "tuple of float, or none"
    assert told["learn_rates"]["type"] == "none | per_layer_per_step"
    assert (told["inner_rate"]["type"], told["inner_steps"]["type"]) == ("float, or none", "int")
    assert "adam | sgd" in " ".join(medmeta("learners", "reptile").out.split())
    for name in LEARNERS:
        options = medmeta("learners", name, "--json").json()["options"]
        assert not [kind for one in options.values() for kind in "[]." if kind in one["type"]]


def test_values_in_a_row_are_spread() -> None:
    both = {"--shot", "--source"}
    spreaded = spread(["run", "--source", "a", "b", "--shot=1", "5", "--json"], both)
    assert spreaded == ["run", "--source", "a", "--source", "b", "--shot=1", "--shot", "5",
                        "--json"]  # fmt: skip
    assert spread(["--shot", "1", "--", "--shot", "2"], both) == [
        "--shot",
        "1",
        "--",
        "--shot",
        "2",
    ]


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    emit_json({"a": [float("nan"), 1.5, (float("inf"),)], "b": Path("x")})
    assert json.loads(capsys.readouterr().out) == {"a": [None, 1.5, [None]], "b": "x"}


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain ü", "plain ü"),
        ("[red]x", "\\[red]x"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("gpj\u202e.exe", "gpj\\u202e.exe"),
        ("\udcff", "\\udcff"),
    ],
)
def test_names_cannot_steer_the_terminal(text: str, safe: str) -> None:
    assert shown(text) == safe


@pytest.mark.parametrize("width", [60, 80, 200])
def test_figures_are_never_broken(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal.out, "_width", width)
    header = ["source", "way", "mean [95 %]", "worst tenth", "raw ridge"]
    row = ["a source of a long name", 5, "72.1 [70.8, 73.4]", "51.0", "60.3"]
    terminal.show_table("A table", header, [row])
    lines = capsys.readouterr().out
    assert max(map(len, lines.splitlines())) <= width
    assert all(str(figure) in lines for figure in row[1:])


def test_where_to_write(tmp_path: Path) -> None:
    check_out(None, suffixes=(".csv",))
    check_out(tmp_path / "new" / "a.csv", suffixes=(".csv",))
    (tmp_path / "image.png").touch()
    with pytest.raises(SettingsError, match="it would be lost"):
        check_out(tmp_path / "image.png", suffixes=(".csv",))
    with pytest.raises(SettingsError, match=r"such as .*result\.csv"):
        check_out(tmp_path, suffixes=(".csv",))
    with pytest.raises(SettingsError, match=r"image\.png is no folder"):
        check_place(tmp_path / "image.png" / "x")
