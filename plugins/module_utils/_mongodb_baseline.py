# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Statistics of a MongoDB baseline: what was measured, how it compares with the last time, and the same as text. Pure.

A measurement is plain data, so that it can be stored: ``format``, ``taken`` (UTC), ``cluster``, ``server``, ``settings`` and ``workloads``.
Latencies are in milliseconds, durations in seconds, throughput in operations a second.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError

FORMAT = 1
WORKLOADS: Mapping[str, str] = {
    "point_read": "Read one document by _id",
    "range_read": "Read a range by index",
    "insert": "Insert with majority",
    "aggregate": "Count and group by index",
}
PERCENTILES = (50, 95, 99)
# Below this factor two runs of the same thing on one machine differ by themselves.
NOTEWORTHY = 1.2
# With fewer operations the 99th percentile is the slowest one, or nearly.
ENOUGH = 100
_LIMITS = {
    "documents": (100, 10_000_000),
    "document_size": (0, 1_000_000),
    "range_size": (1, 1000),
    "operations": (10, 10_000_000),
    "seconds": (1, 3600),
    "threads": (1, 256),
}


@dataclass(frozen=True)
class Settings:
    """What is measured. ``operations`` and ``seconds`` bound each workload, whichever is reached first; ``document_size`` is in bytes."""

    documents: int = 10_000
    document_size: int = 512
    range_size: int = 50
    operations: int = 5000
    seconds: int = 10
    threads: int = 4
    workloads: tuple[str, ...] = tuple(WORKLOADS)


