"""The baseline's statistics, what is stored, and the page."""

from __future__ import annotations

import copy
import json
import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.linda.ops.plugins.action.mongodb_baseline_report import earlier, store
from ansible_collections.linda.ops.plugins.module_utils._mongodb_baseline import (
    WORKLOADS,
    compare,
    differences,
    parse_settings,
    percentile,
    read_measurement,
    summarise,
    table,
)
from ansible_collections.linda.ops.plugins.module_utils._mongodb_baseline_html import render_baseline
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from hypothesis import given
from hypothesis import strategies as st

LOAD: dict[str, Any] = {"documents": 10000, "document_size": 512, "range_size": 50, "operations": 5000, "seconds": 10, "threads": 4}
latencies = st.lists(st.floats(1e-6, 100), min_size=1, max_size=300)


def measurement(scale: float = 1, slow: str = "", taken: str = "2026-01-01T12:00:00Z", **more: Any) -> dict[str, Any]:
    figures = {}
    for place, name in enumerate(WORKLOADS, 1):
        factor = scale * (2 if name == slow else 1)
        ms = place * factor
        figures[name] = {
            "operations": 5000, "seconds": factor, "throughput": round(5000 / factor, 1),
            "p50_ms": ms, "p95_ms": 2 * ms, "p99_ms": 3 * ms, "max_ms": 9 * ms,
        }  # fmt: skip
    base = {
        "format": 1,
        "taken": taken,
        "cluster": "linda",
        "server": {"host": "mongo1:27017", "version": "6.0.5", "members": 3},
        "settings": {**LOAD, "seen_from": "ops1"},
        "workloads": figures,
    }
    return {**base, **more}


@given(latencies, st.floats(0, 100))
def test_a_percentile_is_a_measured_value_that_so_many_do_not_exceed(values: list[float], percent: float) -> None:
    found = percentile(sorted(values), percent)
    assert found in values
    assert sum(value <= found for value in values) >= math.ceil(len(values) * percent / 100)
    assert sum(value < found for value in values) <= len(values) * percent / 100


def test_percentiles_of_a_hundred() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, percent) for percent in (0, 50, 95, 99, 100)] == [1, 50, 95, 99, 100]
    for bad in (lambda: percentile([], 50), lambda: percentile([1.0], 101), lambda: summarise([1.0], 0)):
        with pytest.raises(ValueError, match=r"needs|takes"):
            bad()


@given(latencies, st.floats(0.01, 100))
def test_a_summary_is_stored_and_read_back(values: list[float], seconds: float) -> None:
    figures = summarise(values, seconds)
    assert figures["p50_ms"] <= figures["p95_ms"] <= figures["p99_ms"] <= figures["max_ms"]
    assert figures["operations"] == len(values)
    assert figures["throughput"] == pytest.approx(len(values) / seconds, abs=0.06)
    whole = measurement(workloads={"insert": figures})
    assert read_measurement(json.dumps(whole)) == whole


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format",), 2),
        (("taken",), None),
        (("cluster",), 5),
        (("workloads",), []),
        (("workloads", "insert"), {}),
        (("workloads", "insert", "p95_ms"), "4"),
        (("workloads", "insert", "throughput"), True),
    ],
)
def test_what_is_not_a_measurement_is_not_read(path: tuple[str, ...], value: object) -> None:
    document = copy.deepcopy(measurement())
    place: Any = document
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(ValueError, match=r"format|missing|whole"):
        read_measurement(json.dumps(document))


