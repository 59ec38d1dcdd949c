"""A change that locks the operator out heals itself: packet filter, sshd, a controller that dies, a host that starts anew."""

from __future__ import annotations

import contextlib
import json
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from lab.console import Console
from lab.lifecycle import Lab as Machines
from lab.machines import container_name
from tests.support.ansible import ROOT, Lab, Run, kill_with_workers

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

HERE = Path(__file__).parent / "confirm"
HOSTS = {"filter": ("filter1", "filter2"), "sshd": ("sshd1", "sshd2")}
FILES = {"filter": "/etc/drill/filter.nft", "sshd": "/etc/ssh/sshd_config.d/50-drill.conf"}
WINDOW, LONG_WINDOW = 12, 300
# The word for "back": seconds after the change.
BACK = 30
FILTER = """\
table inet drill
delete table inet drill
table inet drill {{
  chain input {{
    type filter hook input priority filter
    policy accept
    {rule}
  }}
}}
"""
OPEN = FILTER.format(rule="tcp dport 9 drop")
# The second cuts the connection, too, over which it comes.
SHUT, CUT = FILTER.format(rule="tcp dport 22 ct state new drop"), FILTER.format(rule="tcp dport 22 drop")
POLITE, RUDE = "LoginGraceTime 60\n", "AllowGroups nogroup\n"
GOOD = {"filter": OPEN, "sshd": POLITE}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The machines with a good packet filter and a good sshd, each confirmed."""
    lab = Lab("confirm")
    lab.cli("down", "--purge", check=False)
    lab.cli("up", "--fleet", str(HERE / "fleet.yml"))
    try:
        run = lab.run(HERE / "prepare.yml")
        assert run.returncode == 0, run.output
        for kind, content in GOOD.items():
            run = change(lab, kind, content)
            assert run.returncode == 0, run.output
            assert run.changed == dict.fromkeys(HOSTS[kind], 1)
        yield lab
    finally:
        lab.cli("down", "--purge")


def variables(content: str, **more: object) -> str:
    return f"--extra-vars={json.dumps({'content': content, 'window': WINDOW, **more})}"


def change(lab: Lab, kind: str, content: str, *arguments: str, **more: object) -> Run:
    return lab.run(HERE / "change.yml", f"--tags={kind}", variables(content, **more), *arguments)


@contextlib.contextmanager
def dying(lab: Lab, kind: str, content: str, **more: object) -> Iterator[float]:
    """A controller that gets a change into force and dies while it tries to reach the hosts again; yields the moment of the change."""
    argv = lab.command(HERE / "change.yml", f"--tags={kind}", variables(content, **more))
    process = subprocess.Popen(argv, cwd=ROOT, env=lab.environment(ROOT), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while not all(file_of(lab, kind, host) == content for host in HOSTS[kind]):
            assert time.monotonic() < end, "the hosts never got the change"
        changed = time.monotonic()
        time.sleep(2)  # by then it is at its attempts, of which nobody on the host can know
        assert process.poll() is None, "it ended before it could be killed"
    finally:
        kill_with_workers(process.pid)
        process.wait()
    yield changed


def file_of(lab: Lab, kind: str, host: str) -> str:
    return lab.execute(host, "cat", FILES[kind])


def lets_in(lab: Lab, host: str) -> bool:
    """Whether an operator gets in who comes now."""
    return lab.cli("ssh", host, "-o", "ConnectTimeout=3", "true", check=False).returncode == 0


def wait_for_login(lab: Lab, host: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not lets_in(lab, host):
        assert time.monotonic() < end, f"{host} does not let its operator in"


def leftovers(lab: Lab, host: str) -> str:
    """Units, timers and marks of the undoing."""
    places = "/etc/systemd/system /run/systemd/system /run/linda-ops /var/lib/linda-ops"
    looks = f"find {places} -name 'linda-ops-undo*' -o -name undo -o -path '/run/linda-ops/config_tree/*' 2>/dev/null"
    return lab.execute(host, "sh", "-c", f"{looks}; systemctl list-units --all --plain --no-legend 'linda-ops-undo*'", check=False)


def the_old_state_is_back(lab: Lab, kind: str) -> None:
    for host in HOSTS[kind]:
        assert file_of(lab, kind, host) == GOOD[kind]
        assert lets_in(lab, host)
        assert leftovers(lab, host) == ""
        if kind == "filter":
            assert "dport 9 drop" in lab.execute(host, "nft", "list", "table", "inet", "drill")


def the_next_run_says(lab: Lab, kind: str, what: str) -> None:
    """Once, and without another change."""
    following = change(lab, kind, GOOD[kind])
    assert (following.returncode, following.changed) == (0, {}), following.output
    assert what in following.output
    assert what not in change(lab, kind, GOOD[kind]).output


def test_a_good_change_is_confirmed_and_leaves_nothing(lab: Lab) -> None:
    again = change(lab, "filter", OPEN)
    assert (again.returncode, again.changed) == (0, {}), again.output
    assert set(again.module_runs.values()) == {1}, "one remote run when nothing changes"
    # Files are sent instead of a pipe, which takes other ways through the connection.
    run = lab.run(HERE / "change.yml", "--tags=filter", variables(f"{OPEN}# sent\n"), environment={"ANSIBLE_PIPELINING": "False"})
    assert run.returncode == 0, run.output
    run = change(lab, "filter", OPEN)
    assert run.returncode == 0, run.output
    assert set(run.module_runs.values()) == {2}, "the change, and the word of the fresh connection"
    assert {host: leftovers(lab, host) for host in HOSTS["filter"]} == dict.fromkeys(HOSTS["filter"], "")


def test_a_change_that_shuts_the_operator_out_is_undone(lab: Lab) -> None:
    def shut(kind: str, bad: str) -> None:
        started = time.monotonic()
        run = change(lab, kind, bad)
        assert time.monotonic() - started < WINDOW + BACK
        assert run.returncode == 2, run.output
        assert f"could not be confirmed within {WINDOW} s" in run.output, run.output
        assert f"The host undid the change of drill_{kind}" in run.output, run.output
        the_old_state_is_back(lab, kind)
        the_next_run_says(lab, kind, "The host undid the change")

    with ThreadPoolExecutor() as pool:
        list(pool.map(shut, ["filter", "sshd"], [SHUT, RUDE]))


def test_neither_a_dead_controller_nor_a_start_takes_the_host_with_it(lab: Lab) -> None:
    """The controller dies on both; two hosts have to see it for themselves, the other two are started anew in a window of minutes."""

    def controller() -> None:
        with dying(lab, "filter", CUT) as changed:
            pass
        for host in HOSTS["filter"]:
            wait_for_login(lab, host, changed + BACK - time.monotonic())
        the_old_state_is_back(lab, "filter")
        the_next_run_says(lab, "filter", "were over")

    def start() -> None:
        with dying(lab, "sshd", RUDE, window=LONG_WINDOW):
            pass
        for host in HOSTS["sshd"]:
            assert not lets_in(lab, host)
            lab.execute(host, "systemctl", "poweroff", check=False)
        lab.cli("up", "--fleet", str(HERE / "fleet.yml"))
        for host in HOSTS["sshd"]:
            wait_for_login(lab, host, BACK)
        the_old_state_is_back(lab, "sshd")
        the_next_run_says(lab, "sshd", "the host was started anew")

    with ThreadPoolExecutor() as pool:
        for one in [pool.submit(controller), pool.submit(start)]:
            one.result()


def test_the_port_moves_with_the_change(lab: Lab) -> None:
    both = f"{POLITE}Port 22\nPort 2222\n"
    wrong = change(lab, "sshd", both, port=2223)
    assert wrong.returncode == 2, "nobody listens there"
    the_old_state_is_back(lab, "sshd")
    right = change(lab, "sshd", both, port=2222)
    assert right.returncode == 0, right.output
    moved = change(lab, "sshd", f"{POLITE}Port 2222\n", "--extra-vars=ansible_port=2222", port=2222)
    assert moved.returncode == 0, moved.output
    for host in HOSTS["sshd"]:
        address = yaml.safe_load((lab.inventory / "hosts.yml").read_text())["all"]["hosts"][host]["ansible_host"]
        with pytest.raises(ConnectionRefusedError), socket.create_connection((address, 22), timeout=5):
            pass
    back = change(lab, "sshd", POLITE, "--extra-vars=ansible_port=2222", port=22)
    assert back.returncode == 0, back.output


def test_the_next_run_takes_over_from_a_dead_one(lab: Lab) -> None:
    """It comes within the window, finishes the very same change, and has it confirmed."""
    wanted = f"{OPEN}# taken over\n"
    with dying(lab, "filter", wanted, window=LONG_WINDOW, port=9):
        second = change(lab, "filter", wanted)
    assert second.returncode == 0, second.output
    for host in HOSTS["filter"]:
        assert file_of(lab, "filter", host) == wanted
        assert leftovers(lab, host) == ""
    assert change(lab, "filter", OPEN).returncode == 0


def test_over_a_connection_that_is_not_ssh(lab: Lab, tmp_path: Path) -> None:
    machines = Machines("confirm", Console())
    podman = tmp_path / "podman"
    podman.write_text(f'#!/bin/sh\nexec {shlex.join(machines.runner.argv(machines.podman.argv(), root=True))} "$@"\n')
    podman.chmod(0o700)
    inside = {"ansible_connection": "containers.podman.podman", "ansible_podman_executable": str(podman), "ansible_user": "root"}
    hosts = {host: {**inside, "ansible_host": container_name(machines.state, host)} for host in HOSTS["filter"]}
    (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts}}))
    run = change(lab, "filter", f"{OPEN}# another way in\n", f"--inventory={tmp_path / 'hosts.yml'}")
    assert run.returncode == 0, run.output
    assert run.changed == dict.fromkeys(HOSTS["filter"], 1)
    for host in HOSTS["filter"]:
        assert leftovers(lab, host) == ""
