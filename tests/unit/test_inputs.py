"""The judge of role inputs: types, choices, nested options, names, secrets, the fleet as a whole."""

import re
from typing import Any

import pytest
import yaml
from ansible_collections.linda.ops.plugins.module_utils import _inputs as inputs
from ansible_collections.linda.ops.plugins.module_utils._formats import FORMATS
from ansible_collections.linda.ops.plugins.modules import check_inputs
from hypothesis import given
from hypothesis import strategies as st

OPTIONS = inputs.parse_options(
    {
        "edge_port": {"type": "int", "default": 443, "description": "Port."},
        "edge_name": {"required": True, "description": ["Name of the service. It must resolve."]},
        "edge_on": {"type": "bool"},
        "edge_mode": {"choices": ["fast", "slow"], "default": "fast"},
        "edge_level": {"type": "int", "choices": [1, 2]},
        "edge_password": {"required": True, "no_log": True, "description": "The password."},
        "edge_tags": {"type": "list", "elements": "str", "default": []},
        "edge_note": {"default": ""},
        "edge_users": {
            "type": "list",
            "elements": "dict",
            "options": {"name": {"required": True}, "uid": {"type": "int"}, "token": {"no_log": True}},
        },
        "edge_limits": {"type": "dict", "options": {"rate": {"type": "int", "required": True}}},
    }
)


def sentences(name: str, value: object) -> list[str]:
    return [violation.sentence() for violation in inputs.check_value(name, value, OPTIONS[name])]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("edge_port", 8443),
        ("edge_port", "8443"),
        ("edge_on", True),
        ("edge_on", "yes"),
        ("edge_on", "False"),
        ("edge_on", 0),
        ("edge_mode", "slow"),
        ("edge_level", "2"),
        ("edge_tags", []),
        ("edge_tags", ["a"]),
        ("edge_users", [{"name": "a", "uid": "7"}]),
        ("edge_limits", {"rate": 5}),
        ("edge_on", None),
        ("edge_note", ""),
    ],
)
def test_good(name: str, value: object) -> None:
    assert sentences(name, value) == []


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("edge_port", "84 43", 'edge_port = "84 43" is not a whole number. Write a whole number without quotes or a unit.'),
        ("edge_port", True, "edge_port = true is not a whole number. Write a whole number without quotes or a unit."),
        ("edge_port", 1.5, "edge_port = 1.5 is not a whole number. Write a whole number without quotes or a unit."),
        ("edge_port", None, "edge_port = null has no value. Write a value, or remove the line to get the role's default."),
        ("edge_name", 6.1, "edge_name = 6.1 is not text. Put quotes around it, so that YAML does not read it as something else."),
        ("edge_name", None, "edge_name is not set. Set it: name of the service."),
        ("edge_on", "maybe", 'edge_on = "maybe" is not true or false. Write true or false.'),
        ("edge_on", 2, "edge_on = 2 is not true or false. Write true or false."),
        ("edge_mode", "fats", 'edge_mode = "fats" is none of: fast, slow. Did you mean fast?'),
        ("edge_level", 3, "edge_level = 3 is none of: 1, 2. Choose one of these."),
        ("edge_tags", "a,b", 'edge_tags = "a,b" is not a list. Write a YAML list (with -e: JSON, as in -e \'{"name": ["value"]}\').'),
        ("edge_tags", [1], "edge_tags[0] = 1 is not text. Put quotes around it, so that YAML does not read it as something else."),
        ("edge_tags", [None], "edge_tags[0] = null has no value. Write a value, or remove the element."),
        ("edge_users", [{"uid": 1}], "edge_users[0].name is not set. Set it for this host."),
        ("edge_users", [{"name": "a", "uidd": 1}], "edge_users[0].uidd = 1 is not a key of this input. Did you mean uid?"),
        ("edge_users", ["a"], 'edge_users[0] = "a" is not a mapping. Write a YAML mapping (with -e: JSON).'),
        (
            "edge_limits",
            {"rate": "fast"},
            'edge_limits.rate = "fast" is not a whole number. Write a whole number without quotes or a unit.',
        ),
        (
            "edge_password",
            5,
            "edge_password = (secret, not shown) is not text. Put quotes around it, so that YAML does not read it as something else.",
        ),
        ("edge_password", None, "edge_password is not set. Set it: the password (a secret: keep it in an Ansible Vault file)."),
    ],
)
def test_bad(name: str, value: object, expected: str) -> None:
    assert sentences(name, value) == [expected]


YAML = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.sampled_from(["name", "uid", "token", "rate", "x"]), children, max_size=3)
    ),
)


@given(st.sampled_from(sorted(OPTIONS)), YAML)
def test_any_value_is_judged_without_an_exception(name: str, value: object) -> None:
    for sentence in sentences(name, value):
        assert sentence.startswith(name)
        assert "\n" not in sentence


