"""The private mount namespace in which all containers of the lab live.

Podman is only ever called inside it. It keeps podman's mounts out of the host's table, gives podman a cgroup v2 tree on hosts that
mount the hybrid or the v1 layout, and holds stand-ins for the two forwarding switches that netavark turns on for every bridge: the
lab's network needs no forwarding, and the host's switches stay as they are. Some directories below /run are its own as well: podman and
crun keep state there, whatever their options say, and what a crash leaves in them must not outlive it.
"""

import hashlib
import os
from pathlib import Path

from .errors import LabError
from .runner import Runner

_STORE = os.environ.get("LINDA_LAB_STORE")
STORE = Path(_STORE or "/var/lib/linda-lab")
"""Where podman keeps images and containers of the lab. Another one (LINDA_LAB_STORE) is another world with other containers: for tests."""
RUN = Path("/run/linda-lab" + (f"-{hashlib.sha256(_STORE.encode()).hexdigest()[:8]}" if _STORE else ""))
NAMESPACE = RUN / "namespace"
CGROUP = RUN.name
"""Parent of the containers' cgroups where podman itself manages them."""

_MAKE = r"""
set -eu
run=$1 store=$2
mkdir -p "$run"
exec 9>"$run/lock"
flock 9
mountpoint -q "$run" || mount --bind "$run" "$run"
mount --make-private "$run"
complete() {
  [ "$(stat -f -c %T "$run/namespace" 2>/dev/null)" = nsfs ] && nsenter --mount="$run/namespace" test -e "$run/inside/complete"
}
complete && exit 0

# Nothing that runs can be reached without the namespace: end it, and let podman forget that it believed it to be running.
for process in /proc/[0-9]*; do
  [ "$(cat "$process/comm" 2>/dev/null)" = conmon ] || continue
  tr "\0" " " <"$process/cmdline" | grep -qF -- "--root --exit-command-arg $store/storage " || continue
  pkill -KILL -P "${process#/proc/}" || true
  kill -KILL "${process#/proc/}" || true
done
umount -l "$run/namespace" 2>/dev/null || true
rm -rf --one-file-system "$run/runroot" "$run/tmp"
: >"$run/namespace"
mkdir -p "$run/inside"
for name in netns containers crun libpod; do
  [ -d "/run/$name" ] || { mkdir "/run/$name"; : >"$run/made-$name"; }
done
# Newer kernels refuse to name a namespace whose number is below that of the present one, and give numbers by processor: the other
# processors are tried where that happens (inside containers, whose own number is not the lowest).
for processor in $(seq 0 $(($(nproc --all) - 1))); do
  taskset --cpu-list "$processor" unshare --mount="$run/namespace" true 2>"$run/refused" && break
  umount -l "$run/namespace" 2>/dev/null || true
done
[ "$(stat -f -c %T "$run/namespace")" = nsfs ] || { cat "$run/refused" >&2; exit 1; }
nsenter --mount="$run/namespace" sh -euc '
  mount --make-rslave /
  mount --make-private "$1"
  mount -t tmpfs -o mode=755,size=64k lab "$1/inside"
  for name in netns containers crun libpod; do
    mount -t tmpfs -o mode=755,size=64m lab "/run/$name"
    mount --make-shared "/run/$name"
  done
  if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then
    umount -R -l /sys/fs/cgroup
    mount -t cgroup2 lab /sys/fs/cgroup
  fi
  for switch in ipv4/ip_forward ipv6/conf/all/forwarding; do
    [ -e "/proc/sys/net/$switch" ] || continue
    name=$(echo "$switch" | tr / -)
    echo 1 >"$1/inside/$name"
    mount --bind "$1/inside/$name" "/proc/sys/net/$switch"
  done
  : >"$1/inside/complete"
' sh "$run"
complete
"""

_REMOVE = r"""
set -u
run=$1 cgroup=$2
nsenter --mount="$run/namespace" sh -c 'find "/sys/fs/cgroup/$1" -depth -type d -exec rmdir {} +' sh "$cgroup" 2>/dev/null
for name in netns containers crun libpod; do
  [ ! -e "$run/made-$name" ] || rmdir "/run/$name"
done
umount -l "$run/namespace" 2>/dev/null
umount -l "$run" 2>/dev/null
rm -rf --one-file-system "$run"
"""


def cgroup_layout() -> str:
    """How this host mounts cgroups: `unified`, or `hybrid` (which stands for v1 too: both are handled alike)."""
    return "unified" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "hybrid"


def make(runner: Runner) -> None:
    """Make the namespace, or finish one whose making was interrupted; nothing is done if it is complete."""
    if "cgroup2" not in Path("/proc/filesystems").read_text(encoding="ascii"):
        raise LabError(
            "The kernel of this machine has no cgroup v2, which systemd needs inside containers.",
            "Use a machine with a kernel of 4.15 or newer.",
        )
    runner.run(["sh", "-c", _MAKE, "sh", RUN, STORE], root=True, purpose="make the private mount namespace of the lab")


def usable() -> bool:
    """Whether the namespace is there, so that podman can be asked."""
    return any(line.split()[4] == str(NAMESPACE) for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines())


def traces() -> bool:
    """Whether any lab may have left something on this machine."""
    return RUN.exists() or (STORE / "storage").exists()


def enter(argv: list[str]) -> list[str]:
    """`argv` as it has to be started (as root) to run inside the namespace."""
    return ["nsenter", f"--mount={NAMESPACE}", "--", *argv]


def work_lock(lab: str) -> Path:
    """Held, shared, by every command that changes the containers of a lab, for as long as it runs."""
    return RUN / f"work-{lab}"


def settle(runner: Runner, lab: str) -> None:
    """Wait until the commands that a killed run of the lab left behind have ended."""
    runner.run(
        ["flock", "--exclusive", "--timeout", "300", work_lock(lab), "true"],
        root=True,
        purpose=f"wait for what an interrupted command on the lab {lab} left running",
    )


def remove(runner: Runner) -> None:
    """Take the namespace away. Only when no container of any lab is left."""
    runner.run(["sh", "-c", _REMOVE, "sh", RUN, CGROUP], root=True, purpose="remove the private mount namespace of the lab", check=False)
