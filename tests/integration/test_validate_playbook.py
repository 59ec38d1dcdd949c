"""playbooks/validate.yml through ansible-playbook: the verdict is the exit code, and the report is there whatever happens."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from checks_support import answer, free_port, serving

ROOT = Path(__file__).resolve().parents[2]
SECRET = "geheim-of-the-fleet"  # noqa: S105  # made up here
# Stands for the real one, which needs a whole fleet: publishes what the inventory says, at the start and without a connection.
DESCRIBE = """---
- name: Describe the fleet
  hosts: all
  gather_facts: false
  tags: [always]
  tasks:
    - name: describe | Publish what the inventory says
      ansible.builtin.set_fact:
        fleet_services: "{{ services }}"
      when: services is defined
"""


@dataclass
class Run:
    """What came of one run."""

    code: int
    output: str
    reports: Path

    @property
    def report(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.reports / "latest" / "report.json").read_text())
        return document

    def result(self, host: str, name: str) -> dict[str, Any]:
        (one,) = [entry for entry in self.report["results"] if (entry["host"], entry["name"]) == (host, name)]
        return dict(one)


@dataclass
class Fleet:
    """An inventory of hosts that are all this machine, and the playbook under test."""

    directory: Path

    def run(self, hosts: Mapping[str, Mapping[str, Any]], *arguments: str, playbook: str = "validate.yml") -> Run:
        playbooks = self.directory / "playbooks"
        playbooks.mkdir(exist_ok=True)
        shutil.copy(ROOT / "playbooks" / "validate.yml", playbooks)
        (playbooks / "describe.yml").write_text(DESCRIBE)
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_become": False,
            "ansible_host": "127.0.0.1",
            "fleet_name": "testfleet",
            "fleet_environment": "test",
        }
        (self.directory / "ansible.cfg").write_text("[defaults]\ninject_facts_as_vars = false\n")
        (self.directory / "hosts.json").write_text(json.dumps({"all": {"vars": variables, "hosts": dict(hosts)}}))
        done = subprocess.run(
            [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "hosts.json", f"playbooks/{playbook}", *arguments],
            cwd=self.directory,
            env={
                **os.environ,
                "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
                "ANSIBLE_STDOUT_CALLBACK": "default",
                "ANSIBLE_CONFIG": str(self.directory / "ansible.cfg"),
                "ANSIBLE_HOME": str(self.directory / "home"),
                "ANSIBLE_NOCOLOR": "1",
                "COLUMNS": "400",
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Run(done.returncode, done.stdout + done.stderr, self.directory / "reports")


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


def service(*checks: Mapping[str, Any], role: str = "web") -> dict[str, Any]:
    return {"services": {role: {"checks": [{"retries": 0, "timeout": 2, **check} for check in checks]}}}


HELLO = {"name": "hello", "type": "argv", "argv": ["echo", "hello"]}


def test_good_fleet(fleet: Fleet) -> None:
    with serving(lambda _connection: None) as port:
        done = fleet.run({"one": service({"name": "port", "type": "tcp", "port": port}, HELLO), "two": service(HELLO), "bare": {}})
    assert done.code == 0, done.output
    latest = done.reports / "latest"
    assert latest.is_symlink()
    assert re.fullmatch(r"\d{8}T\d{6}Z", os.readlink(latest))
    assert sorted(path.name for path in latest.iterdir()) == ["junit.xml", "report.html", "report.json"]
    report = done.report
    assert (report["verdict"], report["fleet"], report["environment"]) == ("pass", "testfleet", "test")
    assert report["counts"] == {"pass": 3, "fail": 0, "skip": 0, "warning": 0}
    assert report["unchecked_hosts"] == ["bare"]
    assert report["who"].endswith("@" + socket.gethostname())
    assert [(entry["host"], entry["name"], entry["from"]) for entry in report["results"]] == [
        ("one", "port", "controller"),
        ("one", "hello", "self"),
        ("two", "hello", "self"),
    ]
    line = f"3 of 3 checks passed (3 hosts, {report['duration_s']:.1f} s). Report: {done.reports}/{os.readlink(latest)}/report.html"
    assert line in done.output
    assert "changed=0" in done.output
    assert "changed=1" not in done.output


def test_failing_checks_fail_the_run_after_all_ran(fleet: Fleet) -> None:
    bad = {"name": "bad", "type": "argv", "argv": ["sh", "-c", "echo seen-this; exit 7"]}
    shut = {"name": "shut", "type": "tcp", "port": free_port()}
    done = fleet.run({"one": service(bad, HELLO), "two": service(shut, HELLO)})
    assert done.code == 2, done.output
    assert done.report["counts"] == {"pass": 2, "fail": 2, "skip": 0, "warning": 0}
    assert done.result("one", "bad")["evidence"] == "seen-this"
    assert "2 of 4 checks failed" in done.output
    assert "one web/bad (argv): exit code 7, expected 0" in done.output
    assert "two web/shut (tcp): 127.0.0.1:" in done.output
    suites = ElementTree.parse(done.reports / "latest" / "junit.xml").getroot()  # noqa: S314  # our own file
    assert (suites.get("tests"), suites.get("failures")) == ("4", "2")
    page = (done.reports / "latest" / "report.html").read_text()
    assert "2 of 4 checks failed, on 2 hosts." in page


def test_host_that_cannot_be_asked_fails_its_own_checks_only(fleet: Fleet) -> None:
    far = {**service(HELLO), "ansible_connection": "ssh", "ansible_port": free_port(), "ansible_ssh_args": "-F none"}
    odd = {**service(HELLO), "ansible_python_interpreter": "/nonexistent/python3"}
    done = fleet.run({"one": service(HELLO), "far": far, "odd": odd})
    assert done.code == 2, done.output
    assert done.report["counts"] == {"pass": 1, "fail": 2, "skip": 0, "warning": 0}
    assert done.result("one", "hello")["status"] == "pass"
    assert "the host cannot be reached" in done.result("far", "hello")["reason"]
    assert "the checks could not be run there" in done.result("odd", "hello")["reason"]


def test_host_lost_before_the_validation_is_not_forgotten(fleet: Fleet) -> None:
    """In site.yml a host can fail in an earlier play. Its checks must not vanish from the report."""
    (fleet.directory / "playbooks").mkdir()
    (fleet.directory / "playbooks" / "site.yml").write_text("""---