def test_verdicts() -> None:
    verdicts = lambda now, last: [row.verdict for row in compare(now, last)]  # noqa: E731
    assert verdicts(measurement(), None) == ["first"] * 4
    assert verdicts(measurement(1.1), measurement()) == ["same"] * 4
    assert verdicts(measurement(slow="insert"), measurement()) == ["same", "same", "slower", "same"]
    assert verdicts(measurement(), measurement(slow="insert")) == ["same", "same", "faster", "same"]
    other = measurement(settings={**LOAD, "threads": 8, "seen_from": "ops1"})
    assert verdicts(measurement(), other) == ["other"] * 4
    newer = measurement(slow="insert", server={"host": "mongo2:27017", "version": "6.0.27", "members": 3})
    assert verdicts(newer, measurement()) == ["same", "same", "slower", "same"], "an upgrade is what one measures for"
    assert differences(newer, measurement()) == ["version 6.0.5 -> 6.0.27"]


def test_the_table_shows_both() -> None:
    words = table(measurement(slow="insert"), measurement()).splitlines()
    assert all(len(line) <= 110 for line in words)
    assert words[3].split() == ["insert", "2500", "5000", "-50%", "6.00", "3.00", "12.00", "6.00", "18.00", "9.00", "slower"]
    assert words[-1] == "The last one is of 2026-01-01T12:00:00Z."
    assert "no earlier measurement" in table(measurement(), None)
    assert "threads 8 -> 4" in table(measurement(), measurement(settings={**LOAD, "threads": 8, "seen_from": "ops1"}))


@pytest.mark.parametrize(
    ("given_load", "says"),
    [
        ({"documents": 99}, "documents = 99"),
        ({"document_size": -1}, "document_size = -1"),
        ({"operations": 0}, "operations = 0"),
        ({"seconds": 0}, "seconds = 0"),
        ({"threads": 0}, "threads = 0"),
        ({"threads": 11, "operations": 10}, "less than one for each"),
        ({"range_size": 101}, "more than a hundredth"),
        ({"documents": 1_000_000, "document_size": 1_000_000}, "20 GB"),
        ({"workloads": []}, "workloads is empty"),
        ({"workloads": ["insert", "insert"]}, "names one twice"),
    ],
)
def test_a_load_without_bounds_is_refused(given_load: dict[str, Any], says: str) -> None:
    with pytest.raises(MongodbError) as refused:
        parse_settings({**LOAD, "workloads": list(WORKLOADS), **given_load})
    assert refused.value.code == "bad_load"
    assert says in refused.value.message


def test_what_is_stored_is_found_again(tmp_path: Path) -> None:
    base = tmp_path / "reports" / "mongodb-baseline"
    assert earlier(base, "linda") == []
    first, second = measurement(), measurement(taken="2026-01-02T12:00:00Z")
    for one in (second, first, first, measurement(cluster="other")):
        stored = store(base, one, "<page>")
    assert stored.name == "20260101T120000Z-3.json"
    (base / "broken.json").write_text("{")
    assert earlier(base, "linda") == [first, first, second]
    assert (base / "latest.html").read_text() == "<page>"
    assert (base / "latest.json").resolve() == stored
    assert not [path for path in base.iterdir() if path.name.startswith(".")]


HOSTILE = "</script><script>owned()</script>'\"&<b>"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_page_shows_text_as_text(count: int) -> None:
    now = measurement(cluster=HOSTILE, server={"host": HOSTILE, "version": HOSTILE, "members": 3}, slow="insert")
    past = [measurement(taken=f"2026-01-0{day + 1}T12:00:00Z") for day in range(count)]
    html = render_baseline(now, past)
    assert "script-src 'none'" in html
    assert "<script" not in html
    assert "&lt;/script&gt;" in html
    pictures = [part.split("</svg>")[0] + "</svg>" for part in html.split('<svg viewBox="0 0 360')[1:]]
    assert len(pictures) == len(WORKLOADS)
    for picture in pictures:
        drawn = ElementTree.fromstring('<svg viewBox="0 0 360' + picture)  # noqa: S314  # our own page
        bars = [float(one.attrib["width"]) for one in drawn.iter("rect")]
        assert bars
        assert all(2 <= width <= 206 for width in bars)
        assert (drawn.find("polyline") is not None) == (count > 1)
    assert ("Slower" in html) == (count > 0)
