"""mongodb_baseline as a real module run against a real replica set, and its playbook's report."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mongodb_support import ADMIN_WORD, READING, Bench, Mongod, begin, run

from lab.mirror import MirrorError, mongod_binary
from tests.support.ansible import PLAYBOOK, ROOT

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "linda-lab"
DEBIAN = Path("/usr/lib/python3/dist-packages")
SCRATCH = "linda_baseline"
SMALL = {"documents": 500, "range_size": 5, "operations": 200, "seconds": 5, "threads": 2}
KEEPER_WORD = "Keeper-word:with/odd@chars%"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bench, Mongod]]:
    try:
        binary = mongod_binary(CACHE)
    except MirrorError as error:
        pytest.skip(f"no mongod: {error}")
    made = Bench(binary, tmp_path_factory.mktemp("baseline"))
    try:
        (one,) = made.start(1)
        assert run("mongodb_replset", made.login(one, members=[one.host]))["changed"]
        assert run("mongodb_users", made.login(one, users=[{"name": "admin", "password": ADMIN_WORD, "roles": ["root"]}]))["changed"]
        yield made, one
    finally:
        made.stop()


@pytest.fixture(scope="module")
def debians_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A path with nothing but the pymongo of this Debian release."""
    path = tmp_path_factory.mktemp("driver")
    for package in ("pymongo", "bson"):
        if not (DEBIAN / package).is_dir():
            pytest.skip("python3-pymongo is not installed")
        (path / package).symlink_to(DEBIAN / package)
    return path


def databases(server: Mongod) -> list[str]:
    with server.client("admin") as client:
        return sorted(set(client.list_database_names()) - {"admin", "config", "local"})


@pytest.mark.parametrize("pymongo_of", ["venv", "debian"])
def test_everything_is_measured_and_nothing_is_left(server: tuple[Bench, Mongod], pymongo_of: str, request: pytest.FixtureRequest) -> None:
    bench, member = server
    driver = request.getfixturevalue("debians_driver") if pymongo_of == "debian" else None
    size = member.log.stat().st_size
    predicted = run("mongodb_baseline", bench.login(member, **SMALL), check=True, driver=driver)
    assert (predicted["changed"], predicted["steps_done"], "measurement" in predicted) == (False, [], False), predicted
    assert set(member.commands_of_modules(size)) <= READING
    done = run("mongodb_baseline", bench.login(member, **SMALL), driver=driver)
    assert done.get("failed") is not True, done
    assert done["steps_done"] == done["plan"] == predicted["plan"]
    measured = done["measurement"]
    assert (measured["cluster"], measured["server"]) == ("rs0", {"host": member.host, "version": "6.0.5", "members": 1})
    assert list(measured["workloads"]) == ["point_read", "range_read", "insert", "aggregate"]
    for figures in measured["workloads"].values():
        assert figures["operations"] == 200
        assert 0 < figures["p50_ms"] <= figures["p95_ms"] <= figures["p99_ms"] <= figures["max_ms"] < 5000
        assert figures["throughput"] == pytest.approx(200 / figures["seconds"], rel=0.1)
    assert databases(member) == []
    # What the server itself counted: the operations, one more for each thread to open its connection, and four ways of loading and marking.
    sent = member.commands_of_modules(size)
    assert sent.count("aggregate") == 202
    assert sent.count("find") == 404
    assert sent.count("insert") == 202 + 2


def test_a_time_limit_ends_a_workload(server: tuple[Bench, Mongod]) -> None:
    bench, member = server
    load = {**SMALL, "operations": 10_000_000, "seconds": 1, "workloads": ["point_read"]}
    figures = run("mongodb_baseline", bench.login(member, **load))["measurement"]["workloads"]["point_read"]
    assert 1 <= figures["seconds"] < 2
    assert figures["operations"] > 100


def test_a_database_of_somebody_else_is_refused(server: tuple[Bench, Mongod]) -> None:
    bench, member = server
    with member.client("admin") as client:
        client[SCRATCH].orders.insert_one({"_id": 1})
        refused = run("mongodb_baseline", bench.login(member, **SMALL))
        assert (refused["code"], refused["steps_done"]) == ("not_ours", []), refused
        assert "orders" in refused["msg"]
        assert client[SCRATCH].orders.count_documents({}) == 1
        assert client[SCRATCH].list_collection_names() == ["orders"]
        client.drop_database(SCRATCH)


