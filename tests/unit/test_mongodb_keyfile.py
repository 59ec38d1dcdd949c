"""Which contents of a MongoDB key file are taken, and which are refused with a reason."""

from __future__ import annotations

import base64
import hashlib
import os
import string

import pytest
from ansible_collections.linda.ops.plugins.filter.mongodb_keyfile_problem import mongodb_keyfile_problem
from ansible_collections.linda.ops.plugins.module_utils import _mongodb_keyfile as keyfile
from ansible_collections.linda.ops.plugins.module_utils._formats import FORMATS
from hypothesis import given
from hypothesis import strategies as st


def random_key(length: int = 756) -> str:
    """As openssl rand -base64 prints it."""
    return base64.encodebytes(os.urandom(length)).decode()


@pytest.mark.parametrize("length", [32, 64, 756])
def test_random_keys_are_strong(length: int) -> None:
    for _attempt in range(200):
        assert mongodb_keyfile_problem(random_key(length)) == ""


@given(st.lists(st.binary(min_size=33, max_size=760), min_size=1, max_size=3, unique=True), st.sampled_from(["", "'", '"']))
def test_a_list_of_keys_is_read_as_its_keys(raw: list[bytes], quote: str) -> None:
    keys = [base64.b64encode(one).decode() for one in raw]
    text = "".join(f"- {quote}{key}{quote}\n" for key in keys)
    assert keyfile.parse_keys(text) == tuple(keys)
    assert FORMATS["keyfile"].accepts(text)


@pytest.mark.parametrize(
    "text", ["", "abc", "a" * 1025, "ab*def", "- abc", "-", "- abcdefgh\n- ab*def", "- abcdefgh\n- abcdefgh", "abc: def"]
)
def test_what_mongod_would_refuse_is_no_key_file(text: str) -> None:
    assert keyfile.parse_keys(text) == ()
    assert not FORMATS["keyfile"].accepts(text)
    assert "not the content of a key file" in mongodb_keyfile_problem(text)


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (base64.b64encode(bytes(range(24))).decode(), "has 32 characters, fewer than 44"),
        ("abcdefgh" * 16, "repeats itself"),
        ("x" * 100, "repeats itself"),
        (base64.b64encode(b"x" * 756).decode(), "repeats itself"),
        (string.ascii_letters + string.digits, "follows the alphabet"),
        (string.digits * 4 + "98765432100112", "follows the alphabet"),
        ("aQbWaeQbrQaWtQbWaQzeaWbQrWeaQbWtQaebWrQaWbeQt", "bits, fewer than 128"),
    ],
)
def test_weak_keys_are_told_why(key: str, says: str) -> None:
    assert says in mongodb_keyfile_problem(key)
    assert key not in mongodb_keyfile_problem(key)


def test_the_weak_one_of_several_is_named() -> None:
    both = f"- {random_key().replace(chr(10), '')}\n- {'abcdefgh' * 16}\n"
    assert "(key 2 of 2)" in mongodb_keyfile_problem(both)


def test_a_published_key_is_refused_however_it_is_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(keyfile.PUBLISHED) >= 5
    assert all(len(digest) == 64 for digest in keyfile.PUBLISHED)
    key = random_key()
    bare = "".join(key.split())
    monkeypatch.setitem(keyfile.PUBLISHED, hashlib.sha256(bare.encode()).hexdigest(), "the one of a test")
    for text in (key, bare, f"- {bare}\n", f"  {bare}  \n\n"):
        assert "known to everybody: it is the one of a test" in mongodb_keyfile_problem(text)
