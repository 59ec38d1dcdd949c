#!/usr/bin/env bash
# Makes .venv from the hashed requirements and links the checkout as ansible_collections/linda/ops. Safe to repeat.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*"; }

python=""
for candidate in python3 /usr/bin/python3; do
  if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$candidate; break; fi
done
if [ -z "$python" ]; then
  say "Python 3.11 or newer is needed (Debian 12 or 13 has it: apt-get install python3)" >&2
  exit 1
fi

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  say "installing Debian's python3-venv, which makes the virtual environment"
  scripts/debian_packages.sh python3-venv
  "$python" -c 'import ensurepip' 2>/dev/null || python=/usr/bin/python3
fi

[ -x .venv/bin/python ] || { say "making .venv with $("$python" --version)"; "$python" -m venv .venv; }
say "installing $(grep -cE '^[a-z0-9].*==' requirements/dev.txt) pinned Python packages into .venv (a few minutes the first time)"
started=$SECONDS
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
# The console script `lab`. Everything it needs is pinned above, so nothing is resolved or fetched here.
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
mkdir -p .collections/ansible_collections/linda
ln -sfn ../../.. .collections/ansible_collections/linda/ops
touch .venv/.ready
say "ready after $((SECONDS - started)) s"