def test_a_killed_run_keeps_others_away_for_a_while_and_is_then_cleared(server: tuple[Bench, Mongod]) -> None:
    bench, member = server
    long = bench.login(member, **{**SMALL, "operations": 10_000_000, "seconds": 600})
    process = begin("mongodb_baseline", long)
    with member.client("admin") as client:
        while client[SCRATCH].documents.count_documents({}) != 500:
            assert process.poll() is None, process.communicate()
        process.kill()
        process.communicate()
        assert run("mongodb_baseline", bench.login(member, **SMALL))["code"] == "busy"
        past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=1)
        client[SCRATCH].linda_baseline_marker.update_one({"_id": "mark"}, {"$set": {"until": past}})
    done = run("mongodb_baseline", bench.login(member, **SMALL))
    assert done.get("failed") is not True, done
    assert databases(member) == []


def test_what_fails_in_the_middle_leaves_nothing(server: tuple[Bench, Mongod]) -> None:
    """An account that may do everything but insert what the third workload inserts."""
    bench, member = server
    whole, own = {"db": SCRATCH, "collection": ""}, ["find", "insert", "update", "createIndex"]
    with member.client("admin") as client:
        privileges = [{"resource": whole, "actions": ["find", "listCollections", "dropCollection"]}]
        privileges += [{"resource": {"db": SCRATCH, "collection": name}, "actions": own} for name in ("documents", "linda_baseline_marker")]
        client.admin.command("createRole", "nearly", privileges=privileges, roles=[])
    keeper = {"name": "keeper", "password": KEEPER_WORD, "roles": ["nearly"]}
    assert run("mongodb_users", bench.login(member, users=[keeper]))["changed"]
    failed = run("mongodb_baseline", bench.login(member, login_user="keeper", login_password=KEEPER_WORD, **SMALL))
    assert failed["code"] == "not_authorized", failed
    assert [step["action"] for step in failed["steps_done"]] == ["fill", "measure", "measure"]
    assert databases(member) == []


@pytest.mark.parametrize(
    ("load", "code"),
    [
        ({"database": "admin"}, "bad_database"),
        ({"database": "a.b"}, "bad_database"),
        ({"threads": 0}, "bad_load"),
        ({"login_port": 9}, "not_running"),
    ],
)
def test_bad_input_is_refused_before_a_command(server: tuple[Bench, Mongod], load: dict[str, Any], code: str) -> None:
    bench, member = server
    size = member.log.stat().st_size
    assert run("mongodb_baseline", bench.login(member, **{**SMALL, "timeout": 2, **load}))["code"] == code
    assert member.commands_of_modules(size) == []


def test_the_report_stands_beside_the_last_one(server: tuple[Bench, Mongod], tmp_path: Path) -> None:
    bench, member = server
    play = [
        {
            "hosts": "localhost",
            "gather_facts": False,
            "tasks": [
                {"linda.ops.mongodb_baseline": bench.login(member, **SMALL), "register": "measured", "no_log": True},
                {
                    "linda.ops.mongodb_baseline_report": {
                        "measurement": "{{ measured.measurement }}",
                        "directory": str(tmp_path / "figures"),
                    }
                },
            ],
        }
    ]
    (tmp_path / "play.yml").write_text(json.dumps(play))
    command = [str(PLAYBOOK), "-i", "localhost,", "-c", "local", str(tmp_path / "play.yml")]
    command += ["-e", f"ansible_python_interpreter={sys.executable}"]
    outputs = []
    for _time in range(2):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        outputs.append(done.stdout + done.stderr)
        assert ADMIN_WORD not in outputs[-1]
    assert "There is no earlier measurement" in outputs[0]
    assert "The last one is of 20" in outputs[1]
    stored = sorted(path for path in (tmp_path / "figures").glob("2*.json"))
    assert len(stored) == 2
    assert json.loads(stored[1].read_text())["cluster"] == "rs0"
    assert "insert" in (tmp_path / "figures" / "latest.html").read_text().lower()
