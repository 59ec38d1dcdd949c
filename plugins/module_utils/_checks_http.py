# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The probe `http`. Standard library only."""

from __future__ import annotations

import base64
import http.client
import json
import re
from collections.abc import Callable, Mapping
from urllib.parse import SplitResult, urlsplit

from ansible_collections.linda.ops.plugins.module_utils._checks_jsonpath import MissingPath, lookup, same
from ansible_collections.linda.ops.plugins.module_utils._checks_net import (
    CheckFailed,
    Deadline,
    Outcome,
    client_context,
    connect,
    secure,
)
from ansible_collections.linda.ops.plugins.module_utils._checks_spec import HttpCheck
from ansible_collections.linda.ops.plugins.module_utils._fields import shown

_BODY_LIMIT = 1 << 20


class _Answer:
    """What came back: status, all values of each header, and the first MiB of the body."""

    def __init__(self, status: int, headers: list[tuple[str, str]], body: bytes, protocol: str) -> None:
        self.status = status
        self.body = body
        self.protocol = protocol
        self._headers: dict[str, list[str]] = {}
        for name, value in headers:
            self._headers.setdefault(name.lower(), []).append(value)

    def header(self, name: str) -> str | None:
        """All values of a header, joined, or None."""
        values = self._headers.get(name.lower())
        return None if values is None else ", ".join(values)

    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")


def probe_http(check: HttpCheck, deadline: Deadline, secrets: Mapping[str, str]) -> Outcome:
    """One request; every difference between the answer and what is expected is named."""
    answer = _ask(check, deadline, secrets)
    problems = _differences(check, answer)
    evidence = f"{answer.status}, {len(answer.body)} bytes{answer.protocol}"
    if problems:
        raise CheckFailed("; ".join(problems), f"{evidence}: {answer.text()[:200]}" if answer.body else evidence)
    return Outcome(evidence)


def _ask(check: HttpCheck, deadline: Deadline, secrets: Mapping[str, str]) -> _Answer:
    parts = urlsplit(check.url)
    name = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    connection = connect(check.address, port, deadline)
    client = http.client.HTTPConnection(name, port)
    try:
        protocol = ""
        if parts.scheme == "https":
            connection = secure(connection, client_context(check.ca_file, check.ca_pem), name, deadline)
            protocol = f", {connection.version()}"
        connection.settimeout(deadline.remaining())
        client.sock = connection
        client.request(check.method, _target(parts), body=_body(check), headers=_request_headers(check, parts, secrets))
        response = client.getresponse()
        wanted = _BODY_LIMIT if response.length is None else min(response.length, _BODY_LIMIT)
        counted = response.length is not None
        body = b""
        while len(body) < wanted:
            connection.settimeout(deadline.remaining())
            part = response.read1(wanted - len(body))
            if not part:
                break
            body += part
        if counted and len(body) < wanted:
            raise CheckFailed("the answer ended before its end", body.decode("utf-8", "replace"))
        return _Answer(response.status, response.getheaders(), body, protocol)
    except http.client.IncompleteRead as problem:
        raise CheckFailed("the answer ended before its end") from problem
    except http.client.RemoteDisconnected as problem:
        raise CheckFailed("the server closed the connection without an answer") from problem
    except http.client.HTTPException as problem:
        raise CheckFailed(f"the answer is not HTTP ({type(problem).__name__})") from problem
    finally:
        client.close()
        connection.close()


def _target(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _body(check: HttpCheck) -> bytes | None:
    return None if check.body is None else check.body.encode()


def _request_headers(check: HttpCheck, parts: SplitResult, secrets: Mapping[str, str]) -> dict[str, str]:
    headers = {"User-Agent": "linda.ops run_checks", "Accept": "*/*", "Connection": "close"}
    given = {name.lower() for name in check.headers}
    headers = {name: value for name, value in headers.items() if name.lower() not in given} | dict(check.headers)
    if "host" not in given:
        headers["Host"] = parts.netloc
    if check.username is not None and check.password_variable is not None:
        login = f"{check.username}:{secrets[check.password_variable]}"
        headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
    elif check.bearer_variable is not None:
        token = secrets[check.bearer_variable]
        if not token.isascii() or not token.isprintable():
            raise CheckFailed(f"{check.bearer_variable} holds a character that a header cannot carry")
        headers["Authorization"] = f"Bearer {token}"
    return headers


def _differences(check: HttpCheck, answer: _Answer) -> list[str]:
    problems: list[str] = []
    seen = _unseen if check.sensitive else shown
    if answer.status not in check.status:
        problems.append(f"status {answer.status}, expected {' or '.join(str(status) for status in check.status)}")
    for name, pattern in check.expect_headers.items():
        value = answer.header(name)
        if value is None:
            problems.append(f"header {name} is missing")
        elif not re.search(pattern, value):
            problems.append(f"header {name} is {seen(value)}, expected {shown(pattern)}")
    problems += [f"header {name} is there: {seen(answer.header(name))}" for name in check.absent_headers if answer.header(name) is not None]
    if check.location is not None and answer.header("Location") != check.location:
        problems.append(f"Location is {seen(answer.header('Location'))}, expected {shown(check.location)}")
    if check.body_regex is not None and not re.search(check.body_regex, answer.text()):
        problems.append(f"the body does not match {shown(check.body_regex)}")
    if check.expect_json:
        problems += _json_differences(check.expect_json, answer, seen)
    return problems


def _unseen(_value: object) -> str:
    """Stands for what a sensitive check saw."""
    return "something else"


def _json_differences(expected: Mapping[str, object], answer: _Answer, seen: Callable[[object], str]) -> list[str]:
    try:
        document = json.loads(answer.body)
    except ValueError:
        return ["the body is not JSON"]
    problems: list[str] = []
    for path, wanted in expected.items():
        try:
            value = lookup(document, path)
        except MissingPath as problem:
            problems.append(f"JSON {path}: {problem}")
            continue
        if not same(value, wanted):
            problems.append(f"JSON {path} is {seen(value)}, expected {shown(wanted)}")
    return problems
