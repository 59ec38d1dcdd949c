#!/usr/bin/env bash
# All static checks side by side, each with its time; goes on after a failure so that one run shows everything.
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH" ANSIBLE_COLLECTIONS_PATH="$PWD/.collections"

said=$(mktemp -d)
trap 'rm -rf "$said"' EXIT
names=()
declare -A processes
start() {
  local name=$1
  shift
  names+=("$name")
  (
    started=$SECONDS
    if "$@"; then result=ok; else result=FAILED; fi
    printf 'lint: %-14s %-7s %4d s\n' "$name" "$result" $((SECONDS - started))
    [ "$result" = ok ]
  ) >"$said/$name" 2>&1 &
  processes[$name]=$!
}

python_check() { ruff check --quiet . && ruff format --check --quiet .; }
types() { mypy --no-error-summary -p ansible_collections.linda.ops.plugins && mypy --no-error-summary lab scripts; }
sanity() { scripts/sanity.sh; }
# A collection of this name that somebody installed into the account's own ~/.ansible would hide the checkout.
playbooks() { ANSIBLE_HOME="$PWD/build/ansible-home" ansible-lint -q --offline; }

start ansible-lint playbooks
start sanity sanity
start mypy types
start ruff python_check
start yamllint yamllint --strict .
start changelog antsibull-changelog lint
failed=()
for name in "${names[@]}"; do
  wait "${processes[$name]}" || failed+=("$name")
  cat "$said/$name"
done
[ "${#failed[@]}" -eq 0 ] || { printf 'lint: failed: %s\n' "${failed[*]}"; exit 1; }
