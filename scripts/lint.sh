#!/usr/bin/env bash
# All static checks, each with its time; goes on after a failure so that one run shows everything.
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH" ANSIBLE_COLLECTIONS_PATH="$PWD/.collections"

failed=()
check() {
  local name=$1 started=$SECONDS
  shift
  if "$@"; then printf 'lint: %-14s ok      %4d s\n' "$name" $((SECONDS - started)); else
    printf 'lint: %-14s FAILED  %4d s\n' "$name" $((SECONDS - started))
    failed+=("$name")
  fi
}

python_check() { ruff check --quiet . && ruff format --check --quiet .; }
types() { mypy --no-error-summary -p ansible_collections.linda.ops.plugins && mypy --no-error-summary lab scripts; }
sanity() { scripts/sanity.sh; }
# A collection of this name that somebody installed into the account's own ~/.ansible would hide the checkout.
playbooks() { ANSIBLE_HOME="$PWD/build/ansible-home" ansible-lint -q --offline; }

check ruff python_check
check mypy types
check yamllint yamllint --strict .
check ansible-lint playbooks
check sanity sanity
check changelog antsibull-changelog lint
[ "${#failed[@]}" -eq 0 ] || { printf 'lint: failed: %s\n' "${failed[*]}"; exit 1; }
