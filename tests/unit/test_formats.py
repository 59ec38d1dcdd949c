"""The named formats: written-out examples, and properties against independent judges (ipaddress, the standard's own arithmetic)."""

import base64
import ipaddress
import posixpath
import string

import pytest
from ansible_collections.linda.ops.plugins.module_utils import _formats as formats
from hypothesis import given
from hypothesis import strategies as st

GOOD: dict[str, list[object]] = {
    "absolute_path": ["/", "/etc/nginx", "/a b/c.d"],
    "address": ["192.0.2.1", "2001:db8::1", "::1"],
    "cidr": ["192.0.2.0/24", "2001:db8::/32", "192.0.2.1/32"],
    "dns_name": ["a", "api.example.org", "3com.example", "xn--bcher-kva.example", "a" * 63 + ".org"],
    "duration": ["30s", "5m", "100ms", "2h", "7d"],
    "email": ["ops@example.org", "a+b@example.org"],
    "file_name": ["default", "a.conf", "_x-1"],
    "fingerprint": ["0123456789abcdef0123456789ABCDEF01234567", "a" * 64],
    "fqdn": ["a.b", "api.example.org"],
    "host": ["api", "192.0.2.1", "2001:db8::1"],
    "host_port": ["api:80", "192.0.2.1:8000", "[2001:db8::1]:443"],
    "hostname": ["api1", "a-b"],
    "identifier": ["a", "_b1", "Abc"],
    "ipv4": ["192.0.2.1"],
    "ipv6": ["2001:db8::1"],
    "keyfile": [base64.b64encode(b"x" * 756).decode(), "abcdef", "abc\ndef\n"],
    "network": ["192.0.2.1", "192.0.2.0/24", "2001:db8::/32"],
    "nonempty": ["a", [0], {"a": 1}, 0, False],
    "nonnegative": [0, 1, "7"],
    "nonnegative_number": [0, 0.5, 3, "7.25"],
    "octal_mode": ["0640", "644", "1777", "01777"],
    "one_line": ["", "a b", "ü"],
    "oplog_mb": [0, 990, "2000"],
    "percentage": [0, 100, 12.5, "50"],
    "pgp_public_key": ["-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n-----END PGP PUBLIC KEY BLOCK-----\n"],
    "port": [1, 443, 65535, "8443"],
    "positive": [1, "3"],
    "relative_path": ["a", "a/b.conf"],
    "safe_path": ["/etc", "/var/lib/x"],
    "sha256": ["0" * 64],
    "size": ["16m", "1k", "10"],
    "ssh_public_key": ["ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + b"k" * 32).decode() + " someone@example"],
    "timezone": ["UTC", "Etc/UTC", "America/Argentina/Ushuaia", "Etc/GMT+1"],
    "unit": ["nginx.service", "getty@tty1.service", "apt-daily.timer"],
    "unix_name": ["linda", "_x", "www-data"],
    "url": ["http://example.org", "https://192.0.2.1:8443/a?b=c", "http://[2001:db8::1]/"],
    "version": ["1", "1.2.3", "6.0.5", "13.0-1~deb13", "1:2.3-4", "2.0.0+rc1"],
    "wildcard_dns_name": ["example.org", "*.example.org"],
}
BAD: dict[str, list[object]] = {
    "absolute_path": ["", "etc", "/a/../b", "/a//b", "/a/", "/a\nb", "/./a", 3, None],
    "address": ["192.0.2.256", "192.0.2.1/24", "fe80::1%eth0", "api", "", 1, "1.2.3"],
    "cidr": ["192.0.2.1/24", "192.0.2.0", "192.0.2.0/33", "192.0.2.0/255.255.255.0", "a/8", 7],
    "dns_name": ["", ".", "a..b", "-a", "a-", "a_b", "a.b.", "a" * 64, "a." * 127 + "a", "192.0.2.1", "a b", "bücher.example", 5, "*.a.b"],
    "duration": ["30", "s", "30 s", "-1s", 30, "1w"],
    "email": ["ops", "@example.org", "a@b_c", "a b@example.org", "a@b@c..d", 1],
    "file_name": ["", ".", "..", ".hidden", "a/b", "a b"],
    "fingerprint": ["abc", "0123 4567 89ab cdef 0123 4567 89ab cdef 0123 4567", "g" * 40, "a" * 41],
    "fqdn": ["a", "a_b.c"],
    "host": ["a_b", "1.2.3.4.5", ""],
    "host_port": ["api", "api:0", "api:65536", "api:", ":80", "2001:db8::1:80", "[192.0.2.1]:80", "api:8 0", 80],
    "hostname": ["a.b", "1", "a_b"],
    "identifier": ["1a", "a-b", "", "ä"],
    "ipv4": ["2001:db8::1"],
    "ipv6": ["192.0.2.1"],
    "keyfile": ["abc", "a" * 1025, "ab*def", ""],
    "network": ["192.0.2.1/24", "x"],
    "nonempty": ["", " \n", [], {}, None],
    "nonnegative": [-1, "x", 1.5, True],
    "nonnegative_number": [-0.1, "much", True, float("inf"), "1e999", None],
    "octal_mode": ["640x", "0888", 420, "64", "rw-r--r--"],
    "one_line": ["a\nb", "a\x07", 3],
    "oplog_mb": [-1, 500, 989, 1000.5, "1g", 2**31, None],
    "percentage": [-1, 101, "x", True],
    "pgp_public_key": ["", "-----BEGIN PGP PRIVATE KEY BLOCK-----\nx\n-----END PGP PRIVATE KEY BLOCK-----"],
    "port": [0, 65536, -1, "http", "1.5", 80.5, True, None, "80/tcp"],
    "positive": [0, -1],
    "relative_path": ["", "/a", "../a", "a/../b"],
    "safe_path": ["/", "etc", "/etc/..", "//"],
    "sha256": ["0" * 63, "z" * 64],
    "size": ["16 m", "1.5m", "m", 16],
    "ssh_public_key": [
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        "ssh-rsa " + base64.b64encode(b"\0\0\0\x0bssh-ed25519xx").decode(),
        "nonsense x y",
    ],
    "timezone": ["", "/etc", "Europe/", "a b"],
    "unit": ["nginx", "a b.service", ".service"],
    "unix_name": ["1a", "A", "a" * 33, "a.b"],
    "url": [
        "example.org",
        "ftp://example.org",
        "http://user:pw@example.org",
        "http://",
        "http://a_b",
        "http://a:99999",
        "http://a b",
        "http://a:0",
    ],
    "version": ["", "v1", "latest", "1..2", 6.0],
    "wildcard_dns_name": ["*", "*.org", "a.*.org", "*a.org"],
}


def test_every_format_has_examples() -> None:
    assert set(GOOD) == set(BAD) == set(formats.FORMATS)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in GOOD.items() for value in values])
