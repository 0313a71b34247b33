# shellcheck shell=bash
# What every script shares: where the project is, progress lines, and errors that say what to do.

set -Eeuo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)"
VENV="$ROOT/.venv"
# shellcheck disable=SC2034  # for the scripts that read this file
CONSTRAINTS="$ROOT/scripts/lib/constraints.txt"
cd "$ROOT"

export DSDC_DIR="$ROOT"
export PYTHONPATH="$ROOT"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1

STEP="starting"
HINT=""

# step TEXT [HINT]: say what happens now; HINT is printed when it fails.
step() {
    STEP="$1"
    HINT="${2:-}"
    printf '[%3d s] %s\n' "$SECONDS" "$1" >&2
}

note() {
    printf '        %s\n' "$1" >&2
}

# die MESSAGE [HINT]: end with a message that says what to do.
die() {
    trap - ERR
    printf 'error: %s\n' "$1" >&2
    if [ -n "${2:-}" ]; then printf '       %s\n' "$2" >&2; fi
    exit 1
}

on_error() {
    local status=$?
    # A command inside $(...) has reported already when the line around it fails.
    if [ "$BASH_SUBSHELL" -gt 0 ]; then exit "$status"; fi
    printf 'error: failed while %s (%s, line %s, exit status %s).\n' "${STEP,}" "${0##*/}" "$1" "$status" >&2
    printf '       %s\n' "${HINT:-The lines above say why.}" >&2
    exit "$status"
}
trap 'on_error "$LINENO"' ERR

# platform COMMAND...: the part of the platform's control that is written in Python.
platform() {
    "$VENV/bin/python" -m dsdc.cli.platform "$@"
}

# can_control: whether `platform` works; where its packages were never installed, nothing can have been started.
can_control() {
    local pid
    if [ -x "$VENV/bin/python" ] && "$VENV/bin/python" -c 'import dsdc.cli.platform' 2>/dev/null; then return 0; fi
    pid="$(cat logs/run/supervisord.pid 2>/dev/null)" || return 1
    if grep -qs supervisord "/proc/$pid/cmdline"; then
        die "The platform runs, but .venv, with which it is stopped, is damaged." "./scripts/install.sh, then this again."
    fi
    return 1
}

# ensure_secrets: .secrets has a strong value for every key of its template, and only its owner may read it.
ensure_secrets() {
    local keys='s/^\(DSDC_SECRET_[A-Z0-9_]*\)=.\{20,\}$/\1/p' wanted='s/^\(DSDC_SECRET_[A-Z0-9_]*\)=.*/\1/p' lacking
    touch -a .secrets 2>/dev/null || die ".secrets belongs to another user." "Run this as the user who made it."
    chmod 600 .secrets
    lacking="$(comm -23 <(sed -n "$wanted" .secrets.template | sort) <(sed -n "$keys" .secrets | sort))"
    if [ -z "$lacking" ]; then return; fi
    step "Generating what .secrets lacks" "Delete the line that the message names from .secrets, and run this again."
    "$VENV/bin/python" -c 'from dsdc.settings import project_root, write_secrets; write_secrets(project_root())'
}

# usage_of FILE: the comment at the head of a script.
usage_of() {
    sed -n '2,/^$/s/^# \{0,1\}//p' "$1"
}

# find_python: a Python 3.11 with its venv module.
find_python() {
    local candidate
    for candidate in ${DSDC_PYTHON:+"$DSDC_PYTHON"} python3.11 python3; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}
