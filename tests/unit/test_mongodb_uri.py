"""The URI of an application: what the driver reads back is what was given, and wrong input is refused by name."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.linda.ops.plugins.filter import mongodb_uri as mongodb_uri_filter
from ansible_collections.linda.ops.plugins.filter.mongodb_uri import mongodb_uri
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_uri import _LOGIN, _OPTIONS, DEFAULTS, build_uri
from hypothesis import given
from hypothesis import strategies as st
from pymongo.synchronous import uri_parser
from yaml import safe_load

WORD = "p@ss:w/rd%+ ?#[]&=é"
LOGIN = {"user": "linda", "password": WORD}


@pytest.fixture(scope="module")
def authority() -> Iterator[str]:
    """A file with a name that has to be escaped; the driver reads it while it parses."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "ca & key=50%+.pem"
        path.write_text("x")
        yield str(path)


def text(**more: Any) -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20, **more)


def read_back(uri: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the driver makes of a URI, and its options by lower-case name: their case differs between releases."""
    read = uri_parser.parse_uri(uri, warn=True)
    return read, {name.lower(): value for name, value in read["options"].items()}


label = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
names = st.lists(label, min_size=1, max_size=3).map(".".join)
addresses = st.one_of(st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(lambda address: f"[{address}]"), names)
ports = st.integers(1, 65535)
hosts = st.lists(st.tuples(addresses, ports), min_size=1, max_size=5, unique=True)
pools = st.tuples(st.integers(0, 10000), st.integers(1, 10000)).filter(lambda pool: pool[0] <= pool[1])
milliseconds = st.integers(1, 3_600_000)


@given(
    hosts,
    text(),
    text(),
    st.from_regex(r'[^\0/\\. "$\ud800-\udfff]{1,20}', fullmatch=True),
    text(),
    text(),
    pools,
    milliseconds,
    st.booleans(),
)
def test_the_driver_reads_back_what_was_given(
    authority: str,
    hosts: list[tuple[str, int]],
    user: str,
    password: str,
    database: str,
    replica_set: str,
    app_name: str,
    pool: tuple[int, int],
    wait: int,
    retry: bool,
) -> None:
    uri = build_uri(
        [f"{host}:{port}" for host, port in hosts],
        {
            "user": user,
            "password": password,
            "database": database,
            "replica_set": replica_set,
            "app_name": app_name,
            "tls_ca_file": authority,
            "min_pool_size": pool[0],
            "max_pool_size": pool[1],
            "connect_timeout_ms": wait,
            "retry_writes": retry,
            "w": "majority",
            "compressors": ["zlib"],
        },
    )
    assert uri.isascii()
    read, options = read_back(uri)
    assert read["nodelist"] == [(host.strip("[]"), port) for host, port in hosts]
    assert (read["username"], read["password"], read["database"]) == (user, password, database)
    assert options == {
        "replicaset": replica_set,
        "authsource": "admin",
        "tls": True,
        "tlscafile": authority,
        "minpoolsize": pool[0],
        "maxpoolsize": pool[1],
        "connecttimeoutms": wait / 1000,
        "serverselectiontimeoutms": 30,
        "sockettimeoutms": 30,
        "waitqueuetimeoutms": 30,
        "appname": app_name,
        "compressors": ["zlib"],
        "retrywrites": retry,
        "w": "majority",
    }


def test_defaults_of_an_application() -> None:
    assert mongodb_uri(
        [{"host": "Mongo1.example.net", "priority": 2}, {"host": "mongo2.example.net:27018"}], **LOGIN, replica_set="rs0"
    ) == (
        "mongodb://linda:p%40ss%3Aw%2Frd%25%2B%20%3F%23%5B%5D%26%3D%C3%A9@mongo1.example.net:27017,mongo2.example.net:27018/"
        "?replicaSet=rs0&authSource=admin&tls=true&minPoolSize=10&maxPoolSize=100"
        "&connectTimeoutMS=30000&serverSelectionTimeoutMS=30000&socketTimeoutMS=30000&waitQueueTimeoutMS=30000"
    )


def test_members_that_serve_no_client_are_left_out() -> None:
    members = [{"host": "a:1"}, {"host": "b:1", "hidden": True}, {"host": "c:1", "arbiter_only": True}]
    assert build_uri(members, {"tls": False}).startswith("mongodb://a:1/?tls=false&")


def test_ipv6_and_sockets() -> None:
    uri = build_uri(["2001:DB8::1", "[::1]:5", "/run/mongodb/a.sock"], {})
    assert uri_parser.parse_uri(uri)["nodelist"] == [("2001:db8::1", 27017), ("::1", 5), ("/run/mongodb/a.sock", None)]


def test_srv(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver is told what the name server would say; the rest of its reading is its own."""
    monkeypatch.setattr(uri_parser._SrvResolver, "get_hosts", lambda _self: [("m1.example.net", 27017), ("m2.example.net", 27018)])
    monkeypatch.setattr(uri_parser._SrvResolver, "get_options", lambda _self: None)
    uri = build_uri("Cluster.example.net", {"srv": True, **LOGIN, "srv_service_name": "data"})
    assert uri.startswith("mongodb+srv://linda:")
    read, options = read_back(uri)
    assert (read["fqdn"], read["username"], read["password"]) == ("cluster.example.net", "linda", WORD)
    assert read["nodelist"] == [("m1.example.net", 27017), ("m2.example.net", 27018)]
    assert (options["srvservicename"], options["tls"], options["authsource"]) == ("data", True, "admin")


def test_a_certificate_as_login(authority: str) -> None:
    files = {"tls_ca_file": authority, "tls_certificate_key_file": authority}
    read, options = read_back(build_uri("a", {"auth_mechanism": "MONGODB-X509", **files}))
    assert (read["username"], options["authmechanism"], options["authsource"]) == (None, "MONGODB-X509", "$external")
    read, _options = read_back(build_uri("a", {"user": "CN=linda,O=x", "auth_mechanism": "MONGODB-X509", **files}))
    assert (read["username"], bool(read["password"])) == ("CN=linda,O=x", False)


@pytest.mark.parametrize(
    ("hosts", "options", "code", "says"),
    [
        ([], {}, "no_host", "no host"),
        (None, {}, "no_host", "no host"),
        ([{"host": "a", "hidden": True}], {}, "no_host", "at least one member that serves"),
        (["a", ""], {}, "bad_host", "hosts[1]"),
        ([{"name": "a"}], {}, "bad_host", "hosts[0]"),
        (["a b"], {}, "bad_host", "'a b'"),
        (["a:0"], {}, "bad_host", "a:0"),
        (["a:70000"], {}, "bad_host", "a:70000"),
        (["mongodb://a"], {}, "bad_host", "mongodb://a"),
        (["fe80::1%eth0"], {}, "bad_host", "eth0"),
        (["/run/mongod"], {}, "bad_host", ".sock"),
        (["a", "A:27017"], {}, "duplicate_host", "a:27017 more than once"),
        ("cluster.example.net:27017", {"srv": True}, "bad_srv", "has a port"),
        (["x.example.net", "y.example.net"], {"srv": True}, "bad_srv", "there are 2"),
        ("localhost", {"srv": True}, "bad_srv", "three parts"),
        ("198.51.100.7", {"srv": True}, "bad_srv", "three parts"),
        ("a", {"srv": "yes"}, "bad_option", "srv = 'yes'"),
        ("a", {"srv_max_hosts": 2}, "bad_srv", "without srv"),
        ("c.example.net", {"srv": True, "srv_max_hosts": 2, "replica_set": "rs"}, "bad_srv", "contradicts replica_set"),
        ("a", {"user": "linda"}, "password_missing", "user = 'linda'"),
        ("a", {"password": WORD}, "user_missing", "without user"),
        ("a", {"user": "", "password": WORD}, "bad_login", "user is not text"),
        ("a", {"user": "linda", "password": ""}, "bad_login", "password is not text"),
        ("a", {"user": "linda", "password": 12345}, "bad_login", "password is not text"),
        ("a", {"auth_source": "admin"}, "user_missing", "auth_source without user"),
        ("a", {"user": "CN=x", "password": WORD, "auth_mechanism": "MONGODB-X509"}, "bad_login", "takes no password"),
        ("a", {"auth_mechanism": "MONGODB-X509"}, "bad_tls", "tls_certificate_key_file"),
        ("a", {"auth_mechanism": "MONGODB-X509", "tls_certificate_key_file": "/x", "auth_source": "admin"}, "bad_login", "$external"),
        ("a", {**LOGIN, "auth_mechanism": "SCRAM"}, "bad_option", "SCRAM-SHA-256"),
        ("a", {"database": "a.b"}, "bad_database", "a.b"),
        ("a", {"database": ""}, "bad_database", "''"),
        ("a", {"min_pool_size": 50, "max_pool_size": 20}, "bad_pool", "min_pool_size = 50 is above max_pool_size = 20"),
        ("a", {"max_pool_size": 5}, "bad_pool", "min_pool_size = 10"),
        ("a", {"max_pool_size": 0}, "bad_option", "max_pool_size = 0"),
        ("a", {"min_pool_size": "10"}, "bad_option", "min_pool_size = '10' is not a whole number"),
        ("a", {"connect_timeout_ms": True}, "bad_option", "connect_timeout_ms"),
        ("a", {"replicaSet": "rs"}, "unknown_option", "did you mean replica_set?"),
        ("a", {"max_pool": 5}, "unknown_option", "did you mean max_pool_size?"),
        ("a", {"minPoolSize": 5}, "unknown_option", "did you mean min_pool_size?"),
        ("a", {"passwort": WORD}, "unknown_option", "did you mean password?"),
        ("a", {"tls_insecure": True}, "unknown_option", "tls_insecure"),
        ("a", {"tls": False, "tls_ca_file": "/ca.pem"}, "bad_tls", "tls_ca_file with tls = false"),
        ("a", {"tls_ca_file": "ca.pem"}, "bad_option", "an absolute path"),
        ("a", {"tls_certificate_key_file_password": 5}, "bad_option", "tls_certificate_key_file_password is not text"),
        (["a", "b"], {"direct_connection": True}, "bad_option", "direct_connection"),
        ("a", {"read_preference": "secundary"}, "bad_option", "secondaryPreferred"),
        ("a", {"max_staleness_seconds": 100}, "bad_option", "other than primary"),
        ("a", {"app_name": "x" * 129}, "bad_option", "128 bytes"),
        ("a", {"compressors": ["gzip"]}, "bad_option", "zstd"),
        ("a", {"w": -1}, "bad_option", "majority"),
    ],
)
def test_bad_input_is_refused_by_name(hosts: object, options: dict[str, Any], code: str, says: str) -> None:
    with pytest.raises(MongodbError) as refused:
        build_uri(hosts, options)
    assert refused.value.code == code
    assert says in refused.value.message
    assert WORD not in refused.value.message
    with pytest.raises(AnsibleFilterError, match=code):
        mongodb_uri(hosts, **options)


def test_every_option_is_documented() -> None:
    documented = safe_load(mongodb_uri_filter.DOCUMENTATION)["options"]
    assert set(documented) - {"_input"} == {*_LOGIN, *_OPTIONS}
    assert {name: option["default"] for name, option in documented.items() if "default" in option and name != "srv"} == DEFAULTS
