"""The fleet of the end-to-end tests: a whole lab with a name and addresses of its own, gone at the end."""

from collections.abc import Iterator

import pytest

from tests.support.ansible import Lab
from tests.support.client import Edge


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the fleet up (test_site.py) before the tests that want it up."""
    items.sort(key=lambda item: item.path.name == "test_mongodb_rotation.py")


@pytest.fixture(scope="session")
def fleet() -> Iterator[Lab]:
    """All machines of lab/fleet.yml, bare at first. The tests of test_site.py bring them up, in the order of the file."""
    lab = Lab("e2e")
    lab.cli("down", "--purge", check=False)
    lab.cli("up")
    try:
        yield lab
    finally:
        lab.cli("down", "--purge")


@pytest.fixture(scope="session")
def edge(fleet: Lab) -> Edge:
    """A client of the fleet's edges."""
    return Edge.of(fleet)
