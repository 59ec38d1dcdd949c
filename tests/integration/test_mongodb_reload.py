"""What `systemctl reload mongod` runs, against a real mongod: a renewed certificate is shown without a restart."""

from __future__ import annotations

import getpass
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jinja2
import pytest
from checks_support import Leaf
from mongodb_support import Bench, Mongod

from lab.mirror import MirrorError, mongod_binary

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "linda-lab"
ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "roles" / "mongodb" / "templates" / "etc" / "linda" / "mongodb" / "reload.py.j2"
KEYS = ("YSBrZXkgZmlsZSBmb3IgdGVzdHMgb25seQ==", "YW5vdGhlciBrZXkgZm9yIHRlc3RzIG9ubHk=")


@dataclass
class Renewal:
    """A running server whose certificate is assembled from a key and a chain, as the unit does it."""

    server: Mongod
    directory: Path

    def install(self, leaf: Leaf) -> None:
        shutil.copy(leaf.key, self.directory / "privkey.pem")
        shutil.copy(leaf.chain, self.directory / "fullchain.pem")

    def reload(self, key_file: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run the role's script; it finds this machine's pymongo."""
        values = {
            "__mongodb_unit": "mongod.service",
            "__mongodb_user": getpass.getuser(),
            "__mongodb_pem_path": str(self.directory / "server.pem"),
            "__mongodb_configuration": {"security": {"keyFile": str(key_file or self.server.key_file)}},
            "mongodb_certificate_key_file": str(self.directory / "privkey.pem"),
            "mongodb_certificate_file": str(self.directory / "fullchain.pem"),
            "mongodb_port": self.server.port,
        }
        environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - a script, not a page
        script = self.directory / "reload.py"
        script.write_text(environment.from_string(TEMPLATE.read_text()).render(values))
        return subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)

    def shown(self) -> str:
        return ssl.get_server_certificate(("127.0.0.1", self.server.port))


@pytest.fixture(scope="module")
def renewal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Renewal]:
    try:
        binary = mongod_binary(CACHE)
    except MirrorError as error:
        pytest.skip(f"no mongod: {error}")
    directory = tmp_path_factory.mktemp("reload")
    bench = Bench(binary, directory)
    bench.key_file.chmod(0o600)
    bench.key_file.write_text(f"- {KEYS[0]}\n- {KEYS[1]}\n")
    first = bench.authority.leaf("mongo.linda.test")
    bench.certificate = directory / "server.pem"
    shutil.copy(first.both, bench.certificate)
    try:
        (server,) = bench.start(1)
        yield Renewal(server, directory)
    finally:
        bench.stop()


def test_a_renewed_certificate_is_shown_by_the_same_process(renewal: Renewal) -> None:
    process = renewal.server.process
    assert process is not None
    leaf = renewal.server.authority.leaf("mongo.linda.test")
    renewal.install(leaf)
    before = renewal.shown()
    done = renewal.reload()
    assert (done.returncode, done.stderr) == (0, "")
    assert renewal.shown().strip() == leaf.chain.read_text().strip() != before.strip()
    assert process.poll() is None
    assert (renewal.directory / "server.pem").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text",
    [KEYS[0], f"{KEYS[0][:20]}\n{KEYS[0][20:]}\n", f"- {KEYS[1]}\n- {KEYS[0]}\n", f'- "{KEYS[0]}"\n'],
    ids=["one", "wrapped", "list", "quoted"],
)
def test_every_form_of_a_key_file_is_understood(renewal: Renewal, tmp_path: Path, text: str) -> None:
    key_file = tmp_path / "keyfile"
    key_file.write_text(text)
    leaf = renewal.server.authority.leaf("mongo.linda.test")
    renewal.install(leaf)
    done = renewal.reload(key_file)
    assert (done.returncode, done.stderr) == (0, "")
    assert renewal.shown().strip() == leaf.chain.read_text().strip()


def test_what_the_server_refuses_leaves_it_with_what_it_has(renewal: Renewal, tmp_path: Path) -> None:
    good, other = renewal.server.authority.leaf("mongo.linda.test"), renewal.server.authority.leaf("mongo.linda.test")
    renewal.install(good)
    before = renewal.shown()
    shutil.copy(other.key, renewal.directory / "privkey.pem")
    mixed = renewal.reload()
    assert mixed.returncode != 0, "a key that does not belong to the certificate"
    stranger = tmp_path / "keyfile"
    stranger.write_text(KEYS[0][::-1].replace("=", "A"))
    renewal.install(good)
    refused = renewal.reload(stranger)
    assert refused.returncode != 0
    for said in (mixed, refused):
        assert said.stderr.startswith("mongod does not take the renewed certificate and goes on with the one that it has: ")
        assert not any(key in said.stdout + said.stderr for key in KEYS)
    assert renewal.shown() == before
    assert renewal.reload().returncode == 0
    assert renewal.shown().strip() == good.chain.read_text().strip()
