# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asking a service whether it serves: tcp, http(s) and commands, each until it agrees or the deadline passes."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._config_tree_apply import run_command
from ansible_collections.linda.ops.plugins.module_utils._config_tree_plan import ConfigTreeError

_ATTEMPT_LIMIT = 5.0
_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)
_BODY_LIMIT = 1 << 20


def describe(probe: Mapping[str, Any]) -> str:
    """Return a probe for people, for example ``https://127.0.0.1/healthz as api.example.org``."""
    if probe["tcp"]:
        return f"tcp {probe['tcp']}"
    if probe["argv"]:
        return " ".join(probe["argv"])
    return f"{probe['url']} as {probe['server_name']}" if probe["server_name"] else str(probe["url"])


def run_probes(probes: Sequence[Mapping[str, Any]], deadline: float) -> list[str]:
    """Run probes one after the other until each has succeeded; all of them share the deadline (seconds).

    :raises ConfigTreeError: saying what the first probe that never succeeded saw last.
    """
    end = time.monotonic() + deadline
    for probe in probes:
        _until(probe, end, deadline)
    return [describe(probe) for probe in probes]


def _until(probe: Mapping[str, Any], end: float, deadline: float) -> None:
    attempt = 0
    while True:
        try:
            _once(probe, max(0.1, min(_ATTEMPT_LIMIT, end - time.monotonic())))
        except (OSError, http.client.HTTPException, ConfigTreeError) as error:
            pause = _PAUSES[min(attempt, len(_PAUSES) - 1)]
            attempt += 1
            if time.monotonic() + pause >= end:
                said = str(error) or type(error).__name__
                raise ConfigTreeError(f"{describe(probe)} did not succeed within {deadline:g} seconds: {said}") from error
            time.sleep(pause)
        else:
            return


def _once(probe: Mapping[str, Any], limit: float) -> None:
    if probe["argv"]:
        run_command(probe["argv"], limit)
    elif probe["tcp"]:
        host, port = probe["tcp"].rsplit(":", 1)
        socket.create_connection((host.strip("[]"), int(port)), timeout=limit).close()
    else:
        _request(probe, limit)


class _NamedConnection(http.client.HTTPSConnection):
    """A TLS connection to one address that asks for, and checks, the name of another."""

    def __init__(self, host: str, port: int, server_name: str, context: ssl.SSLContext, timeout: float) -> None:
        super().__init__(host, port, context=context, timeout=timeout)
        self._tls = context
        self._server_name = server_name

    def connect(self) -> None:
        """Connect to the address and shake hands under the server's name."""
        plain = socket.create_connection((self.host, self.port), timeout=self.timeout)
        try:
            self.sock = self._tls.wrap_socket(plain, server_hostname=self._server_name)
        except BaseException:
            plain.close()
            raise


def _request(probe: Mapping[str, Any], limit: float) -> None:
    url = urllib.parse.urlsplit(probe["url"])
    if url.hostname is None:
        raise ConfigTreeError(f"{probe['url']} names no host")
    name = probe["server_name"] or url.hostname
    connection: http.client.HTTPConnection
    if url.scheme == "https":
        context = ssl.create_default_context(cafile=probe["ca_file"])
        connection = _NamedConnection(url.hostname, url.port or 443, name, context, limit)
    else:
        connection = http.client.HTTPConnection(url.hostname, url.port or 80, timeout=limit)
    try:
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        connection.request("GET", target, headers={"Host": probe["server_name"] or url.netloc, "Connection": "close"})
        _judge(probe, connection.getresponse())
    finally:
        connection.close()


def _judge(probe: Mapping[str, Any], response: http.client.HTTPResponse) -> None:
    expected = probe["status"]
    if response.status not in expected:
        raise ConfigTreeError(f"status {response.status} instead of {' or '.join(str(status) for status in expected)}")
    body = response.read(_BODY_LIMIT).decode("utf-8", "replace")
    if probe["body"] is not None and probe["body"] not in body:
        raise ConfigTreeError(f"status {response.status}, but the body does not contain {probe['body']!r}")
