#!/usr/bin/env bash
# Usage: ./scripts/stop.sh [--docker]
#
# Stops every service, the database last, and leaves no process behind. All data stays.

. "$(dirname "$0")/lib/common.sh"

case "${1:-}" in
"") ;;
--docker)
    . "$ROOT/scripts/lib/compose.sh"
    stop_containers
    exit 0
    ;;
-h | --help) usage_of "$0" && exit 0 ;;
*) die "stop.sh knows no $1." "./scripts/stop.sh --help" ;;
esac

if ! can_control; then
    note "Nothing is installed here, so nothing runs"
    exit 0
fi
step "Stopping the platform" "Run ./scripts/stop.sh again; it also ends what a broken stop has left."
platform down
