#!/usr/bin/env bash
# Usage: ./scripts/hard_reset.sh [--yes] [--all]
#
# Stops the platform and deletes its data: documents, database, models, logs, secrets. There is no way back.
#   --yes  does not ask
#   --all  deletes the Python environment too
# A server named by database.url is not touched.

. "$(dirname "$0")/lib/common.sh"

YES=0
ALL=0
for argument in "$@"; do
    case "$argument" in
    --yes) YES=1 ;;
    --all) ALL=1 ;;
    -h | --help) usage_of "$0" && exit 0 ;;
    *) die "hard_reset.sh knows no $argument." "./scripts/hard_reset.sh --help" ;;
    esac
done

targets=(data models logs .secrets .keys)
if [ "$ALL" = 1 ]; then targets+=(.venv); fi

if [ "$YES" = 0 ]; then
    [ -t 0 ] || die "hard_reset.sh asks before it deletes, and nobody is there to answer." "./scripts/hard_reset.sh --yes"
    printf 'This deletes below %s, for good:\n' "$ROOT" >&2
    for target in "${targets[@]}"; do
        if [ -e "$target" ]; then du -sh "$target" 2>/dev/null | sed 's/^/  /' >&2; fi
    done
    find data/to_ingest -type f ! -name .gitkeep 2>/dev/null | wc -l |
        xargs printf '  (%s files wait in data/to_ingest and go too)\n' >&2
    read -r -p 'Type "delete" to go on: ' answer
    [ "$answer" = delete ] || die "Nothing was deleted."
fi

elsewhere=""
if can_control; then
    "$ROOT/scripts/stop.sh"
    elsewhere="$(platform data-elsewhere)"
fi

step "Deleting" "Are all files yours? As root: ./scripts/hard_reset.sh --yes"
if [ -n "$elsewhere" ]; then
    rm -rf -- "$elsewhere"
    note "$elsewhere is deleted (the database lived there)"
fi
# Tracked files (.gitkeep, README) stay; everything else below these folders goes.
for folder in data models logs; do
    find "$folder" -mindepth 1 ! -type d ! -name .gitkeep ! -name README.md -delete 2>/dev/null || true
    find "$folder" -mindepth 1 -type d -empty -delete 2>/dev/null || true
done
rm -rf .secrets .keys
if [ "$ALL" = 1 ]; then rm -rf "$VENV"; else rm -f "$VENV/.dsdc-checked"; fi
mkdir -p data/to_ingest data/raw data/processed data/rejected models logs
step "Everything is deleted; ./scripts/start.sh begins anew"
