#!/usr/bin/env bash
# Usage: ./scripts/start.sh [--demo] [--only PROGRAM,...] [--docker]
#
# Sets everything up that is missing, starts every service, waits until each is well, and prints where they are.
#   --demo    then runs the main job on sample documents and prints a prediction
#   --only    starts these programs alone (the same as DSDC_SERVICES=PROGRAM,...)
#   --docker  runs the platform in containers instead

. "$(dirname "$0")/lib/common.sh"

DEMO=0
DOCKER=0
ONLY="${DSDC_SERVICES:-}"
while [ $# -gt 0 ]; do
    case "$1" in
    --demo) DEMO=1 ;;
    --docker) DOCKER=1 ;;
    --only)
        ONLY="${2:?--only needs a list of programs, such as postgres,mlflow}"
        shift
        ;;
    -h | --help) usage_of "$0" && exit 0 ;;
    *) die "start.sh knows no $1." "./scripts/start.sh --help" ;;
    esac
    shift
done

if [ "$DOCKER" = 1 ]; then
    . "$ROOT/scripts/lib/compose.sh"
    start_containers "$DEMO"
    exit 0
fi

"$ROOT/scripts/prepare.sh"
"$ROOT/scripts/install.sh"

step "Starting the platform" "Mend what the message names, then run ./scripts/start.sh again; what runs already stays."
platform up --only "$ONLY"

if [ -z "$ONLY" ] && [ ! -e "$VENV/.dsdc-checked" ]; then
    step "Checking this machine once" "Mend what says FAIL, top to bottom."
    "$VENV/bin/dsdc" doctor
    touch "$VENV/.dsdc-checked"
fi

if [ "$DEMO" = 1 ]; then
    step "Running the main job on sample documents" "logs/ has one file a service; ./scripts/start.sh --demo may run again."
    "$VENV/bin/dsdc" demo
fi
