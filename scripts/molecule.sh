#!/usr/bin/env bash
# Runs Molecule's scenarios, two at a time, each on machines of its own. One line a scenario; the log of a failed one is shown.
# Usage: scripts/molecule.sh [SCENARIO...]
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH" ANSIBLE_COLLECTIONS_PATH="$PWD/.collections" MOLECULE_PROJECT_DIRECTORY="$PWD"

if [ "$#" -eq 0 ]; then
  for file in molecule/*/molecule.yml; do set -- "$@" "$(basename "$(dirname "$file")")"; done
fi
mkdir -p build/molecule
# What the machine lacks, the images and the mirror: made once, before two scenarios would both ask for it.
lab up --name molecule-warm-up --fleet molecule/shared/fleet.yml
lab down --name molecule-warm-up --purge

one() {
  local scenario=$1 log=build/molecule/$1.log started=$SECONDS
  if molecule test --scenario-name "$scenario" >"$log" 2>&1; then
    printf 'molecule: %-16s passed %5d s\n' "$scenario" $((SECONDS - started))
  else
    printf 'molecule: %-16s FAILED %5d s, from %s:\n' "$scenario" $((SECONDS - started)) "$log"
    tail -n 60 "$log"
    return 1
  fi
}
export -f one
printf '%s\n' "$@" | xargs -P 2 -I {} bash -c 'one {}'
