#!/usr/bin/env bash
# Installs a built wheel into an empty environment, as uvx and pipx do, and runs the command away from the checkout.
set -euo pipefail
wheel=$(realpath "$1")
constraints=$(realpath "$(dirname "$0")/../constraints.txt")
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
"${PYTHON:-python3}" -m venv environment
environment/bin/pip install --quiet -c "$constraints" "$wheel"
environment/bin/headcount --version
environment/bin/headcount report --help >help.txt
environment/bin/headcount induction --out run --model tiny-opt --sequences 2
environment/bin/headcount report run --output report.html
test -s report.html
