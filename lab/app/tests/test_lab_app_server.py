"""The application seen from outside, without a MongoDB: probes, metrics, WebSocket, drills, and how it stops."""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from lab.app.tests.running import Start, environment, free_port

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


async def test_lives_without_mongodb_and_says_so(start: Start) -> None:
    server = await start(NAME="api7")
    assert (await server.http.get("/healthz")).status_code == 200
    version = (await server.http.get("/version")).json()
    assert version == {"version": "0.0.0+source", "host": "api7", "pid": server.process.pid}
    before = time.monotonic()
    ready = await server.http.get("/readyz")
    assert time.monotonic() - before < 5
    assert ready.status_code == 503
    assert ready.json()["reason"].startswith("MongoDB: ")
    write = await server.http.post("/v1/messages", json={"text": "hi"})
    assert (write.status_code, write.headers["retry-after"]) == (503, "1")
    assert (await server.http.get("/v1/messages")).status_code == 503


async def test_trace_is_in_answers_and_log_lines(start: Start) -> None:
    server = await start()
    taken = await server.http.get("/version", headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
    assert taken.headers["traceparent"].split("-")[1] == TRACE
    made = (await server.http.get("/no/such/page")).headers["traceparent"].split("-")[1]
    server.terminate()
    await server.ended(10)
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert all("trace_id" in line for line in lines)
    access = {line["path"]: line for line in lines if line["logger"] == "linda_lab_api.access"}
    assert (access["/version"]["trace_id"], access["/version"]["status"]) == (TRACE, 200)
    assert (access["/no/such/page"]["trace_id"], access["/no/such/page"]["status"]) == (made, 404)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/messages", b"no json", 400),
        ("POST", "/v1/messages", b"\xff\xfe{", 400),
        ("POST", "/v1/messages", b"[]", 400),
        ("POST", "/v1/messages", b'{"text": 1}', 400),
        ("POST", "/v1/messages", b'{"text": ""}', 400),
        ("POST", "/v1/messages", b"x" * 70_000, 413),
        ("GET", "/v1/messages?limit=0", b"", 400),
        ("GET", "/v1/messages?limit=101", b"", 400),
        ("GET", "/v1/messages?limit=x", b"", 400),
        ("GET", "/v1/messages?before=x", b"", 400),
        ("GET", "/v1/messages/not-an-id", b"", 404),
        ("GET", "/nowhere", b"", 404),
        ("DELETE", "/v1/messages", b"", 405),
    ],
)
async def test_wrong_calls_are_refused(start: Start, method: str, path: str, body: bytes, status: int) -> None:
    server = await start()
    answer = await server.http.request(method, path, content=body)
    assert answer.status_code == status
    assert answer.json()["error"]
    assert "traceparent" in answer.headers


async def test_metrics_count_requests_and_websockets(start: Start) -> None:
    server = await start()
    await server.http.get("/version")
    await server.http.get("/v1/messages/not-an-id")
    await server.http.request("BREW", "/version")
    async with connect(f"ws://127.0.0.1:{server.port}/ws", proxy=None) as websocket:
        await websocket.send("x")
        await websocket.recv()
        text = (await server.http.get("/metrics")).text
    assert 'linda_api_requests_total{method="GET",route="/version",status="200"} 1.0' in text
    assert 'linda_api_requests_total{method="GET",route="/v1/messages/{identity}",status="404"} 1.0' in text
    assert 'linda_api_requests_total{method="other",route="/version",status="405"} 1.0' in text
    assert 'linda_api_request_seconds_count{method="GET",route="/version"} 1.0' in text
    assert "linda_api_requests_in_flight 1.0" in text
    assert "linda_api_websockets 1.0" in text
    assert 'linda_api_mongodb_pool_limit{bound="max"} 100.0' in text
    assert "linda_api_websockets 0.0" in (await server.http.get("/metrics")).text


