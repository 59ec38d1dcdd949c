"""mongodb_sharding as a real module run, over the wire, against a modelled router (no mongos can run where these tests do)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from bson import MinKey, ObjectId
from checks_support import Authority
from mongodb_support import run
from sharding_support import DESCRIPTION, READING, Model, cluster, router

DEBIAN = Path("/usr/lib/python3/dist-packages")


def login(port: int, **more: Any) -> dict[str, Any]:
    return {"login_host": "127.0.0.1", "login_port": port, "timeout": 5, **more}


def actions(result: dict[str, Any]) -> list[str]:
    return [step["action"] for step in result["plan"]]


@pytest.fixture(scope="module")
def debians_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A path with nothing but the pymongo of this Debian release."""
    path = tmp_path_factory.mktemp("driver")
    for package in ("pymongo", "bson"):
        if not (DEBIAN / package).is_dir():
            pytest.skip("python3-pymongo is not installed")
        (path / package).symlink_to(DEBIAN / package)
    return path


@pytest.mark.parametrize("pymongo_of", ["venv", "debian"])
def test_a_new_cluster_in_four_steps(pymongo_of: str, request: pytest.FixtureRequest) -> None:
    driver = request.getfixturevalue("debians_driver") if pymongo_of == "debian" else None
    model = Model(wire=13)
    with router(model) as port:
        predicted = run("mongodb_sharding", login(port, **DESCRIPTION), check=True, driver=driver)
        assert predicted.get("changed"), predicted
        assert set(model.sent()) <= READING
        done = run("mongodb_sharding", login(port, **DESCRIPTION), driver=driver)
        assert done.get("failed") is not True, done
        assert (done["plan"], done["diff"]) == (predicted["plan"], predicted["diff"])
        assert done["steps_done"] == done["plan"]
        for check in (True, False):
            again = run("mongodb_sharding", login(port, **DESCRIPTION), check=check, driver=driver)
            assert (again["changed"], again["plan"], again["state"]) == (False, [], "ready"), again
            assert again["diff"]["before"] == again["diff"]["after"]
    assert actions(done) == [
        "set_window",
        "add_shard",
        "add_shard",
        "add_zone",
        "enable_sharding",
        "shard_collection",
        "add_range",
        "shard_collection",
        "split",
    ]
    # What reached the other side is in the server's own types.
    sent = dict(model.commands)
    assert sent["addShard"] | {"addShard": "two/h3:27018", "name": "two"} == sent["addShard"]
    assert sent["updateZoneKeyRange"]["min"] == {"owner": MinKey(), "seen": MinKey()}
    assert sent["updateZoneKeyRange"]["max"] == {"owner": ObjectId("8" * 24), "seen": MinKey()}
    assert sent["split"]["middle"] == {"owner": ObjectId("5" * 24), "seen": MinKey()}
    first = next(document for name, document in model.commands if name == "shardCollection")
    assert (first["key"], first["numInitialChunks"], first["$db"]) == ({"user_id": "hashed"}, 8, "admin")
    assert model.settings["balancer"]["activeWindow"] == {"start": "01:00", "stop": "05:00"}


@pytest.fixture
def model() -> Model:
    """A cluster as the description makes it, with a third shard that holds data and a database."""
    made = cluster([{"name": "three", "shard": "three/h4:27018"}])
    made.databases["media"] = {"primary": "three"}
    made.chunks["linda.messages"]["three"] = 7
    return made


