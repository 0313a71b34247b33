#!/usr/bin/env bash
# Usage: ./scripts/install.sh [--test]
#
# Installs the Python environment into .venv, writes .secrets, and gets the CLIP weights ready.
# Does nothing when all of that is done. --test adds the tools that tests and checks need.

. "$(dirname "$0")/lib/common.sh"

TORCH=2.13.0
KIND=base
for argument in "$@"; do
    case "$argument" in
    --test) KIND="test" ;;
    -h | --help) usage_of "$0" && exit 0 ;;
    *) die "install.sh knows no $argument." "./scripts/install.sh --help" ;;
    esac
done

PYTHON="$(find_python)" || die "Python 3.11 is needed, and there is none." "./scripts/prepare.sh"
STAMP="$VENV/.dsdc-installed"

# What decides the environment: the declared packages, their pinned versions, the interpreter, the place.
fingerprint() {
    { cat pyproject.toml "$CONSTRAINTS" scripts/install.sh && "$PYTHON" -VV && echo "$ROOT"; } | sha256sum | cut -d' ' -f1
}

is_installed() {
    [ -x "$VENV/bin/python" ] && { [ "$(cat "$STAMP" 2>/dev/null)" = "test $1" ] ||
        [ "$(cat "$STAMP" 2>/dev/null)" = "$KIND $1" ]; }
}

# Without an NVIDIA GPU, PyTorch's CPU build: the usual one brings gigabytes of CUDA. Not where pip has been pointed at an
# index or a folder of somebody's own, which decides then; and where that build cannot be had, the usual one does.
install_small_torch() {
    if [ -e /proc/driver/nvidia/version ] || command -v nvidia-smi >/dev/null 2>&1; then return 1; fi
    if "$VENV/bin/python" -m pip config list | grep -E '(index-url|find-links|no-index)=' >/dev/null; then return 1; fi
    if env | grep -E '^UV_([A-Z_]*INDEX|FIND_LINKS|OFFLINE|TORCH_BACKEND)' >/dev/null; then return 1; fi
    "$VENV/bin/uv" pip install -q --python "$VENV/bin/python" --torch-backend cpu "torch==$TORCH" 2>>logs/torch.log ||
        { note "PyTorch's CPU build cannot be had (logs/torch.log); installing the usual one" && return 1; }
}

install_environment() {
    if ! "$VENV/bin/python" -c 'import pip' 2>/dev/null; then
        step "Making the Python environment .venv" "apt-get install python3-venv, remove .venv, and run this again."
        rm -rf "$VENV"
        "$PYTHON" -m venv "$VENV"
    fi
    rm -f "$STAMP"
    # Without PYTHONPATH: pip would take the project's own metadata beside its sources for an installed package.
    local pip=(env -u PYTHONPATH "$VENV/bin/python" -m pip install -qq)
    step "Installing uv, which installs the rest" "Is there a network, and does pip reach its registry?"
    "${pip[@]}" -c "$CONSTRAINTS" uv
    # First and alone: afterwards nothing replaces it, so a CPU build that pip is pointed at stays a CPU build.
    step "Installing PyTorch $TORCH (a few minutes the first time)" "Is there a network, and space on the disk?"
    install_small_torch || "${pip[@]}" "torch==$TORCH"
    local extra=""
    if [ "$KIND" = test ]; then extra="[test]"; fi
    step "Installing about 300 packages" "Is there a network, and space on the disk?"
    UV_HTTP_TIMEOUT=180 "$VENV/bin/uv" pip install -q --python "$VENV/bin/python" -c "$CONSTRAINTS" -e ".$extra"
    echo "$KIND $1" >"$STAMP"
}

key="$(fingerprint)"
if is_installed "$key"; then
    note "The Python environment is complete"
else
    install_environment "$key"
fi

ensure_secrets

# The weights depend on the configuration as well, and on models/, which may have been emptied.
weights="$({ echo "$key" && cat config.yaml && { cat config.local.yaml 2>/dev/null || true; } && env | grep '^DSDC_CLIP_' | sort || true; } |
    sha256sum | cut -d' ' -f1)"
if [ "$(cat models/.clip-ready 2>/dev/null)" != "$weights" ]; then
    step "Getting the CLIP weights ready" "The message above says what is wrong with the weights."
    "$VENV/bin/dsdc" clip fetch
    mkdir -p models
    echo "$weights" >models/.clip-ready
fi
