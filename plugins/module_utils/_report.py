# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The report of a validation: what was checked, the verdict, and its forms JSON and JUnit XML. HTML is in `_report_html`.

Pure: no I/O, standard library only.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from ansible_collections.linda.ops.plugins.module_utils._checks_engine import FAIL, PASS, SKIP, Result, describe, result_of, summary
from ansible_collections.linda.ops.plugins.module_utils._checks_spec import Check

EMPTY = "empty"
# What XML 1.0 cannot hold, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, kw_only=True)
class Report:
    """One validation. Times are seconds since 1970; `hosts` are all hosts that were to be checked, in order."""

    fleet: str
    environment: str
    started: float
    ended: float
    who: str
    hosts: tuple[str, ...]
    results: tuple[Result, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many checks have which status, and how many passed with a warning."""
        return summary(self.results)

    @property
    def verdict(self) -> str:
        """`fail` when a check failed, `empty` when none passed or failed, else `pass`."""
        counts = self.counts
        if counts[FAIL]:
            return FAIL
        return PASS if counts[PASS] else EMPTY

    @property
    def failed(self) -> list[Result]:
        """The failed checks, in order."""
        return [result for result in self.results if result.status == FAIL]

    @property
    def unchecked_hosts(self) -> list[str]:
        """Hosts that no check is about."""
        checked = {result.host for result in self.results}
        return [host for host in self.hosts if host not in checked]

    @property
    def duration_s(self) -> float:
        """Seconds from the start of the first check to the end of the last."""
        return max(0.0, self.ended - self.started)


def merge(expected: Sequence[Check], results: Iterable[Result]) -> tuple[Result, ...]:
    """One result for each expected check, in that order; a check without one failed, because nobody ran it.

    Results of checks that were not expected are kept, at the end: a failure must not get lost.
    """
    found: dict[tuple[str, str, str], Result] = {}
    for result in results:
        found.setdefault((result.host, result.role, result.name), result)
    merged = [
        found.pop(check.key)
        if check.key in found
        else result_of(check, FAIL, reason="was not run: its host left the run before (unreachable or failed)")
        for check in expected
    ]
    return (*merged, *found.values())


def lost(host: str) -> Result:
    """The failure that stands for a host that left the run before the validation, whatever checks it has."""
    reason = "left the run before the validation (unreachable or failed)"
    return Result(name="present", host=host, role="run", type="run", origin="controller", status=FAIL, reason=reason)


def iso(seconds: float) -> str:
    """A time as ISO 8601 in UTC, to the second."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def headline(report: Report) -> str:
    """The verdict in one line."""
    counts = report.counts
    total = len(report.results)
    if report.verdict == EMPTY:
        return f"Nothing was checked: {total} checks were skipped." if total else "Nothing was checked: no host declares a check."
    more = [f"{counts['warning']} with a warning"] if counts["warning"] else []
    more += [f"{counts[SKIP]} skipped"] if counts[SKIP] else []
    more.append(f"{len(report.hosts)} hosts" if len(report.hosts) != 1 else "1 host")
    more.append(f"{report.duration_s:.1f} s")
    if report.verdict == FAIL:
        return f"{counts[FAIL]} of {total} checks failed ({', '.join(more)})."
    return f"{counts[PASS]} of {total} checks passed ({', '.join(more)})."


def failures(report: Report) -> str:
    """The failed checks, one on a line, each with its reason."""
    return "\n".join(f"- {describe(result)}" for result in report.failed)


def render_json(report: Report) -> str:
    """The report for programs. Keys are stable; new ones may be added."""
    document = {
        "verdict": report.verdict,
        "fleet": report.fleet,
        "environment": report.environment,
        "started": iso(report.started),
        "ended": iso(report.ended),
        "duration_s": round(report.duration_s, 3),
        "who": report.who,
        "hosts": list(report.hosts),
        "unchecked_hosts": report.unchecked_hosts,
        "counts": report.counts,
        "results": [result.as_dict() for result in report.results],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def render_junit(report: Report) -> str:
    """The report for CI servers: one suite for each host, one case for each check."""
    counts = report.counts
    root = ElementTree.Element(
        "testsuites",
        name=_xml(f"{report.fleet} validation"),
        tests=str(len(report.results)),
        failures=str(counts[FAIL]),
        skipped=str(counts[SKIP]),
        errors="0",
        time=f"{report.duration_s:.3f}",
    )
    for host in dict.fromkeys(result.host for result in report.results):
        own = [result for result in report.results if result.host == host]
        numbers = summary(own)
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=_xml(host),
            tests=str(len(own)),
            failures=str(numbers[FAIL]),
            skipped=str(numbers[SKIP]),
            errors="0",
            time=f"{sum(result.duration_s for result in own):.3f}",
            timestamp=iso(report.started).removesuffix("Z"),
            hostname=_xml(host),
        )
        for result in own:
            case = ElementTree.SubElement(
                suite, "testcase", classname=_xml(f"{host}.{result.role}"), name=_xml(result.name), time=f"{result.duration_s:.3f}"
            )
            if result.status == FAIL:
                failure = ElementTree.SubElement(case, "failure", message=_xml(result.reason), type=_xml(result.type))
                failure.text = _xml("\n".join(part for part in (result.reason, result.evidence) if part))
            elif result.status == SKIP:
                ElementTree.SubElement(case, "skipped", message=_xml(result.reason))
            elif result.evidence or result.warning:
                ElementTree.SubElement(case, "system-out").text = _xml(
                    "\n".join(part for part in (result.warning, result.evidence) if part)
                )
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