- ansible.builtin.import_playbook: describe.yml
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.fail: {msg: lost}
      when: inventory_hostname is match('lost')
- ansible.builtin.import_playbook: validate.yml
""")
    with serving(lambda _connection: None) as port:
        web = service(HELLO, {"name": "port", "type": "tcp", "port": port})
        hosts = {"lost": web, "one": service(HELLO), "lost-and-bare": {}}
        done = fleet.run(hosts, playbook="site.yml")
    assert done.code == 2, done.output
    assert done.report["hosts"] == ["lost", "one", "lost-and-bare"]
    assert "was not run" in done.result("lost", "hello")["reason"]
    assert "left the run before" in done.result("lost", "present")["reason"]
    assert "left the run before" in done.result("lost-and-bare", "present")["reason"]
    assert done.result("lost", "port")["status"] == "pass"
    assert done.result("one", "hello")["status"] == "pass"


def test_misconfigured_check_is_refused_before_any_runs(fleet: Fleet) -> None:
    mark = fleet.directory / "mark"
    touch = {"name": "touch", "type": "argv", "argv": ["touch", str(mark)]}
    done = fleet.run({"one": service(touch), "two": service({"name": "odd", "type": "tcp", "prot": 443})})
    assert done.code == 2, done.output
    assert "host two, role web, checks[0] (odd): port is missing" in done.output
    assert "prot is not a known field here (did you mean port?)" in done.output
    assert not mark.exists()
    assert not done.reports.exists()


def test_secrets_are_named_not_shown(fleet: Fleet) -> None:
    """A password from the host's variables is used, here and on the host, and stands nowhere afterwards."""
    reply = answer(f"HTTP/1.1 403 No\r\nContent-Length: {len(SECRET) + 5}\r\n\r\nsaid {SECRET}".encode())
    with serving(reply) as port:
        login = {"type": "http", "url": f"http://web.linda.test:{port}/", "username": "m", "password_variable": "the_password"}
        checks = service({"name": "here", **login}, {"name": "there", "from": "self", "address": "127.0.0.1", **login})
        done = fleet.run({"one": {**checks, "the_password": SECRET}, "two": checks}, "-vvv")
    assert done.code == 2
    assert done.result("one", "here")["reason"] == done.result("one", "there")["reason"] == "status 403, expected 200"
    assert done.result("two", "here")["reason"] == "variable the_password is not defined for host two"
    for text in (done.output, *((done.reports / "latest" / name).read_text() for name in ("report.html", "report.json", "junit.xml"))):
        assert SECRET not in text


