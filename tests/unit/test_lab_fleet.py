"""The fleet file: what it means, and what is refused before anything is touched."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import fleet
from lab.errors import LabError

IMAGES = {"debian13": {"suite": "trixie", "packages": ["systemd"]}, "mirror": {"suite": "trixie", "packages": ["nginx"], "machine": False}}
SMALL: dict[str, Any] = {
    "domain": "linda.test",
    "images": IMAGES,
    "groups": {"web": {"recipes": ["app"]}, "data": {}},
    "hosts": {
        "a": {"address": 11, "groups": ["web"], "aliases": ["www"]},
        "b": {"address": 12, "groups": ["web", "data"]},
        "c": {"address": 13},
    },
}


def test_the_default_fleet_is_what_the_design_says() -> None:
    found = fleet.load()
    assert list(found.hosts) == ["edge1", "edge2", "api1", "api2", "api3", "api4", "mongo1", "mongo2", "mongo3", "ops1"]
    suites = {host.name: found.images[host.image].suite for host in found.select(["mongodb"])}
    assert suites == dict.fromkeys(["mongo1", "mongo2", "mongo3"], "bookworm")
    assert {found.images[host.image].suite for host in found.select(["edge", "api", "monitoring"])} == {"trixie"}
    assert found.recipes_for(found.select(["edge"])) == ()
    assert found.recipes_for(found.select([])) == ("linda-lab-api", "mongodb-6.0.5")


def test_another_fleet_file_takes_images_and_groups_from_the_default_one(tmp_path: Path) -> None:
    own = tmp_path / "fleet.yml"
    own.write_text("---\nhosts: {solo: {address: 11, groups: [mongodb], image: debian12}}\n", encoding="utf-8")
    found = fleet.load(own)
    assert found.images == fleet.load().images
    assert found.recipes_for(found.select([])) == ("mongodb-6.0.5",)


def test_adding_a_host_is_one_line(tmp_path: Path) -> None:
    text = fleet.DEFAULT_FILE.read_text(encoding="utf-8")
    own = tmp_path / "fleet.yml"
    own.write_text(text + "  api5: {address: 25, groups: [api]}\n", encoding="utf-8")
    assert [host.name for host in fleet.load(own).select(["api"])] == ["api1", "api2", "api3", "api4", "api5"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [([], "abc"), (["a"], "a"), (["web"], "ab"), (["data", "c"], "bc"), (["c", "web", "a"], "abc")],
)
def test_hosts_and_groups_are_chosen_by_name(wanted: list[str], expected: str) -> None:
    assert "".join(host.name for host in fleet.parse(SMALL, "f").select(wanted)) == expected


def test_an_unknown_name_is_refused_with_the_closest_one() -> None:
    with pytest.raises(LabError, match=r"no host or group 'wep'.*did you mean web\?"):
        fleet.parse(SMALL, "f").select(["wep"])


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("hosts", {}, "hosts is empty"),
        ("hosts", None, "hosts is missing"),
        ("hosts", ["a"], r"hosts = \['a'\] is not a mapping"),
        ("hosts.a.address", 12, r"hosts\.b\.address = 12 is the address of a too"),
        ("hosts.a.address", 2, r"hosts\.a\.address = 2 is not a host's number"),
        ("hosts.a.address", 255, "= 255 is not a host's number"),
        ("hosts.a.address", "11", "= '11' is not a host's number"),
        ("hosts.a.address", True, "= True is not a host's number"),
        ("hosts.a.address", None, "= None is not a host's number"),
        ("hosts.a.adress", 11, r"hosts\.a has the unknown key 'adress' \(did you mean address\?\)"),
        ("hosts.a.image", "debian31", r"= 'debian31' is not an image of this fleet \(did you mean debian13\?\)"),
        ("hosts.a.image", "mirror", "has no systemd and no sshd"),
        ("hosts.a.groups", "web", r"hosts\.a\.groups = 'web' is not a list"),
        ("hosts.a.groups", ["web", "web"], "names 'web' twice"),
        ("hosts.a.groups", ["We b"], r"hosts\.a\.groups\[0\] = 'We b' is not a group's name"),
        ("hosts.a.groups", ["b"], "groups: b is the name of a host too"),
        ("hosts.a.aliases", ["c"], "has the name c, which is a name of"),
        ("hosts.a", 11, r"hosts\.a = 11 is not a mapping"),
        ("hosts.Edge_1", {"address": 21}, r"hosts\.Edge_1 = 'Edge_1' is not a host's name"),
        ("hosts.mirror", {"address": 21}, "the name stands for the package mirror"),
        ("domain", "linda", "domain = 'linda' is not a domain name"),
        ("domain", None, "domain is missing"),
        ("images", None, "images is missing"),
        ("images.debian13.suite", "trixie; rm", r"images\.debian13\.suite = 'trixie; rm' is not a Debian suite"),
        ("images.debian13.packages", ["-o"], r"images\.debian13\.packages\[0\] = '-o' is not a Debian package's name"),
        ("images.debian13.machine", "yes", "= 'yes' is not true or false"),
        ("groups.web.recipes", "app", r"groups\.web\.recipes = 'app' is not a list"),
        ("colour", "red", "the file has the unknown key 'colour'"),
    ],
)
def test_what_is_wrong_is_named_with_its_place_value_and_remedy(path: str, value: object, message: str) -> None:
    data = copy.deepcopy(SMALL)
    *way, last = path.split(".")
    place = data
    for step in way:
        place = place[step]
    place[last] = value
    with pytest.raises(LabError, match=message) as caught:
        fleet.parse(data, "fleet.yml")
    assert str(caught.value).startswith("fleet.yml: ")
    assert caught.value.remedy


def test_a_file_that_is_no_yaml_or_is_not_there_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "fleet.yml"
    broken.write_text("hosts: [", encoding="utf-8")
    with pytest.raises(LabError, match="is not YAML"):
        fleet.load(broken)
    with pytest.raises(LabError, match="cannot be read"):
        fleet.load(tmp_path / "none.yml")


def test_the_refusals_above_start_from_a_good_file() -> None:
    assert list(fleet.parse(yaml.safe_load(yaml.safe_dump(SMALL)), "f").hosts) == ["a", "b", "c"]
