"""The signed apt repository: the key of this machine's mirror, and the tree of pool, suites and signatures."""

import gzip
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .process import MirrorError, run

_USER_ID = "linda.ops lab package mirror <mirror@linda.test>"
_ARCHITECTURE = "amd64"


@dataclass(frozen=True)
class Key:
    """The signing key: GNUPGHOME (mode 0700, with the secret part), public part as ASCII-armoured text, fingerprint (40 digits)."""

    home: Path
    armored: str
    fingerprint: str


@dataclass(frozen=True)
class Suite:
    """One suite (`bookworm/mongodb-org/6.0`): the origin that its Release file names, and its components with their .deb files."""

    name: str
    origin: str
    components: Mapping[str, tuple[Path, ...]]


def ensure_key(home: Path, scratch: Path) -> Key:
    """Return the key in `home`, made there at first use. The caller holds the cache's lock; `scratch` is on the same file system."""
    if not home.is_dir():
        fresh = scratch / "key"
        fresh.mkdir(mode=0o700)
        make = ("--passphrase", "", "--quick-generate-key", _USER_ID, "ed25519", "sign", "never")
        gpg(fresh, *make, secret=True, purpose="make the mirror's key")
        fresh.rename(home)
    home.chmod(0o700)
    listing = gpg(home, "--with-colons", "--list-keys", purpose="read the mirror's key")
    armored = gpg(home, "--armor", "--export", purpose="export the mirror's key")
    return Key(home, armored, fingerprint(listing))


def fingerprint(listing: str) -> str:
    """Fingerprint of the one primary key in what `gpg --with-colons --list-keys` prints."""
    found = re.findall(r"^pub:.*\n(?:(?!fpr:).*\n)*fpr:(?:[^:\n]*:){8}([0-9A-F]{40}):", listing, re.MULTILINE)
    if len(found) != 1:
        raise MirrorError(f"The mirror's key ring should hold one key and holds {len(found)}; delete it, and it is made anew.")
    return str(found[0])


def gpg(home: Path, *arguments: str, secret: bool = False, purpose: str) -> str:
    """Run gpg on its own home only: no configuration, keys or agent of the person who calls.

    `secret` is for calls that need the secret key, which gpg leaves to an agent. The agent runs around the call and is ended after it;
    if this process is killed in between, the agent notices that gpg is gone and ends by itself.
    """
    descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # A short name for the directory: gpg's sockets have room for about a hundred characters of it.
        short = f"--homedir=/proc/{os.getpid()}/fd/{descriptor}"
        argv = ["gpg", short, "--no-options", "--batch", "--no-tty", "--pinentry-mode", "loopback", *arguments]
        if not secret:
            return run(argv, purpose=purpose)
        stop = ["gpgconf", short, "--kill", "all"]
        run(stop, purpose="stop a key agent of an earlier run")
        try:
            return run(["gpg-agent", short, "--daemon", "--", *argv], purpose=purpose)
        finally:
            run(stop, purpose="stop the key agent")
    finally:
        os.close(descriptor)


def publish(root: Path, suites: Iterable[Suite], key: Key) -> None:
    """Write the apt repository into `root` (empty or missing): `pool/` with links to the packages, `dists/` signed by `key`."""
    root.mkdir(parents=True, exist_ok=True)
    chosen = list(suites)
    for suite in chosen:
        for component, packages in suite.components.items():
            for package in packages:
                link = root / pool_path(component, package)
                link.parent.mkdir(parents=True, exist_ok=True)
                if not link.exists():
                    os.link(package, link)
    for suite in chosen:
        _write_suite(root, suite, key)


def pool_path(component: str, package: Path) -> Path:
    """Where a package lies below the repository: pool/<component>/<first letter>/<name>/<file>, as Debian does it."""
    name = package.name.partition("_")[0]
    return Path("pool") / component / name[0] / name / package.name


def release_options(suite: Suite) -> dict[str, str]:
    """Fields of the suite's Release file that are ours to choose; apt-ftparchive adds the date and the checksums."""
    return {
        "Origin": suite.origin,
        "Label": suite.origin,
        "Suite": suite.name,
        "Codename": suite.name,
        "Architectures": _ARCHITECTURE,
        "Components": " ".join(sorted(suite.components)),
    }


def _write_suite(root: Path, suite: Suite, key: Key) -> None:
    dists = root / "dists" / suite.name
    for component, packages in suite.components.items():
        index = dists / component / f"binary-{_ARCHITECTURE}"
        index.mkdir(parents=True)
        argv = ["apt-ftparchive", "packages"]
        text = "".join(run([*argv, str(pool_path(component, path))], cwd=root, purpose=f"index {path.name}") for path in packages)
        (index / "Packages").write_text(text, encoding="utf-8")
        (index / "Packages.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    options = [f"-oAPT::FTPArchive::Release::{field}={value}" for field, value in release_options(suite).items()]
    release = run(["apt-ftparchive", *options, "release", str(dists)], purpose=f"write the Release file of {suite.name}")
    (dists / "Release").write_text(release, encoding="utf-8")
    sign = ("--local-user", key.fingerprint, "--digest-algo", "SHA512", "--output")
    gpg(key.home, *sign, str(dists / "InRelease"), "--clear-sign", str(dists / "Release"), secret=True, purpose=f"sign {suite.name}")
    gpg(
        key.home,
        *sign,
        str(dists / "Release.gpg"),
        "--armor",
        "--detach-sign",
        str(dists / "Release"),
        secret=True,
        purpose=f"sign {suite.name}",
    )
