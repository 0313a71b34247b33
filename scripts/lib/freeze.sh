#!/usr/bin/env bash
# Usage: ./scripts/lib/freeze.sh
#
# Writes scripts/lib/constraints.txt from the present environment: every version, but for torch (which build is right
# depends on the machine) and the project itself. Run it after a change of dependencies, and commit the result.

. "$(dirname "$0")/common.sh"

{
    echo "# Versions that were tested together. Made by scripts/lib/freeze.sh; torch is left out on purpose."
    "$VENV/bin/uv" pip freeze --python "$VENV/bin/python" --exclude-editable |
        grep -vE '^(torch|triton|nvidia-[a-z0-9-]+|pytorch-triton)(==| @)' | grep -vE '://' | sed 's/+[a-z0-9.]*$//'
} >"$CONSTRAINTS.new"
mv "$CONSTRAINTS.new" "$CONSTRAINTS"
note "$(grep -c == "$CONSTRAINTS") versions in $CONSTRAINTS"
