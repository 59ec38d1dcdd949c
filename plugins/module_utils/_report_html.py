# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The report of a validation as one HTML file: no external resources, light and dark, readable on a phone.

Pure: no I/O, standard library only. Every value that comes from outside goes through `_e`; the page's policy allows
only the script that is written here, by its hash, so that nothing a service answered can run in the reader's browser.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape

from ansible_collections.linda.ops.plugins.module_utils._checks_engine import FAIL, PASS, SKIP, Result, summary
from ansible_collections.linda.ops.plugins.module_utils._report import EMPTY, Report, iso

WARN = "warn"
_WORDS = {PASS: "Passed", FAIL: "Failed", SKIP: "Skipped", WARN: "Warning"}

_STYLE = """
:root {
  color-scheme: light dark;
  --page: #f6f5f2; --card: #ffffff; --sunk: #f1efea; --line: #e2dfd8; --edge: #8b867b;
  --text: #21242a; --soft: #5a5f68; --focus: #2456c7;
  --pass: #1b6b40; --pass-back: #e3f2e8; --pass-fill: #2f8f5b;
  --fail: #a8241b; --fail-back: #fbe8e5; --fail-fill: #cf3d31;
  --warn: #7d4e00; --warn-back: #fdf0d3; --warn-fill: #cf8a12;
  --skip: #565b64; --skip-back: #eceae5; --skip-fill: #a3a19a;
  --shadow: 0 1px 2px rgb(33 36 42 / 6%), 0 4px 16px rgb(33 36 42 / 4%);
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14161a; --card: #1c1f25; --sunk: #23272e; --line: #2e333c; --edge: #7d8591;
    --text: #e8e9ec; --soft: #a6acb7; --focus: #8fb4ff;
    --pass: #7fd6a3; --pass-back: #16301f; --pass-fill: #3f9e69;
    --fail: #ff9b92; --fail-back: #3a1a18; --fail-fill: #d9574c;
    --warn: #f2c46d; --warn-back: #35270c; --warn-fill: #c98f24;
    --skip: #b1b6bf; --skip-back: #292d34; --skip-fill: #6c727d;
    --shadow: none;
  }
}
*, *::before, *::after { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere;
}
main { max-width: 62rem; margin: 0 auto; padding: clamp(1rem, 3vw, 2.5rem) clamp(.875rem, 3vw, 2rem) 4rem; }
h1, h2, h3, p, ul, dl, dd { margin: 0; padding: 0; }
ul { list-style: none; }
code, .mono { font-family: ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .875em; }
:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; border-radius: 6px; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
[hidden] { display: none !important; }
svg { display: block; flex: none; }

.verdict {
  background: var(--card); border: 1px solid var(--line); border-radius: 18px; box-shadow: var(--shadow); overflow: hidden;
}
.verdict .top { padding: clamp(1.25rem, 4vw, 2.25rem); background: var(--tone-back); }
.verdict .fleet { color: var(--tone); font-weight: 600; letter-spacing: .01em; }
.verdict h1 {
  display: flex; align-items: center; gap: .3em; color: var(--tone);
  font-size: clamp(2.5rem, 10vw, 4rem); line-height: 1.1; font-weight: 700; letter-spacing: -.025em; margin: .1em 0 .15em;
}
.verdict h1 svg { width: .8em; height: .8em; }
.verdict .say { font-size: 1.125rem; max-width: 40em; }
.bar { display: flex; height: 8px; gap: 2px; background: var(--card); }
.bar i { display: block; min-width: 4px; }
.counts { display: grid; grid-template-columns: repeat(4, 1fr); }
.counts div { padding: 1rem clamp(.75rem, 3vw, 2.25rem); }
.counts div + div { border-left: 1px solid var(--line); }
.counts dt { color: var(--soft); font-size: .875rem; }
.counts dd { font-size: 1.75rem; font-weight: 650; line-height: 1.2; letter-spacing: -.02em; }
.counts .none dd { color: var(--soft); font-weight: 400; }
.facts {
  display: flex; flex-wrap: wrap; gap: .35rem 1.75rem; margin: 1rem .25rem 0; color: var(--soft); font-size: .875rem;
}
.facts div { display: flex; gap: .4em; }
.facts dd { color: var(--text); }

section { margin-top: 2.5rem; }
h2 { font-size: 1.375rem; letter-spacing: -.015em; line-height: 1.3; margin-bottom: .875rem; }
.tone-pass { --tone: var(--pass); --tone-back: var(--pass-back); --tone-fill: var(--pass-fill); }
.tone-fail { --tone: var(--fail); --tone-back: var(--fail-back); --tone-fill: var(--fail-fill); }
.tone-warn { --tone: var(--warn); --tone-back: var(--warn-back); --tone-fill: var(--warn-fill); }
.tone-skip, .tone-empty { --tone: var(--skip); --tone-back: var(--skip-back); --tone-fill: var(--skip-fill); }

.failing { display: grid; gap: .75rem; }
.failing > li {
  position: relative; overflow: hidden; background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: .9rem 1.1rem 1rem 1.35rem; box-shadow: var(--shadow);
}
.failing > li::before { content: ""; position: absolute; inset: 0 auto 0 0; width: 5px; background: var(--tone-fill); }
.failing .where { color: var(--soft); font-size: .875rem; }
.failing h3 { font-size: 1.0625rem; line-height: 1.35; }
.failing .reason { color: var(--tone); margin-top: .25rem; font-weight: 500; }
.seen { margin-top: .6rem; background: var(--sunk); border-radius: 8px; padding: .55rem .75rem; }
.seen b { display: block; font-weight: 500; color: var(--soft); font-size: .8125rem; }

.tools {
  position: sticky; top: 0; z-index: 2; background: var(--page); padding: .6rem 0; margin-bottom: .5rem;
  display: flex; flex-wrap: wrap; gap: .6rem; align-items: center; border-bottom: 1px solid var(--line);
}
.tools fieldset { border: 1px solid var(--line); border-radius: 10px; padding: 3px; margin: 0; display: flex; background: var(--card); }
.tools label.pick { position: relative; cursor: pointer; }
.tools label.pick input { position: absolute; inset: 0; opacity: 0; margin: 0; cursor: pointer; }
.tools label.pick span { display: block; padding: .3rem .7rem; border-radius: 7px; color: var(--soft); font-size: .9375rem; }
.tools label.pick input:checked + span { background: var(--text); color: var(--card); }
.tools label.pick input:focus-visible + span { outline: 2px solid var(--focus); outline-offset: 2px; }
.tools .find { flex: 1 1 11rem; }
.tools input[type=search] {
  width: 100%; min-height: 2.5rem; font: inherit; color: inherit; background: var(--card);
  border: 1px solid var(--edge); border-radius: 10px; padding: .3rem .8rem;
}
.tools input[type=search]::placeholder { color: var(--soft); opacity: 1; }
.line { color: var(--soft); font-size: .875rem; margin: 0 .25rem .5rem; min-height: 2rem; }
.line button {
  font: inherit; color: var(--text); background: none; border: 0; padding: .3rem .4rem; margin: 0; cursor: pointer;
  text-decoration: underline; text-decoration-color: var(--edge); text-underline-offset: 3px; min-height: 2rem;
}
.js-only { display: none; }
.js .js-only { display: block; }
.js .tools fieldset.js-only, .js .line { display: flex; }
.js .line { justify-content: space-between; align-items: center; }
body:has(#by-host:checked) .by-service, body:has(#by-service:checked) .by-host { display: none; }

.group { background: var(--card); border: 1px solid var(--line); border-radius: 14px; margin-bottom: .875rem; box-shadow: var(--shadow); }
.group > summary {
  display: flex; align-items: center; gap: .6rem; padding: .8rem 1.1rem; cursor: pointer; list-style: none; border-radius: 14px;
}
summary::-webkit-details-marker { display: none; }
summary h3 { font-size: 1.0625rem; line-height: 1.3; flex: 1; }
.chevron { width: 14px; height: 14px; color: var(--soft); transition: transform .15s; }
details[open] > summary > .chevron { transform: rotate(90deg); }
.tally { display: flex; gap: .4rem; }
.tally span {
  display: inline-flex; align-items: center; gap: .3em; color: var(--tone); background: var(--tone-back);
  border-radius: 99px; padding: .1rem .6rem .1rem .45rem; font-size: .8125rem; font-weight: 600;
}
.tally svg { width: 12px; height: 12px; }
.checks > li { border-top: 1px solid var(--line); }
.checks > li:last-child > details > summary { border-radius: 0 0 14px 14px; }
.check > summary {
  display: grid; grid-template-columns: 20px minmax(0, 1fr) 8.5rem 14px; gap: .15rem .75rem; align-items: center;
  padding: .6rem 1.1rem; cursor: pointer; list-style: none;
}
.check > summary:hover { background: var(--sunk); }
.check .mark { color: var(--tone); }
.check .mark svg { width: 20px; height: 20px; }
.check .name b { font-weight: 600; }
.check .name span { color: var(--soft); font-size: .875rem; margin-left: .5em; }
.check .why { grid-column: 2 / -1; color: var(--tone); font-size: .9375rem; }
.time {
  display: flex; align-items: center; gap: .6rem; justify-content: flex-end;
  color: var(--soft); font-size: .8125rem; white-space: nowrap;
}
.time i { flex: 1; height: 4px; border-radius: 2px; background: var(--sunk); position: relative; overflow: hidden; }
.time i::after {
  content: ""; position: absolute; inset: 0 auto 0 0; width: var(--part); min-width: 2px; background: var(--edge); border-radius: 2px;
}
.time span { min-width: 3.6em; text-align: right; }
.more { padding: .2rem 1.1rem 1rem calc(1.1rem + 20px + .75rem); display: grid; gap: .5rem; font-size: .9375rem; }
.more dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .15rem 1rem; }
.more dt { color: var(--soft); }
footer { margin-top: 2.5rem; color: var(--soft); font-size: .875rem; }
@media (max-width: 40rem) {
  .counts { grid-template-columns: repeat(2, 1fr); }
  .counts div { padding: .75rem 1.25rem; }
  .counts div:nth-child(3) { border-left: 0; }
  .counts div:nth-child(n + 3) { border-top: 1px solid var(--line); }
  .facts { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .15rem 1rem; }
  .facts div { display: contents; }
  .tools { position: static; }
  .tools fieldset { flex: 1 1 100%; }
  .tools label.pick { flex: 1; text-align: center; }
  .tools label.pick span { padding: .5rem .2rem; font-size: .875rem; }
  .check > summary { grid-template-columns: 20px minmax(0, 1fr) auto 14px; padding: .7rem .875rem; }
  .check .name span { display: block; margin-left: 0; }
  .time { flex-direction: column-reverse; align-items: flex-end; gap: .3rem; }
  .time i { flex: none; width: 3.25rem; }
  .group > summary { padding: .8rem .875rem; }
  .more { padding: .1rem .875rem .9rem; }
}
@media (prefers-reduced-motion: reduce) { .chevron { transition: none; } }
@media print {
  .tools, .js .line, .chevron { display: none; }
  .group, .failing > li, .verdict { box-shadow: none; break-inside: avoid; }
}
"""

