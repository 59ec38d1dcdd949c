"""The whole fleet: from bare machines through a controller that keeps dying to a converged, proven platform, and then faults in it.

The tests build on each other in the order of this file: the first ones make the fleet that the later ones break.
"""

import json
import random
import shutil
import subprocess
import time
from pathlib import Path

import pymongo
import pytest
import yaml

from tests.support.ansible import ROOT, Lab, over_budget
from tests.support.client import Answer, Edge, Load, key

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

MODULE_RUN_BUDGET = 6
# Each of ten runs is killed within so many seconds after the display named the phase: early in the first ones, late in the last.
# A run that ended before its moment came (how fast depends on the machine) is followed by one that is killed in half the time.
# The first run of a phase goes all the way there; the next ones, as a person would, only repeat what did not get through (--tags).
PLATFORM = "Know the platform of every host"
KILLS: list[tuple[list[str], float, list[str]]] = [
    *[([PLATFORM], 15.0, [])] * 2,
    ([PLATFORM, "certificates on all"], 8.0, []),
    ([PLATFORM, "certificates on all"], 8.0, ["--tags", "certificates"]),
    ([PLATFORM, "mongodb on mongodb"], 12.0, []),
    *[([PLATFORM, "mongodb on mongodb"], 12.0, ["--tags", "mongodb"])] * 2,
    ([PLATFORM, "application on api"], 8.0, []),
    ([PLATFORM, "application on api"], 8.0, ["--tags", "application"]),
    ([PLATFORM, "edge on edge"], 5.0, []),
]


def test_check_mode_on_bare_machines(fleet: Lab) -> None:
    run = fleet.run("site.yml", "--check", "--diff")
    assert run.returncode == 0, run.output
    assert len(run.changed) == len(run.stats), "every bare machine has something to change"
    assert fleet.execute("edge1", "sh", "-c", "command -v nginx || true").strip() == "", "a check installs nothing"


def test_a_controller_killed_ten_times_leaves_nothing_that_the_next_run_cannot_finish(fleet: Lab) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    moments = random.Random(seed)  # noqa: S311 - moments of a test, named in its messages so that a failure can be repeated
    story = [f"seed {seed}"]
    for phases, longest, narrowed in KILLS:
        window, ended = longest, 0
        while ended == 0:
            assert window > longest / 64, f"no run could be caught: {story}"
            delay = moments.uniform(0, window)
            ended = fleet.run_and_kill("site.yml", phases, delay, *narrowed)
            how = " ".join([*narrowed, "killed" if ended is None else f"ended with {ended}"])
            story.append(f"{phases[-1]} + {delay:.1f} s: {how}")
            window /= 2
        assert ended is None, f"a run failed on the wreck of the one before: {story}"
    final = fleet.run("site.yml")
    assert final.returncode == 0, f"{story}\n{final.output}"


def test_a_second_run_changes_nothing_and_keeps_the_budget(fleet: Lab) -> None:
    run = fleet.run("site.yml", "--diff")
    assert run.returncode == 0, run.output
    assert run.changed == {}, run.output
    assert run.module_runs, "nothing was counted"
    assert over_budget(run.module_runs, MODULE_RUN_BUDGET) == []


def test_check_mode_on_converged_machines_predicts_nothing(fleet: Lab) -> None:
    run = fleet.run("site.yml", "--check", "--diff")
    assert run.returncode == 0, run.output
    assert run.changed == {}, run.output


def test_the_report_of_the_validation_is_there_and_all_passed(fleet: Lab) -> None:
    report = json.loads((ROOT / "reports" / "latest" / "report.json").read_text())
    results = report["results"]
    assert {"edge", "application", "mongodb"} <= {row["role"] for row in results}
    assert [row for row in results if row["status"] == "fail"] == []


def test_a_limited_run_sees_the_whole_fleet(fleet: Lab) -> None:
    run = fleet.run("site.yml", "--limit", "edge1", "--diff")
    assert run.returncode == 0, run.output
    assert set(run.stats) <= {"edge1", "localhost"}
    assert run.changed == {}, "with --limit the upstreams of the other hosts are still known"


# Who gets where: an edge to the application and not to the database, the application to the database, nobody of them to sshd.
WAYS = {
    "edge1": {("api1", 8000): True, ("api1", 22): False, ("mongo1", 27017): False, ("edge2", 443): True},
    "api1": {("mongo1", 27017): True, ("api2", 8000): False, ("edge1", 22): False},
    "mongo1": {("mongo2", 27017): True, ("api1", 8000): False},
    "ops1": {("mongo1", 27017): True, ("mongo1", 22): False, ("edge1", 80): True},
}
KNOCK = """\
import json, socket, sys
for name, port in json.loads(sys.argv[1]):
    try:
        socket.create_connection((name, port), timeout=1.5).close()
        print(name, port)
    except OSError:
        pass
"""


@pytest.mark.parametrize("origin", list(WAYS))
def test_a_host_is_reached_where_its_services_say_and_nowhere_else(fleet: Lab, origin: str) -> None:
    ways = WAYS[origin]
    came_through = fleet.execute(origin, "python3", "-c", KNOCK, json.dumps(list(ways))).splitlines()
    assert came_through == [f"{name} {port}" for (name, port), open_ in ways.items() if open_]


