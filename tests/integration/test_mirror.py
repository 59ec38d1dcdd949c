"""The package mirror, built for real and judged by its users: apt, dpkg, pip, mongod."""

import functools
import hashlib
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.metadata import Metadata
from packaging.utils import canonicalize_name, parse_wheel_filename

from lab.mirror import HOST_PACKAGES, MirrorError, MirrorTree, build, mongod_binary, repository
from lab.mirror.recipe import Wheel, load
from lab.mirror.sources import fetch
from lab.state import cache_directory

ROOT = Path(__file__).resolve().parents[2]
USERS_CACHE = cache_directory()
RECIPES = ["linda-lab-api", "mongodb-6.0.5"]
SUITES = ["bookworm/mongodb-org/6.0", "trixie/mongodb-org/6.0"]
DEB = "apt/pool/main/m/mongodb-org-server/mongodb-org-server_6.0.5_amd64.deb"
BUILD = """
import json, sys
from pathlib import Path
from lab.mirror import build
lines = []
tree = build(sys.argv[2:], Path(sys.argv[1]), lines.append)
print(json.dumps({"root": str(tree.root), "fingerprint": tree.key_fingerprint, "lines": lines}))
"""

pytestmark = pytest.mark.skipif(
    not all(shutil.which(tool) for tool in ("apt-ftparchive", "dpkg-deb", "gpg", "objdump")),
    reason=f"needs the Debian packages {', '.join(HOST_PACKAGES)}",
)


def seeded(cache: Path) -> Path:
    """A cache with the downloads of the user's cache and nothing else."""
    for name in RECIPES:
        for source in load(name).sources:
            fetched = USERS_CACHE / "sources" / source.key
            if fetched.is_dir():
                shutil.copytree(fetched, cache / "sources" / source.key)
    return cache


def in_process(cache: Path, *recipes: str, wanted: bool = False) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", BUILD, str(cache), *recipes]
    out = subprocess.PIPE if wanted else subprocess.DEVNULL
    return subprocess.Popen(argv, cwd=ROOT, stdout=out, stderr=out, text=True, start_new_session=True)


def agents_of(processes: set[int]) -> list[str]:
    """Command lines of key agents that run for one of these processes: it is in the name of their home."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "gpg-agent" in line and any(f"/proc/{process}/" in line for process in processes):
            found.append(line)
    return found


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> tuple[MirrorTree, Path]:
    """Everything, built anew; downloads are taken from the user's cache, and put there first if they are missing."""
    build(RECIPES, USERS_CACHE, print)
    cache = seeded(tmp_path_factory.mktemp("cache"))
    return build(RECIPES, cache, print), cache


@dataclass
class Apt:
    """An apt of its own: nothing of this machine's configuration, sources, keys or state."""

    directory: Path

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "APT_CONFIG": f"{self.directory}/apt.conf", "LC_ALL": "C.UTF-8"}
        return subprocess.run([program, *arguments], cwd=self.directory, env=environment, capture_output=True, text=True, check=False)

    def update(self) -> subprocess.CompletedProcess[str]:
        return self.run("apt-get", "update", "-oAPT::Update::Error-Mode=any")

    def versions(self, package: str) -> list[str]:
        return [line.split("|")[1].strip() for line in self.run("apt-cache", "madison", package).stdout.splitlines()]


