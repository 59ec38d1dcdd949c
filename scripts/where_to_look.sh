#!/usr/bin/env bash
# The end of `make lab`: where a person looks and how to log in.
set -euo pipefail
cd "$(dirname "$0")/.."
name=${1:-linda}
edge=$(.venv/bin/lab status --name "$name" | awk '$1 == "edge1" && $3 == "running" { print $2 }')
option=""
[ "$name" = linda ] || option=" --name $name"

printf '\n'
[ -e reports/latest/report.html ] && printf 'report    %s/reports/latest/report.html\n' "$PWD"
printf 'log in    .venv/bin/lab ssh%s edge1      (ops1, api1, mongo1, ...; no passwords, key in .lab/%s)\n' "$option" "$name"
if [ -n "$edge" ]; then
  printf 'call it   curl --cacert .lab/%s/ca/ca.pem --resolve api.linda.test:443:%s https://api.linda.test/version\n' "$name" "$edge"
fi
printf 'again     .venv/bin/lab playbook%s site.yml      (changes nothing now; --check --diff, --limit, --tags work)\n' "$option"
printf 'end it    make lab-clean\n'