_SCRIPT = """
document.documentElement.classList.add("js");
(() => {
  const find = document.getElementById("find");
  if (!find) return;
  if (matchMedia("(hover: hover)").matches) find.placeholder = "Filter (press /)";
  const shown = document.getElementById("shown");
  const groups = [...document.querySelectorAll(".group")].map((element) => ({
    element, rows: [...element.querySelectorAll("[data-status]")], opened: element.open,
  }));
  const apply = () => {
    const words = find.value.toLowerCase().split(/\\s+/).filter(Boolean);
    const status = document.querySelector("input[name=status]:checked").value;
    const filtering = words.length > 0 || status !== "all";
    let count = 0, total = 0;
    for (const group of groups) {
      let any = false;
      for (const row of group.rows) {
        const fits = (status === "all" || row.dataset.status === status) && words.every((word) => row.dataset.text.includes(word));
        row.hidden = !fits;
        any = any || fits;
        if (group.element.closest(".by-host")) { total += 1; count += fits; }
      }
      group.element.hidden = !any;
      group.element.open = filtering ? any : group.opened;
    }
    shown.textContent = filtering ? (count ? `${count} of ${total} checks` : "No check fits. Clear the filter to see all.") : "";
  };
  const every = document.getElementById("every");
  const name = () => { every.textContent = groups.every((group) => group.opened) ? "Close all" : "Open all"; };
  every.addEventListener("click", () => {
    const open = !groups.every((group) => group.opened);
    for (const group of groups) { group.opened = open; group.element.open = open; }
    name();
  });
  find.addEventListener("input", apply);
  find.addEventListener("keydown", (event) => { if (event.key === "Escape") { find.value = ""; apply(); } });
  for (const pick of document.querySelectorAll("input[name=status]")) pick.addEventListener("change", apply);
  for (const group of groups) {
    group.element.addEventListener("toggle", () => {
      if (!find.value && document.querySelector("input[name=status]:checked").value === "all") group.opened = group.element.open;
      name();
    });
  }
  name();
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== find) { event.preventDefault(); find.focus(); }
  });
})();
"""

