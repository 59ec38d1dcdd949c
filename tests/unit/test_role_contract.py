"""Every role keeps the collection's contract: one interface in three places, short files, plain names."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.parent.parent.name for path in ROOT.glob("roles/*/tasks/main.yml"))
INCLUDES = {
    f"{prefix}{name}" for prefix in ("ansible.builtin.", "") for name in ("include_tasks", "import_tasks", "include_role", "import_role")
}
KEYWORDS_OF_INCLUDES = {"name", "when", "tags", "loop", "loop_control", "vars", "apply", "become", "environment"}


def load(role: str, *parts: str) -> Any:
    return yaml.safe_load((ROOT / "roles" / role).joinpath(*parts).read_text())


def options(role: str) -> dict[str, dict[str, Any]]:
    return load(role, "meta", "argument_specs.yml")["argument_specs"]["main"].get("options", {})


def task_files(role: str) -> list[Path]:
    return sorted(path for kind in ("tasks", "handlers") for path in (ROOT / "roles" / role / kind).rglob("*.yml"))


def tasks_in(node: Any) -> list[dict[str, Any]]:
    """Every task of a task file, those in blocks included."""
    found = []
    for task in node or []:
        found.append(task)
        for section in ("block", "rescue", "always"):
            found += tasks_in(task.get(section))
    return found


def test_there_are_roles_to_judge() -> None:
    assert ROLES, "no role was found below roles/"
    assert sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir()) == ROLES, "a directory below roles/ is no role"


def test_no_role_name_is_a_prefix_of_another() -> None:
    bad = [(one, other) for one, other in itertools.permutations(ROLES, 2) if other.startswith(one)]
    assert not bad, f"variables of these roles cannot be told apart: {bad}"


@pytest.mark.parametrize("role", ROLES)
class TestRole:
    """One role after another."""

    def test_defaults_and_specification_are_equal(self, role: str) -> None:
        path = ROOT / "roles" / role / "defaults" / "main.yml"
        defaults = yaml.safe_load(path.read_text()) or {} if path.exists() else {}
        specified = {
            name: option["default"] for name, option in options(role).items() if "default" in option and not name.startswith("fleet_")
        }
        assert specified == defaults

    def test_inputs_have_the_role_s_prefix_a_type_and_a_description(self, role: str) -> None:
        for name, option in walk(options(role)):
            top = "." not in name
            assert not top or name.startswith((f"{role}_", "fleet_")), name
            assert option.get("type"), f"{name} has no type"
            assert option.get("description"), f"{name} has no description"
            assert option["type"] != "list" or option.get("elements"), f"{name} does not say what its elements are"

    def test_required_inputs_and_secrets_have_no_default(self, role: str) -> None:
        for name, option in walk(options(role)):
            assert not (option.get("required") and "default" in option), f"{name} is required and has a default"
            # Nothing is no secret.
            assert not option.get("no_log") or option.get("default") in (None, "", [], {}), f"{name} is secret and has a default"

    def test_secrets_are_marked(self, role: str) -> None:
        for name, option in walk(options(role)):
            if re.search(r"(password|passphrase|secret|token)$", name) and option.get("type") == "str":
                assert option.get("no_log") is True, f"{name} sounds secret: mark it no_log, or give it another name"

    def test_the_describe_entry_point_is_specified(self, role: str) -> None:
        described = (ROOT / "roles" / role / "tasks" / "describe.yml").exists()
        assert described == ("describe" in load(role, "meta", "argument_specs.yml")["argument_specs"])

    def test_main_is_a_table_of_contents(self, role: str) -> None:
        tasks = load(role, "tasks", "main.yml")
        assert tasks
        for task in tasks:
            modules = set(task) - KEYWORDS_OF_INCLUDES
            assert len(modules) == 1, task
            assert modules <= INCLUDES, f"{task.get('name')} does something by itself"
        first = tasks[0]
        assert "validate.yml" in str(first), "the inputs are not checked first"

    def test_task_files_are_short(self, role: str) -> None:
        for path in task_files(role):
            lines = [line for line in path.read_text().splitlines() if line.strip() and not line.strip().startswith(("#", "---"))]
            assert len(lines) <= 80, f"{path.relative_to(ROOT)} has {len(lines)} lines beside comments"

    def test_tasks_are_named_by_their_phase(self, role: str) -> None:
        for path in task_files(role):
            for task in tasks_in(yaml.safe_load(path.read_text())):
                name = task.get("name", "")
                assert name, f"{path.relative_to(ROOT)}: a task has no name"
                if path.name != "main.yml":
                    assert re.match(r"[a-z][a-z0-9_]* \| [A-Z]", name), f"{path.relative_to(ROOT)}: {name!r} is not `phase | Imperative`"

    def test_registers_and_facts_are_internal(self, role: str) -> None:
        for path in task_files(role):
            for task in tasks_in(yaml.safe_load(path.read_text())):
                register = task.get("register")
                assert register is None or register.startswith(f"__{role}_"), f"{path.relative_to(ROOT)} registers {register}"
                for fact in task.get("ansible.builtin.set_fact") or {}:
                    assert fact in {"fleet_services", "cacheable"} or fact.startswith(f"__{role}_"), f"{path.relative_to(ROOT)} sets {fact}"

    def test_constants_are_internal(self, role: str) -> None:
        for path in (ROOT / "roles" / role / "vars").rglob("*.yml"):
            for name in yaml.safe_load(path.read_text()) or {}:
                assert name.startswith(f"__{role}_"), f"{path.relative_to(ROOT)} has {name}"

    def test_the_inputs_are_checked_by_the_role_s_own_name(self, role: str) -> None:
        tasks = load(role, "tasks", "validate.yml")
        assert [task["linda.ops.check_inputs"]["role"] for task in tasks if "linda.ops.check_inputs" in task] == [role]

    def test_formats_and_rules_name_inputs(self, role: str) -> None:
        for task in load(role, "tasks", "validate.yml"):
            arguments = task.get("linda.ops.check_inputs", {})
            paths = [*arguments.get("formats", {}), *(rule["variable"] for rule in arguments.get("rules", []))]
            unknown = [path for path in paths if re.split(r"[.\[]", path)[0] not in options(role)]
            assert not unknown, f"not among the inputs: {unknown}"

    def test_the_readme_has_a_place_for_the_variables(self, role: str) -> None:
        text = (ROOT / "roles" / role / "README.md").read_text()
        assert text.startswith(f"# {role}\n")
        assert re.search(r"<!-- variables -->.*<!-- /variables -->", text, re.DOTALL)

    def test_metadata_names_platforms_and_no_dependencies(self, role: str) -> None:
        meta = load(role, "meta", "main.yml")
        assert not meta.get("dependencies")
        platforms = {platform["name"]: set(platform.get("versions", [])) for platform in meta["galaxy_info"]["platforms"]}
        assert platforms.get("Debian", set()) >= {"bookworm", "trixie"}


def walk(specified: dict[str, dict[str, Any]], above: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Every option with its path, nested ones included."""
    found = []
    for name, option in specified.items():
        found.append((f"{above}{name}", option))
        found += walk(option.get("options") or {}, f"{above}{name}.")
    return found
