#!/usr/bin/env bash
# ansible-test sanity on a copy of the tree: it insists on a real path .../ansible_collections/linda/ops, which a link is not.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/debian_packages.sh shellcheck
bin=$PWD/.venv/bin
copy=build/sanity/ansible_collections/linda/ops
rm -rf "$copy"
mkdir -p "$copy"
# What users install: the lab, the scripts and the tests are development tools with checks of their own (ruff, mypy).
git ls-files -z --cached --others --exclude-standard -- ':!lab' ':!.ci' ':!scripts' ':!molecule' ':!tests/*/*' ':!tests/*.py' | while IFS= read -r -d '' file; do
  [ -e "$file" ] && printf '%s\0' "$file"
done | tar --null --files-from=- --create --file=- | tar --extract --directory="$copy"

# ansible-test brings pip into its virtual environments with a script it would download; Python's ensurepip does the same.
# The name is the one that the pinned ansible-core looks for.
bootstrap=~/.ansible/test/cache/get_pip_24_2.py
mkdir -p "$(dirname "$bootstrap")"
[ -e "$bootstrap" ] || cp scripts/pip_bootstrap.py "$bootstrap"

version=$("$bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
[ -f "$copy/plugins/modules/config_tree.py" ] || { echo "sanity: the copy in $copy holds no plugins" >&2; exit 1; }
cd "$copy"
git init --quiet .
git add --all
# pslint needs PowerShell, which no file here is written in.
"$bin/ansible-test" sanity --color no --venv --python "$version" --skip-test pslint "$@"
