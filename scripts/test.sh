#!/usr/bin/env bash
# Usage: ./scripts/test.sh [PYTEST ARGUMENT...]
#
# Sets up what the tests need, then runs the style, type and architecture checks and all tests.
# Arguments go to pytest: ./scripts/test.sh tests/unit -k settings
# As many processes as there are cores test at once, four at most; -n 0 for one after the other.

. "$(dirname "$0")/lib/common.sh"

case "${1:-}" in -h | --help) usage_of "$0" && exit 0 ;; esac
exec </dev/null

"$ROOT/scripts/prepare.sh" --test
"$ROOT/scripts/install.sh" --test

step "Checking style" "./.venv/bin/ruff check --fix . and ./.venv/bin/ruff format . mend most of it."
"$VENV/bin/ruff" check .
"$VENV/bin/ruff" format --check -q .
step "Checking types" "The lines above name file and line."
"$VENV/bin/mypy"
step "Checking that rooms import only downward" "STYLE: a room imports only from rooms below it; see pyproject.toml."
"$VENV/bin/lint-imports"
step "Running the tests" "Run one again with ./scripts/test.sh PATH::NAME"
OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" "$VENV/bin/python" -m pytest -n auto --maxprocesses 4 "$@"
step "All checks and tests passed"