_ICONS = """<svg width="0" height="0" style="position:absolute" aria-hidden="true"><defs>
<symbol id="i-pass" viewBox="0 0 20 20"><circle cx="10" cy="10" r="9" fill="currentColor" opacity=".16"/>\
<path d="M5.8 10.4l2.9 2.9 5.6-6.4" fill="none" stroke="currentColor" stroke-width="2.1" \
stroke-linecap="round" stroke-linejoin="round"/></symbol>
<symbol id="i-fail" viewBox="0 0 20 20"><circle cx="10" cy="10" r="9" fill="currentColor"/>\
<path d="M6.9 6.9l6.2 6.2M13.1 6.9l-6.2 6.2" fill="none" stroke="var(--card)" stroke-width="2.1" stroke-linecap="round"/></symbol>
<symbol id="i-warn" viewBox="0 0 20 20"><path d="M10 1.8l9 16H1z" fill="currentColor" opacity=".2" stroke="currentColor" \
stroke-width="1.6" stroke-linejoin="round"/>\
<path d="M10 7.4v4.6M10 14.9v.1" fill="none" stroke="currentColor" stroke-width="2.1" stroke-linecap="round"/></symbol>
<symbol id="i-skip" viewBox="0 0 20 20"><circle cx="10" cy="10" r="8.2" fill="none" stroke="currentColor" stroke-width="1.6" \
stroke-dasharray="3 2.6"/><path d="M6.5 10h7" stroke="currentColor" stroke-width="2.1" stroke-linecap="round"/></symbol>
<symbol id="i-open" viewBox="0 0 14 14"><path d="M5 2.5L9.5 7 5 11.5" fill="none" stroke="currentColor" stroke-width="1.8" \
stroke-linecap="round" stroke-linejoin="round"/></symbol>
</defs></svg>"""


