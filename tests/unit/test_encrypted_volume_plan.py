"""The planner of linda.ops.encrypted_volume, carried out on a model of a host; its keys; and what it refuses."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.linda.ops.plugins.filter.encrypted_volume_problem import encrypted_volume_problem
from ansible_collections.linda.ops.plugins.module_utils._encrypted_volume_open import (
    KEY_BYTES,
    Volume,
    VolumeError,
    fingerprint,
    load,
    main,
    parse_key,
)
from ansible_collections.linda.ops.plugins.module_utils._encrypted_volume_plan import (
    SIGNATURE,
    Desired,
    Observed,
    Step,
    check,
    choose,
    next_step,
    parse_desired,
    picture,
    plan,
    unit_text,
    wanted_files,
)
from hypothesis import assume, example, given
from hypothesis import strategies as st

PROGRAM = "#!/usr/bin/python3\n"
GOOD: dict[str, Any] = {
    "name": "mongodb",
    "mount_point": "/var/lib/mongodb",
    "device": "/dev/vdb",
    "owner": "mongodb",
    "group": "mongodb",
    "service": "mongod.service",
    "key_file": "/etc/linda/mongodb.key",
}
OURS, UNREADY = "linda-mongodb", "new-mongodb"


def described(**changes: Any) -> Desired:
    """The good description with changes; None takes an option away."""
    return parse_desired({**GOOD, **changes})


# ------------------------------------------------------------------------------------------------------------------------ the plan


@dataclass
class Machine:
    """What really counts on a host: what lies on the device and below the data path. It breaks when a step would lose or leak any of it."""

    seen: Observed

    def carry_out(self, desired: Desired, step: Step) -> None:
        seen, done = self.seen, {}
        match step.action:
            case "make_image":
                assert seen.source == "absent"
                assert desired.image
                done = {"source": "image"}
            case "format":
                assert seen.source in ("device", "image")
                assert seen.signature == "" or seen.label == UNREADY, "data of others is overwritten"
                assert not seen.mounted_at
                kind = choose(desired, seen)
                done = {"signature": SIGNATURE[kind], "label": OURS, "right_key": True}
            case "set_aside":
                assert desired.set_aside, "nobody asked for it"
                assert not seen.aside_exists, "data that was set aside is lost"
                assert not seen.service_active, "the server's data is moved below it"
                done = {"entries": 0, "aside_exists": True, "point": "absent"}
            case "install":
                done = {"files": wanted_files(desired, choose(desired, seen), PROGRAM, seen.credential_path)}
            case "open":
                assert seen.entries == 0, "data is hidden below the volume"
                assert not seen.service_active, "the server sees another directory under its feet"
                assert not seen.foreign_mount
                assert (seen.signature, seen.label) == (SIGNATURE[choose(desired, seen)], OURS)
                assert seen.right_key is not False
                assert len(seen.files) == 3, "the next boot would not open it"
                done = {"is_open": True, "point": "directory", "ownership": (desired.owner, desired.group, desired.mode)}
            case "own":
                assert seen.is_open, "the directory below the volume is given away"
                done = {"ownership": (desired.owner, desired.group, desired.mode)}
            case _:
                raise AssertionError(f"{step.action} is no step")
        self.seen = replace(seen, **done)


ON_DEVICE = [("", ""), ("ext4", OURS), ("crypto_LUKS", OURS), ("ext4", UNREADY), ("crypto_LUKS", UNREADY)]
OF_OTHERS = [("ext4", "somebody"), ("crypto_LUKS", ""), ("xfs", OURS), ("gpt", "")]


def observed(*, troubled: bool) -> st.SearchStrategy[Observed]:
    """Hosts as they may be found; ``troubled`` ones have what is refused, too. :func:`possible` makes them such that can exist."""

    def rarely(good: Any, *bad: Any) -> st.SearchStrategy[Any]:
        return st.sampled_from([good, good, *bad] if troubled else [good])

    return st.builds(
        lambda on_device, **fields: Observed(signature=on_device[0], label=on_device[1], **fields),
        on_device=st.sampled_from([*ON_DEVICE, *(OF_OTHERS if troubled else [])]),
        source=st.sampled_from(["device", "device", "absent"]),
        mounted_at=rarely((), ("/srv/other",)),
        dm_crypt=rarely(True, False),
        fs_encryption=rarely(True, False),
        container=st.booleans(),
        is_open=st.booleans(),
        foreign_mount=rarely(False, True),
        point=st.sampled_from(["absent", "directory"]),
        entries=st.sampled_from([0, 7]),
        aside_exists=rarely(False, True),
        ownership=st.sampled_from([("root", "root", 0o700), ("mongodb", "mongodb", 0o700)]),
        service_active=rarely(False, True),
        right_key=rarely(None, True, False),
        files=st.sampled_from([{}, {"/usr/local/libexec/linda-volume": PROGRAM}, {"/usr/local/libexec/linda-volume": "older"}]),
    )


def possible(found: Observed) -> Observed:
    """The nearest host that can exist."""
    if found.source != "device" or not found.signature:
        found = replace(found, signature="", label="", mounted_at=(), is_open=False, right_key=None)
    if found.label != OURS or found.signature not in SIGNATURE.values():
        found = replace(found, is_open=False, right_key=None)
    if found.is_open:
        return replace(found, point="directory", entries=0, foreign_mount=False, ownership=found.ownership or ("root", "root", 0o700))
    return replace(found, ownership=None, entries=found.entries if found.point == "directory" and not found.foreign_mount else 0)


@given(observed(troubled=False), st.sampled_from(["auto", "auto", "luks", "fscrypt"]), st.booleans(), st.sampled_from([True, True, False]))
@example(Observed(source="absent", dm_crypt=True), "auto", True, False)
def test_a_plan_reaches_the_goal_and_every_step_of_it_is_safe(found: Observed, kind: str, image: bool, set_aside: bool) -> None:
    place = {"device": None, "image": "/srv/volume.img", "image_size_mb": 256} if image else {}
    desired = described(type=kind, plain_data="set_aside" if set_aside else "refuse", **place)
    found = possible(found if image else replace(found, source="device"))
    if image and found.source == "device":
        found = replace(found, source="image")
    try:
        steps, foreseen = plan(desired, found, PROGRAM)
    except VolumeError:
        assume(False)
    machine = Machine(found)
    for number, step in enumerate(steps):
        # A run that died here would go on with the rest of the plan.
        assert plan(desired, machine.seen, PROGRAM)[0] == steps[number:]
        machine.carry_out(desired, step)
    assert machine.seen.is_open
    assert machine.seen.ownership == ("mongodb", "mongodb", 0o700)
    assert next_step(desired, machine.seen, PROGRAM) is None
    assert foreseen.is_open
    assert picture(desired, foreseen, PROGRAM) == picture(desired, machine.seen, PROGRAM)
    assert bool(steps) == (found != machine.seen)


@given(observed(troubled=True), st.booleans())
def test_what_would_lose_data_is_refused_whatever_else_is_true(found: Observed, set_aside: bool) -> None:
    found = possible(replace(found, source="device"))
    desired = described(plain_data="set_aside" if set_aside else "refuse")
    foreign = found.signature != "" and not (found.signature in SIGNATURE.values() and found.label in (OURS, UNREADY))
    lost = foreign or bool(found.mounted_at) or found.right_key is False or found.foreign_mount
    lost |= not found.is_open and (found.service_active or (found.entries > 0 and (found.aside_exists or not set_aside)))
    if lost:
        with pytest.raises(VolumeError):
            check(desired, found)
    else:
        check(desired, found)


EMPTY = Observed(source="device", dm_crypt=True, fs_encryption=True)


@pytest.mark.parametrize(
    ("kind", "found", "chosen"),
    [
        ("auto", EMPTY, "luks"),
        ("auto", replace(EMPTY, container=True), "fscrypt"),
        ("auto", replace(EMPTY, dm_crypt=False), "fscrypt"),
        ("auto", replace(EMPTY, signature="ext4", label=OURS), "fscrypt"),
        ("auto", replace(EMPTY, signature="crypto_LUKS", label=OURS, container=True), "luks"),
        ("luks", replace(EMPTY, container=True), "luks"),
        ("luks", replace(EMPTY, dm_crypt=False), "no_dm_crypt"),
        ("fscrypt", replace(EMPTY, fs_encryption=False), "no_fs_encryption"),
        ("auto", replace(EMPTY, fs_encryption=False, dm_crypt=False), "no_encryption"),
        ("luks", replace(EMPTY, signature="ext4", label=OURS), "other_type"),
        ("fscrypt", replace(EMPTY, signature="crypto_LUKS", label=OURS), "other_type"),
    ],
)
def test_the_type_is_what_is_there_or_asked_for_or_best(kind: str, found: Observed, chosen: str) -> None:
    if chosen in SIGNATURE:
        assert choose(described(type=kind), found) == chosen
    else:
        with pytest.raises(VolumeError) as refused:
            choose(described(type=kind), found)
        assert refused.value.code == chosen


@pytest.mark.parametrize(
    ("found", "code", "says"),
    [
        (Observed(source="absent", dm_crypt=True), "no_device", "/dev/vdb"),
        (replace(EMPTY, source="other"), "no_device", "not a block device"),
        (replace(EMPTY, signature="ext4", label="somebody"), "foreign_data", "'somebody'"),
        (replace(EMPTY, signature="gpt"), "foreign_data", "gpt"),
        (replace(EMPTY, mounted_at=("/srv/other",)), "mounted_elsewhere", "/srv/other"),
        (replace(EMPTY, foreign_mount=True), "foreign_mount", "/var/lib/mongodb"),
        (replace(EMPTY, point="other"), "bad_mount_point", "not a directory"),
        (replace(EMPTY, entries=3, point="directory"), "plain_data", "docs/runbooks/mongodb_encrypt.md"),
        (replace(EMPTY, service_active=True), "service_running", "mongod.service"),
        (replace(EMPTY, signature="ext4", label=OURS, right_key=False), "wrong_key", "next boot"),
    ],
)
def test_hosts_that_are_refused_and_what_is_said(found: Observed, code: str, says: str) -> None:
    with pytest.raises(VolumeError) as refused:
        plan(described(), found, PROGRAM)
    assert refused.value.code == code
    assert says in refused.value.message


# ----------------------------------------------------------------------------------------------------------------- the description

BAD: list[tuple[Mapping[str, Any], str, str]] = [
    ({"name": "Mongo DB"}, "bad_option", "name = 'Mongo DB'"),
    ({"name": "toolonganame"}, "bad_option", "name = "),
    ({"type": "bitlocker"}, "bad_option", "type = 'bitlocker'"),
    ({"key_file": None}, "no_key_source", "key_file, key_credential, key_command"),
    ({"key_credential": "volume"}, "two_key_sources", "key_file and key_credential"),
    ({"key_file": "etc/key"}, "bad_option", "key_file = 'etc/key'"),
    ({"key_file": "/var/lib/mongodb/key"}, "bad_option", "lies on the volume that it opens"),
    ({"key_file": None, "key_credential": "../key"}, "bad_option", "key_credential = '../key'"),
    ({"key_file": None, "key_command": ["vault", "read"]}, "bad_option", "key_command = 'vault'"),
    ({"key_file": None, "key_command": "/bin/cat /key"}, "bad_option", "is not a list"),
    ({"mount_point": "data"}, "bad_option", "mount_point = 'data'"),
    ({"mount_point": "/var"}, "bad_option", "directory of the system"),
    ({"mount_point": "/var/lib/../mongodb"}, "bad_option", "mount_point = "),
    ({"mount_point": "/var/lib/mongo db"}, "bad_option", "mount_point = "),
    ({"device": None}, "bad_option", "either device"),
    ({"image": "/srv/x.img"}, "bad_option", "either device"),
    ({"device": "vdb"}, "bad_option", "device = 'vdb'"),
    ({"device": "/srv/x.img"}, "bad_option", "a file is given as image"),
    ({"image_size_mb": 100}, "bad_option", "image_size_mb = 100"),
    ({"device": None, "image": "/srv/x.img"}, "bad_option", "image_size_mb = 0"),
    ({"device": None, "image": "/srv/x.img", "image_size_mb": 63}, "bad_option", "from 64 up"),
    ({"device": None, "image": "/var/lib/mongodb/x.img", "image_size_mb": 64}, "bad_option", "image = "),
    ({"filesystem": "btrfs"}, "bad_option", "filesystem = 'btrfs'"),
    ({"filesystem": "xfs"}, "bad_option", "needs type luks"),
    ({"mode": "0755"}, "bad_option", "mode = '0755'"),
    ({"service": "mongod service"}, "bad_option", "service = 'mongod service'"),
]


@pytest.mark.parametrize(("changes", "code", "says"), BAD, ids=[f"{number}-{says[:20]}" for number, (_c, _o, says) in enumerate(BAD)])
def test_descriptions_that_are_refused_and_what_is_said(changes: Mapping[str, Any], code: str, says: str) -> None:
    with pytest.raises(VolumeError) as refused:
        described(**changes)
    assert refused.value.code == code
    assert says in refused.value.message
    assert encrypted_volume_problem({**GOOD, **changes}) == refused.value.message


def test_the_filter_finds_no_problem_in_a_good_description_and_unknown_words_in_a_bad_one() -> None:
    assert encrypted_volume_problem(GOOD) == ""
    assert "key_flie" in encrypted_volume_problem({**GOOD, "key_flie": "/etc/x"})


# ------------------------------------------------------------------------------------------------------------------------- the key


@given(st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES))
def test_a_key_is_the_same_in_its_three_forms(key: bytes) -> None:
    assume(len(set(key)) >= KEY_BYTES // 2 and max(key) > 0x7F)
    assert parse_key(key) == parse_key(key.hex().encode() + b"\n") == parse_key(base64.b64encode(key) + b"\n") == key
    assert fingerprint("a", key) != fingerprint("b", key)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "bad_key"),
        (b"short", "bad_key"),
        (bytes(range(31)), "bad_key"),
        (bytes(range(33)), "bad_key"),
        (b"0123456789abcdef" * 2, "weak_key"),
        (b"a passphrase of 32 characters..!", "weak_key"),
        (bytes(32), "weak_key"),
        (b"00" * 32, "weak_key"),
        (base64.b64encode(bytes(range(4)) * 8), "weak_key"),
    ],
)
def test_keys_that_are_refused(data: bytes, code: str) -> None:
    with pytest.raises(VolumeError) as refused:
        parse_key(data)
    assert refused.value.code == code


# ------------------------------------------------------------------------------------------------------------------ what we install


def test_the_configuration_is_read_back_and_holds_no_key(tmp_path: Path) -> None:
    volume = described(key_file=None, key_command=["/usr/bin/vault", "read", "x"]).volume("fscrypt")
    path = tmp_path / "mongodb.json"
    path.write_text(volume.text(), encoding="utf-8")
    assert load(path) == volume
    assert {field.name for field in dataclasses.fields(Volume)} == {
        *("name", "type", "source", "image", "filesystem", "mount_point", "credential", "key_command")
    }


def test_a_configuration_that_is_broken_opens_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mongodb.json"
    path.write_text("{}", encoding="utf-8")
    assert main(["open", str(path)]) == 1
    assert capsys.readouterr().err.startswith("Encrypted volume mongodb: bad_configuration: ")
    assert main(["format", str(path)]) == 64


@pytest.mark.parametrize(
    ("changes", "path", "line"),
    [
        ({}, "", "LoadCredential=volume.key:/etc/linda/mongodb.key"),
        (
            {"key_file": None, "key_credential": "mongodb"},
            "/etc/credstore.encrypted/mongodb",
            "LoadCredentialEncrypted=mongodb:/etc/credstore.encrypted/mongodb",
        ),
        ({"key_file": None, "key_credential": "mongodb"}, "/etc/credstore/mongodb", "LoadCredential=mongodb:/etc/credstore/mongodb"),
        ({"key_file": None, "key_command": ["/bin/vault"]}, "", "TimeoutStartSec=infinity"),
        ({"device": None, "image": "/srv/a/x.img", "image_size_mb": 64}, "", "RequiresMountsFor=/var/lib /srv/a"),
    ],
)
def test_the_unit_gets_the_key_from_where_it_is(changes: Mapping[str, Any], path: str, line: str) -> None:
    assert line in unit_text(described(**changes), path).splitlines()
