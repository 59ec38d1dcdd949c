"""The application on a real MongoDB."""

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pymongo
import pytest

from lab.app.tests.running import Server, Start


@pytest.fixture
async def server(start: Start, mongodb: str, tmp_path: Path) -> Server:
    (tmp_path / "uri").write_text(f"{mongodb}\n")
    database = f"test_{uuid.uuid4().hex[:8]}"
    return await start(
        MONGODB_URI="", MONGODB_URI_FILE=str(tmp_path / "uri"), MONGODB_DATABASE=database, TIMEOUT="10", READY_TIMEOUT="2", NAME="api7"
    )


async def test_message_is_written_and_read_back(server: Server) -> None:
    posted = await server.http.post("/v1/messages", json={"text": "hello"})
    assert posted.status_code == 201
    message = posted.json()
    assert (message["text"], message["host"]) == ("hello", "api7")
    read = await server.http.get(posted.headers["location"])
    assert (read.status_code, read.json()) == (200, message)
    assert (await server.http.get("/v1/messages/" + "0" * 24)).status_code == 404


async def test_same_key_gives_the_same_answer(server: Server) -> None:
    key = {"Idempotency-Key": "order-1"}
    first, again = [await server.http.post("/v1/messages", json={"text": "a"}, headers=key) for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    other = await server.http.post("/v1/messages", json={"text": "b"}, headers=key)
    assert other.status_code == 422
    assert (await server.http.post("/v1/messages", json={"text": "a"}, headers={"Idempotency-Key": "x" * 256})).status_code == 400
    assert len((await server.http.get("/v1/messages")).json()["messages"]) == 1


async def test_racing_calls_with_one_key_write_once(server: Server) -> None:
    calls = [server.http.post("/v1/messages", json={"text": "a"}, headers={"Idempotency-Key": "k"}) for _ in range(20)]
    answers = await asyncio.gather(*calls)
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert len({answer.text for answer in answers}) == 1


async def test_list_goes_back_page_by_page(server: Server) -> None:
    posted = [(await server.http.post("/v1/messages", json={"text": str(number)})).json()["id"] for number in range(5)]
    seen, before = [], ""
    for _ in range(3):
        page = (await server.http.get(f"/v1/messages?limit=2{before}")).json()
        seen += [message["id"] for message in page["messages"]]
        before = f"&before={page['next']}"
    assert seen == posted[::-1]
    assert page["next"] is None


async def test_ready_means_writable(server: Server, mongodb: str) -> None:
    assert (await server.http.get("/readyz")).status_code == 200
    client: pymongo.MongoClient[dict[str, Any]]
    with pymongo.MongoClient(mongodb) as client:
        client.admin.command("fsync", lock=True)
        try:
            assert (await server.http.get("/readyz")).status_code == 503
        finally:
            client.admin.command("fsyncUnlock")
    assert (await server.http.get("/readyz")).status_code == 200


async def test_pool_is_seen_in_metrics(server: Server, mongodb: str) -> None:
    address = mongodb.removeprefix("mongodb://").partition("/")[0]
    await server.http.get("/readyz")
    for _ in range(100):
        if f'linda_api_mongodb_pool_open{{server="{address}"}} 10.0' in (text := (await server.http.get("/metrics")).text):
            break
        await asyncio.sleep(0.1)
    else:
        pytest.fail(f"the pool did not grow to its minimum:\n{text}")
    assert f'linda_api_mongodb_pool_in_use{{server="{address}"}} 0.0' in text


async def test_sigterm_lets_a_write_in_flight_finish(start: Start, mongodb: str) -> None:
    settings = {"MONGODB_URI": mongodb, "MONGODB_DATABASE": f"test_{uuid.uuid4().hex[:8]}", "TIMEOUT": "10"}
    server = await start(DRILL_LATENCY="1", **settings)
    flying = asyncio.create_task(server.http.post("/v1/messages", json={"text": "last words"}))
    await asyncio.sleep(0.3)
    server.terminate()
    assert (await flying).status_code == 201
    await server.ended(5)
    successor = await start(**settings)
    assert (await successor.http.get(f"/v1/messages/{flying.result().json()['id']}")).json()["text"] == "last words"
