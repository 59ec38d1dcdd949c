"""The two ways to get the collections agree, and what galaxy.yml asks for is what the tests ran with."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from ansible.galaxy.dependency_resolution.versioning import meets_requirements

ROOT = Path(__file__).resolve().parents[2]
GALAXY = yaml.safe_load((ROOT / "galaxy.yml").read_text())
REQUIREMENTS = {row["name"]: row["version"] for row in yaml.safe_load((ROOT / "requirements.yml").read_text())["collections"]}
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", re.MULTILINE)


def installed(collection: str) -> str:
    """The version of a collection of the `ansible` package in this environment."""
    import ansible_collections

    for path in ansible_collections.__path__:
        manifest = Path(path, *collection.split("."), "MANIFEST.json")
        if manifest.is_file():
            return str(yaml.safe_load(manifest.read_text())["collection_info"]["version"])
    raise AssertionError(f"{collection} is not installed; it is in requirements.yml")


@pytest.mark.parametrize("collection", sorted(REQUIREMENTS))
def test_galaxy_requirement_is_what_the_ansible_package_brings(collection: str) -> None:
    assert REQUIREMENTS[collection] == installed(collection)


def test_dependencies_of_the_collection_are_all_pinned() -> None:
    assert set(GALAXY["dependencies"]) == set(REQUIREMENTS)
    for name, wanted in GALAXY["dependencies"].items():
        assert meets_requirements(REQUIREMENTS[name], wanted)


def test_controller_is_the_one_that_meta_runtime_names() -> None:
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())
    assert meets_requirements(version("ansible-core"), runtime["requires_ansible"])
    assert version("ansible-core").startswith("2.19.")


@pytest.mark.parametrize("lock", [path for path in LOCKS if path.name != "debian-test.txt"], ids=lambda path: path.name)
def test_locks_pin_by_version_and_hash_and_name_no_address(lock: Path) -> None:
    text = lock.read_text()
    pins = PIN.findall(text)
    assert pins, f"{lock} pins nothing"
    assert text.count("--hash=sha256:") >= len(pins)
    assert "://" not in text
    assert "--index-url" not in text
