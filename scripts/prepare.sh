#!/usr/bin/env bash
# Usage: ./scripts/prepare.sh [--test]
#
# Prepares this machine: system packages, folders, .secrets. Runs again at any time; what is there stays.
# --test also installs what only the tests need (a browser).

. "$(dirname "$0")/lib/common.sh"
. "$ROOT/scripts/lib/packages.sh"

WITH_TESTS=0
for argument in "$@"; do
    case "$argument" in
    --test) WITH_TESTS=1 ;;
    -h | --help) usage_of "$0" && exit 0 ;;
    *) die "prepare.sh knows no $argument." "./scripts/prepare.sh --help" ;;
    esac
done

step "Looking for system packages"
mapfile -t missing < <(missing_packages "$WITH_TESTS")
if [ "${#missing[@]}" -gt 0 ]; then
    install_packages "${missing[@]}"
fi
find_python >/dev/null || die "Python 3.11 is needed, and there is none." \
    "Install it (on Debian 12: apt-get install python3 python3-venv), or name one: DSDC_PYTHON=/path/to/python3.11"

step "Making folders"
mkdir -p data/to_ingest data/raw data/processed data/rejected models logs/run
chmod 700 logs/run

if [ -e "$VENV/.dsdc-installed" ]; then
    ensure_secrets
else
    note ".secrets is written by ./scripts/install.sh, once Python's packages are there"
fi
