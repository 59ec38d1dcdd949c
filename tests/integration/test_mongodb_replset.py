"""mongodb_replset and mongodb_replset_recover against real mongods with TLS: drift, arbiters, names, kills, a writer, a lost majority."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest
from mongodb_support import ADMIN_WORD, READING, Bench, Mongod, begin, inside, run
from pymongo.errors import PyMongoError
from pymongo.write_concern import WriteConcern

from lab.mirror import MirrorError, mongod_binary

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "linda-lab"
DEBIAN = Path("/usr/lib/python3/dist-packages")
WRONG_WORD = "another one"
QUICK = {"election_timeout_millis": 1000, "heartbeat_interval_millis": 200}
# The server carries out getDefaultRWConcern by a find of its own, which it logs as ours.
READS = READING | {"getDefaultRWConcern", "find"}


@pytest.fixture(scope="module")
def binary() -> Path:
    try:
        return mongod_binary(CACHE)
    except MirrorError as error:
        pytest.skip(f"no mongod: {error}")


@pytest.fixture(scope="module")
def debians_driver(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """A path with nothing but the pymongo of this Debian release, None where it is not installed: then the other one does it all."""
    path = tmp_path_factory.mktemp("driver")
    for package in ("pymongo", "bson"):
        if not (DEBIAN / package).is_dir():
            return None
        (path / package).symlink_to(DEBIAN / package)
    return path


def bench_of(binary: Path, directory: Path) -> Bench:
    """Servers whose certificate is good for localhost too, so that a member has two names."""
    made = Bench(binary, directory)
    made.certificate = made.authority.leaf("localhost").both
    return made


@pytest.fixture(scope="module")
def five(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Five servers, of which the first three are a set with an administrator. Each test begins with `settle`.

    A sixth one is there to be an arbiter: a server that holds data breaks down when it is made one.
    """
    made = bench_of(binary, tmp_path_factory.mktemp("five"))
    try:
        servers = made.start(6, enableTestCommands=True)
        assert inside("mongodb_replset", made.login(servers[0], members=described(*servers[:3]), **QUICK))["changed"]
        create_admin(made)
        yield made
    finally:
        made.stop()


def create_admin(bench: Bench) -> None:
    with bench.primary().client() as client:
        client.admin.command("createUser", "admin", pwd=ADMIN_WORD, roles=["root"])


def name_of(server: Mongod) -> str:
    return f"localhost:{server.port}"


def described(*servers: Mongod) -> list[dict[str, Any]]:
    """The first one is preferred as primary, so that the tests know where it is."""
    return [{"host": name_of(server), **({"priority": 2} if place == 0 else {})} for place, server in enumerate(servers)]


def settle(bench: Bench) -> dict[str, Any]:
    """Bring the set back to its first three servers with the defaults, and return the arguments that describe it so."""
    servers = bench.servers
    members = [{**one, "renamed_from": server.host} for one, server in zip(described(*servers[:3]), servers[:3], strict=True)]
    defaults = {"chaining_allowed": True, "default_write_concern": "majority", "catch_up_takeover_delay_millis": 30000}
    arguments = bench.login(servers[0], members=members, **QUICK, **defaults)
    done = inside("mongodb_replset", arguments)
    assert not done.get("failed"), done
    wait_for(lambda: servers[0].hello()["isWritablePrimary"], "the preferred member leads")
    return {**arguments, "members": described(*servers[:3])}


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(PyMongoError):
            if condition():
                return
        assert time.monotonic() < deadline, f"after {seconds} s not: {what}"
        time.sleep(0.02)


def config_of(server: Mongod) -> dict[str, Any]:
    return dict(server.ask("replSetGetConfig", "admin")["config"])


