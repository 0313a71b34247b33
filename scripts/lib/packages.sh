# shellcheck shell=bash
# System packages: which are missing, and installing them on Debian and Ubuntu. Needs common.sh.

# program:package; the package is looked for by its program, so that one installed by other means counts too.
NEEDED=(
    tesseract:tesseract-ocr
    pdftoppm:poppler-utils
    prometheus:prometheus
    prometheus-alertmanager:prometheus-alertmanager
    prometheus-postgres-exporter:prometheus-postgres-exporter
    prometheus-blackbox-exporter:prometheus-blackbox-exporter
)
NEEDED_BY_TESTS=(chromium:chromium nginx:nginx-light openssl:openssl)

missing_packages() {
    local entry wanted=("${NEEDED[@]}")
    if [ "$1" = 1 ]; then wanted+=("${NEEDED_BY_TESTS[@]}"); fi
    for entry in "${wanted[@]}"; do
        command -v "${entry%%:*}" >/dev/null 2>&1 || PATH="$PATH:/usr/sbin" command -v "${entry%%:*}" >/dev/null 2>&1 ||
            echo "${entry#*:}"
    done
    if command -v tesseract >/dev/null 2>&1; then
        tesseract --list-langs 2>/dev/null | grep -qx eng || echo tesseract-ocr-eng
        tesseract --list-langs 2>/dev/null | grep -qx osd || echo tesseract-ocr-osd
    fi
    missing_python
}

# Python 3.11 itself, or the part of it that Debian packs separately.
missing_python() {
    local python
    if ! python="$(find_python)"; then
        if apt-cache show python3.11 >/dev/null 2>&1; then printf '%s\n' python3.11 python3.11-venv; fi
    elif ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        echo python3.11-venv
    fi
}

install_packages() {
    local line="apt-get update && apt-get install -y --no-install-recommends $*"
    command -v apt-get >/dev/null 2>&1 ||
        die "Missing: $*" "Install the packages that your system has for these (the names are Debian's), and run this again."
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        may_become_root ||
            die "System packages are missing, and only root can install them." "Have this line run by root: $line"
        as_root=(sudo)
    fi
    step "Installing $*" "Run it by hand to see why: $line"
    hold_services "${as_root[@]}"
    "${as_root[@]}" apt-get update -qq >&2
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" </dev/null >"$ROOT/logs/apt.log" 2>&1 || {
        tail -n 20 "$ROOT/logs/apt.log" >&2
        die "apt-get failed." "Run it by hand: $line"
    }
    release_services "${as_root[@]}"
    disable_services "$@"
}

# With sudo that asks for nothing, or somebody there to answer it.
may_become_root() {
    command -v sudo >/dev/null 2>&1 || return 1
    sudo -n true 2>/dev/null || [ -t 0 ]
}

# Debian starts a server as soon as it is installed. The platform starts its own, on its own ports, so for the time of the
# installation a policy forbids it (invoke-rc.d(8): 101 means "forbidden by policy").
POLICY=/usr/sbin/policy-rc.d
POLICY_IS_OURS=0

hold_services() {
    if [ -e "$POLICY" ]; then return; fi
    printf '#!/bin/sh\nexit 101\n' | "$@" tee "$POLICY" >/dev/null
    "$@" chmod 755 "$POLICY"
    POLICY_IS_OURS=1
    # shellcheck disable=SC2064  # the words are wanted as they are now
    trap "release_services $*" EXIT
}

release_services() {
    if [ "$POLICY_IS_OURS" = 1 ]; then "$@" rm -f "$POLICY"; fi
    POLICY_IS_OURS=0
}

# Nor are they to start with the machine. Only services of packages that were installed just now are touched.
disable_services() {
    local package sudo=()
    command -v systemctl >/dev/null 2>&1 || return 0
    if [ "$(id -u)" -ne 0 ]; then sudo=(sudo); fi
    for package in "$@"; do
        case "$package" in
        prometheus*) "${sudo[@]}" systemctl disable --now "$package.service" >>"$ROOT/logs/apt.log" 2>&1 ||
            note "$package.service could not be disabled; see logs/apt.log" ;;
        esac
    done
}
