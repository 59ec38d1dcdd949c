"""Counts what Ansible runs on remote hosts: one line per module run or raw command, `host<TAB>role<TAB>module`.

Enabled by tests/support/ansible.py only. A callback is loaded before the workers fork, so what it wraps is wrapped in them too.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: count_modules
type: aggregate
short_description: Counts module runs on remote hosts
description:
  - Appends one line for each module run to the file named by the environment variable C(LINDA_OPS_COUNT_FILE).
"""

LOCAL_CONNECTIONS = {"local", "ansible.builtin.local"}


def _record(action: ActionBase, module: str) -> None:
    path = os.environ["LINDA_OPS_COUNT_FILE"]
    if action._connection.transport in LOCAL_CONNECTIONS:
        return
    task = action._task
    role = task._role.get_name() if task._role else "-"
    host = action._play_context.remote_addr
    name = (task.delegate_to or "") or host
    # One write of less than a page: lines of parallel workers do not mix (O_APPEND).
    with open(path, "a", encoding="utf-8") as counts:
        counts.write(f"{name}\t{role}\t{module}\n")


def _counted(execute: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: ActionBase, module_name: str | None = None, *arguments: Any, **options: Any) -> Any:
        _record(self, module_name or self._task.action)
        return execute(self, module_name, *arguments, **options)

    return wrapper


class CallbackModule(CallbackBase):  # type: ignore[misc]  # Ansible ships no type information
    """What Ansible loads."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "count_modules"

    def __init__(self) -> None:
        super().__init__()
        ActionBase._execute_module = _counted(ActionBase._execute_module)
