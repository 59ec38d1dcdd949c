# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A second connection to a task's host, made anew the way the first one was: what an operator who comes now would get."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from ansible.plugins.loader import connection_loader

# OpenSSH takes the first value of an option, and the plugin puts its ssh_args before all others.
_NOT_SHARED = "-o ControlMaster=no -o ControlPath=none"
_LONGEST_ATTEMPT = 10
"""Seconds for one attempt to connect, so that several fit into the shortest window."""


@contextlib.contextmanager
def fresh_connection(action: Any, port: int | None = None) -> Iterator[None]:
    """Give an action plugin another connection for the time of a with statement: same options, jump hosts and become, nothing shared.

    ``port`` is the port of the new one, where the plugin knows ports at all.
    """
    old = action._connection
    fresh = connection_loader.get(
        old.ansible_name,
        action._play_context,
        new_stdin=None,
        shell=old._shell,
        task_uuid=action._task._uuid,
        ansible_playbook_pid=str(os.getppid()),
    )
    fresh._options, fresh._origins = dict(old._options), dict(old._origins)
    fresh.set_become_plugin(old.become)
    known = fresh.option_definitions
    if "ssh_args" in known:
        fresh.set_option("ssh_args", f"{_NOT_SHARED} {old.get_option('ssh_args') or ''}".strip())
    if "reconnection_retries" in known:
        fresh.set_option("reconnection_retries", 0)
    if "timeout" in known:
        fresh.set_option("timeout", min(_LONGEST_ATTEMPT, int(old.get_option("timeout") or _LONGEST_ATTEMPT)))
    if port is not None and "port" in known:
        fresh.set_option("port", port)
    action._connection = fresh
    try:
        yield
    finally:
        action._connection = old
        with contextlib.suppress(Exception):  # what the plugin says about a connection that was never open is of no interest
            fresh.close()
