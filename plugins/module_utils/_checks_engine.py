# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs checks: concurrently, each attempt with a deadline, with retries, and never raising because one check is broken.

Standard library only; runs on the controller and on managed hosts.
"""

from __future__ import annotations

import base64
import queue
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._checks_host import probe_argv, probe_unit
from ansible_collections.linda.ops.plugins.module_utils._checks_http import probe_http
from ansible_collections.linda.ops.plugins.module_utils._checks_mongodb import probe_mongodb, probe_mongodb_indexes, probe_mongodb_pool
from ansible_collections.linda.ops.plugins.module_utils._checks_net import CheckFailed, Deadline, Outcome, masked, shortened, words
from ansible_collections.linda.ops.plugins.module_utils._checks_spec import (
    ArgvCheck,
    Check,
    HttpCheck,
    MongodbCheck,
    MongodbIndexesCheck,
    MongodbPoolCheck,
    TcpCheck,
    TlsCheck,
    UnitCheck,
    WebsocketCheck,
)
from ansible_collections.linda.ops.plugins.module_utils._checks_tls import probe_tcp, probe_tls
from ansible_collections.linda.ops.plugins.module_utils._checks_websocket import probe_websocket

PASS, FAIL, SKIP = "pass", "fail", "skip"
# A probe watches its own time; this is what it may take longer to say so before it is given up.
_GRACE = 0.5


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of one check. `duration_s` covers all attempts and the pauses between them."""

    name: str
    host: str
    role: str
    type: str
    origin: str
    status: str
    reason: str = ""
    evidence: str = ""
    warning: str = ""
    duration_s: float = 0.0
    attempts: int = 0

    def as_dict(self) -> dict[str, object]:
        """The result as plain data; `origin` becomes `from`."""
        fields = dict(self.__dict__)
        fields["from"] = fields.pop("origin")
        return fields

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Result:
        """The reverse of `as_dict`."""
        return cls(
            **{name: str(fields[name]) for name in ("name", "host", "role", "type", "status", "reason", "evidence", "warning")},
            origin=str(fields["from"]),
            duration_s=float(fields["duration_s"]),
            attempts=int(fields["attempts"]),
        )


def result_of(check: Check, status: str, **more: Any) -> Result:
    """A result that carries the names of its check; `more` are further fields of Result."""
    base = Result(name=check.name, host=check.host, role=check.role, type=check.type, origin=check.origin, status=status)
    return replace(base, **more)


def skipped(check: Check, reason: str) -> Result:
    """A check that was not run."""
    return result_of(check, SKIP, reason=reason)


def describe(result: Result) -> str:
    """One line that names the check and says why it failed."""
    return f"{result.host} {result.role}/{result.name} ({result.type}): {result.reason}"


def summary(results: Iterable[Result]) -> dict[str, int]:
    """How many results have which status, and how many passed with a warning."""
    counts = {PASS: 0, FAIL: 0, SKIP: 0, "warning": 0}
    for result in results:
        counts[result.status] += 1
        counts["warning"] += result.status == PASS and bool(result.warning)
    return counts


def probe(check: Check, deadline: Deadline, secrets: Mapping[str, str]) -> Outcome:
    """One attempt; raises CheckFailed, TimeoutError, or whatever a broken check makes it raise."""
    if isinstance(check, TcpCheck):
        return probe_tcp(check, deadline)
    if isinstance(check, TlsCheck):
        return probe_tls(check, deadline)
    if isinstance(check, HttpCheck):
        return probe_http(check, deadline, secrets)
    if isinstance(check, WebsocketCheck):
        return probe_websocket(check, deadline)
    if isinstance(check, MongodbCheck):
        return probe_mongodb(check, deadline, secrets)
    if isinstance(check, MongodbPoolCheck):
        return probe_mongodb_pool(check, deadline, secrets)
    if isinstance(check, MongodbIndexesCheck):
        return probe_mongodb_indexes(check, deadline, secrets)
    if isinstance(check, UnitCheck):
        return probe_unit(check, deadline)
    if isinstance(check, ArgvCheck):
        return probe_argv(check, deadline)
    raise CheckFailed(f"no probe for checks of type {check.type}")


def _attempt(check: Check, secrets: Mapping[str, str]) -> Outcome | CheckFailed:
    """One attempt in a thread of its own, so that not even a hanging name server holds up the run."""
    deadline = Deadline(check.timeout)
    answers: queue.SimpleQueue[Outcome | CheckFailed] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put(probe(check, deadline, secrets))
        except CheckFailed as problem:
            answers.put(problem)
        except TimeoutError:
            answers.put(_too_slow(check))
        except Exception as problem:
            answers.put(CheckFailed(type(problem).__name__ if check.sensitive else words(problem)))

    threading.Thread(target=work, name=f"check {check.name}", daemon=True).start()
    try:
        return answers.get(timeout=check.timeout + _GRACE)
    except queue.Empty:
        return _too_slow(check)
    finally:
        deadline.expire()


def _too_slow(check: Check) -> CheckFailed:
    return CheckFailed(f"no answer within {check.timeout:g} s")


def run_one(check: Check, secrets: Mapping[str, str]) -> Result:
    """One check with its retries. `secrets` maps the names in `check.secret_variables()` to their values."""
    missing = [name for name in check.secret_variables() if name not in secrets]
    if missing:
        return result_of(check, FAIL, reason=f"variable {', '.join(missing)} is not defined for host {check.host}")
    started = time.monotonic()
    attempts = 0
    while True:
        attempts += 1
        answer = _attempt(check, secrets)
        if isinstance(answer, Outcome) or attempts > check.retries:
            break
        time.sleep(check.pause)
    clean = _Cleaner(check, secrets)
    duration = round(time.monotonic() - started, 3)
    if isinstance(answer, Outcome):
        return result_of(
            check, PASS, evidence=clean.evidence(answer.evidence), warning=answer.warning, duration_s=duration, attempts=attempts
        )
    return result_of(
        check, FAIL, reason=clean.reason(answer.reason), evidence=clean.evidence(answer.evidence), duration_s=duration, attempts=attempts
    )


class _Cleaner:
    """Keeps secrets, and for sensitive checks what the service said, out of what is reported."""

    def __init__(self, check: Check, secrets: Mapping[str, str]) -> None:
        self._sensitive = check.sensitive
        own = [secrets[name] for name in check.secret_variables() if name in secrets]
        if isinstance(check, HttpCheck) and check.username is not None:
            own += [base64.b64encode(f"{check.username}:{secret}".encode()).decode() for secret in own]
        self._secrets = own

    def reason(self, text: str) -> str:
        return shortened(masked(text, self._secrets), 500)

    def evidence(self, text: str) -> str:
        return "" if self._sensitive else shortened(masked(text, self._secrets))


def run_all(checks: Sequence[Check], secrets: Mapping[str, Mapping[str, str]], concurrency: int) -> list[Result]:
    """Run checks, `concurrency` at a time; results in the order of the checks.

    `secrets` is {host: {variable: value}}; a variable that is missing makes its check fail.
    """
    waiting: queue.SimpleQueue[tuple[int, Check]] = queue.SimpleQueue()
    for entry in enumerate(checks):
        waiting.put(entry)
    results: list[Result | None] = [None] * len(checks)

    def work() -> None:
        while True:
            try:
                index, check = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                results[index] = run_one(check, secrets.get(check.host, {}))
            except Exception as problem:
                results[index] = result_of(check, FAIL, reason=f"the check itself broke: {type(problem).__name__}")

    workers = [threading.Thread(target=work, daemon=True) for _number in range(min(concurrency, len(checks)))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return [result for result in results if result is not None]
