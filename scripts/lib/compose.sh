# shellcheck shell=bash
# The platform in containers: services/compose.yaml. Needs common.sh.

compose() {
    docker compose -f "$ROOT/services/compose.yaml" --project-directory "$ROOT/services" \
        --env-file "$ROOT/logs/run/compose.env" "$@"
}

require_docker() {
    command -v docker >/dev/null 2>&1 || die "Docker is not installed." \
        "Install Docker Engine with the compose plugin, or run ./scripts/start.sh without --docker."
    docker compose version >/dev/null 2>&1 || die "Docker has no compose plugin." \
        "Install docker-compose-plugin, or run ./scripts/start.sh without --docker."
    docker info >/dev/null 2>&1 || die "The Docker engine does not answer." \
        "Start it, or let this user reach it (group docker), or run ./scripts/start.sh without --docker."
}

# prepare_containers: folders, .secrets, and one file a secret for the containers; needs Python's packages on the host.
prepare_containers() {
    "$ROOT/scripts/install.sh"
    step "Writing secrets and settings for the containers" "./scripts/prepare.sh"
    "$VENV/bin/python" services/base/prepare.py
}

start_containers() {
    require_docker
    mkdir -p data/to_ingest data/raw data/processed data/rejected models logs/run
    prepare_containers
    step "Building images and starting containers (the first time takes several minutes)" \
        "docker compose -f services/compose.yaml ps; docker compose -f services/compose.yaml logs NAME"
    compose up -d --build --wait
    step "Everything runs"
    compose ps
    if [ "$1" = 1 ]; then
        step "Running the main job on sample documents" "docker compose -f services/compose.yaml logs"
        compose run --rm setup dsdc demo
    fi
}

stop_containers() {
    require_docker
    step "Stopping the containers; their volumes stay" "docker compose -f services/compose.yaml ps"
    compose down
}
