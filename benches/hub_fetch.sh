#!/usr/bin/env bash
# A cold fetch of 1 GB from a Hub on loopback, beside huggingface_hub's download of the same files. Prints seconds, peak memory and processor
# time of each. Needs GNU time; makes a Python environment in target/ the first time.
#
#   benches/hub_fetch.sh [MEGABYTES [TIMES]]
set -euo pipefail
cd "$(dirname "$0")/.."
megabytes=${1:-1000} times=${2:-3}

venv=target/huggingface_hub
if ! "$venv/bin/python" -c 'import huggingface_hub' 2>/dev/null; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "huggingface_hub==0.36.2"
fi
cargo build --release --quiet --bin mlreg
cargo test --quiet --test hub --no-run

scratch=$(mktemp -d)
address=$scratch/address
MLREG_TEST_HUB=$address MLREG_TEST_HUB_MEGABYTES=$megabytes cargo test --quiet --test hub a_hub_for -- --ignored >"$scratch/log" 2>&1 &
trap 'rm -f "$address"; wait; rm -rf "$scratch"' EXIT
until [ -s "$address" ]; do kill -0 $! && sleep 1; done
HF_ENDPOINT=$(cat "$address")
export HF_ENDPOINT

measure() { /usr/bin/time --format "$1  %e s  %M kB  processor %U + %S s" "${@:2}"; }
for _ in $(seq "$times"); do
    sync
    measure "mlreg          " target/release/mlreg --home "$scratch/home" --quiet fetch tae --from hf://acme/tae --variant 'decoder-768*' --out "$scratch/Models"
    rm -rf "$scratch/home" "$scratch/Models"
    sync
    HF_HOME=$scratch/cache HF_HUB_DISABLE_PROGRESS_BARS=1 measure "huggingface_hub" "$venv/bin/python" -c \
        'from huggingface_hub import snapshot_download; snapshot_download("acme/tae", allow_patterns="tae/decoder-768*/**")'
    rm -rf "$scratch/cache"
done