SECRET = "s3cr3t-Value"  # noqa: S105  # of no account: the tests look for it in messages


@given(YAML)
def test_no_secret_is_ever_shown(value: Any) -> None:
    assert SECRET not in "".join(sentences("edge_password", [SECRET, value]))
    assert SECRET not in "".join(sentences("edge_password", {"a": SECRET}))
    assert SECRET not in "".join(sentences("edge_users", [{"name": value, "uid": value, "token": SECRET}]))
    assert SECRET not in "".join(sentences("edge_users", {"name": value, "token": SECRET}))
    assert SECRET not in "".join(sentences("edge_users", [{"name": "a", "tokne": SECRET}]))
    assert SECRET not in "".join(sentences("edge_users", [{"name": "a", "password": SECRET}]))


def test_what_looks_like_a_secret_is_not_shown_either() -> None:
    assert inputs.show(inputs.redact({"API_TOKEN": SECRET, "A": 1}, None)) == '{"API_TOKEN": "(secret, not shown)", "A": 1}'
    assert inputs.show(["mongodb://linda:pw@host/db"]) == '["mongodb://********@host/db"]'


def test_secrets_are_found_where_the_specification_says() -> None:
    assert list(inputs.secrets_in("abcd", OPTIONS["edge_password"])) == ["abcd"]
    assert list(inputs.secrets_in([{"name": "n", "token": "abcd"}], OPTIONS["edge_users"])) == ["abcd"]
    assert list(inputs.secrets_in("abcd", OPTIONS["edge_name"])) == []


def test_scrub_blots_out_secrets_in_any_text() -> None:
    assert inputs.scrub('uri = "mongodb://u:pass\\"word@h"', ['pass"word']) == 'uri = "mongodb://u:********@h"'
    assert inputs.scrub("abcdef abcd", ["abcd", "abcdef"]) == "******** ********"
    assert inputs.scrub("a short one stays", ["a"]) == "a short one stays"


def test_unknown_names_are_those_with_the_prefix_that_nobody_declared() -> None:
    names = ["edge_port", "edge_prot", "__edge_x", "edges", "edge_proxy_a", "other"]
    assert inputs.unknown_names(names, "edge_", {"edge_port"}) == ["edge_prot", "edge_proxy_a"]
    assert inputs.unknown_names(names, "edge_", {"edge_port"}, ["edge_proxy_", "edge_"]) == ["edge_prot"]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("edge_prot", 3, "edge_prot = 3 is not an input of role edge. Did you mean edge_port?"),
        ("edge_pasword", SECRET, "edge_pasword = (secret, not shown) is not an input of role edge. Did you mean edge_password?"),
        (
            "edge_api_token",
            SECRET,
            "edge_api_token = (secret, not shown) is not an input of role edge. "
            "Remove it, or look up the name among the inputs of role edge.",
        ),
    ],
)
def test_unknown_variable(name: str, value: object, expected: str) -> None:
    assert inputs.unknown_variable(name, value, "role edge", OPTIONS, "edge_").sentence() == expected


def found(path: str, names: str | list[str], value: object) -> list[str]:
    return [violation.sentence() for violation in inputs.check_formats(path, names, value, OPTIONS)]


def test_formats_reach_into_lists_and_mappings() -> None:
    users = [{"name": "a"}, {"name": "B!"}, {"uid": 5}]
    assert found("edge_users[*].name", "unix_name", users) == [
        'edge_users[1].name = "B!" is not a name of a Unix account or group. '
        "Use 1..32 lower-case letters, digits, - and _, and begin with a letter."
    ]
    assert found("edge_users[0].name", "unix_name", users) == []
    assert found("edge_users[7].name", "unix_name", users) == []
    assert found("edge_limits.*", "positive", {"rate": 0}) == [
        "edge_limits.rate = 0 is not a positive whole number. Write a whole number from 1 up."
    ]


def test_formats_may_be_alternatives_or_several() -> None:
    assert found("edge_name", "address|dns_name", "192.0.2.1") == []
    assert found("edge_name", "address|dns_name", "a_b") == [
        'edge_name = "a_b" is neither an IPv4 or IPv6 address nor a DNS name (RFC 1123). '
        "Write an address such as 192.0.2.10, without a prefix length."
    ]
    assert len(found("edge_name", ["nonempty", "dns_name"], "")) == 2


def test_unique_names_the_first_of_the_same() -> None:
    assert found("edge_tags", "unique", ["a", "b", "a"]) == ['edge_tags[2] = "a" is the same as edge_tags[0]. Write each one only once.']
    users = [{"name": "a", "token": SECRET}, {"name": "b", "token": SECRET}]
    assert found("edge_users[*].token", "unique", users) == [
        "edge_users[1].token = (secret, not shown) is the same as edge_users[0].token. Write each one only once."
    ]


