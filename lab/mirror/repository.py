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
    if len(str(scratch)) > 80:
        raise MirrorError(f"The cache's path is too long for gpg's sockets ({scratch}); choose a shorter cache directory.")
    if not home.is_dir():
        fresh = scratch / "key"
        fresh.mkdir(mode=0o700)
        try:
            gpg(fresh, "--passphrase", "", "--quick-generate-key", _USER_ID, "ed25519", "sign", "never", purpose="make the mirror's key")
        finally:
            _stop_agent(fresh)
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


def gpg(home: Path, *arguments: str, purpose: str) -> str:
    """Run gpg on its own home only: no configuration, keys or agent of the person who calls."""
    argv = ["gpg", "--homedir", str(home), "--no-options", "--batch", "--no-tty", "--pinentry-mode", "loopback", *arguments]
    return run(argv, purpose=purpose)


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
    try:
        for suite in chosen:
            _write_suite(root, suite, key)
    finally:
        _stop_agent(key.home)


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
    gpg(key.home, *sign, str(dists / "InRelease"), "--clear-sign", str(dists / "Release"), purpose=f"sign {suite.name}")
    gpg(key.home, *sign, str(dists / "Release.gpg"), "--armor", "--detach-sign", str(dists / "Release"), purpose=f"sign {suite.name}")


def _stop_agent(home: Path) -> None:
    """End the agent that gpg started for this home; nothing of the mirror keeps running."""
    run(["gpgconf", "--homedir", str(home), "--kill", "all"], purpose="stop the key agent")