async def test_websocket_echoes_and_pushes(start: Start) -> None:
    server = await start(PUSH_INTERVAL="0.3", NAME="api7")
    async with connect(
        f"ws://127.0.0.1:{server.port}/ws", proxy=None, additional_headers={"traceparent": f"00-{TRACE}-{SPAN}-01"}
    ) as websocket:
        assert websocket.response is not None
        assert websocket.response.headers["traceparent"].split("-")[1] == TRACE
        await websocket.send("héllo")
        assert await websocket.recv() == "héllo"
        await websocket.send(b"\x00\xff")
        assert await websocket.recv() == b"\x00\xff"
        pushes = [json.loads(await asyncio.wait_for(websocket.recv(), 5)) for _ in range(2)]
    assert [(push["type"], push["sequence"], push["host"]) for push in pushes] == [("push", 1, "api7"), ("push", 2, "api7")]


async def test_sigterm_finishes_calls_and_closes_websockets_with_1012(start: Start) -> None:
    server = await start(DRILL_LATENCY="1", SHUTDOWN_DEADLINE="10")
    async with connect(f"ws://127.0.0.1:{server.port}/ws", proxy=None) as websocket:
        await websocket.send("x")
        await websocket.recv()
        flying = asyncio.create_task(server.http.get("/v1/messages/not-an-id"))
        await asyncio.sleep(0.3)
        server.terminate()
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(websocket.recv(), 5)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        assert not flying.done(), "the WebSocket waited for the call in flight"
        async with httpx.AsyncClient(trust_env=False) as newcomer:
            with pytest.raises(httpx.ConnectError):
                await newcomer.get(f"http://127.0.0.1:{server.port}/healthz")
        assert (await flying).status_code == 404
    # systemd counts an end by SIGTERM as a clean one.
    assert await server.ended(5) in {0, -15}
    assert '"message": "stopped"' in server.log.read_text()


async def test_sigterm_waits_no_longer_than_the_deadline(start: Start) -> None:
    server = await start(DRILL_LATENCY="60", SHUTDOWN_DEADLINE="1")
    flying = asyncio.create_task(server.http.get("/v1/messages/not-an-id"))
    await asyncio.sleep(0.3)
    before = time.monotonic()
    server.terminate()
    await server.ended(10)
    assert 0.9 < time.monotonic() - before < 5
    (answer,) = await asyncio.gather(flying, return_exceptions=True)
    assert isinstance(answer, httpx.TransportError) or (isinstance(answer, httpx.Response) and answer.status_code == 500)


async def test_drill_error_ratio(start: Start) -> None:
    server = await start(DRILL_ERROR_RATIO="0.2")
    answers = [(await server.http.get("/v1/messages/not-an-id")).status_code for _ in range(20)]
    assert answers == [404, 404, 404, 404, 500] * 4
    assert {(await server.http.get("/healthz")).status_code for _ in range(10)} == {200}


async def test_drill_latency(start: Start) -> None:
    server = await start(DRILL_LATENCY="0.5")
    for path, slow in [("/v1/messages/not-an-id", True), ("/healthz", False)]:
        before = time.monotonic()
        await server.http.get(path)
        assert (time.monotonic() - before >= 0.5) is slow


async def test_drill_memory_growth(start: Start) -> None:
    server = await start(DRILL_MEMORY_GROWTH="20")

    def resident() -> int:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    before = resident()
    await asyncio.sleep(2.5)
    assert resident() - before > 30 * 1024


async def test_drill_slow_start(start: Start) -> None:
    before = time.monotonic()
    await start(DRILL_SLOW_START="1.5")
    assert time.monotonic() - before >= 1.5


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ({"MONGODB_URI": "mongodb://127.0.0.1/", "DRILL_REFUSE_START": "true"}, 1, "refusing to start"),
        ({"MONGODB_URI": "mongodb://127.0.0.1/", "POTR": "1"}, 2, "LINDA_API_POTR"),
        ({}, 2, "LINDA_API_MONGODB_URI_FILE"),
    ],
)
def test_refuses_to_start(settings: dict[str, str], code: int, words: str) -> None:
    argv = [sys.executable, "-m", "linda_lab_api"]
    done = subprocess.run(argv, env=environment(PORT=str(free_port()), **settings), capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == code
    assert words in done.stdout + done.stderr