def apt(directory: Path, url: str, suite: str, key: str) -> Apt:
    for name in (
        "etc/apt/apt.conf.d",
        "etc/apt/preferences.d",
        "var/lib/apt/lists/partial",
        "var/cache/apt/archives/partial",
        "usr/lib/apt",
    ):
        (directory / name).mkdir(parents=True)
    (directory / "usr/lib/apt/methods").symlink_to("/usr/lib/apt/methods")
    (directory / "status").write_text("")
    (directory / "apt.conf").write_text(
        f'Dir "{directory}"; Dir::State::status "{directory}/status"; APT::Sandbox::User "root"; '
        'APT::Architecture "amd64"; APT::Architectures "amd64"; Acquire::http::Proxy "DIRECT"; Acquire::Languages "none";\n'
    )
    (directory / "etc/apt/key.asc").write_text(key)
    (directory / "etc/apt/sources.list").write_text(f"deb [signed-by={directory}/etc/apt/key.asc] {url} {suite} main\n")
    return Apt(directory)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def served(mirror: tuple[MirrorTree, Path]) -> Iterator[str]:
    """URL of the mirror on loopback."""
    handler = functools.partial(Quiet, directory=str(mirror[0].root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("suite", SUITES)
def test_apt_installs_from_the_repository(mirror: tuple[MirrorTree, Path], served: str, tmp_path: Path, suite: str) -> None:
    client = apt(tmp_path, f"{served}/apt", suite, mirror[0].key_armored)
    updated = client.update()
    assert updated.returncode == 0, updated.stderr
    assert "W:" not in updated.stderr
    assert client.versions("mongodb-org-server") == ["6.0.5"]
    got = client.run("apt-get", "download", "mongodb-org-server=6.0.5")
    assert got.returncode == 0, got.stderr
    assert (tmp_path / "mongodb-org-server_6.0.5_amd64.deb").read_bytes() == (mirror[0].root / DEB).read_bytes()


def test_apt_refuses_a_wrong_key(mirror: tuple[MirrorTree, Path], served: str, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    stranger = repository.ensure_key(tmp_path / "stranger", tmp_path / "scratch")
    assert stranger.fingerprint != mirror[0].key_fingerprint
    client = apt(tmp_path / "apt", f"{served}/apt", SUITES[0], stranger.armored)
    updated = client.update()
    assert updated.returncode != 0
    assert mirror[0].key_fingerprint[-16:] in updated.stderr
    assert client.run("apt-get", "download", "mongodb-org-server").returncode != 0


@pytest.mark.parametrize("file", ["InRelease", "main/binary-amd64/Packages.gz"])
def test_apt_refuses_a_changed_repository(mirror: tuple[MirrorTree, Path], tmp_path: Path, file: str) -> None:
    shutil.copytree(mirror[0].root / "apt", tmp_path / "repository")
    suite = tmp_path / "repository" / "dists" / SUITES[0]
    (suite / "Release.gpg").unlink()
    if file == "InRelease":
        text = (suite / file).read_text()
        (suite / file).write_text(text.replace("Origin: mongodb", "Origin: stranger"))
    else:
        shutil.rmtree(suite / "main" / "binary-amd64")
        (suite / file).parent.mkdir()
        (suite / file).write_bytes(b"changed")
    client = apt(tmp_path / "apt", f"file:{tmp_path}/repository", SUITES[0], mirror[0].key_armored)
    assert client.update().returncode != 0


def test_package_has_the_vendors_shape(mirror: tuple[MirrorTree, Path], tmp_path: Path) -> None:
    package = mirror[0].root / DEB
    subprocess.run(["dpkg-deb", "--control", str(package), str(tmp_path / "control")], check=True)
    assert (tmp_path / "control" / "conffiles").read_text() == "/etc/mongod.conf\n"
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        with tarfile.open(fileobj=reader.stdout, mode="r|") as archive:
            members = {member.name: member for member in archive}
    assert {(member.uid, member.gid) for member in members.values()} == {(0, 0)}
    assert members["./usr/bin/mongod"].mode == 0o755
    assert {"./etc/mongod.conf", "./usr/lib/systemd/system/mongod.service"} <= set(members)
    assert {member.mtime for member in members.values()} == {load("mongodb-6.0.5").epoch}


def test_dependencies_match_the_libraries_of_this_debian(mirror: tuple[MirrorTree, Path]) -> None:
    """On the Debian that runs this test, every library that mongod loads is in a package that the Depends field asks for."""
    binary = mongod_binary(mirror[1])
    needed = subprocess.run(["objdump", "-p", str(binary)], capture_output=True, text=True, check=True).stdout
    sonames = [line.split()[1] for line in needed.splitlines() if line.strip().startswith("NEEDED")]
    command = ["dpkg-deb", "--field", str(mirror[0].root / DEB), "Depends"]
    depends = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    named = {name.split()[0] for group in depends.split(",") for name in group.split("|")}
    for soname in sonames:
        owners = subprocess.run(["dpkg-query", "--search", f"*/{soname}"], capture_output=True, text=True, check=True).stdout
        assert {line.split(":")[0] for line in owners.splitlines() if "amd64" in line} & named, soname


def test_mongod_runs(mirror: tuple[MirrorTree, Path]) -> None:
    said = subprocess.run([str(mongod_binary(mirror[1])), "--version"], capture_output=True, text=True, check=True)
    assert "db version v6.0.5" in said.stdout


def test_second_build_does_nothing(mirror: tuple[MirrorTree, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    tree, cache = mirror
    for name in ("PIP_NO_INDEX", "PIP_CERT"):
        monkeypatch.setenv(name, "1")
    lines: list[str] = []
    before = time.monotonic()
    assert build(RECIPES, cache, lines.append) == tree
    assert time.monotonic() - before < 2
    assert lines == []


def test_concurrent_builds_share_the_work_and_are_reproducible(mirror: tuple[MirrorTree, Path], tmp_path: Path) -> None:
    """Three at once in a fresh cache, with another umask: built once, and byte for byte what the other cache has."""
    cache = seeded(tmp_path / "cache")
    mask = os.umask(0o077)
    try:
        builders = [in_process(cache, *RECIPES, wanted=True) for _ in range(3)]
    finally:
        os.umask(mask)
    answers = []
    for builder in builders:
        out, err = builder.communicate(timeout=200)
        assert builder.returncode == 0, err
        answers.append(json.loads(out))
    assert len({(answer["root"], answer["fingerprint"]) for answer in answers}) == 1
    built = [line for answer in answers for line in answer["lines"] if line.endswith(": building")]
    assert sorted(built) == [f"{name}: building" for name in sorted(RECIPES)]

    def digests(root: Path) -> dict[str, str]:
        chosen = (path for path in sorted(root.rglob("*")) if path.suffix in {".deb", ".whl", ".txt", ".html"})
        return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in chosen}

    root = Path(answers[0]["root"])
    assert len(digests(root)) > 20
    assert digests(root) == digests(mirror[0].root)
    assert answers[0]["fingerprint"] != mirror[0].key_fingerprint, "each cache has a key of its own"
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in [root, *root.rglob("*")]), "the web server may read everything"
    assert (cache / "gnupg").stat().st_mode & 0o777 == 0o700


def test_killed_builds_leave_nothing_wrong(tmp_path: Path, mirror: tuple[MirrorTree, Path]) -> None:
    """Killed at twelve moments, each build going on from the wreck of the last; the next one finishes."""
    cache = seeded(tmp_path / "cache")
    processes = {os.getpid()}
    killed = 0
    for moment in range(12):
        builder = in_process(cache, *RECIPES)
        processes.add(builder.pid)
        try:
            builder.wait(0.15 + 0.13 * moment)
        except subprocess.TimeoutExpired:
            killed += 1
            if moment % 2:
                os.killpg(builder.pid, signal.SIGKILL)
            else:
                builder.kill()
            builder.wait()
    assert killed >= 4
    tree = build(RECIPES, cache, print)
    assert (tree.root / DEB).read_bytes() == (mirror[0].root / DEB).read_bytes()
    client = apt(tmp_path / "apt", f"file:{tree.root}/apt", SUITES[1], tree.key_armored)
    assert client.update().returncode == 0
    assert not (cache / "mirror.scratch").exists()
    deadline = time.monotonic() + 15
    while agents_of(processes):
        assert time.monotonic() < deadline, agents_of(processes)
        time.sleep(0.2)


def test_sources_are_checked(tmp_path: Path) -> None:
    """A file of the cache that changed is fetched again; a download with another hash than the pinned one is refused."""
    (wheel,) = [source for source in load("linda-lab-api").sources if isinstance(source, Wheel)]
    (tmp_path / "scratch").mkdir()
    lines: list[str] = []
    directory = fetch(wheel, tmp_path / "sources", tmp_path / "scratch", lines.append)
    (file,) = directory.iterdir()
    file.write_bytes(b"torn")
    assert fetch(wheel, tmp_path / "sources", tmp_path / "scratch", lines.append) == directory
    assert hashlib.sha256(file.read_bytes()).hexdigest() == wheel.key
    assert len(lines) == 2
    forged = Wheel(wheel.project, wheel.version, "0" * 64)
    with pytest.raises(MirrorError, match="fetch setuptools"):
        fetch(forged, tmp_path / "sources", tmp_path / "scratch", lines.append)


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
def test_wheelhouse_installs_offline(served: str, tmp_path: Path, version: str) -> None:
    url = f"{served}/wheelhouse/linda-lab-api/{version}/"
    options = ["--quiet", "--no-index", "--find-links", url, "--require-hashes", "--no-deps", "--only-binary=:all:"]
    target = ["--target", str(tmp_path / "site"), "--implementation=cp", "--python-version=3.13", "--platform=manylinux_2_28_x86_64"]
    argv = [sys.executable, "-m", "pip", "install", *options, *target, "--requirement", f"{url}requirements.txt"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / f"linda_lab_api-{version}.dist-info").is_dir()
    assert (tmp_path / "site" / "linda_lab_api" / "__main__.py").is_file()


def test_wheelhouse_is_complete(mirror: tuple[MirrorTree, Path]) -> None:
    """On Python 3.13 no wheel asks for a project that is not there: pip itself cannot tell this from another Python."""
    directory = mirror[0].root / "wheelhouse" / "linda-lab-api" / "1.1.0"
    wheels = sorted(directory.glob("*.whl"))
    have = {parse_wheel_filename(path.name)[0]: parse_wheel_filename(path.name)[1] for path in wheels}
    target = {"python_version": "3.13", "python_full_version": "3.13.5", "extra": ""}
    for path in wheels:
        with zipfile.ZipFile(path) as archive:
            (member,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA") and name.count("/") == 1]
            shown = archive.read(member)
        for requirement in Metadata.from_email(shown, validate=False).requires_dist or []:
            if requirement.marker is None or requirement.marker.evaluate(target):
                version = have.get(canonicalize_name(requirement.name))
                assert version is not None, f"{path.name} needs {requirement}"
                assert requirement.specifier.contains(version, prereleases=True), f"{path.name} needs {requirement}"


def test_recipes_share_a_suite(tmp_path: Path) -> None:
    """Two versions of one package, as an upgrade drill needs them: a recipe is a directory, and nothing else has to know it."""
    for version in ("1.0", "2.0"):
        directory = tmp_path / "recipes" / f"example-{version}"
        (directory / "files" / "usr" / "share").mkdir(parents=True)
        (directory / "files" / "usr" / "share" / "example").write_text(version)
        control = "Package: example, Architecture: all, Maintainer: x <x@linda.test>, Description: x"
        (directory / "recipe.yml").write_text(
            f'---\nversion: "{version}"\ndate: 2026-01-01\nbuilder: deb\n'
            f"apt: {{suites: [trixie/example], origin: example}}\npackage: {{control: {{{control}}}}}\n"
        )
    tree = build(["example-1.0", "example-2.0"], tmp_path / "cache", print, root=tmp_path / "recipes")
    client = apt(tmp_path / "apt", f"file:{tree.root}/apt", "trixie/example", tree.key_armored)
    assert client.update().returncode == 0
    assert client.versions("example") == ["2.0", "1.0"]
    one = build(["example-1.0"], tmp_path / "cache", print, root=tmp_path / "recipes")
    assert one.root != tree.root
    assert not list(one.root.rglob("example_2.0*"))


def test_missing_tools_are_named(mirror: tuple[MirrorTree, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MirrorError, match="'objdump' is not installed"):
        build(["mongodb-6.0.5"], seeded(tmp_path / "cache"), print)
