"""Settings and trace context: pure parts."""

import json
import logging
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.app.linda_lab_api import tracing
from lab.app.linda_lab_api.settings import SettingsError, pool_of, read

URI = {"LINDA_API_MONGODB_URI": "mongodb://127.0.0.1/"}


def test_defaults() -> None:
    settings = read(URI)
    assert (pool_of(settings.mongodb_uri), settings.timeout) == ((10, 100), 30)
    assert (settings.drill_error_ratio, settings.drill_latency, settings.drill_refuse_start) == (0, 0, False)
    assert (settings.drill_slow_start, settings.drill_memory_growth) == (0, 0)


def test_every_setting_is_documented() -> None:
    readme = (Path(__file__).resolve().parent.parent / "README.md").read_text()
    documented = set(re.findall(r"`LINDA_API_([A-Z_]+)`", readme)) - {"MONGODB_URI_FILE"}
    assert documented == {name.upper() for name in vars(read(URI))}


def test_values_are_converted() -> None:
    given_values = {"PORT": "9000", "TIMEOUT": "2.5", "DRILL_REFUSE_START": "true", "NAME": "api1", "LOG_LEVEL": "DEBUG"}
    settings = read(URI | {f"LINDA_API_{name}": value for name, value in given_values.items()})
    assert (settings.port, settings.timeout, settings.drill_refuse_start) == (9000, 2.5, True)
    assert (settings.name, settings.log_level) == ("api1", "DEBUG")


def test_uri_comes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "uri").write_text("mongodb://user:secret@mongo1/\n")
    assert read({"LINDA_API_MONGODB_URI_FILE": str(tmp_path / "uri")}).mongodb_uri == "mongodb://user:secret@mongo1/"


def test_the_pool_is_the_uris() -> None:
    assert pool_of("mongodb://u:p%3F@a,b/linda?replicaSet=rs&minPoolSize=3&maxpoolsize=7") == (3, 7)


@pytest.mark.parametrize("query", ["minPoolSize=-1", "minPoolSize=200", "maxPoolSize=many"])
def test_a_wrong_pool_is_refused(query: str) -> None:
    with pytest.raises(SettingsError, match="PoolSize"):
        read({"LINDA_API_MONGODB_URI": f"mongodb://127.0.0.1/?{query}"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "99999"),
        ("PORT", "80.5"),
        ("PORT", ""),
        ("POOL_MIN", "5"),
        ("TIMEOUT", "0"),
        ("TIMEOUT", "nan"),
        ("SHUTDOWN_DEADLINE", "0"),
        ("DRILL_ERROR_RATIO", "1.5"),
        ("DRILL_REFUSE_START", "yes"),
        ("DRILL_LATENCY", "1s"),
        ("LOG_LEVEL", "LOUD"),
        ("PROT", "8000"),
        ("MONGODB_URI_FILE", "/nonexistent"),
    ],
)
def test_wrong_settings_are_refused_by_name(name: str, value: str) -> None:
    uri = {} if name == "MONGODB_URI_FILE" else URI
    with pytest.raises(SettingsError, match=f"LINDA_API_{name}"):
        read(uri | {f"LINDA_API_{name}": value})


def test_a_uri_is_required_and_never_shown(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="LINDA_API_MONGODB_URI_FILE"):
        read({})
    (tmp_path / "uri").write_text("http://user:secret@mongo1/")
    with pytest.raises(SettingsError) as caught:
        read({"LINDA_API_MONGODB_URI_FILE": str(tmp_path / "uri")})
    assert "secret" not in str(caught.value)


TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    "header", [f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00", f"cc-{TRACE}-{SPAN}-01-future", f" 00-{TRACE}-{SPAN}-01 "]
)
def test_a_valid_trace_goes_on(header: str) -> None:
    trace = tracing.take(header)
    assert trace.trace_id == TRACE
    assert trace.span_id != SPAN
    assert trace.header() == f"00-{TRACE}-{trace.span_id}-{trace.flags}"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "nonsense",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}",
    ],
)
def test_an_invalid_trace_begins_anew(header: str | None) -> None:
    assert tracing.take(header).trace_id not in {TRACE, "0" * 32}


@given(st.text(max_size=80))
def test_any_header_gives_a_valid_trace(header: str) -> None:
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", tracing.take(header).header())


@given(st.text())
def test_a_log_line_is_one_json_object(text: str) -> None:
    record = logging.LogRecord("x", logging.INFO, __file__, 1, "%s", (text,), None)
    token = tracing.current.set(tracing.Trace(TRACE, SPAN))
    try:
        line = tracing.JsonFormatter().format(record)
    finally:
        tracing.current.reset(token)
    assert "\n" not in line
    document = json.loads(line)
    assert (document["message"], document["trace_id"], document["level"]) == (text, TRACE, "info")