def test_accepts(name: str, value: object) -> None:
    assert formats.format_named(name).accepts(value)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_refuses(name: str, value: object) -> None:
    assert not formats.format_named(name).accepts(value)


@given(
    st.sampled_from(sorted(formats.FORMATS)), st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists)
)
def test_never_raises(name: str, value: object) -> None:
    assert formats.FORMATS[name].accepts(value) in {True, False}


@given(st.ip_addresses())
def test_every_address_is_an_address_and_a_network(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert formats.is_address(str(address))
    assert formats.FORMATS["network"].accepts(str(address))
    assert not formats.is_cidr(str(address))


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_a_network_has_no_host_bits(address: ipaddress.IPv4Address, prefix: int) -> None:
    host_bits = int(address) & ((1 << (32 - prefix)) - 1)
    assert formats.is_cidr(f"{address}/{prefix}") == (host_bits == 0)


LABELS = st.text(string.ascii_letters + string.digits + "-", min_size=1, max_size=66)


@given(st.lists(LABELS, min_size=1, max_size=6))
def test_dns_names_follow_rfc_1123(labels: list[str]) -> None:
    name = ".".join(labels)
    expected = (
        len(name) <= 253
        and all(1 <= len(label) <= 63 and label[0] != "-" and label[-1] != "-" for label in labels)
        and not all(character in string.digits for character in labels[-1])
    )
    assert formats.is_dns_name(name) == expected


@given(st.text(max_size=12))
def test_a_dns_name_has_no_other_characters(text: str) -> None:
    if formats.is_dns_name(text):
        assert set(text) <= set(string.ascii_letters + string.digits + "-.")


@given(st.integers(-100_000, 100_000))
def test_ports(number: int) -> None:
    assert formats.is_port(number) == formats.is_port(str(number)) == (0 < number < 65536)


@given(st.text("/.a", max_size=10))
def test_a_safe_path_is_the_path_it_says(text: str) -> None:
    expected = text.startswith("/") and text != "/" and posixpath.normpath(text) == text and not text.startswith("//")
    assert formats.FORMATS["safe_path"].accepts(text) == expected


def test_secrets_have_a_least_length() -> None:
    secret = formats.format_named("secret_min_16")
    assert secret.accepts("x" * 16)
    assert not secret.accepts("x" * 15)
    assert not secret.accepts("x" * 16 + "\n")
    assert not secret.accepts(1234567890123456)


def test_an_unknown_format_names_the_closest() -> None:
    with pytest.raises(ValueError, match="no format dns_nam; did you mean dns_name"):
        formats.format_named("dns_nam")
    with pytest.raises(ValueError, match="the formats are: absolute_path"):
        formats.format_named("zzzzz")


def test_closest_ignores_what_all_names_share() -> None:
    known = ["mongodb_port", "mongodb_members", "mongodb_version"]
    assert formats.closest("mongodb_prot", known, "mongodb_") == "mongodb_port"
    assert formats.closest("mongodb_colour", known, "mongodb_") is None
    assert formats.closest("mongodb_member", known, "mongodb_") == "mongodb_members"