_CHEVRON = '<svg class="chevron" aria-hidden="true"><use href="#i-open"/></svg>'


def render_html(report: Report) -> str:
    """The whole page."""
    word = {PASS: "Passed", FAIL: "Failed", EMPTY: "Nothing checked"}[report.verdict]
    note = "Checks are seen from the controller or from the host itself. A time covers all attempts and the pauses between them."
    body = f"""{_verdict(report)}
{_failing(report)}
{_all(report)}
<footer><p>{note}</p></footer>"""
    return page(f"{word} · {report.fleet} validation", body, script=_SCRIPT)


def page(title: str, body: str, *, style: str = "", script: str = "") -> str:
    """A page in the look of the reports; `body` is markup, `title` text. Only the given script may run."""
    allowed = f"'sha256-{_hash(script)}'" if script else "'none'"
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src {allowed}; base-uri 'none'; form-action 'none'"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{_e(title)}</title>
<style>{_STYLE}{style}</style>
</head>
<body>
{_ICONS}
<main>
{body}
</main>
{f"<script>{script}</script>" if script else ""}
</body>
</html>
"""


def _e(text: object) -> str:
    return escape(str(text), quote=True)


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _icon(name: str) -> str:
    return f'<svg aria-hidden="true"><use href="#i-{name}"/></svg>'


def _tone(result: Result) -> str:
    return WARN if result.status == PASS and result.warning else result.status


def _time(seconds: float) -> str:
    if seconds <= 0:
        return "\N{EN DASH}"
    if seconds >= 60:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{round(seconds * 1000)} ms"


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _verdict(report: Report) -> str:
    counts, verdict, total = report.counts, report.verdict, len(report.results)
    clean = counts[PASS] - counts["warning"]
    word, icon = {PASS: ("Passed", "pass"), FAIL: ("Failed", "fail"), EMPTY: ("Nothing checked", "skip")}[verdict]
    if verdict == FAIL:
        hosts = len({result.host for result in report.failed})
        say = f"{counts[FAIL]} of {_many(total, 'check')} failed, on {_many(hosts, 'host')}."
    elif verdict == PASS:
        say = f"{_many(counts[PASS], 'check')} on {_many(len(report.hosts) - len(report.unchecked_hosts), 'host')} passed."
        if counts["warning"]:
            say += f" {counts['warning']} of them with a warning."
        if counts[SKIP]:
            say += f" {counts[SKIP]} skipped."
    else:
        say = f"All {total} checks were skipped." if total else "No host declares a check."
    numbers = [(FAIL, counts[FAIL]), (WARN, counts["warning"]), (PASS, clean), (SKIP, counts[SKIP])]
    shares = "".join(f'<i style="flex:{number};background:var(--{tone}-fill)"></i>' for tone, number in numbers if number)
    boxes = "".join(
        f'<div class="tone-{tone}{"" if number else " none"}"><dt>{_WORDS[tone]}</dt><dd>{number}</dd></div>' for tone, number in numbers
    )
    facts = [
        ("When", f'<time datetime="{iso(report.started)}">{iso(report.started).replace("T", " ").replace("Z", " UTC")}</time>'),
        ("Took", _time(report.duration_s)),
        ("By", _e(report.who)),
        ("Hosts", str(len(report.hosts))),
    ]
    if report.unchecked_hosts:
        facts.append(("Without checks", _e(", ".join(report.unchecked_hosts))))
    environment = f" · {_e(report.environment)}" if report.environment else ""
    return f"""<header class="verdict tone-{verdict}">