def test_check_mode_runs_nothing(fleet: Fleet) -> None:
    mark = fleet.directory / "mark"
    done = fleet.run({"one": service({"name": "touch", "type": "argv", "argv": ["touch", str(mark)]})}, "--check")
    assert done.code == 0, done.output
    assert not mark.exists()
    assert not done.reports.exists()


def test_limit_checks_those_hosts_only(fleet: Fleet) -> None:
    bad = {"name": "bad", "type": "argv", "argv": ["false"]}
    done = fleet.run({"one": service(HELLO), "two": service(bad)}, "--limit", "one")
    assert done.code == 0, done.output
    assert done.report["hosts"] == ["one"]


def test_nothing_to_check_is_not_a_pass(fleet: Fleet) -> None:
    done = fleet.run({"one": {}})
    assert done.code == 2, done.output
    assert "Nothing was checked" in done.output
    assert done.report["verdict"] == "empty"
    assert fleet.run({"one": {}}, "-e", '{"validate_allow_empty": true}').code == 0


def test_report_that_cannot_be_written_is_said(fleet: Fleet) -> None:
    (fleet.directory / "reports").write_text("in the way")
    done = fleet.run({"one": service(HELLO)})
    assert done.code == 2
    assert "The report cannot be written" in done.output
    assert "1 of 1 checks passed" in done.output


def test_run_checks_alone(fleet: Fleet) -> None:
    """The action by itself: fails by default, and refuses what only another host can see."""
    playbooks = fleet.directory / "playbooks"
    playbooks.mkdir()
    (playbooks / "alone.yml").write_text("""---
- hosts: one
  gather_facts: false
  tasks:
    - ansible.builtin.include_tasks: once.yml
      loop: [one, two, three]
""")
    (playbooks / "once.yml").write_text("""---
- block:
    - linda.ops.run_checks:
        checks: "{{ hostvars | linda.ops.fleet_checks(hosts=[item]) }}"
      register: done
  rescue:
    - ansible.builtin.debug: {msg: "rescued {{ item }}"}
- ansible.builtin.copy:
    content: "{{ done.msg }}"
    dest: "{{ playbook_dir }}/{{ item }}.said"
""")
    bad = service({"name": "bad", "type": "tcp", "port": free_port()})
    hosts = {
        name: {"fleet_services": offered["services"]}
        for name, offered in (("one", service(HELLO)), ("two", service(HELLO)), ("three", bad))
    }
    done = fleet.run(hosts, playbook="alone.yml")
    assert done.code == 0, done.output
    assert [name for name in hosts if f"rescued {name}" in done.output] == ["two", "three"]
    said = {name: (playbooks / f"{name}.said").read_text() for name in hosts}
    assert said["one"] == "1 of 1 checks passed or were skipped."
    assert "host two, role web, check hello is seen from its own host, but the task runs for one" in said["two"]
    assert said["three"].startswith("1 of 1 checks failed:")
