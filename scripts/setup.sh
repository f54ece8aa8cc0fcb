#!/usr/bin/env bash
# Make or complete .venv: medmeta (editable) with every extra, under constraints.txt.
#
#   PYTHON   the interpreter to build on (default: the newest of python3.14 … python3.11 that runs)
#   TORCH    any   what pip's own set-up offers under the pin (default), or what was chosen before
#            cpu, cu129, …   also the PyTorch index of that name
#
# May be interrupted and run again: what is damaged or missing is put right, the rest is kept.
# Exit code 2: something only the user can put right; the message says what.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.venv
making=.venv.making  # there while the environment itself is being made
suitable='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))'

say() { printf '%s\n' "$*"; }
stop() { printf 'setup: %s\n' "$*" >&2; exit 2; }
runs() { "$@" </dev/null >/dev/null 2>&1; }

find_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        runs "$PYTHON" -c "$suitable" || stop "PYTHON=$PYTHON does not run, or is not Python 3.11 to 3.14."
        say "$PYTHON"
        return
    fi
    for candidate in python3.14 python3.13 python3.12 python3.11 python3 python; do
        # Asked to run, because a shim of a version manager may be on PATH with nothing behind it.
        if runs "$candidate" -c "$suitable"; then
            say "$candidate"
            return
        fi
    done
    stop "no Python 3.11 to 3.14 on PATH. Debian 12 or newer: apt-get install python3 python3-venv." \
        "Or name one: make setup PYTHON=/path/to/python3.12"
}

whole() { [ ! -e "$making" ] && [ -x "$venv/bin/python" ] && runs "$venv/bin/python" -m pip --version; }

# Run a command that makes the environment; true when it can be used afterwards.
make_with() {
    rm -rf "$venv"
    touch "$making"
    runs "$@" && rm -f "$making"
    whole
}

# Debian's python3 comes without ensurepip, so venv fails until its own package is installed.
make_venv() {
    local python=$1 version
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if make_with "$python" -m venv "$venv"; then return; fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "setup: $python cannot make virtual environments yet; installing python$version-venv"
        export DEBIAN_FRONTEND=noninteractive
        { apt-get update -qq && { apt-get install -y -qq --no-install-recommends "python$version-venv" ||
            apt-get install -y -qq --no-install-recommends python3-venv; }; } </dev/null >&2 || true
        if make_with "$python" -m venv "$venv"; then return; fi
    fi
    if make_with virtualenv -p "$python" "$venv"; then return; fi
    if make_with uv venv --seed -p "$python" "$venv"; then return; fi
    rm -rf "$venv" "$making"
    if ! runs "$python" -c 'import ensurepip'; then
        stop "$python cannot make virtual environments. Run this, then make setup again:" \
            "sudo apt-get install python$version-venv"
    fi
    stop "'$python -m venv $venv' failed; run it to see why."
}

quiet=()
if [ ! -t 1 ]; then quiet=(--quiet); fi  # a person sees what is being downloaded
install() {
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-input "${quiet[@]}" \
        --constraint constraints.txt "$@" </dev/null
}

rm -f "$venv/.ready"
if ! whole; then
    python=$(find_python)
    say "setup: making $venv with $("$python" -V 2>&1)"
    make_venv "$python"
fi
"$venv/bin/python" -c "$suitable" || stop "$venv holds another Python than 3.11 to 3.14: make clean-venv"
"$venv/bin/python" scripts/mend_venv.py

recorded=$(cat "$venv/.torch" 2>/dev/null || true)
torch=${TORCH:-any}
if [ "$torch" = any ]; then torch=${recorded:-any}; fi
index=()
if [ "$torch" != any ]; then
    index=(--extra-index-url "https://download.pytorch.org/whl/$torch")
    # A build of another kind satisfies the same pin, so it has to go first.
    if [ "$recorded" != "$torch" ] && runs "$venv/bin/python" -m pip show torch; then
        "$venv/bin/python" -m pip uninstall -y -q torch </dev/null
    fi
fi
say "setup: installing what pyproject.toml names, under constraints.txt (torch: $torch)"
# The build backend comes first and under the same pins, so that nothing is fetched behind them.
install hatchling
install --no-build-isolation "${index[@]}" --editable '.[all,dev]'
"$venv/bin/python" -m pip check --disable-pip-version-check >/dev/null ||
    stop "the installed packages do not fit together: $venv/bin/python -m pip check says which."
printf '%s\n' "$torch" >"$venv/.torch"
touch "$venv/.ready"
say "setup: ready. Try: $venv/bin/medmeta --help"
