"""The private mount namespace in which all containers of the lab live.

Podman is only ever called inside it. It keeps podman's mounts out of the host's table, gives podman a cgroup v2 tree on hosts that
mount the hybrid or the v1 layout, and holds stand-ins for the two forwarding switches that netavark turns on for every bridge: the
lab's network needs no forwarding, and the host's switches stay as they are.
"""

from pathlib import Path

from .errors import LabError
from .runner import Runner

RUN = Path("/run/linda-lab")
NAMESPACE = RUN / "namespace"

_MAKE = r"""
set -eu
run=$1
mkdir -p "$run"
exec 9>"$run/lock"
flock 9
mountpoint -q "$run" || mount --bind "$run" "$run"
mount --make-private "$run"
complete() {
  [ "$(stat -f -c %T "$run/namespace" 2>/dev/null)" = nsfs ] && nsenter --mount="$run/namespace" test -e "$run/inside/complete"
}
complete && exit 0
umount -l "$run/namespace" 2>/dev/null || true
: >"$run/namespace"
mkdir -p "$run/inside"
unshare --mount="$run/namespace" --propagation slave sh -euc '
  mount --make-private "$1"
  mount -t tmpfs -o mode=755,size=64k lab "$1/inside"
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
run=$1
umount -l "$run/namespace" 2>/dev/null
umount -l "$run" 2>/dev/null
rm -rf --one-file-system "$run"
"""


def cgroup_layout() -> str:
    """How this host mounts cgroups: `unified`, `hybrid` (or v1, which is handled alike)."""
    return "unified" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "hybrid"


def make(runner: Runner) -> None:
    """Make the namespace, or finish one whose making was interrupted; nothing is done if it is complete."""
    if "cgroup2" not in Path("/proc/filesystems").read_text(encoding="ascii"):
        raise LabError(
            "The kernel of this machine has no cgroup v2, which systemd needs inside containers.",
            "Use a machine with a kernel of 4.15 or newer.",
        )
    runner.run(["sh", "-c", _MAKE, "sh", RUN], root=True, purpose="make the private mount namespace of the lab")


def exists() -> bool:
    """Whether something of the namespace is there."""
    return RUN.exists()


def enter(argv: list[str]) -> list[str]:
    """`argv` as it has to be started (as root) to run inside the namespace."""
    return ["nsenter", f"--mount={NAMESPACE}", "--", *argv]


def remove(runner: Runner) -> None:
    """Take the namespace away. Only when no container of any lab is left."""
    runner.run(["sh", "-c", _REMOVE, "sh", RUN], root=True, purpose="remove the private mount namespace of the lab")