<div class="top"><p class="fleet">{_e(report.fleet)}{environment}</p>
<h1>{_icon(icon)}{word}</h1>
<p class="say">{say}</p></div>
<div class="bar" aria-hidden="true">{shares}</div>
<dl class="counts">{boxes}</dl>
</header>
<dl class="facts">{"".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)}</dl>"""


def _failing(report: Report) -> str:
    if not report.failed:
        return ""
    entries = "".join(
        f'<li class="tone-fail"><p class="where">{_e(result.host)} · {_e(result.role)} · {_e(result.type)}'
        f"{' · seen from the host' if result.origin == 'self' else ''}</p>"
        f"<h3>{_e(result.name)}</h3>"
        f'<p class="reason">{_e(result.reason)}</p>'
        + (f'<p class="seen"><b>Seen</b><code>{_e(result.evidence)}</code></p>' if result.evidence else "")
        + "</li>"
        for result in report.failed
    )
    return f'<section aria-labelledby="failing"><h2 id="failing">What failed</h2><ul class="failing">{entries}</ul></section>'


def _all(report: Report) -> str:
    if not report.results:
        return ""
    # A failed check takes as long as its retries do; measured against that, every good one would look quick.
    longest = max((result.duration_s for result in report.results if result.status == PASS), default=0) or 1.0
    by_host = _groups(report.results, "host", longest)
    by_service = _groups(report.results, "role", longest)
    present = {_tone(result) for result in report.results}
    picks = "".join(
        _pick("status", f"status-{value}", value, word, value == "all")
        for value, word in (("all", "All"), (FAIL, "Failed"), (WARN, "Warning"), (PASS, "Passed"), (SKIP, "Skipped"))
        if value == "all" or value in present
    )
    views = _pick("view", "by-host", "host", "By host", True) + _pick("view", "by-service", "service", "By service", False)
    return f"""<section aria-labelledby="all"><h2 id="all">All checks</h2>