def test_a_drain_that_outlasts_a_run_is_resumed(model: Model) -> None:
    leaving = {"shards": [{"name": "three", "state": "absent", "allow": ["move_primary"]}]}
    model.pace = 0
    with router(model) as port:
        cut = run("mongodb_sharding", login(port, **leaving, drain_timeout=0))
        assert (cut["code"], cut["changed"]) == ("drain_unfinished", True), cut
        assert [step["action"] for step in cut["steps_done"]] == ["drain_shard"]
        assert model.shards["three"]["draining"] is True
        size = len(model.commands)
        seen = run("mongodb_sharding", login(port, **leaving), check=True)
        assert actions(seen) == ["wait_drained", "move_primary", "remove_shard"]
        assert set(model.sent()[size:]) <= READING
        model.pace = 5
        done = run("mongodb_sharding", login(port, **leaving, drain_timeout=30))
        assert done.get("failed") is not True, done
        assert [left["chunks"] for left in done["progress"]] == sorted((left["chunks"] for left in done["progress"]), reverse=True)
        assert done["progress"][-1] == {"shard": "three", "chunks": 0, "databases": 1}
        assert "three" not in model.shards
        assert model.databases["media"]["primary"] in ("one", "two")
        assert run("mongodb_sharding", login(port, **leaving))["changed"] is False


def test_a_run_that_was_cut_off_goes_on(model: Model) -> None:
    more = copy.deepcopy(DESCRIPTION)
    more["shards"][1]["zones"] = ["us"]
    more["collections"].append({"database": "linda", "collection": "sessions", "keys": [{"user_id": 1}], "split_points": [{"user_id": 5}]})
    model.refuse_next = {"split"}
    with router(model) as port:
        cut = run("mongodb_sharding", login(port, **more))
        assert cut["failed"], cut
        assert cut["code"] == "not_primary"
        assert [step["action"] for step in cut["steps_done"]] == ["add_zone", "shard_collection"]
        done = run("mongodb_sharding", login(port, **more))
        assert actions(done) == ["split"], done


def test_drift_is_shown_and_then_repaired(model: Model) -> None:
    """The kinds of drift one by one: tests/unit/test_mongodb_sharding_plan.py."""
    model.collections["linda.messages"]["key"] = {"user_id": 1}
    model.shards["two"]["tags"] = ["eu"]
    model.settings["balancer"]["activeWindow"] = {"start": "02:00", "stop": "05:00"}
    description = copy.deepcopy(DESCRIPTION)
    with router(model) as port:
        refused = run("mongodb_sharding", login(port, **description), check=True)
        assert refused["code"] == "reshard_not_allowed", refused
        assert "{user_id: 1}, described is {user_id: hashed}" in refused["msg"]
        description["collections"][0]["allow"] = ["reshard"]
        shown = run("mongodb_sharding", login(port, **description), check=True)
        assert actions(shown) == ["set_window", "reshard", "remove_zone"], shown
        done = run("mongodb_sharding", login(port, **description))
        assert (done["steps_done"], done["diff"]) == (shown["plan"], shown["diff"]), done
        assert run("mongodb_sharding", login(port, **description))["plan"] == []


def test_what_the_connection_can_say(tmp_path: Path) -> None:
    model = Model(is_router=False)
    with router(model) as port:
        refused = run("mongodb_sharding", login(port, **DESCRIPTION))
        assert (refused["code"], refused["changed"]) == ("wrong_server", False), refused
        assert "no mongos" in refused["msg"]
        bad = run("mongodb_sharding", login(port, window={"start": "25:00", "stop": "05:00"}))
        assert bad["code"] == "bad_window"
    gone = login(9, **DESCRIPTION)
    assert run("mongodb_sharding", gone)["code"] == "not_running"
    predicted = run("mongodb_sharding", gone, check=True)
    assert (predicted["state"], predicted["changed"], actions(predicted)[:2]) == ("not_running", True, ["set_window", "add_shard"]), (
        predicted
    )
    authority = Authority(tmp_path / "ca")
    with router(Model(), authority.leaf("router.linda.test")) as port:
        safe = {"ssl": True, "ssl_ca_certs": str(authority.file)}
        assert run("mongodb_sharding", login(port, **safe, **DESCRIPTION))["changed"]
        stranger = Authority(tmp_path / "other")
        assert run("mongodb_sharding", login(port, **safe | {"ssl_ca_certs": str(stranger.file)}, **DESCRIPTION))["code"] == "tls_failed"