def test_an_empty_text_is_fine_where_it_is_the_default() -> None:
    assert found("edge_note", "dns_name", "") == []
    assert len(found("edge_name", "dns_name", "")) == 1


def test_a_format_of_a_secret_does_not_show_it() -> None:
    assert SECRET not in "".join(found("edge_password", "secret_min_32", SECRET))
    assert len(found("edge_password", "secret_min_32", SECRET)) == 1


@pytest.mark.parametrize("path", ["", "a b", "a[x", "[", "a[*]!"])
def test_bad_paths_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        inputs.parse_path(path)


def test_a_specification_knows_all_entry_points_but_requires_one() -> None:
    data = {
        "argument_specs": {"main": {"options": {"edge_a": {"required": True}}}, "describe": {"options": {"edge_b": {"required": True}}}}
    }
    spec = inputs.RoleSpec.parse("edge", data)
    assert spec.known == {"edge_a", "edge_b"}
    assert spec.options["edge_a"].required
    assert not spec.options["edge_b"].required


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"argument_specs": {"other": {}}},
        {"argument_specs": {"main": {"options": []}}},
        {"argument_specs": {"main": {"options": {"edge_a": "x"}}}},
        {"argument_specs": {"main": {"options": {"edge_a": {"choices": "x"}}}}},
    ],
)
def test_a_malformed_specification_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="edge"):
        inputs.RoleSpec.parse("edge", data)


def test_a_message_has_a_line_a_violation() -> None:
    violations = [inputs.Violation("edge_a", "is bad", "Mend it", "1", "hosts.yml:3"), inputs.Violation("edge_b", "is not set.", "Set it.")]
    assert inputs.message("h1", violations) == "host h1: edge_a = 1 is bad. Mend it. (hosts.yml:3)\nhost h1: edge_b is not set. Set it."


def test_what_hosts_share_is_said_once() -> None:
    same = inputs.Violation("fleet_domain", "is bad", "Mend it", '"x"')
    other = inputs.Violation("fleet_address", "is not set", "Set it")
    text = inputs.message_of_hosts({"a": [same], "b": [same, other], "c": []})
    assert text == 'host a (and 1 more): fleet_domain = "x" is bad. Mend it.\nhost b: fleet_address is not set. Set it.'


def test_consequences_of_a_bad_input_are_left_out() -> None:
    cause, effect = inputs.Violation("edge_name", "is bad", "Mend it"), inputs.Violation("edge_user.x", "is bad", "Mend it")
    assert inputs.without_consequences([cause, effect], {"edge_name": "A B", "edge_user": "{{ edge_name }}"}) == [cause]
    assert inputs.without_consequences([cause, effect], {"edge_name": "A B", "edge_user": "{{ edge_names }}"}) == [cause, effect]
    assert inputs.without_consequences([cause, effect], {"edge_name": "A B", "edge_user": "edge_name"}) == [cause, effect]
    through = {
        "edge_name": "A B",
        "edge_user": "{{ __edge_a }}",
        "__edge_a": "{{ __edge_b }}",
        "__edge_b": ["{{ edge_name }}", "{{ __edge_a }}"],
    }
    assert inputs.without_consequences([cause, effect], through) == [cause]
    # Inputs that are computed from each other must not excuse each other.
    circle = {"edge_name": "{{ edge_user }}", "edge_user": "{{ edge_name }}"}
    assert inputs.without_consequences([cause, effect], circle) == [cause, effect]


def test_one_address_belongs_to_one_host() -> None:
    found = inputs.check_addresses({"a": "2001:db8::1", "b": "192.0.2.1", "c": "2001:0db8:0::1", "d": "nonsense", "e": "nonsense"})
    assert list(found) == ["c"]
    assert found["c"][0].problem == "is the address of host a too"


@pytest.mark.parametrize(
    ("distribution", "version", "allowed", "good"),
    [
        ("Debian", "12", False, True),
        ("Debian", "12.11", False, True),
        ("Debian", "13.1", False, True),
        ("Debian", "11.9", True, False),
        ("Debian", "130", True, False),
        ("Ubuntu", "24.04", False, False),
        ("Ubuntu", "24.04", True, True),
        ("Ubuntu", "22.04", True, False),
        ("Fedora", "42", True, False),
    ],
)
def test_platforms(distribution: str, version: str, allowed: bool, good: bool) -> None:
    found = inputs.check_platform(distribution, version, allowed)
    assert (found == []) == good
    assert all(one.shown == f"{distribution} {version}" for one in found)


def test_every_format_is_documented() -> None:
    documented = yaml.safe_load(check_inputs.DOCUMENTATION)["options"]["formats"]["description"]
    assert set(re.findall(r"V\((\w+)\)", " ".join(documented))) - {"unique", "secret_min_N"} == set(FORMATS)
