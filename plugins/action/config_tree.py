# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Renders a configuration tree with the host's variables and has the module of the same name install it in one run."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template
from ansible.utils.display import Display
from ansible_collections.linda.ops.plugins.module_utils._config_tree_plan import ConfigTreeError, clean_path
from ansible_collections.linda.ops.plugins.module_utils._config_tree_spec import (
    ARGUMENTS,
    INTERNAL,
    build_tree,
    check_parameters,
    refuse_unknown,
)
from ansible_collections.linda.ops.plugins.plugin_utils._config_tree_render import (
    TEMPLATE_SUFFIX,
    Contents,
    explain,
    finder,
    is_executable,
    source_files,
)
from ansible_collections.linda.ops.plugins.plugin_utils._fresh_connection import fresh_connection

display = Display()

_RENDERED_HERE = ("src", "files", "links", "directories", "owner", "group", "modes", "exclusive", "sensitive")
_MODULE = "linda.ops.config_tree"
_GRACE = 5
"""Seconds after the end of a window within which the host has undone the change."""
_PATIENCE = 15
"""Seconds in which it has to be reached again after that."""
_OVERRIDES = {"trim_blocks": True, "lstrip_blocks": False}


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible ships no type information
    """Controller side of linda.ops.config_tree."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Render the tree, then run the module once."""
        task_vars = task_vars or {}
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        try:
            params = parameters(self._task.args)
            tree = build_tree(params, self._contents(params, task_vars))
        except ConfigTreeError as error:
            raise AnsibleActionFail(str(error)) from error
        arguments = {key: _without_none(value) for key, value in params.items() if key not in _RENDERED_HERE}
        arguments["rendered"] = tree.encode()
        try:
            result.update(self._execute_module(module_name=_MODULE, module_args=arguments, task_vars=task_vars))
        except AnsibleConnectionFailure as error:
            if params["confirm"] and not self._task.check_mode:
                raise AnsibleConnectionFailure(
                    f"{error}\nThe change of {params['name']} was under way and is not confirmed: the host undoes it within "
                    f"{params['confirm'] + _GRACE} s. The next run says what has become of it."
                ) from error
            raise
        token, remaining = result.pop("unconfirmed", ""), result.pop("remaining", 0.0)
        if token:
            self._confirm(result, params, token, time.monotonic() + remaining, task_vars)
        return result

    def _confirm(self, result: dict[str, Any], params: Mapping[str, Any], token: str, end: float, task_vars: dict[str, Any]) -> None:
        """Reach the host anew until ``end`` (monotonic seconds) and say so there; else see what it has made of it."""
        name = params["name"]
        arguments = {key: params[key] for key in ("name", "dest", "state_directory")} | {"confirming": token}
        settled, trouble = self._settle(arguments, params["confirm_port"], end, task_vars)
        if settled is None:
            address = self._play_context.remote_addr
            display.warning(f"{address}: no fresh connection for {name} ({trouble}); waiting until the host has undone the change")
            # The host acts by its own clock, and cannot be reached to tell of it.
            time.sleep(max(0.0, end + _GRACE - time.monotonic()))
            settled, silence = self._settle(arguments, None, time.monotonic() + _PATIENCE, task_vars)
            settled = settled or {"failed": True, "msg": f"The host should have undone the change by now, but cannot be asked: {silence}"}
        result["confirmed"] = not settled.get("failed", False)
        if not result["confirmed"]:
            why = f" ({trouble})" if trouble else ""
            result |= {"failed": True, "rolled_back": bool(settled.get("expired"))}
            result["msg"] = f"confirm: the change was made, and could not be confirmed within {params['confirm']} s{why}.\n{settled['msg']}"

    def _settle(
        self, arguments: dict[str, Any], port: int | None, end: float, task_vars: dict[str, Any]
    ) -> tuple[dict[str, Any] | None, str]:
        """Run the module over fresh connections until one gets through; returns its result or None, and the last trouble."""
        while True:
            try:
                with fresh_connection(self, port):
                    settled: dict[str, Any] = self._execute_module(module_name=_MODULE, module_args=arguments, task_vars=task_vars)
                if "expired" in settled:  # the module's own answer, and not one about a connection that failed in another way
                    return settled, ""
                trouble = str(settled.get("msg") or settled.get("module_stderr") or settled)
            except AnsibleConnectionFailure as error:
                trouble = str(error)
            if time.monotonic() >= end:
                return None, trouble.strip()
            time.sleep(1)  # a host that lets nobody in tells nobody when it does again

    def _contents(self, params: Mapping[str, Any], task_vars: dict[str, Any]) -> Contents:
        contents: Contents = {}
        for path, source in self._sources(params["src"]):
            _add(contents, path, self._content(source, task_vars), is_executable(source))
        for entry in params["files"]:
            path = clean_path(entry["path"], "files")
            if entry["content"] is not None:
                _add(contents, path, entry["content"].encode(), False)
                continue
            source = self._find(entry["template"])
            _add(contents, path, self._render(source, {**task_vars, **entry["vars"]}), is_executable(source))
        return contents

    def _sources(self, src: str | None) -> list[tuple[str, str]]:
        if src is None:
            return []
        directory = self._find(src)
        if not os.path.isdir(directory):
            raise ConfigTreeError(f"src: {directory} is not a directory; single templates belong under files")
        return list(source_files(directory))

    def _find(self, name: str) -> str:
        try:
            return str(self._find_needle("templates", name))
        except AnsibleError as error:
            raise ConfigTreeError(f"there is no {name} in the templates of this role or play") from error

    def _content(self, source: str, variables: dict[str, Any]) -> bytes:
        if source.endswith(TEMPLATE_SUFFIX):
            return self._render(source, variables)
        readable = self._loader.get_real_file(source)  # decrypts what ansible-vault encrypted
        with open(readable, "rb") as stream:
            return stream.read()

    def _render(self, source: str, variables: dict[str, Any]) -> bytes:
        try:
            text = self._loader.get_text_file_contents(source)
        except UnicodeDecodeError as error:
            raise ConfigTreeError(f"{source}: not UTF-8 text, so it cannot be a template") from error
        search = self._search_path(source)
        templar = self._templar.copy_with_new_env(searchpath=search, available_variables=variables)
        try:
            rendered = templar.template(trust_as_template(text), escape_backslashes=False, overrides=_OVERRIDES)
        except AnsibleError as error:
            raise ConfigTreeError(explain(error, source, str(text), finder(search))) from error
        return _text(rendered, source).encode()

    def _search_path(self, source: str) -> list[str]:
        """Where includes are looked for: beside the template, then in the templates of role and play, as the template module does."""
        stack = [path for base in self._task.get_search_path() for path in (os.path.join(base, "templates"), base)]
        return [os.path.dirname(source), *stack, self._loader.get_basedir()]