def parse_settings(params: Mapping[str, Any]) -> Settings:
    """Read and check the options of a measurement.

    :raises MongodbError: ``bad_load`` naming the option.
    """
    for name, (low, high) in _LIMITS.items():
        if not low <= params[name] <= high:
            raise MongodbError("bad_load", f"{name} = {params[name]} is not in {low}..{high}.")
    if params["operations"] < params["threads"]:
        raise MongodbError("bad_load", f"operations = {params['operations']} is less than one for each of {params['threads']} threads.")
    if params["range_size"] > params["documents"] // 100:
        raise MongodbError(
            "bad_load", f"range_size = {params['range_size']} is more than a hundredth of documents, which is what a range can have."
        )
    if params["documents"] * params["document_size"] > 20 * 10**9:
        raise MongodbError("bad_load", "documents times document_size is more than 20 GB: that would load the cluster, not measure it.")
    chosen = params["workloads"]
    if not chosen or len(set(chosen)) != len(chosen):
        raise MongodbError("bad_load", "workloads is empty or names one twice.")
    return Settings(**{name: int(params[name]) for name in _LIMITS}, workloads=tuple(name for name in WORKLOADS if name in chosen))


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the value that ``percent`` of ``ordered`` (rising) do not exceed: one that was really measured (nearest rank).

    :raises ValueError: without values, or for a percentage that is not in 0..100.
    """
    if not ordered or not 0 <= percent <= 100:
        raise ValueError("a percentile needs values and a percentage")
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def summarise(latencies: Sequence[float], seconds: float) -> dict[str, Any]:
    """Return the figures of one workload from the latencies of its operations and its duration, all in seconds.

    :raises ValueError: when there was no operation, or no time.
    """
    if seconds <= 0:
        raise ValueError("a workload takes time")
    ordered = sorted(latencies)
    figures: dict[str, Any] = {f"p{percent}_ms": round(percentile(ordered, percent) * 1000, 3) for percent in PERCENTILES}
    return {
        "operations": len(ordered),
        "seconds": round(seconds, 3),
        "throughput": round(len(ordered) / seconds, 1),
        **figures,
        "max_ms": round(ordered[-1] * 1000, 3),
    }


def read_measurement(text: str) -> dict[str, Any]:
    """Read a stored measurement.

    :raises ValueError: when the text is not one.
    """
    document = json.loads(text)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError("not a measurement of this format")
    for name, kind in (("taken", str), ("cluster", str), ("server", dict), ("settings", dict), ("workloads", dict)):
        if not isinstance(document.get(name), kind):
            raise ValueError(f"{name} is missing or of another type")
    for name, figures in document["workloads"].items():
        wanted = ["operations", "seconds", "throughput", *(f"p{percent}_ms" for percent in PERCENTILES), "max_ms"]
        if not isinstance(figures, dict) or any(
            isinstance(figures.get(field), bool) or not isinstance(figures.get(field), (int, float)) for field in wanted
        ):
            raise ValueError(f"the figures of {name} are not whole")
    return document


@dataclass(frozen=True)
class Row:
    """One workload now and the last time. ``verdict`` is first, same, faster, slower or other (not to be compared)."""

    name: str
    now: Mapping[str, Any]
    last: Mapping[str, Any] | None
    verdict: str

    @property
    def change(self) -> float | None:
        """Return throughput now by throughput then."""
        return self.now["throughput"] / self.last["throughput"] if self.last and self.last["throughput"] else None


def differences(now: Mapping[str, Any], last: Mapping[str, Any]) -> list[str]:
    """Return what makes two measurements hard to compare, in words."""
    found = [
        f"{name} {last['settings'].get(name)} -> {now['settings'].get(name)}"
        for name in (*_LIMITS, "seen_from")
        if name != "seconds" and last["settings"].get(name) != now["settings"].get(name)
    ]
    return found + [
        f"{name} {last['server'].get(name)} -> {now['server'].get(name)}"
        for name in ("version", "members")
        if last["server"].get(name) != now["server"].get(name)
    ]


def compare(now: Mapping[str, Any], last: Mapping[str, Any] | None) -> list[Row]:
    """Compare each workload with the last time; where the load was another one, the figures stand beside each other without a verdict.

    Slower is what has clearly less throughput or a clearly longer p95; faster what has clearly more of the one or a shorter other, and
    neither got worse.
    """
    same_load = last is not None and not any(not word.startswith(("version ", "members ")) for word in differences(now, last))
    rows: list[Row] = []
    for name, figures in now["workloads"].items():
        before = last["workloads"].get(name) if last else None
        if before is None:
            verdict = "first"
        elif not same_load:
            verdict = "other"
        else:
            gains = [_factor(figures["throughput"], before["throughput"]), _factor(before["p95_ms"], figures["p95_ms"])]
            verdict = "slower" if min(gains) < 1 / NOTEWORTHY else "faster" if max(gains) > NOTEWORTHY else "same"
        rows.append(Row(name, figures, before, verdict))
    return rows


def _factor(one: float, other: float) -> float:
    return one / other if other else 1.0


def table(now: Mapping[str, Any], last: Mapping[str, Any] | None) -> str:
    """Return the measurement beside the last one as text of at most 100 columns."""
    lines = [f"{'':<12}{'op/s':>10}{'last':>10}{'':>7}  {'p50 ms':>8}{'last':>8}  {'p95 ms':>8}{'last':>8}  {'p99 ms':>8}{'last':>8}"]
    for row in compare(now, last):
        old = row.last or {}
        change = f"{(row.change - 1) * 100:+.0f}%" if row.change is not None else ""
        cells = "".join(f"  {row.now[f'p{one}_ms']:>8.2f}{_cell(old.get(f'p{one}_ms')):>8}" for one in PERCENTILES)
        mark = f"  {row.verdict}" if row.verdict in ("slower", "faster") else ""
        lines.append(f"{row.name:<12}{row.now['throughput']:>10.0f}{_cell(old.get('throughput'), 0):>10}{change:>7}{cells}{mark}")
    if last is None:
        lines.append("There is no earlier measurement of this cluster to compare with.")
    elif differences(now, last):
        lines.append(f"Not the same as at {last['taken']}: {', '.join(differences(now, last))}.")
    else:
        lines.append(f"The last one is of {last['taken']}.")
    return "\n".join(lines)


def _cell(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
