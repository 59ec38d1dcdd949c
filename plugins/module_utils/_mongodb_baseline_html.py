# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The page of a MongoDB baseline: each workload beside the last time, with a small picture. Pure; the look is that of the reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._mongodb_baseline import (
    NOTEWORTHY,
    PERCENTILES,
    WORKLOADS,
    Row,
    compare,
    differences,
)
from ansible_collections.linda.ops.plugins.module_utils._report_html import page

_WORDS = {
    "first": "first time",
    "same": "unchanged",
    "faster": "faster",
    "slower": "slower",
    "other": "other load, not compared",
}
_TONES = {"first": "skip", "same": "pass", "faster": "pass", "slower": "warn", "other": "skip"}
_STYLE = """
.baseline { display: grid; gap: .875rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
.baseline article {
  background: var(--card); border: 1px solid var(--line); border-radius: 14px; box-shadow: var(--shadow); padding: 1.1rem 1.25rem 1.2rem;
  min-width: 0;
}
.baseline header { display: flex; flex-wrap: wrap; gap: .3rem .75rem; align-items: baseline; justify-content: space-between; }
.baseline h3 { font-size: 1.0625rem; line-height: 1.35; }
.baseline .flag {
  color: var(--tone); background: var(--tone-back); border-radius: 99px; padding: .1rem .6rem; font-size: .8125rem; font-weight: 600;
}
.baseline .rate { margin: .35rem 0 .2rem; color: var(--soft); }
.baseline .rate b { color: var(--text); font-size: 1.75rem; font-weight: 650; letter-spacing: -.02em; line-height: 1.2; }
.baseline svg { width: 100%; height: auto; margin-top: .5rem; }
.baseline .now { fill: var(--tone-fill); }
.baseline .last { fill: var(--edge); opacity: .45; }
.baseline .track { fill: var(--sunk); }
.baseline text { fill: var(--soft); font-size: 12px; }
.baseline text.figure { fill: var(--text); font-weight: 600; }
.baseline .course { fill: none; stroke: var(--edge); stroke-width: 1.5; stroke-linejoin: round; stroke-linecap: round; }
.baseline .point { fill: var(--text); }
.key { display: flex; flex-wrap: wrap; gap: .3rem 1.25rem; color: var(--soft); font-size: .875rem; margin: 0 .25rem .875rem; }
.key i { display: inline-block; width: .8em; height: .8em; border-radius: 3px; margin-right: .45em; vertical-align: -.05em; }
@media (max-width: 40rem) { .verdict h1 { font-size: clamp(2rem, 9vw, 2.75rem); } }
@media print { .baseline article { break-inside: avoid; box-shadow: none; } }
"""


def render_baseline(now: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]) -> str:
    """Return the whole page.

    :param now: the measurement, as ``_mongodb_baseline`` describes it.
    :param earlier: the measurements of the same cluster before it, oldest first; the last of them is compared with.
    """
    last = earlier[-1] if earlier else None
    rows = compare(now, last)
    slower = [row for row in rows if row.verdict == "slower"]
    tone = "warn" if slower else "pass" if last else "skip"
    word = "Slower" if slower else "Measured"
    if slower:
        say = f"Slower than the last time by a factor of {NOTEWORTHY} or more: {', '.join(row.name for row in slower)}."
    elif last is None:
        say = "The first measurement of this cluster. The next one is compared with it."
    else:
        quicker = ", ".join(row.name for row in rows if row.verdict == "faster")
        say = f"Nothing slower than the last time{', faster: ' + quicker if quicker else ''}."
    notes = differences(now, last) if last else []
    icon = '<svg aria-hidden="true"><use href="#i-' + {"warn": "warn", "pass": "pass", "skip": "skip"}[tone] + '"/></svg>'
    settings, server = now["settings"], now["server"]
    facts = [
        ("When", _time(now["taken"])),
        ("Last", _time(last["taken"]) if last else "never"),
        ("Server", f"MongoDB {server.get('version')}, {server.get('members')} members, {server.get('host')}"),
        ("Load", f"{settings.get('threads')} threads, {settings.get('documents')} documents of {settings.get('document_size')} bytes"),
        ("Seen from", settings.get("seen_from")),
    ]
    if notes:
        facts.append(("Changed since", ", ".join(notes)))
    shown = "".join(f"<div><dt>{name}</dt><dd>{_e(value)}</dd></div>" for name, value in facts)
    key = '<span><i style="background:var(--pass-fill)"></i>now</span>'
    key += '<span><i style="background:var(--edge);opacity:.45"></i>last time</span>'
    key += "<span>line: p95 over the last measurements</span>" if len(earlier) > 1 else ""
    key = f'<p class="key">{key}</p>' if last else ""
    cards = "".join(_card(row, [one["workloads"].get(row.name) for one in earlier]) for row in rows)
    body = f"""<header class="verdict tone-{tone}">
<div class="top"><p class="fleet">{_e(now["cluster"])} · MongoDB baseline</p>
<h1>{icon}{word}</h1>
<p class="say">{_e(say)}</p></div>
</header>
<dl class="facts">{shown}</dl>
<section aria-labelledby="all"><h2 id="all">Workloads</h2>{key}<div class="baseline">{cards}</div></section>
<footer><p>Latencies in milliseconds, as one Python client sees them. p95: 95 of 100 operations took no longer.</p></footer>"""
    return page(f"{word} · {now['cluster']} MongoDB baseline", body, style=_STYLE)


