"""config_tree as people use it: a role, ansible-playbook, check mode, differences, and messages that help."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from config_tree_harness import contents, free_port

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = shutil.which("ansible-playbook", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")


class Project:
    """A directory with one role and one play on this machine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.role = directory / "roles" / "r"
        self.host = directory / "host"
        self.host.mkdir()

    def write(self, path: str, text: str) -> Path:
        file = self.role / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def tasks(self, *tasks: dict[str, Any]) -> None:
        self.write("tasks/main.yml", yaml.safe_dump(list(tasks)))

    def tree(self, **options: Any) -> dict[str, Any]:
        """A task of config_tree below the host directory, with its result in ``result``."""
        defaults = {"name": "t", "dest": f"{self.host}/etc", "state_directory": f"{self.host}/state"}
        return {"name": "Install", "linda.ops.config_tree": {**defaults, **options}, "register": "result"}

    def play(self, *arguments: str, variables: dict[str, Any] | None = None, callback: str = "ansible.posix.json") -> tuple[int, str]:
        play = [{"hosts": "localhost", "gather_facts": False, "vars": variables or {}, "roles": ["r"]}]
        (self.directory / "play.yml").write_text(yaml.safe_dump(play))
        (self.directory / "ansible.cfg").write_text("[defaults]\n")
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(self.directory / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
            "ANSIBLE_STDOUT_CALLBACK": callback,
            "ANSIBLE_LOCAL_TEMP": str(self.directory / "tmp"),
            "ANSIBLE_REMOTE_TEMP": str(self.directory / "tmp"),
            "ANSIBLE_NOCOLOR": "1",
        }
        assert PLAYBOOK
        done = subprocess.run(
            [PLAYBOOK, "-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}", *arguments, "play.yml"],
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + (done.stderr if callback == "ansible.builtin.default" else "")

    def result(self, *arguments: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of the last task."""
        _code, said = self.play(*arguments, variables=variables)
        result: dict[str, Any] = json.loads(said)["plays"][0]["tasks"][-1]["hosts"]["localhost"]
        return result

    def failures(self, several: list[dict[str, Any]]) -> list[str]:
        """The messages of several tasks that all fail; the play has to go on to see the next."""
        self.tasks(*({**self.tree(**options), "ignore_errors": True} for options in several))
        _code, said = self.play(variables={"thing": {"a": 1}, "through": "{{ behind }}"})
        results = [task["hosts"]["localhost"] for task in json.loads(said)["plays"][0]["tasks"]]
        return [result["msg"] if result.get("failed") else "it did not fail" for result in results]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_check_run_check_run(project: Project) -> None:
    loop = "{% for word in words %}\nword {{ word }}\n{% endfor %}\n"
    project.write("templates/tree/main.conf.j2", f"# kept\n{loop}{{% include 'part' %}}\n\nend\n")
    project.write("templates/tree/part", "included {{ more }}\n")
    project.write("templates/tree/sub/run.sh", "#!/bin/sh\n").chmod(0o755)
    (project.role / "templates/tree/sub/blob").write_bytes(bytes(range(256)))
    project.write("templates/one.j2", "{{ which }}-{{ more }}\n\n")
    project.tasks(
        project.tree(
            src="tree",
            files=[
                {"path": "many/a", "template": "one.j2", "vars": {"which": "A"}},
                {"path": "many/b", "template": "one.j2", "vars": {"which": "B", "more": "own"}},
                {"path": "inline", "content": "{{ words | to_json }}\n"},
            ],
            validate=["test", "-x", "{staged}/sub/run.sh"],
        )
    )
    variables = {"words": ["x", "y"], "more": "m"}
    predicted = project.result("--check", "--diff", variables=variables)
    assert not contents(project.host)
    done = project.result("--diff", variables=variables)
    assert predicted["changed"]
    assert done["changed"]
    assert predicted["diff"] == done["diff"]
    etc = project.host / "etc"
    assert (etc / "main.conf").read_text() == "# kept\nword x\nword y\nincluded m\nend\n"
    assert (etc / "part").read_text() == "included {{ more }}\n"
    assert (etc / "sub/blob").read_bytes() == bytes(range(256))
    assert os.access(etc / "sub/run.sh", os.X_OK)
    assert (etc / "many/a").read_text() == "A-m\n\n"
    assert (etc / "many/b").read_text() == "B-own\n\n"
    assert (etc / "inline").read_text() == '["x", "y"]\n'
    for arguments in (["--check", "--diff"], ["--diff"]):
        settled = project.result(*arguments, variables=variables)
        assert not settled["changed"]
        assert not settled["diff"]


def test_secrets_are_in_no_output_however_verbose(project: Project) -> None:
    project.write("templates/tree/key.j2", "secret {{ secret }}\n")
    project.tasks(project.tree(src="tree", files=[{"path": "b/pass", "content": "{{ secret }}"}], sensitive=["key", "b/*"]))
    for word in ("hunter2hunter2", "hunter2changed"):
        code, said = project.play("-vvvv", "--diff", variables={"secret": word}, callback="ansible.builtin.default")
        assert code == 0, said
        assert "key: " in said
        assert "hunter2" not in said
    assert (project.host / "etc/b/pass").read_text() == "hunter2changed"
    project.tasks(project.tree(src="tree", files=[{"path": "b/pass", "content": "{{ secret }}"}], sensitive=["**"], validate=["false"]))
    code, said = project.play("-vvvv", "--diff", variables={"secret": "hunter2third"}, callback="ansible.builtin.default")
    assert code == 2
    assert "hunter2" not in said


BROKEN_TEMPLATES = [
    ("ok\n\n{{ nowhere }}\n", r"a\.j2:3: 'nowhere' is undefined"),
    ("{% if thing.missing %}\n{% endif %}\n", r"a\.j2:1: .*has no attribute 'missing'"),
    ("{{ nowhere }}\n{{ nowhere }}\n", r"a\.j2:1 \(or line 2\): 'nowhere' is undefined"),
    ("ok\n{% include 'inner' %}\n", r"inner:2: 'nowhere' is undefined"),
    ("ok\n{{ through }}\n", r"a\.j2 \(through a variable.*'behind' is undefined"),
    ("ok\n{% if %}\n", r"a\.j2:2: .*Expected an expression"),
    ("ok\n{{ 'x' | nofilter }}\n", r"a\.j2:2: .*No filter named 'nofilter'"),
    ("ok\n\n{{ 1 / 0 }}\n", r"a\.j2:3: .*division by zero"),
    ("{{ {'a': 1} }}", r"a\.j2: renders to a mapping, not to text"),
    ("{{ [1] }}", r"a\.j2: renders to a list, not to text"),
]


def test_a_template_that_fails_is_named_with_its_line(project: Project) -> None:
    for number, (template, _words) in enumerate(BROKEN_TEMPLATES):
        project.write(f"templates/tree{number}/a.j2", template)
        project.write(f"templates/tree{number}/inner", "x\n{{ nowhere }}\n")
    results = project.failures([{"src": f"tree{number}"} for number in range(len(BROKEN_TEMPLATES))])
    for number, ((_template, words), message) in enumerate(zip(BROKEN_TEMPLATES, results, strict=True)):
        assert re.search(f"templates/tree{number}/{words}", message), (words, message)
    assert not contents(project.host)


def test_bad_parameters_are_refused_before_anything_happens(project: Project) -> None:
    project.write("templates/tree/a", "a\n")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"dest": "/"}, "root directory '/' cannot be managed"),
        ({"dest": "etc"}, "must be an absolute directory"),
        ({"dest": "/etc/../.."}, "must be an absolute directory"),
        ({"name": "A b"}, "name: 'A b' must consist of"),
        ({"src": "nowhere"}, "there is no nowhere in the templates"),
        ({"src": "tree/a"}, "is not a directory; single templates belong under files"),
        ({"files": [{"path": "../x", "content": ""}]}, "must be a path inside dest"),
        ({"files": [{"path": "/etc/passwd", "content": ""}]}, "must be a path inside dest"),
        ({"files": [{"path": "x"}]}, "one of the following is required: template, content"),
        ({"files": [{"path": "x", "content": {"a": 1}}]}, "the content of x is not text"),
        ({"files": [{"path": "x", "content": ""}, {"path": "./x", "content": ""}]}, "x: named twice"),
        ({"src": "tree", "files": [{"path": "a", "content": ""}]}, "a: named twice"),
        ({"src": "tree", "files": [{"path": "a/b", "content": ""}]}, "a: cannot be a file or link and a directory"),
        ({"src": "tree", "links": [{"path": "a", "target": "b"}]}, "a: named twice"),
        ({"links": [{"path": "l", "target": ""}]}, "l has no usable target"),
        ({"modes": [{"pattern": "**", "mode": "u=rw"}], "src": "tree"}, "write it quoted and octal"),
        ({"modes": [{"pattern": "**", "mode": 416}], "src": "tree"}, "write it quoted and octal"),
        ({"exclusive": ["/etc"]}, "must be a path inside dest"),
        ({"dest": "/nonexistent-toplevel", "exclusive": ["."]}, "belongs to the whole system"),
        ({"watch": ["relative"]}, "must be an absolute path"),
        ({"watch": ["/etc/x"], "apply": [{"paths": ["a"], "argv": ["true"]}]}, "no entry of apply covers /etc/x"),
        ({"apply": [{"unit": "a", "argv": ["b"]}]}, "mutually exclusive"),
        ({"apply": [{"paths": ["**"]}]}, "one of the following is required: unit, argv"),
        ({"apply": [{"unit": "a", "action": "kick"}]}, "must be one of: reload, restart, start"),
        ({"validate": [[]]}, "must be a list of words"),
        ({"probe": {"tcp": "nohost"}}, "must be host:port"),
        ({"probe": {"url": "ftp://x"}}, "must start with http"),
        ({"probe": {"tcp": "a:1", "argv": ["true"]}}, "mutually exclusive"),
        ({"deadline": 0}, "must be at least 1 second"),
        ({"rendered": "x"}, "is set by the action plugin"),
        ({"sourc": "tree"}, "config_tree has no parameter sourc; did you mean src?"),
        ({"files": [{"pathe": "x"}]}, "config_tree has no parameter files.pathe; did you mean path?"),
    ]
    messages = project.failures([options for options, _words in cases])
    for (options, words), message in zip(cases, messages, strict=True):
        assert words in message, (options, message)
    assert not contents(project.host)


def test_a_source_that_is_vaulted_arrives_in_clear(project: Project) -> None:
    (project.directory / "password").write_text("p\n")
    source = project.write("templates/tree/key", "clear as day\n")
    vault = str(PLAYBOOK).replace("ansible-playbook", "ansible-vault")
    subprocess.run([vault, "encrypt", "--vault-password-file", str(project.directory / "password"), str(source)], check=True)
    assert source.read_text().startswith("$ANSIBLE_VAULT")
    project.tasks(project.tree(src="tree", sensitive=["key"]))
    assert project.result("--vault-password-file", "password")["changed"]
    assert (project.host / "etc/key").read_text() == "clear as day\n"


def test_a_tree_of_some_megabytes_travels_in_one_run(project: Project) -> None:
    for number in range(3):
        file = project.write(f"templates/tree/blob{number}", "")
        file.write_bytes(os.urandom(1 << 20))
    project.tasks(project.tree(src="tree"))
    assert project.result()["changed"]
    assert (project.host / "etc/blob2").read_bytes() == (project.role / "templates/tree/blob2").read_bytes()
    assert not project.result()["changed"]


# --- the examples of the documentation --------------------------------------------------------------------------------


def examples() -> list[dict[str, Any]]:
    text = (ROOT / "plugins/modules/config_tree.py").read_text()
    match = re.search(r'EXAMPLES = r"""\n(.*?)"""', text, re.DOTALL)
    assert match
    loaded: list[dict[str, Any]] = yaml.safe_load(match[1])
    return loaded


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def test_the_examples_run(project: Project, listener: int) -> None:
    """As documented, but below a temporary directory, and with commands for systemd and ports that are free here."""
    assert len(examples()) >= 2
    project.write("templates/nginx/nginx.conf", f"pid {project.host}/pid;\nevents {{}}\nhttp {{ include sites/*.conf; }}\n")
    site = f"server {{ listen 127.0.0.1:{free_port()}; server_name {{{{ inventory_hostname }}}}; }}\n"
    project.write("templates/nginx/sites/api.conf.j2", site)
    project.write("templates/nginx/secrets/key", "0123456789abcdef\n")
    adapted = []
    for task in examples():
        options = task["linda.ops.config_tree"]
        options["dest"] = str(project.host) + options["dest"]
        options["state_directory"] = f"{project.host}/state"
        options["apply"] = [{"paths": step.get("paths", ["**"]), "argv": ["true"]} for step in options["apply"]]
        options["probe"] = {"tcp": f"127.0.0.1:{listener}"}
        options.pop("confirm", None)  # is systemd's work, which tests/e2e/test_confirm.py has
        adapted.append(task)
    project.tasks(*adapted)
    for expected in (len(adapted), 0):
        code, said = project.play("--diff", callback="ansible.builtin.default")
        assert code == 0, said
        assert f"changed={expected} " in said
