"""The filters of the rolling playbooks."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.linda.ops.plugins.filter.mongodb_keyfile_position import mongodb_keyfile_position
from ansible_collections.linda.ops.plugins.filter.mongodb_rounds import mongodb_rounds

OLD, NEW = "b2xkb2xk b2xk\n", "bmV3bmV3bmV3"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("b2xkb2xkb2xk", 0),
        ("- b2xkb2xkb2xk\n- bmV3bmV3bmV3\n", 1),
        ("- bmV3bmV3bmV3\n- b2xkb2xk\n  b2xk\n", 2),
        ("bmV3bmV3bmV3\n", 3),
        ("b3RoZXJvdGhlcg==", -1),
        ("", -1),
        pytest.param("- b2xkb2xkb2xk\n- b3RoZXI=", 0, id="a rotation before this one was never ended"),
        pytest.param("- b2xkb2xkb2xk\n- bmV3bmV3bmV3\n- b3RoZXI=", 1, id="nor by now"),
        ("- bmV3bmV3bmV3\n- b3RoZXI=", -1),
        ("- b3RoZXI=\n- b2xkb2xkb2xk", -1),
    ],
)
def test_where_a_key_file_is_on_its_way(text: str, expected: int) -> None:
    assert mongodb_keyfile_position(text, OLD, NEW) == expected


def test_rounds_by_number_and_by_what_servers_say() -> None:
    assert mongodb_rounds([0, 0, 0], 3) == [1, 2, 3]
    assert mongodb_rounds([2, 1, 2], "3") == [2, 3]
    assert mongodb_rounds([3, 3], 3) == []
    assert mongodb_rounds([["disabled", "undefined"], ["allowTLS", "keyFile"]], ["requireTLS", "x509"]) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(("positions", "goal"), [([3], 2), ([["allowTLS", "x509"]], ["requireTLS", "x509"]), ([[]], 1), (["two"], 3)])
def test_what_is_no_way_is_refused(positions: list[object], goal: object) -> None:
    with pytest.raises(AnsibleFilterError, match="mongodb_rounds"):
        mongodb_rounds(positions, goal)