<div class="tools">
<fieldset><legend class="hidden">Group the checks</legend>{views}</fieldset>
<fieldset class="js-only"><legend class="hidden">Show checks with this status</legend>{picks}</fieldset>
<div class="find js-only"><label class="hidden" for="find">Filter by host, service, name or text</label>
<input type="search" id="find" placeholder="Filter" autocomplete="off" spellcheck="false"></div>
</div>
<div class="line js-only"><p id="shown" role="status"></p><button type="button" id="every">Open all</button></div>
<div class="by-host">{by_host}</div>
<div class="by-service">{by_service}</div>
</section>"""


def _pick(group: str, identity: str, value: str, word: str, checked: bool) -> str:
    on = " checked" if checked else ""
    return f'<label class="pick"><input type="radio" name="{group}" id="{identity}" value="{value}"{on}><span>{word}</span></label>'


def _groups(results: Sequence[Result], field: str, longest: float) -> str:
    names = dict.fromkeys(getattr(result, field) for result in results)
    other = "role" if field == "host" else "host"
    parts = []
    for name in names:
        own = [result for result in results if getattr(result, field) == name]
        counts = summary(own)
        numbers = [
            (FAIL, counts[FAIL]), (WARN, counts["warning"]), (PASS, counts[PASS] - counts["warning"]), (SKIP, counts[SKIP]),
        ]  # fmt: skip
        tally = "".join(
            f'<span class="tone-{tone}">{_icon(tone)}{number}<span class="hidden"> {_WORDS[tone].lower()}</span></span>'
            for tone, number in numbers
            if number
        )
        rows = "".join(_row(result, other, longest) for result in own)
        parts.append(
            f'<details class="group"{" open" if counts[FAIL] or counts["warning"] else ""}><summary>{_CHEVRON}'
            f'<h3>{_e(name)}</h3><span class="tally">{tally}</span></summary><ul class="checks">{rows}</ul></details>'
        )
    return "".join(parts)


def _row(result: Result, other: str, longest: float) -> str:
    tone = _tone(result)
    why = result.reason or result.warning
    text = " ".join((result.host, result.role, result.name, result.type, result.reason, result.warning, result.evidence)).lower()
    part = f"{min(100.0, 100 * result.duration_s / longest):.1f}%"
    details = [
        ("Seen", f"<code>{_e(result.evidence)}</code>" if result.evidence else ""),
        ("Host", _e(result.host)),
        ("Service", _e(result.role)),
        ("Seen from", "the host itself" if result.origin == "self" else "the controller"),
        ("Attempts", str(result.attempts) if result.attempts else ""),
    ]
    return (
        f'<li class="tone-{tone}" data-status="{tone}" data-text="{_e(text)}"><details class="check"><summary>'
        f'<span class="mark">{_icon(tone)}<span class="hidden">{_WORDS[tone]}: </span></span>'
        f'<span class="name"><b>{_e(result.name)}</b><span>{_e(getattr(result, other))} · {_e(result.type)}</span></span>'
        f'<span class="time"><i style="--part:{part}"></i><span>{_time(result.duration_s)}</span></span>'
        + _CHEVRON
        + (f'<span class="why">{_e(why)}</span>' if why else "")
        + '</summary><div class="more"><dl>'
        + "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in details if value)
        + "</dl></div></details></li>"
    )
