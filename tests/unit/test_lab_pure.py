"""Addresses, inventory and the other texts about a lab; lock and state files."""

import ipaddress
import multiprocessing
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lab import addresses, images, inventory, state
from lab.addresses import Taken
from lab.errors import LabError
from lab.fleet import Fleet, Host, Image
from lab.machines import make_key
from lab.runner import Runner
from lab.state import alone, together

BLOCK = ipaddress.IPv4Network("198.18.10.0/24")
HOSTS = {
    "edge1": Host("edge1", 11, "debian13", ("edge",), ("api",)),
    "mongo1": Host("mongo1", 31, "debian12", ("mongodb",)),
}
FLEET = Fleet("linda.test", {}, HOSTS, ("edge", "mongodb", "api"), {})
blocks = st.integers(0, 511).map(lambda number: list(addresses.RANGE.subnets(new_prefix=24))[number])


def test_the_default_lab_has_its_fixed_block() -> None:
    assert addresses.choose_block("linda", []) == BLOCK


@given(st.lists(blocks, max_size=30))
def test_another_lab_gets_a_block_that_nobody_has(used: list[ipaddress.IPv4Network]) -> None:
    chosen = addresses.choose_block("other", [Taken(block, "x") for block in used])
    assert chosen not in used
    assert chosen.subnet_of(addresses.RANGE)
    assert chosen != BLOCK


def test_no_block_is_left_when_all_is_taken() -> None:
    with pytest.raises(LabError, match="is taken"):
        addresses.choose_block("other", [Taken(addresses.RANGE, "a tunnel")])


@pytest.mark.parametrize("text", ["198.18.10.0/23", "198.18.10.5/24", "10.0.0.0/24", "198.20.0.0/24", "words", "198.18.10.0"])
def test_a_block_that_is_no_24_of_the_test_range_is_refused(text: str) -> None:
    with pytest.raises(LabError, match="block"):
        addresses.parse_block(text)


def test_routes_of_others_are_seen_and_own_ones_are_not() -> None:
    routes: list[dict[str, object]] = [
        {"dst": "default", "dev": "eth0"},
        {"dst": "0.0.0.0/0", "dev": "tun1"},
        {"dst": "198.18.10.0/24", "dev": "podman1"},
        {"dst": "198.18.10.1", "dev": "podman1", "type": "local"},
        {"dst": "198.18.0.0/16", "dev": "tun0"},
        {"type": "unreachable", "dst": "198.19.1.0/24"},
    ]
    taken = addresses.taken_by_routes(routes, frozenset({"podman1"}))
    assert [str(item.network) for item in taken] == ["198.18.0.0/16", "198.19.1.0/24"]
    with pytest.raises(LabError, match=r"198\.18\.10\.0/24 of the lab linda are taken: 198\.18\.0\.0/16 belongs to a route .*tun0"):
        addresses.refuse_taken("linda", BLOCK, taken)
    addresses.refuse_taken("linda", ipaddress.IPv4Network("198.19.2.0/24"), taken)


def test_networks_of_another_podman_are_seen() -> None:
    kept = [{"name": "web", "subnets": [{"subnet": "198.18.10.0/26"}, {"subnet": "fd00::/64"}]}, {"name": "none"}]
    taken = addresses.taken_by_networks(kept, "podman's network")
    with pytest.raises(LabError, match=r"198\.18\.10\.0/26 belongs to podman's network web"):
        addresses.refuse_taken("linda", BLOCK, taken)


def test_the_inventory_pins_host_keys_and_lists_every_group() -> None:
    text = inventory.hosts_yml(FLEET, [HOSTS["edge1"]], BLOCK, Path("/s/key"), Path("/s/known"))
    data = yaml.safe_load(text)["all"]
    assert list(data["hosts"]) == ["edge1"]
    host = data["hosts"]["edge1"]
    assert (host["ansible_host"], host["fleet_address"], host["ansible_user"]) == ("198.18.10.11", "198.18.10.11", "ansible")
    assert host["ansible_python_interpreter"] == "/usr/bin/python3"
    assert "StrictHostKeyChecking=yes" in host["ansible_ssh_common_args"]
    assert "UserKnownHostsFile=/s/known" in host["ansible_ssh_common_args"]
    assert data["children"] == {"edge": {"hosts": {"edge1": {}}}, "mongodb": {"hosts": {}}, "api": {"hosts": {}}}
    assert "vars" not in data, "variables of all would be variables of localhost"


