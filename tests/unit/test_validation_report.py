"""The report: verdict, escaping, the forms for programs, the files on disk, and colours that can be read."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest
from ansible_collections.linda.ops.plugins.action.validation_report import write
from ansible_collections.linda.ops.plugins.module_utils._checks_engine import Result
from ansible_collections.linda.ops.plugins.module_utils._checks_spec import parse_checks
from ansible_collections.linda.ops.plugins.module_utils._report import Report, headline, merge, render_json, render_junit
from ansible_collections.linda.ops.plugins.module_utils._report_html import render_html
from hypothesis import given
from hypothesis import strategies as st

HOSTILE = "</script><script>owned()</script><img src=x onerror=owned()>'\"&<b>{{ 7 * 7 }}\x00\x1b[31m"
# What a page consists of anyway; a value that gets through as markup adds something else.
HARMLESS = {
    "html", "head", "meta", "title", "style", "body", "svg", "defs", "symbol", "circle", "path", "use", "main", "header", "p", "h1",
    "h2", "h3", "div", "i", "dl", "dt", "dd", "time", "section", "ul", "li", "b", "code", "fieldset", "legend", "label", "input", "span",
    "details", "summary", "button", "footer", "script",
}  # fmt: skip


def result(status: str = "pass", **more: object) -> Result:
    base = {"name": "https", "host": "edge1", "role": "edge", "type": "http", "origin": "controller", "attempts": 1, "duration_s": 0.25}
    return Result(**{**base, "status": status, **more})  # type: ignore[arg-type]  # the tests choose fields freely


def report(*results: Result, hosts: tuple[str, ...] = ("edge1",), **more: object) -> Report:
    base = {"fleet": "linda", "environment": "lab", "started": 1767225600.0, "ended": 1767225603.5, "who": "ada@here"}
    return Report(**{**base, "hosts": hosts, "results": results, **more})  # type: ignore[arg-type]  # as above


class Page(HTMLParser):
    """Tags with their attributes, and the text outside script and style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style":
            self.text += data


class TestVerdict:
    def test_pass(self) -> None:
        assert headline(report(result(), result(name="b"))) == "2 of 2 checks passed (1 host, 3.5 s)."

    def test_one_failure_is_enough(self) -> None:
        made = report(result(), result("fail", name="b", reason="no"), result("skip", name="c"))
        assert made.verdict == "fail"
        assert headline(made) == "1 of 3 checks failed (1 skipped, 1 host, 3.5 s)."

    @pytest.mark.parametrize("results", [(), (result("skip"),)])
    def test_nothing_checked_is_not_a_pass(self, results: tuple[Result, ...]) -> None:
        assert report(*results).verdict == "empty"
        assert "Nothing checked" in render_html(report(*results))

    def test_warning_passes_and_is_counted(self) -> None:
        made = report(result(warning="soon"), result("fail", name="b", warning="odd", reason="no"))
        assert made.counts == {"pass": 1, "fail": 1, "skip": 0, "warning": 1}

    def test_missing_results_fail_and_strangers_stay(self) -> None:
        raw = {"host": "edge1", "role": "edge", "type": "tcp", "port": 1, "address": "127.0.0.1"}
        expected = parse_checks([raw | {"name": "one"}, raw | {"name": "two"}])
        merged = merge(expected, [result("fail", name="stranger", reason="x"), result(name="two"), result("fail", name="two")])
        assert [(one.name, one.status) for one in merged] == [("one", "fail"), ("two", "pass"), ("stranger", "fail")]
        assert "was not run" in merged[0].reason