def _e(text: object) -> str:
    return escape(str(text), quote=True)


def _time(taken: str) -> str:
    return str(taken).replace("T", " ").replace("Z", " UTC")


def _card(row: Row, before: Sequence[Mapping[str, Any] | None]) -> str:
    change = f" · last {row.last['throughput']:,.0f} ({(row.change - 1) * 100:+.0f} %)" if row.last and row.change is not None else ""
    course = [float(one["p95_ms"]) for one in before if one] + [float(row.now["p95_ms"])]
    return f"""<article class="tone-{_TONES[row.verdict]}"><header><h3>{_e(WORKLOADS.get(row.name, row.name))}</h3>
<span class="flag">{_WORDS[row.verdict]}</span></header>
<p class="rate"><b>{row.now["throughput"]:,.0f}</b> op/s{change}</p>
{_picture(row, course)}</article>"""


def _picture(row: Row, course: Sequence[float]) -> str:
    """Bars of the percentiles, now above the last time, and the course of p95 where there is one; in a box of 360 units."""
    values = [(f"p{one}", float(row.now[f"p{one}_ms"]), float(row.last[f"p{one}_ms"]) if row.last else None) for one in PERCENTILES]
    longest = max([value for _name, now, last in values for value in (now, last or 0)]) or 1.0
    parts: list[str] = []
    height = 0.0
    for name, now, last in values:
        tall = 16 if last is None else 24
        parts.append(f'<text x="0" y="{height + tall / 2 + 4:g}">{name}</text>')
        parts.append(f'<rect class="track" x="34" y="{height:g}" width="206" height="{tall}" rx="4"/>')
        parts.append(_bar("now", height, 16 if last is None else 14, now / longest))
        if last is not None:
            parts.append(_bar("last", height + 16, 8, last / longest))
        parts.append(f'<text class="figure" x="252" y="{height + tall / 2 + 4:g}">{_ms(now)}</text>')
        if last is not None:
            parts.append(f'<text x="360" y="{height + tall / 2 + 4:g}" text-anchor="end">{_ms(last)}</text>')
        height += tall + 8
    if len(course) > 2:
        height += 4
        parts.append(f'<text x="0" y="{height + 22:g}">p95</text>{_course(course[-20:], height)}')
        height += 36
    words = ", ".join(f"{name} {_ms(now)}{f', last time {_ms(last)}' if last is not None else ''}" for name, now, last in values)
    return f'<svg viewBox="0 0 360 {max(height - 4, 1):g}" role="img" aria-label="{_e(words)}">{"".join(parts)}</svg>'


def _bar(kind: str, top: float, tall: float, part: float) -> str:
    return f'<rect class="{kind}" x="34" y="{top:g}" width="{max(2.0, 206 * part):.1f}" height="{tall:g}" rx="{min(4, tall / 2):g}"/>'


def _course(values: Sequence[float], top: float) -> str:
    """A line through the values, oldest at the left, with a point on the last."""
    highest = max(values) or 1.0
    points = [(34 + 206 * place / (len(values) - 1), top + 32 - 30 * value / highest) for place, value in enumerate(values)]
    line = " ".join(f"{left:.1f},{up:.1f}" for left, up in points)
    left, up = points[-1]
    words = f'<text x="252" y="{top + 22:g}">{len(values)} measurements</text>'
    return f'<polyline class="course" points="{line}"/><circle class="point" cx="{left:.1f}" cy="{up:.1f}" r="3"/>{words}'


def _ms(value: float) -> str:
    return f"{value:.2f} ms" if value < 100 else f"{value:,.0f} ms"