def test_generated_variables_survive_a_key_of_many_lines() -> None:
    key = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc=\n-----END PGP PUBLIC KEY BLOCK-----\n"
    data = yaml.safe_load(inventory.generated_yml("linda", "linda.test", BLOCK, Path("/s/ca"), key, "AB" * 20, ["edge"]))
    assert data["fleet_required_groups"] == ["edge"]
    assert data["mongodb_repository_key"] == key
    assert data["lab_mirror_url"] == "http://198.18.10.2"
    assert data["fleet_admin_networks"] == ["198.18.10.1/32"]


def test_the_hosts_file_names_every_machine_once() -> None:
    lines = inventory.hosts_file(FLEET, BLOCK).splitlines()
    assert "198.18.10.11 edge1.linda.test api.linda.test edge1 api" in lines
    assert "198.18.10.2 mirror.linda.test mirror" in lines
    names = [name for line in lines for name in line.split()[1:] if name != "localhost"]
    assert len(names) == len(set(names))


def test_known_hosts_hold_address_and_names() -> None:
    text = inventory.known_hosts([HOSTS["mongo1"]], "linda.test", BLOCK, {"mongo1": "ssh-ed25519 AAAA"})
    assert text == "198.18.10.31,mongo1,mongo1.linda.test ssh-ed25519 AAAA\n"


def test_apt_sources_name_the_mirror_only() -> None:
    text = inventory.debian_sources("trixie", BLOCK, security=True)
    uris = [line.split()[1] for line in text.splitlines() if line.startswith("URIs")]
    assert uris == ["http://198.18.10.2/debian", "http://198.18.10.2/debian-security"]
    assert "security" not in inventory.debian_sources("trixie", BLOCK, security=False)


def test_the_digest_of_an_image_follows_its_recipe() -> None:
    image = Image("debian13", "trixie", ("a", "b"))
    first = images.digest(image, b"script")
    assert first == images.digest(Image("other", "trixie", ("b", "a")), b"script"), "neither name nor order is part of what comes out"
    assert len({first, images.digest(image, b"other"), images.digest(Image("debian13", "bookworm", ("a", "b")), b"script")}) == 3


@pytest.mark.parametrize("name", ["Linda", "a b", "../x", "", "9lives", "a" * 30, "-a"])
def test_names_of_labs_that_would_not_do_as_names_of_files_or_networks_are_refused(name: str) -> None:
    with pytest.raises(LabError, match="cannot be the name of a lab"):
        state.State(name)


def test_files_are_written_with_their_mode_and_only_when_they_change(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "secret"
    assert state.write(path, "a")
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.stat().st_mtime_ns
    assert not state.write(path, "a")
    assert path.stat().st_mtime_ns == before
    assert state.write(path, "b", 0o644)
    assert (path.read_text(encoding="utf-8"), path.stat().st_mode & 0o777) == ("b", 0o644)
    assert [item.name for item in path.parent.iterdir()] == ["secret"]


def test_an_interrupted_key_is_made_anew_and_a_whole_one_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "key"
    runner = Runner()
    first = make_key(runner, path, "c")
    assert make_key(runner, path, "c") == first
    Path(f"{path}.pub").unlink()
    assert make_key(runner, path, "c") != first
    assert path.stat().st_mode & 0o777 == 0o600


def _hold(path: Path, held: "multiprocessing.synchronize.Event") -> None:
    with state.only_one(path, "busy"):
        held.set()
        time.sleep(30)


def test_a_second_command_is_refused_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=_hold, args=(tmp_path / "lock", held))
    process.start()
    try:
        assert held.wait(20)
        with pytest.raises(LabError, match="busy"), state.only_one(tmp_path / "lock", "busy"):
            pass
    finally:
        process.kill()
        process.join()
    with state.only_one(tmp_path / "lock", "busy"):
        pass


def test_the_namespace_goes_only_when_nobody_is_at_work_in_it(tmp_path: Path) -> None:
    lock = tmp_path / "locks" / "namespace"
    with together(lock), together(lock), alone(lock) as free:
        assert not free
    with alone(lock) as free:
        assert free