class TestHtml:
    def hostile(self) -> Report:
        fields = dict.fromkeys(("name", "host", "role", "type", "origin", "reason", "evidence", "warning"), HOSTILE)
        results = [result(status, **fields) for status in ("pass", "fail", "skip")]
        return report(*results, hosts=(HOSTILE, "bare" + HOSTILE), fleet=HOSTILE, environment=HOSTILE, who=HOSTILE)

    def test_hostile_values_stay_text(self) -> None:
        text = render_html(self.hostile())
        page = Page(text)
        assert {tag for tag, _ in page.tags} <= HARMLESS
        assert len(page.scripts) == 1
        assert not [name for _tag, attributes in page.tags for name in attributes if name.startswith("on")]
        assert "owned()" in page.text, "the test sees values at all"
        assert "<script>owned" not in text
        assert "<img" not in text

    def test_policy_allows_the_one_script_only(self) -> None:
        page = Page(render_html(self.hostile()))
        (policy,) = [tag["content"] for name, tag in page.tags if name == "meta" and tag.get("http-equiv") == "Content-Security-Policy"]
        digest = base64.b64encode(hashlib.sha256(page.scripts[0].encode()).digest()).decode()
        assert policy is not None
        assert f"script-src 'sha256-{digest}'" in policy
        assert "default-src 'none'" in policy

    def test_nothing_from_elsewhere(self) -> None:
        page = Page(render_html(report(result(), result("fail", name="b", reason="no", evidence="seen"))))
        links = [value for _tag, tag in page.tags for name, value in tag.items() if name in ("src", "href", "action", "data", "poster")]
        assert links
        assert all(value is not None and value.startswith("#i-") for value in links)
        assert "@import" not in render_html(report(result()))
        assert "url(" not in render_html(report(result()))

    def test_every_check_stands_under_host_and_service(self) -> None:
        results = [result(name=f"n{number}", host=f"h{number % 3}", role=f"r{number % 2}") for number in range(12)]
        page = Page(render_html(report(*results, hosts=("h0", "h1", "h2", "h3"))))
        rows = [tag for name, tag in page.tags if name == "li" and "data-status" in tag]
        assert len(rows) == 24
        groups = [tag for name, tag in page.tags if name == "details" and tag.get("class") == "group"]
        assert len(groups) == 5
        assert "Without checksh3" in page.text

    def test_identities_are_unique_and_labels_fit(self) -> None:
        page = Page(render_html(report(result(), result("fail", name="b", reason="no"), result("skip", name="c"))))
        identities = [tag["id"] for _name, tag in page.tags if "id" in tag]
        assert len(identities) == len(set(identities))
        wanted = {tag["for"] for name, tag in page.tags if name == "label" and "for" in tag}
        wanted |= {tag["aria-labelledby"] for _name, tag in page.tags if "aria-labelledby" in tag}
        assert wanted <= set(identities)

    @pytest.mark.parametrize("theme", [0, 1])
    def test_contrast(self, theme: int) -> None:
        """Every pair of text and background that the page uses reaches 4.5 (WCAG 2.1 AA)."""
        blocks = re.findall(r":root \{(.*?)\}", render_html(report(result())), re.DOTALL)
        assert len(blocks) == 2
        colour = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", blocks[theme]))
        pairs = [(text, back) for text in ("text", "soft") for back in ("page", "card", "sunk")]
        pairs += [(tone, back) for tone in ("pass", "fail", "warn", "skip") for back in ("card", "sunk", f"{tone}-back")]
        pairs += [("card", "text"), *(("text", f"{tone}-back") for tone in ("pass", "fail", "skip"))]
        for text, back in pairs:
            assert contrast(colour[text], colour[back]) >= 4.5, (text, back)


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours (WCAG 2.1)."""

    def luminance(colour: str) -> float:
        channels = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in channels)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_contrast_formula() -> None:
    assert round(contrast("#000000", "#ffffff")) == 21
    assert contrast("#777777", "#ffffff") < 4.5


class TestForPrograms:
    @given(st.text())
    def test_junit_is_well_formed_whatever_it_holds(self, text: str) -> None:
        made = report(
            result("fail", reason=text, evidence=text, host=text), result("skip", reason=text, role=text), result(evidence=text, name=text)
        )
        root = ElementTree.fromstring(render_junit(made).encode())  # noqa: S314  # our own text
        assert (root.get("tests"), root.get("failures"), root.get("skipped")) == ("3", "1", "1")
        cases = root.findall("./testsuite/testcase")
        assert len(cases) == 3
        assert len(root.findall("./testsuite/testcase/failure")) == 1
        assert len(root.findall("./testsuite/testcase/skipped")) == 1

    def test_junit_says_what_failed(self) -> None:
        root = ElementTree.fromstring(render_junit(report(result("fail", reason="status 502", evidence="bad <gateway>"))).encode())  # noqa: S314  # our own text
        failure = root.find("./testsuite[@name='edge1']/testcase[@name='https']/failure")
        assert failure is not None
        assert failure.get("message") == "status 502"
        assert failure.text == "status 502\nbad <gateway>"

    def test_json(self) -> None:
        document = json.loads(render_json(report(result(), hosts=("edge1", "bare"))))
        assert document["started"] == "2026-01-01T00:00:00Z"
        assert document["duration_s"] == 3.5
        assert document["unchecked_hosts"] == ["bare"]
        assert document["results"][0]["from"] == "controller"
        assert Result.from_dict(document["results"][0]) == result()


class TestWrite:
    def test_names_and_the_link(self, tmp_path: Path) -> None:
        first = write(report(result()), tmp_path / "deep" / "reports")
        second = write(report(result()), tmp_path / "deep" / "reports")
        base = tmp_path / "deep" / "reports"
        assert first == base / "20260101T000000Z" / "report.html"
        assert second == base / "20260101T000000Z-2" / "report.html"
        assert os.readlink(base / "latest") == "20260101T000000Z-2"
        assert sorted(path.name for path in base.iterdir()) == ["20260101T000000Z", "20260101T000000Z-2", "latest"]
        assert first.read_text() == render_html(report(result()))

    def test_latest_that_is_no_link_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "latest").mkdir()
        (tmp_path / "latest" / "mine").write_text("x")
        with pytest.raises(OSError, match="directory"):
            write(report(result()), tmp_path)
        assert (tmp_path / "latest" / "mine").read_text() == "x"
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]

    def test_failure_leaves_nothing_behind(self, tmp_path: Path) -> None:
        with pytest.raises(UnicodeEncodeError):
            write(report(result(evidence="\ud800")), tmp_path)
        assert list(tmp_path.iterdir()) == []