def parameters(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the task's arguments, complete and checked.

    :raises ConfigTreeError: naming what is wrong with them.
    """
    given = dict(arguments)
    for name in INTERNAL:
        if name in given:
            raise ConfigTreeError(f"{name}: is set by the action plugin, not by a playbook")
    checks = given.get("validate")
    if isinstance(checks, list) and checks and all(isinstance(word, str) for word in checks):
        given["validate"] = [checks]
    if isinstance(given.get("probe"), Mapping):
        given["probe"] = [given["probe"]]
    refuse_unknown(given)
    for entry in given.get("files") or []:
        if isinstance(entry, Mapping) and not isinstance(entry.get("content", ""), str):
            kind = type(entry["content"]).__name__
            raise ConfigTreeError(f"files: the content of {entry.get('path')} is not text but {kind}; use string, to_json or to_nice_yaml")
    checked = ArgumentSpecValidator(ARGUMENTS).validate(given)
    if checked.error_messages:
        raise ConfigTreeError("; ".join(checked.error_messages))
    params: dict[str, Any] = checked.validated_parameters
    check_parameters(params)
    return params


def _without_none(value: Any) -> Any:
    """The value without options that were not given, which a second check would take for given ones."""
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value


def _add(contents: Contents, path: str, content: bytes, executable: bool) -> None:
    if path in contents:
        raise ConfigTreeError(f"{path}: named twice, by src or files")
    contents[path] = (content, executable)


def _text(rendered: Any, source: str) -> str:
    if rendered is None:
        return ""
    if isinstance(rendered, dict | list | tuple):
        kind = "mapping" if isinstance(rendered, dict) else "list"
        raise ConfigTreeError(f"{source}: renders to a {kind}, not to text; use to_json or to_nice_yaml")
    return str(rendered)
