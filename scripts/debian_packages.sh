#!/usr/bin/env bash
# Installs the Debian packages that are missing: names, or files that hold a name and a comment a line. Says what it installs.
set -euo pipefail

wanted=()
for argument in "$@"; do
  if [ -f "$argument" ]; then
    while read -r name _; do
      case "$name" in "" | "#"*) ;; *) wanted+=("$name") ;; esac
    done <"$argument"
  else
    wanted+=("$argument")
  fi
done

missing=()
for name in "${wanted[@]}"; do
  dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
done
[ "${#missing[@]}" -gt 0 ] || exit 0

sudo=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "These Debian packages are missing and need root or sudo to install: ${missing[*]}" >&2; exit 1; }
  sudo=(sudo)
fi
echo "Installing Debian packages: ${missing[*]}"
# Daemons that a package brings are wanted as programs only: the tests start their own.
policy=$(mktemp)
trap 'rm -f "$policy"' EXIT
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 0755 "$policy"
own_policy=""
if [ ! -e /usr/sbin/policy-rc.d ]; then "${sudo[@]}" cp "$policy" /usr/sbin/policy-rc.d; own_policy=yes; fi
undo() { rm -f "$policy"; if [ -n "$own_policy" ]; then "${sudo[@]}" rm -f /usr/sbin/policy-rc.d; fi; }
trap undo EXIT
"${sudo[@]}" apt-get -qq -o DPkg::Lock::Timeout=300 update
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends -o DPkg::Lock::Timeout=300 \
  -o Dpkg::Use-Pty=0 install "${missing[@]}" >/dev/null