def test_a_message_written_through_one_edge_is_read_through_the_other(edge: Edge) -> None:
    posted = edge.request("edge1", "POST", "/v1/messages", {"text": "hello"}, {"Idempotency-Key": key()})
    assert posted.status == 201, posted
    read = edge.request("edge2", "GET", f"/v1/messages/{posted.json()['id']}")
    assert read.status == 200, read
    assert read.json() == posted.json()


def primary(fleet: Lab) -> str:
    """The host that is primary now, by what each member says of itself without a login (hello)."""
    hosts = yaml.safe_load((fleet.inventory / "hosts.yml").read_text())["all"]
    for name in hosts["children"]["mongodb"]["hosts"]:
        address = hosts["hosts"][name]["ansible_host"]
        with pymongo.MongoClient(
            address, directConnection=True, tls=True, tlsCAFile=str(fleet.state / "ca" / "ca.pem"), serverSelectionTimeoutMS=3000
        ) as client:
            try:
                if client.admin.command("hello").get("isWritablePrimary"):
                    return str(name)
            except pymongo.errors.PyMongoError:
                continue
    raise AssertionError("no member is primary")


def test_no_acknowledged_message_is_lost_when_the_primary_is_killed(fleet: Lab, edge: Edge) -> None:
    keys: dict[int, str] = {}

    def write(number: int) -> Answer:
        keys[number] = key()
        return edge.request(
            f"edge{number % 2 + 1}", "POST", "/v1/messages", {"text": f"message {number}"}, {"Idempotency-Key": keys[number]}, 35
        )

    victim = primary(fleet)
    with Load(write, threads=4) as load:
        load.wait_for(lambda answers: sum(a.status == 201 for _, _, a in answers) >= 50, 30, "writes before the fault")
        fleet.execute(victim, "pkill", "-KILL", "-x", "mongod")
        killed_at = time.monotonic() - load._begin
        load.wait_for(
            lambda answers: sum(a.status == 201 and at > killed_at + 1 for at, _, a in answers) >= 50, 60, "writes resume after the fault"
        )
    acknowledged = [a.json() for _, _, a in load.answers if a.status == 201]
    assert len(acknowledged) >= 100
    for message in acknowledged:
        read = edge.request("edge1", "GET", f"/v1/messages/{message['id']}")
        assert read.status == 200, f"acknowledged and lost: {message}"
        assert read.json() == message
    # The member heals without a hand.
    deadline = time.monotonic() + 60
    while fleet.execute(victim, "systemctl", "is-active", "mongod.service", check=False).strip() != "active":
        assert time.monotonic() < deadline, f"mongod on {victim} did not come back"
        time.sleep(0.5)


def test_no_get_fails_while_an_api_server_is_stopped(fleet: Lab, edge: Edge) -> None:
    posted = edge.request("edge1", "POST", "/v1/messages", {"text": "still there"}, {"Idempotency-Key": key()}).json()
    with Load(lambda n: edge.request(f"edge{n % 2 + 1}", "GET", f"/v1/messages/{posted['id']}"), threads=4) as load:
        load.wait_for(lambda answers: len(answers) >= 50, 30, "reads before the fault")
        fleet.execute("api2", "systemctl", "stop", "linda-lab-api.service")
        before = len(load.answers)
        load.wait_for(lambda answers: len(answers) >= before + 200, 60, "reads during the fault")
        fleet.execute("api2", "systemctl", "start", "linda-lab-api.service")
    failed = [a for _, _, a in load.answers if a.status != 200]
    assert failed == [], f"{len(failed)} of {len(load.answers)} reads failed: {failed[:3]}"


def test_a_broken_edge_template_fails_the_run_and_the_old_configuration_serves_on(fleet: Lab, edge: Edge, tmp_path: Path) -> None:
    broken = tmp_path / "checkout"
    tracked = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in tracked.splitlines():
        if (ROOT / name).is_file():
            (broken / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, broken / name)
    link = broken / ".collections" / "ansible_collections" / "linda" / "ops"
    link.parent.mkdir(parents=True)
    link.symlink_to("../../..")
    template = next(path for path in sorted((broken / "roles" / "edge" / "templates").rglob("nginx.conf*")))
    template.write_text(template.read_text() + "\nthis_is_no_directive on;\n")

    before = fleet.execute("edge1", "cat", "/etc/nginx/nginx.conf")
    with Load(lambda n: edge.request(f"edge{n % 2 + 1}", "GET", "/readyz"), threads=2) as load:
        run = fleet.run("site.yml", "--tags", "edge", root=broken)
        load.wait_for(lambda answers: len(answers) >= 20, 30, "requests during the run")
    assert run.returncode != 0
    assert "this_is_no_directive" in run.output, "the message is in the checker's words"
    assert fleet.execute("edge1", "cat", "/etc/nginx/nginx.conf") == before
    assert [a for _, _, a in load.answers if a.status != 200] == []

    healed = fleet.run("site.yml", "--tags", "edge")
    assert healed.returncode == 0, healed.output
    assert healed.changed == {}, "the failed run left nothing to repair"
