"""python_release with a real interpreter, a real pip and a wheelhouse served on loopback."""

from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.linda.ops.plugins.module_utils._python_release import ReleaseError, Wanted, build, fetch_requirements, find

ROOT = Path(__file__).resolve().parents[2]


def make_wheel(directory: Path, version: str, calls_itself: str | None = None, needs: str = "") -> str:
    """Write a wheel of shop-api with one module and one command; return its line of requirements.txt."""
    inside = calls_itself or version
    info = f"shop_api-{inside}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: shop-api\nVersion: {inside}\n" + (f"Requires-Dist: {needs}\n" if needs else "")
    files = {
        "shop_api.py": "def main():\n    print('shop')\n",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nshop-api = shop_api:main\n",
    }
    record = ""
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(text)}\n"
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    directory.mkdir(parents=True, exist_ok=True)
    wheel = directory / f"shop_api-{inside}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    line = f"shop-api=={version} \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"
    (directory / "requirements.txt").write_text(f"# pinned\n{line}")
    return line


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing on stderr."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A directory and the URL it is served at; it holds version 1.0.0."""
    directory = tmp_path / "wheelhouse"
    make_wheel(directory / "1.0.0", "1.0.0")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(directory)))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield directory, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def wanted(tmp_path: Path, served: tuple[Path, str]) -> Wanted:
    """Version 1.0.0 of that wheelhouse."""
    path = tmp_path / "releases" / "1.0.0"
    return Wanted(path=path, package="Shop.API", version="1.0.0", wheelhouse_url=served[1], command="shop-api", python=sys.executable)


def run(argv: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
    """Run for real."""
    done = subprocess.run(list(argv), capture_output=True, text=True, env=os.environ | dict(environment), cwd="/", check=False)
    return done.returncode, done.stdout + done.stderr


def broken(wanted: Wanted) -> str:
    """Fetch and build, and return why that is refused; afterwards there is no release."""
    with pytest.raises(ReleaseError) as refused:
        build(wanted, fetch_requirements(wanted), run)
    assert find(wanted) is None
    return str(refused.value)


def test_a_release_runs_and_stays(wanted: Wanted, served: tuple[Path, str]) -> None:
    assert find(wanted) is None
    record = build(wanted, fetch_requirements(wanted), run)
    assert (record.version, record.python) == ("1.0.0", f"{sys.version_info[0]}.{sys.version_info[1]}")
    assert run([str(wanted.path / "venv/bin/shop-api")], {}) == (0, "shop\n")
    assert sorted(os.listdir(wanted.path)) == ["release.json", "requirements.txt", "venv"]
    (served[0] / "1.0.0" / "requirements.txt").unlink()
    assert find(wanted) == record
    with pytest.raises(ReleaseError, match=r"holds Shop.API 1.0.0, not Shop.API 1.1.0"):
        find(replace(wanted, version="1.1.0"))
    with pytest.raises(ReleaseError, match="give what has changed a new version"):
        find(replace(wanted, requirements_sha256="0" * 64))


def test_a_wheel_that_was_exchanged_is_refused(wanted: Wanted, served: tuple[Path, str]) -> None:
    wheel = next((served[0] / "1.0.0").glob("*.whl"))
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("more.py", "print('gotcha')\n")
    assert "DO NOT MATCH THE HASHES" in broken(wanted)
    make_wheel(served[0] / "1.0.0", "1.0.0")
    assert build(wanted, fetch_requirements(wanted), run).version == "1.0.0"


def test_a_wheel_that_is_not_there_is_refused(wanted: Wanted, served: tuple[Path, str]) -> None:
    next((served[0] / "1.0.0").glob("*.whl")).unlink()
    assert "pip refuses: ERROR: Could not find a version" in broken(wanted)


def test_missing_requirement_is_refused(wanted: Wanted, served: tuple[Path, str]) -> None:
    make_wheel(served[0] / "1.0.0", "1.0.0", needs="absent-package>=1")
    assert "pip refuses" in broken(wanted)


def test_missing_command_is_refused(wanted: Wanted) -> None:
    assert broken(replace(wanted, command="shop-worker")) == "Shop.API 1.0.0 installs no command shop-worker."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "9.9.9"}, "the wheelhouse has no Shop.API 9.9.9"),
        ({"wheelhouse_url": "http://127.0.0.1:9"}, "cannot be fetched: "),
        ({"requirements_sha256": "0" * 64}, "wanted is 000000"),
        ({"package": "other"}, "does not pin other==1.0.0"),
    ],
)
def test_what_the_wheelhouse_lacks_changes_nothing(wanted: Wanted, change: dict[str, str], message: str) -> None:
    with pytest.raises(ReleaseError, match=message):
        fetch_requirements(replace(wanted, **change))  # type: ignore[arg-type]  # mypy cannot see which field gets which text
    assert not wanted.path.exists()


@pytest.mark.parametrize("text", ["shop-api==1.0.0\n", "shop-api>=1.0.0 --hash=sha256:0\n", "--index-url http://evil.example\n", "-e .\n"])
def test_requirements_without_pin_or_hash_are_refused(wanted: Wanted, served: tuple[Path, str], text: str) -> None:
    (served[0] / "1.0.0" / "requirements.txt").write_text(text)
    with pytest.raises(ReleaseError, match="must pin every package"):
        fetch_requirements(wanted)


def test_other_content_is_left_alone(wanted: Wanted) -> None:
    wanted.path.mkdir(parents=True)
    (wanted.path / "precious").write_text("data")
    with pytest.raises(ReleaseError, match="holds precious but no release"):
        find(wanted)
    (wanted.path / "precious").unlink()
    (wanted.path / "release.json").write_text("{}")
    with pytest.raises(ReleaseError, match="cannot be read"):
        find(wanted)


BUILD = """
import subprocess, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from ansible_collections.linda.ops.plugins.module_utils._python_release import Wanted, build, fetch_requirements
path, url = Path(sys.argv[2]), sys.argv[3]
wanted = Wanted(path=path, package="shop-api", version="1.0.0", wheelhouse_url=url, command="shop-api", python=sys.executable)
def run(argv, environment):
    done = subprocess.run(argv, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr
print("ready", flush=True)
build(wanted, fetch_requirements(wanted), run)
"""


def start(wanted: Wanted) -> subprocess.Popen[str]:
    """Begin a build in a process group of its own."""
    arguments = [sys.executable, "-c", BUILD, str(ROOT / ".collections"), str(wanted.path), wanted.wheelhouse_url]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("delay", [0.05, 0.4, 1.5, 2.5])
def test_a_build_that_was_killed_is_no_release(wanted: Wanted, delay: float) -> None:
    process = start(wanted)
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    record = find(wanted) or build(wanted, fetch_requirements(wanted), run)
    assert run([str(wanted.path / "venv/bin/shop-api")], {}) == (0, "shop\n")
    assert json.loads((wanted.path / "release.json").read_text())["version"] == record.version == "1.0.0"


def test_two_builds_at_once(wanted: Wanted) -> None:
    process = start(wanted)
    try:
        while not (wanted.path / "venv").exists():
            time.sleep(0.01)
        with pytest.raises(ReleaseError, match="another run is building"):
            build(wanted, fetch_requirements(wanted), run)
    finally:
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert find(wanted) is not None