def behind_the_tools_back(server: Mongod, change: Callable[[dict[str, Any]], None]) -> None:
    config = config_of(server)
    change(config)
    config["version"] += 1
    with server.client("admin") as client:
        client.admin.command("replSetReconfig", config)


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Compare two configurations without what counts up, and without `_id`s, which are not used twice."""

    def plain(config: dict[str, Any]) -> Any:
        members = sorted(({**member, "_id": 0} for member in config["members"]), key=lambda member: str(member["host"]))
        return members, {key: value for key, value in config["settings"].items() if key != "replicaSetId"}

    return bool(plain(one) == plain(other))


def reasons(result: dict[str, Any]) -> str:
    return "; ".join(step["reason"] for step in result["plan"])


def member(config: dict[str, Any], place: int = 2, **properties: Any) -> None:
    config["members"][place] |= properties


def everybody_gets_a_horizon(config: dict[str, Any]) -> None:
    for place, one in enumerate(config["members"]):
        one["horizons"] = {"outside": f"db{place}.example.net:27017"}


def add(config: dict[str, Any], host: str, **properties: Any) -> None:
    config["members"].append({"_id": max(one["_id"] for one in config["members"]) + 1, "host": host, **properties})


DRIFTS: dict[str, tuple[Callable[[dict[str, Any], list[Mongod]], None], str]] = {
    "priority": (lambda config, _servers: member(config, priority=0.5), "priority 0.5 -> 1.0"),
    "hidden": (lambda config, _servers: member(config, priority=0, hidden=True), "hidden True -> False"),
    "vote": (lambda config, _servers: member(config, priority=0, votes=0), "its vote and priority 1"),
    "delay": (lambda config, _servers: member(config, priority=0, secondaryDelaySecs=5), "delay 5 -> 0"),
    "tags": (lambda config, _servers: member(config, tags={"dc": "west"}), "tags {'dc': 'west'} -> {}"),
    "horizons": (lambda config, _servers: everybody_gets_a_horizon(config), "-> {}"),
    "member removed": (lambda config, _servers: config["members"].pop(), "without a vote"),
    "member added": (lambda config, servers: add(config, name_of(servers[3]), priority=0, votes=0), "(no vote)"),
    "voter added": (lambda config, servers: add(config, name_of(servers[4])), "remove localhost"),
    "arbiter added": (lambda config, servers: add(config, name_of(servers[5]), arbiterOnly=True), "remove localhost"),
    "election timeout": (lambda config, _servers: config["settings"].update(electionTimeoutMillis=1500), "electionTimeoutMillis"),
    "chaining": (lambda config, _servers: config["settings"].update(chainingAllowed=False), "chainingAllowed"),
    "takeover delay": (
        lambda config, _servers: config["settings"].update(catchUpTakeoverDelayMillis=1000),
        "catchUpTakeoverDelayMillis",
    ),
}


def test_every_drift_is_shown_and_then_repaired(five: Bench) -> None:
    arguments = settle(five)
    server = five.servers[0]
    right = config_of(server)
    for kind, (change, words) in DRIFTS.items():
        behind_the_tools_back(server, lambda config, change=change: change(config, five.servers))
        wrong = config_of(server)
        assert not same(wrong, right), kind
        predicted = inside("mongodb_replset", arguments, check=True)
        assert predicted["changed"], (kind, predicted)
        assert words in reasons(predicted), (kind, predicted["plan"])
        assert config_of(server) == wrong, f"{kind}: check mode wrote"
        done = inside("mongodb_replset", arguments)
        assert not done.get("failed"), (kind, done)
        assert (done["plan"], done["diff"]) == (predicted["plan"], predicted["diff"]), kind
        assert same(config_of(server), right), kind
    with server.client("admin") as client:
        client.admin.command("setDefaultRWConcern", defaultWriteConcern={"w": 1, "wtimeout": 0})
        predicted = inside("mongodb_replset", arguments, check=True)
        assert "default write concern to w: majority" in reasons(predicted)
        assert inside("mongodb_replset", arguments)["changed"]
        assert client.admin.command("getDefaultRWConcern")["defaultWriteConcern"]["w"] == "majority"
    sent = {name for one in five.servers for name in one.commands_of_modules()}
    assert "setDefaultRWConcern" in sent, "the servers' logs do not show what was sent"
    sizes = {one.port: one.log.stat().st_size for one in five.servers}
    again = inside("mongodb_replset", arguments)
    assert (again["changed"], again["plan"]) == (False, []), again
    assert {name for one in five.servers for name in one.commands_of_modules(sizes[one.port])} <= READS


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        ({"errorCode": 10107}, "the primary is none any more"),
        ({"closeConnection": True}, "the connection broke"),
        ({"writeConcernError": {"code": 11602, "errmsg": "the primary moved"}}, "it is done, and only the answer got lost"),
    ],
)
def test_an_election_in_the_middle_of_a_step_is_no_failure(five: Bench, fault: dict[str, Any], what: str) -> None:
    arguments = settle(five)
    wanted = {**arguments, "members": [{**one, "tags": {"case": next(iter(fault))}} for one in arguments["members"]]}
    with five.servers[0].client("admin") as client:
        data = {"failCommands": ["replSetReconfig"], **fault}
        client.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=data)
        done = inside("mongodb_replset", wanted)
        entered = client.admin.command("configureFailPoint", "failCommand", mode="off")["count"]
    assert entered >= 1, "the fault never happened"
    assert not done.get("failed"), (what, done)
    assert done["changed"]
    assert done["steps_done"] == done["plan"], what
    assert not inside("mongodb_replset", wanted)["changed"]


def test_a_member_renamed_behind_the_tools_back_is_refused_with_the_remedy(five: Bench) -> None:
    arguments = settle(five)
    first, _second, third = five.servers[:3]
    behind_the_tools_back(first, lambda config: member(config, host=third.host))
    wait_for(lambda: third.hello().get("me") == third.host, "the member knows its name")
    for check in (True, False):
        refused = inside("mongodb_replset", arguments, check=check)
        assert refused["code"] == "wrong_member", refused
        assert f"renamed_from: {third.host}" in refused["msg"]
    members = arguments["members"]
    other = inside("mongodb_replset", {**arguments, "members": [*members[:2], {**members[2], "renamed_from": five.servers[1].host}]})
    assert other["code"] == "wrong_member", other
    done = inside("mongodb_replset", {**arguments, "members": [*members[:2], {**members[2], "renamed_from": third.host}]})
    assert [step["action"] for step in done["plan"]] == ["rename"], done
    assert not inside("mongodb_replset", arguments)["changed"]


BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "listed twice": ({"members": ["a", "A:27017", "c"]}, "duplicate_member", "a:27017"),
    "even voters": ({"members": ["a", "b"]}, "even_voters", "votes: 0"),
    "nine voters": ({"members": [f"m{number}" for number in range(9)]}, "too_many_voters", "m7:27017, m8:27017"),
    "priority on hidden": ({"members": ["a", "b", {"host": "c", "hidden": True, "priority": 1}]}, "bad_member", "is hidden"),
    "delay on a candidate": ({"members": ["a", "b", {"host": "c", "delay": 60, "priority": 1}]}, "bad_member", "is delayed"),
    "arbiter with a delay": ({"members": ["a", "b", {"host": "c", "arbiter": True, "delay": 60}]}, "bad_member", "delay"),
    "arbiter with tags": ({"members": ["a", "b", {"host": "c", "arbiter": True, "tags": {"a": "b"}}]}, "bad_member", "tags"),
    "two arbiters": ({"members": ["a", *({"host": host, "arbiter": True} for host in "bc")]}, "too_many_arbiters", "b:27017, c:27017"),
    "misspelt option": ({"members": ["a", "b", {"host": "c", "prioritty": 1}]}, "bad_member", "prioritty"),
    "bad port": ({"members": ["a", "b", "c:99999"]}, "bad_host", "c:99999"),
    "loopback among names": ({"members": ["localhost", "b", "c"]}, "mixed_loopback", "localhost"),
    "horizon of one": ({"members": ["a", "b", {"host": "c", "horizons": {"out": "x.example:1"}}]}, "bad_horizons", "has no horizon out"),
    "horizon is an address": ({"members": [{"host": "a", "horizons": {"out": "192.0.2.1:1"}}]}, "bad_horizons", "192.0.2.1:1"),
    "old name in use": ({"members": ["a", "b", {"host": "c", "renamed_from": "a"}]}, "bad_rename", "renamed_from a:27017"),
    "no candidate": ({"members": [{"host": host, "priority": 0} for host in "abc"]}, "no_electable_member", "priority above 0"),
    "force": ({"force": True}, "force_refused", "mongodb_replset_recover"),
    "no reconfiguration": ({"reconfigure": False}, "bad_option", "reconfigure"),
    "setting too low": ({"heartbeat_timeout_secs": 0}, "bad_setting", "heartbeat_timeout_secs = 0"),
    "write concern 0": ({"default_write_concern": "0"}, "bad_write_concern", "default_write_concern"),
    "bad name": ({"replica_set": "rs/0"}, "bad_name", "rs/0"),
}


def test_bad_input_is_refused_before_connecting_and_names_the_field(tmp_path: Path) -> None:
    login = {"login_port": 9, "members": ["a", "b", "c"], "timeout": 1}
    recover = {"login_port": 9, "replica_set": "rs0", "survivors": ["a"], "backup_file": str(tmp_path / "x"), "timeout": 1}
    cases = [(kind, "mongodb_replset", {**login, **given}, code, words) for kind, (given, code, words) in BAD.items()]
    for kind, given, code, words in (
        ("unconfirmed", {}, "not_confirmed", "confirm: rs0"),
        ("confirmed for another", {"confirm": "rs1"}, "not_confirmed", "'rs1'"),
        ("no survivors", {"confirm": "rs0", "survivors": []}, "empty_members", "survivors"),
        ("survivor twice", {"confirm": "rs0", "survivors": ["a", "a:27017"]}, "duplicate_member", "a:27017"),
    ):
        cases.append((kind, "mongodb_replset_recover", {**recover, **given}, code, words))
    for kind, module, arguments, code, words in cases:
        result = inside(module, arguments)
        assert result.get("code") == code, (kind, result)
        assert words in result["msg"], (kind, result)


def test_an_arbiter_joins_after_the_default_write_concern_and_leaves_again(
    binary: Path, tmp_path: Path, debians_driver: Path | None
) -> None:
    bench = bench_of(binary, tmp_path)
    try:
        servers = bench.start(3)
        pair = bench.login(servers[0], members=described(servers[0]), **QUICK)
        assert inside("mongodb_replset", pair)["changed"]
        create_admin(bench)
        psa = {**pair, "members": [*described(*servers[:2]), {"host": name_of(servers[2]), "arbiterOnly": True}]}
        predicted = inside("mongodb_replset", psa, check=True)
        done = run("mongodb_replset", psa, driver=debians_driver)
        assert not done.get("failed"), done
        assert done["steps_done"] == done["plan"] == predicted["plan"]
        assert [step["action"] for step in done["plan"]] == [
            "set_default_write_concern",
            *["reconfigure", "wait_caught_up"],
            *["reconfigure"] * 2,
        ]
        assert servers[2].hello()["arbiterOnly"]
        assert not inside("mongodb_replset", psa)["changed"]
        changed = inside("mongodb_replset", {**psa, "members": described(*servers)})
        assert changed["code"] == "cannot_change", changed
        assert inside("mongodb_replset", {**psa, "login_port": servers[2].port})["code"] == "wrong_server"
        # With a data member down the arbiter keeps the set electable. The member that is up cannot go, and the refusal is not hasty, even
        # before a heartbeat has told that the other one is down; the one that is down can go.
        psa["heartbeat_interval_millis"] = 1000
        assert inside("mongodb_replset", psa)["changed"]
        wait_for(lambda: servers[0].hello()["isWritablePrimary"], "it leads")
        servers[1].kill()
        began = time.monotonic()
        refused = inside("mongodb_replset", {**psa, "members": [described(*servers)[1]]})
        assert refused["code"] in ("no_successor", "majority_lost"), refused["msg"]
        assert (refused["steps_done"], refused["changed"]) == ([], False)
        assert time.monotonic() - began > 5 * psa["heartbeat_interval_millis"] / 1000
        done = inside("mongodb_replset", {**psa, "members": [described(*servers)[0]]})
        assert not done.get("failed"), done
        assert [one["host"] for one in config_of(servers[0])["members"]] == [name_of(servers[0])]
    finally:
        bench.stop()


def test_the_first_start_is_read_from_the_servers_and_survives_kills(binary: Path, tmp_path: Path) -> None:
    bench = bench_of(binary, tmp_path)
    dice = random.Random(7)  # noqa: S311 - a test's dice
    try:
        servers = bench.start(3)
        wanted = bench.login(servers[0], members=described(*servers), **QUICK)

        def state() -> str:
            answer = inside("mongodb_replset", wanted, check=True)
            return str(answer.get("code") or answer["state"])

        servers[0].kill()
        assert state() == "not_running"
        servers[0].start()
        servers[0].wait()
        assert state() == "no_set"
        # Killed while it looks, and when the first server has the configuration: then nobody leads yet.
        for moment in (lambda: True, lambda: servers[0].hello().get("setVersion", 0) >= 1):
            killed(begin("mongodb_replset", wanted), moment, dice.uniform(0, 0.3))
            assert state() in ("no_set", "no_users")
        done = inside("mongodb_replset", wanted)
        assert not done.get("failed"), (done.get("msg"), done)
        assert (inside("mongodb_replset", wanted)["changed"], state()) == (False, "no_users")
        create_admin(bench)
        wanted["login_password"] = WRONG_WORD
        assert state() == "login_failed"
        wanted["login_password"] = ADMIN_WORD
        assert (inside("mongodb_replset", wanted)["changed"], state()) == (False, "ready")
        assert [one["_id"] for one in config_of(servers[0])["members"]] == [0, 1, 2]
        assert config_of(servers[0])["version"] == 1, "the set was started once"
    finally:
        bench.stop()


class Writer:
    """Inserts one document after the other with w: majority from a thread, and keeps a journal of those that were acknowledged."""

    def __init__(self, bench: Bench, servers: list[Mongod]) -> None:
        self.client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
            [server.host for server in servers],
            replicaSet="rs0",
            tls=True,
            tlsCAFile=str(bench.authority.file),
            username="admin",
            password=ADMIN_WORD,
            serverSelectionTimeoutMS=15000,
        )
        self.journal: list[int] = []
        self.failures: list[str] = []
        self.longest_gap = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        self._thread.join()
        self.client.close()

    def _write(self) -> None:
        collection = self.client.linda.get_collection("journal", write_concern=WriteConcern("majority", wtimeout=15000))
        number, last = 0, time.monotonic()
        while not self._stop.is_set():
            try:
                collection.insert_one({"_id": number})
            except PyMongoError as error:
                self.failures.append(str(error))
            else:
                self.journal.append(number)
                self.longest_gap = max(self.longest_gap, time.monotonic() - last)
                last = time.monotonic()
            number += 1

    def lost(self) -> set[int]:
        """Return the acknowledged documents that are not there."""
        found = self.client.linda.get_collection("journal", read_concern=pymongo.read_concern.ReadConcern("majority")).find({}, {"_id": 1})
        return set(self.journal) - {one["_id"] for one in found}


def test_grow_to_five_rename_and_shrink_under_a_writer_and_kills(five: Bench) -> None:
    """Every run is killed at moments drawn anew until one ends; the set is never without a majority and the writer loses nothing."""
    arguments = settle(five)
    servers = five.servers[:5]
    dice = random.Random(4)  # noqa: S311 - a test's dice
    grown = described(*servers)
    renamed = [{"host": server.host, "renamed_from": name_of(server), "priority": 2 if server is servers[0] else 1} for server in servers]
    # Those that go: the primary and a secondary.
    shrunk = [{"host": server.host} for server in servers[2:]]
    back = described(*servers[:3])
    for one, server in zip(back, servers[:3], strict=True):
        one["renamed_from"] = server.host
    kills = 0
    with Writer(five, servers[:3]) as writer:
        wait_for(lambda: len(writer.journal) > 20, "the writer writes")
        for goal in (grown, renamed, shrunk, back):
            wanted = {**arguments, "members": goal, "login_port": servers[2].port}
            for _attempt in range(3):
                seen = marks(servers)
                process = begin("mongodb_replset", wanted)
                kills += killed(process, lambda seen=seen: marks(servers) != seen, dice.uniform(0, 0.05))
                voters = [one for one in config_of(servers[2])["members"] if one["votes"]]
                assert len(voters) in range(3, 8)
            done = inside("mongodb_replset", wanted)
            assert not done.get("failed"), (done.get("msg"), done)
            assert [one["host"] for one in config_of(servers[2])["members"]] == [one["host"] for one in goal] or len(goal) == 3
            again = inside("mongodb_replset", wanted)
            assert (again["changed"], again["plan"]) == (False, []), again
        written = len(writer.journal)
        wait_for(lambda: len(writer.journal) > written + 20, "the writer still writes")
        lost = writer.lost()
    print(f"{len(writer.journal)} writes, {len(writer.failures)} failed, longest gap {writer.longest_gap:.2f} s, {kills} kills")
    assert lost == set()
    # A driver tries once more by itself; two hand-overs at once, of runs that were killed, can be more than that. Such a write was not
    # acknowledged, and the application may try it again.
    assert all("RetryableWriteError" in failure for failure in writer.failures), writer.failures
    assert kills >= 8, "the modules were too fast to be killed"


def marks(servers: list[Mongod]) -> tuple[Any, ...]:
    """What shows that a step was done: the newest configuration, and who leads."""
    hellos = [server.hello() for server in servers]
    return max(hello.get("setVersion", 0) for hello in hellos), [hello["isWritablePrimary"] for hello in hellos]


def killed(process: Any, condition: Callable[[], bool], later: float) -> bool:
    """End a module by SIGKILL `later` seconds after a condition came true; False when it was faster."""
    while process.poll() is None:
        if condition():
            time.sleep(later)
            break
        time.sleep(0.002)
    alive = process.poll() is None
    process.kill()
    process.communicate()
    return alive


def test_a_lost_majority_is_recovered_and_the_lost_members_come_back(binary: Path, tmp_path: Path, debians_driver: Path | None) -> None:
    bench = bench_of(binary, tmp_path)
    backup = tmp_path / "rs0.json"
    try:
        servers = bench.start(3)
        first = servers[0]
        replset = bench.login(first, members=described(*servers), **QUICK)
        assert inside("mongodb_replset", replset)["changed"]
        create_admin(bench)
        with bench.primary().client("admin") as client:
            client.linda.get_collection("x", write_concern=WriteConcern("majority")).insert_one({"_id": "before"})
        wanted = bench.login(first, replica_set="rs0", survivors=[name_of(first)], backup_file=str(backup), confirm="rs0")
        refused = inside("mongodb_replset_recover", wanted)
        assert refused["code"] == "majority_reachable", refused

        # The first one is cut off before it has seen the last write, and then the two that have it are gone.
        wait_for(lambda: first.hello()["lastWrite"]["opTime"] == bench.primary().hello()["lastWrite"]["opTime"], "the first has everything")
        first.kill()
        bench.servers = servers[1:]
        wait_for(lambda: any(server.hello().get("isWritablePrimary") for server in servers[1:]), "one of the others leads")
        with bench.primary().client("admin") as client:
            client.linda.get_collection("x", write_concern=WriteConcern("majority")).insert_one({"_id": "at risk"})
        servers[1].kill()
        servers[2].kill()
        bench.servers = servers
        first.start()
        first.wait()
        wait_for(lambda: first.hello().get("secondary"), "the survivor is a secondary")

        for code, other in (
            ("unknown_member", {"survivors": [name_of(first), "localhost:9"]}),
            ("survivor_down", {"survivors": [name_of(first), name_of(servers[1])]}),
            ("wrong_set", {"replica_set": "rs1", "confirm": "rs1"}),
            ("bad_backup_file", {"backup_file": str(tmp_path / "none" / "x.json")}),
            ("backup_exists", {"backup_file": str(first.log)}),
        ):
            refused = inside("mongodb_replset_recover", {**wanted, **other})
            assert refused["code"] == code, refused
            assert refused["steps_done"] == []
        version = config_of(first)["version"]
        del wanted["confirm"]
        predicted = inside("mongodb_replset_recover", wanted, check=True)
        assert (predicted["changed"], predicted["state"]) == (True, "majority_lost"), predicted
        assert not backup.exists()
        assert config_of(first)["version"] == version
        assert f"only {name_of(servers[1])}, {name_of(servers[2])} had" in predicted["rollback"]["message"]
        assert inside("mongodb_replset_recover", wanted)["code"] == "not_confirmed"
        wanted["confirm"] = "rs0"
        # Killed when the file is there; the next run takes it as saved.
        killed(begin("mongodb_replset_recover", wanted, driver=debians_driver), backup.exists, 0)
        done = inside("mongodb_replset_recover", wanted)
        assert not done.get("failed"), done
        assert done["plan"] in (predicted["plan"], predicted["plan"][1:], predicted["plan"][2:], []), done
        assert done["primary"] == name_of(first)
        assert backup.stat().st_mode & 0o777 == 0o600
        assert name_of(servers[1]) in backup.read_text()
        again = run("mongodb_replset_recover", wanted, driver=debians_driver)
        assert (again["changed"], again["plan"], again["state"]) == (False, [], "ready"), again

        # The lost ones come back empty. With their old data their servers would stop: they had acknowledged what is to be undone.
        aside = [tmp_path / f"aside{place}" for place in range(2)]
        for server, directory in zip(servers[1:], aside, strict=True):
            directory.mkdir()
            (server.directory / "data").rename(directory / "data")
            server.start()
        for server in servers[1:]:
            server.wait()
        back = inside("mongodb_replset", replset)
        assert not back.get("failed"), (back.get("msg"), back)
        assert not inside("mongodb_replset", replset)["changed"]
        assert len(config_of(first)["members"]) == 3
        for server in servers:
            with server.client("admin") as client:
                read = client.linda.get_collection("x", read_preference=pymongo.ReadPreference.SECONDARY_PREFERRED)
                assert [one["_id"] for one in read.find()] == ["before"]

        # What was lost can be read from the data that were moved aside, by a server without a set.
        reader = Mongod(binary, aside[0], bench.key_file, bench.authority, bench.certificate, set_name="")
        reader.parameters = {"recoverFromOplogAsStandalone": True}
        bench.servers.append(reader)
        reader.start()
        reader.wait()
        with reader.client("admin") as client:
            assert {one["_id"] for one in client.linda.x.find()} == {"before", "at risk"}
    finally:
        bench.stop()
