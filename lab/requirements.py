"""What the lab takes from its host: Debian packages, and the addresses of Debian's archive."""

import os
import shutil
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass

from .console import Console
from .errors import LabError
from .mirror import HOST_PACKAGES
from .runner import Runner

_PACKAGES = (
    "podman",
    "netavark",
    "crun",
    "iptables",
    "mmdebstrap",
    "openssh-client",
    "iproute2",
    "util-linux",
    "debian-archive-keyring",
)
"""iptables: netavark asks for it at every start although the lab's network needs no rule."""


@dataclass(frozen=True)
class Archive:
    """Addresses of Debian's archive as this machine uses them. `security` is empty where there is none; proxies by scheme."""

    debian: str
    security: str
    proxies: Mapping[str, str]

    def lines(self, suite: str) -> list[str]:
        """One-line apt sources for a suite with its updates."""
        lines = [f"deb {self.debian} {suite} main", f"deb {self.debian} {suite}-updates main"]
        return [*lines, f"deb {self.security} {suite}-security main"] if self.security else lines


def missing_packages(runner: Runner) -> list[str]:
    """The Debian packages that the lab needs and this machine lacks."""
    wanted = sorted({*_PACKAGES, *HOST_PACKAGES})
    listed = runner.run(["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", *wanted], check=False).out
    there = {line.split()[0] for line in listed.splitlines() if line.endswith(" installed")}
    return [name for name in wanted if name not in there]


def install(runner: Runner, console: Console) -> None:
    """Install by apt what is missing, and say so."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-query") is None:
        raise LabError("This machine has no apt: the lab runs on Debian.", "Use a machine with Debian 12 or 13.")
    missing = missing_packages(runner)
    if not missing:
        return
    console.say(f"This machine lacks what the lab needs; apt will install: {' '.join(missing)}")
    with console.step("install Debian packages") as step:
        apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=600", "--yes"]
        step.note("reading package lists")
        runner.run([*apt, "update"], root=True, purpose="read Debian's package lists")
        step.note("installing")
        runner.run([*apt, "install", "--no-install-recommends", *missing], root=True, purpose="install what the lab needs")


def archive(runner: Runner, environment: Mapping[str, str] = os.environ) -> Archive:
    """Where this machine gets Debian from: LINDA_LAB_DEBIAN_URL and LINDA_LAB_DEBIAN_SECURITY_URL if set, else its apt configuration."""
    proxies = {
        scheme: proxy for scheme in ("http", "https") if (proxy := _apt_option(runner, f"Acquire::{scheme}::Proxy")) not in ("", "DIRECT")
    }
    debian, security = environment.get("LINDA_LAB_DEBIAN_URL", ""), environment.get("LINDA_LAB_DEBIAN_SECURITY_URL", "")
    if debian:
        return Archive(_checked(debian), _checked(security) if security else "", proxies)
    found = _configured(runner)
    if "Debian" not in found:
        runner.run(["apt-get", "-o", "DPkg::Lock::Timeout=600", "update"], root=True, purpose="read Debian's package lists", check=False)
        found = _configured(runner)
    if "Debian" not in found:
        raise LabError(
            "The apt configuration of this machine names no archive of Debian that is reached by http or https.",
            "Set LINDA_LAB_DEBIAN_URL (and LINDA_LAB_DEBIAN_SECURITY_URL) to a mirror of Debian's archive.",
        )
    return Archive(found["Debian"], found.get("Debian-Security", ""), proxies)


def _configured(runner: Runner) -> dict[str, str]:
    listed = runner.run(["apt-get", "indextargets", "--format", "$(LABEL)|$(REPO_URI)", "Created-By: Packages"], check=False).out
    found: dict[str, str] = {}
    for line in listed.splitlines():
        label, _, uri = line.partition("|")
        if urllib.parse.urlsplit(uri).scheme in ("http", "https"):
            found.setdefault(label, uri.rstrip("/"))
    return found


def _apt_option(runner: Runner, name: str) -> str:
    return runner.run(["apt-config", "--format", "%v%n", "dump", name], check=False).out.strip()


def _checked(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise LabError(
            f"{url!r} is not the address of a Debian archive.", "Give an http or https URL such as http://mirror.example.org/debian."
        )
    return url.rstrip("/")
