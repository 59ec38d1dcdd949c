"""linda.ops.encrypted_volume on real loop devices, with the kernel's own encryption.

Everything happens in a mount namespace of its own, in which /etc, /usr/local and /var/lib are covered by a layer in memory. It ends with
the test, whatever becomes of that, and the kernel then unmounts the volumes, forgets their keys and lets go of the loop devices.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.linda.ops.plugins.module_utils._encrypted_volume_open import KEY_BYTES, Volume
from ansible_collections.linda.ops.plugins.modules.encrypted_volume import (
    format_luks,
    has_dm_crypt,
    is_right_key,
    program_text,
    signature_of,
)

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = "/usr/local/libexec/linda-volume"
ENTER = r"""
mount --make-rprivate /
mount -t tmpfs -o size=64m layer "$1/layer"
for place in etc usr/local var/lib; do
  mkdir -p "$1/layer/$place/upper" "$1/layer/$place/work"
  mount -t overlay -o "lowerdir=/$place,upperdir=$1/layer/$place/upper,workdir=$1/layer/$place/work" layer "/$place"
done
# This machine's systemd is not to hear of it, if there is one.
[ ! -d /run/systemd ] || mount -t tmpfs layer /run/systemd
echo ready
exec sleep infinity
"""
# Stands before the real tool in the path, and notes what everybody on the machine can see of a process.
SPY = """#!/bin/sh
{ tr '\\0' ' ' </proc/$$/cmdline; tr '\\0' ' ' </proc/$$/environ; } >>%s
exec %s "$@"
"""

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount"),
    pytest.mark.skipif(not os.path.exists("/sys/fs/ext4/features/encryption"), reason="the kernel does not encrypt directories of ext4"),
]


@dataclass
class Place:
    """The namespace, a directory in it, and the key of its volume."""

    directory: Path
    holder: subprocess.Popen[str]
    key: bytes

    @property
    def options(self) -> dict[str, Any]:
        return {
            "name": "itest",
            "type": "fscrypt",
            "image": str(self.image),
            "image_size_mb": 64,
            "mount_point": str(self.data),
            "owner": "nobody",
            "group": "nogroup",
            "key_file": str(self.key_file),
        }

    @property
    def image(self) -> Path:
        return self.directory / "volume.img"

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def key_file(self) -> Path:
        return self.directory / "key"

    def inside(self, *argv: str | Path) -> list[str]:
        return ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", "--", *map(str, argv)]

    def do(self, *argv: str | Path, code: int | None = 0, **more: Any) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(self.inside(*argv), capture_output=True, text=True, check=False, **more)
        assert code is None or done.returncode == code, done.stdout + done.stderr
        return done

    def begin(self, *, check: bool = False, **changes: Any) -> subprocess.Popen[str]:
        arguments = {key: value for key, value in {**self.options, **changes}.items() if value is not None}
        wanted = {"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_check_mode": check, "_ansible_diff": True, "_ansible_remote_tmp": "/tmp"}}
        process = subprocess.Popen(
            self.inside(sys.executable, "-m", "ansible_collections.linda.ops.plugins.modules.encrypted_volume"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / ".collections")},
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(wanted))
        process.stdin.close()
        process.stdin = None
        return process

    def run(self, *, check: bool = False, **changes: Any) -> dict[str, Any]:
        """Run the module; nothing of the key may stand in what it says."""
        out, err = self.begin(check=check, **changes).communicate(timeout=60)
        for form in (self.key.hex(), base64.b64encode(self.key).decode()):
            assert form not in out + err
        try:
            result: dict[str, Any] = json.loads(out)
        except ValueError:
            raise AssertionError(f"no result: {out}\n{err}") from None
        return result

    def program(self, verb: str, code: int = 0) -> str:
        """Do what the unit does at boot and at the end."""
        credentials = self.directory / "credentials"
        credentials.mkdir(exist_ok=True)
        shutil.copy(self.key_file, credentials / "volume.key")
        environment = {**os.environ, "CREDENTIALS_DIRECTORY": str(credentials)}
        done = self.do(PROGRAM, verb, "/etc/linda/volumes/itest.json", code=code, env=environment)
        return done.stdout + done.stderr

    def raw(self) -> bytes:
        """What lies on the disk."""
        self.do("sync")
        return self.image.read_bytes()

    def end(self) -> None:
        self.holder.kill()
        self.holder.wait()


def loops_of(directory: Path) -> list[str]:
    """Loop devices of this machine that have a file of the directory."""
    files = [path.read_text() for path in Path("/sys/block").glob("loop*/loop/backing_file")]
    return [file for file in files if str(directory) in file]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "layer").mkdir()
    # It dies with this process, also when that is killed.
    enter = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "sh", "-euc", ENTER, "sh", str(tmp_path)]
    holder = subprocess.Popen(enter, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "ready\n"
    made = Place(tmp_path, holder, secrets.token_bytes(KEY_BYTES))
    made.key_file.write_text(made.key.hex() + "\n")
    made.key_file.chmod(0o400)
    try:
        yield made
    finally:
        made.end()
        deadline = time.monotonic() + 10
        while loops_of(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert loops_of(tmp_path) == [], "a loop device is left"


def actions(result: dict[str, Any]) -> list[str]:
    assert "plan" in result, result
    return [step["action"] for step in result["plan"]]


def test_from_nothing_to_an_open_volume_in_four_steps(place: Place) -> None:
    predicted = place.run(check=True)
    assert actions(predicted) == ["make_image", "format", "install", "open"], predicted
    assert predicted["changed"]
    assert predicted["steps_done"] == []
    assert not place.image.exists()
    assert not place.data.exists()

    done = place.run()
    assert done["plan"] == predicted["plan"] == done["steps_done"], done
    assert done["diff"] == predicted["diff"]
    assert (done["changed"], done["type"], done["state"]) == (True, "fscrypt", "open")
    assert place.do("stat", "--format=%U %a", place.data).stdout == "nobody 700\n"
    assert place.do("stat", "--format=%U %a", "/var/lib/linda/volumes").stdout == "root 700\n"
    for check in (True, False):
        again = place.run(check=check)
        assert (again["changed"], again["plan"]) == (False, []), again
        assert again["diff"]["before"] == again["diff"]["after"] == done["diff"]["after"]


def test_the_disk_holds_no_plaintext_and_a_plain_one_would(place: Place) -> None:
    word = secrets.token_hex(32)
    place.run()
    place.do("sh", "-c", f"echo {word} >'{place.data}/{word[:40]}'")
    assert place.do("cat", place.data / word[:40]).stdout == f"{word}\n"
    raw = place.raw()
    assert word.encode() not in raw
    assert word[:40].encode() not in raw, "the file's name is to be read"

    # Control: the same, found by the same look at a volume that is not encrypted.
    plain = place.directory / "plain.img"
    plain.touch()
    os.truncate(plain, 64 * 1024 * 1024)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(plain)], check=True)
    (place.directory / "plain").mkdir()
    place.do("mount", "-o", "loop", plain, place.directory / "plain")
    place.do("sh", "-c", f"echo {word} >'{place.directory}/plain/{word[:40]}'; sync")
    assert word.encode() in plain.read_bytes()
    assert word[:40].encode() in plain.read_bytes()


def test_boot_opens_it_with_the_right_key_only_and_nothing_can_be_written_beside_it(place: Place) -> None:
    place.run()
    place.do("sh", "-c", f"echo kept >'{place.data}/file'")
    place.program("close")
    assert loops_of(place.directory) == [], "the kernel still has the volume"
    for user in ("65534", "65533"):
        refused = place.do("setpriv", f"--reuid={user}", "--clear-groups", "touch", place.data / "leak", code=1)
        assert "Permission denied" in refused.stderr
    assert actions(place.run(check=True)) == ["open"]

    right = place.key_file.read_text()
    place.key_file.chmod(0o600)
    place.key_file.write_text(secrets.token_hex(KEY_BYTES))
    said = place.program("open", code=1)
    assert "Encrypted volume itest: wrong_key: The key does not open" in said
    assert said.rstrip().endswith("The volume stays closed.")
    assert place.run()["code"] == "wrong_key"
    assert loops_of(place.directory) == [], "what was begun was not undone"
    place.key_file.write_text(right)

    assert place.program("open") == f"Encrypted volume itest: open on {place.data}.\n"
    place.program("open")
    assert place.do("cat", place.data / "file").stdout == "kept\n"
    assert not place.run()["changed"]


def test_plain_data_below_the_volume_stops_the_boot(place: Place) -> None:
    place.run()
    place.program("close")
    place.do("sh", "-c", f"echo leak >'{place.data}/leak'")
    assert "plain_data" in place.program("open", code=1)
    assert place.run()["code"] == "plain_data"
    place.do("rm", place.data / "leak")
    assert actions(place.run()) == ["open"]


def test_an_open_volume_is_judged_by_its_key_at_every_run(place: Place) -> None:
    place.run()
    place.key_file.chmod(0o600)
    place.key_file.write_text(secrets.token_hex(KEY_BYTES))
    for check in (True, False):
        refused = place.run(check=check)
        assert refused["code"] == "wrong_key"
        assert "at the next boot it would not open" in refused["msg"]


def test_drift_is_seen_and_repaired(place: Place) -> None:
    place.run()
    place.do("chmod", "0750", place.data)
    place.do("rm", "/etc/linda/volumes/itest.json")
    place.do("sh", "-c", f"echo '# edited' >>{PROGRAM}; chmod 0666 /etc/systemd/system/linda-volume-itest.service")
    place.do("umount", place.data)
    predicted = place.run(check=True)
    assert actions(predicted) == ["install", "open"]
    for path in (PROGRAM, "itest.json", "linda-volume-itest.service"):
        assert path in predicted["plan"][0]["reason"]
    done = place.run()
    assert actions(done) == ["install", "open"]
    # Who the data belongs to can only be seen once the volume is open.
    assert [step["action"] for step in done["steps_done"]] == ["install", "open", "own"]
    assert place.do("cat", PROGRAM).stdout == program_text()
    assert not place.run()["changed"]


@pytest.mark.parametrize("form", ["raw", "hex", "base64"])
def test_a_key_command_opens_it_and_nobody_sees_the_key_pass_by(place: Place, form: str) -> None:
    text = {"raw": place.key, "hex": place.key.hex().encode(), "base64": base64.b64encode(place.key)}[form]
    vault = place.directory / "vault"
    (place.directory / "answer").write_bytes(text)
    vault.write_text(f"#!/bin/sh\nexec cat '{place.directory}/answer'\n")
    vault.chmod(0o700)
    seen = place.directory / "seen"
    for tool in ("fscrypt", "mkfs.ext4", "mount", "tune2fs"):
        place.do("sh", "-c", f"cat >/usr/local/sbin/{tool}; chmod 0755 /usr/local/sbin/{tool}", input=SPY % (seen, shutil.which(tool)))
    assert place.run(key_file=None, key_command=[str(vault)])["changed"]
    place.do(PROGRAM, "close", "/etc/linda/volumes/itest.json")
    opened = place.do(PROGRAM, "open", "/etc/linda/volumes/itest.json")
    assert "open on" in opened.stdout
    noted = seen.read_bytes()
    assert b"unlock" in noted
    assert b"encrypt" in noted
    assert not [form for form in (place.key, place.key.hex().encode(), base64.b64encode(place.key)) if form in noted]


def test_a_vault_that_comes_up_late_is_waited_for_at_boot(place: Place) -> None:
    vault, answer = place.directory / "vault", place.directory / "answer"
    vault.write_text(f"#!/bin/sh\n[ -e '{answer}' ] || {{ echo sealed >&2; exit 3; }}\nexec cat '{answer}'\n")
    vault.chmod(0o700)
    answer.write_text(place.key.hex())
    options: dict[str, Any] = {"key_file": None, "key_command": [str(vault)]}
    place.run(**options)
    place.do(PROGRAM, "close", "/etc/linda/volumes/itest.json")
    answer.unlink()
    refused = place.run(**options)
    assert refused["code"] == "key_command_failed"
    assert "ended with 3: sealed" in refused["msg"]

    place.do("sed", "--in-place", "s/^PAUSE_SECONDS = .*/PAUSE_SECONDS = 0.2/", PROGRAM)
    boot = subprocess.Popen(place.inside(PROGRAM, "open", "/etc/linda/volumes/itest.json"), stderr=subprocess.PIPE, text=True)
    assert boot.stderr is not None
    line = boot.stderr.readline()
    assert "key_command_failed" in line
    assert "ended with 3: sealed" in line
    assert "The volume stays closed; next attempt in" in line
    answer.write_text(place.key.hex())
    assert boot.wait(timeout=10) == 0
    assert place.do("mountpoint", place.data).returncode == 0


def test_plain_data_is_refused_or_set_aside_never_lost(place: Place) -> None:
    place.data.mkdir()
    (place.data / "WiredTiger").write_text("plain\n")
    assert place.run()["code"] == "plain_data"
    assert not place.image.exists()
    moved = place.run(plain_data="set_aside")
    assert actions(moved) == ["make_image", "format", "set_aside", "install", "open"]
    assert (place.directory / "data.plain" / "WiredTiger").read_text() == "plain\n"
    assert place.do("ls", place.data).stdout == ""
    assert not place.run(plain_data="set_aside")["changed"]
    assert not place.run()["changed"]


def test_a_run_killed_at_any_moment_is_finished_by_the_next(place: Place) -> None:
    began = time.monotonic()
    assert place.run()["changed"]
    whole = time.monotonic() - began
    for moment in range(6):
        place.program("close")
        place.do("rm", "-rf", place.image, "/etc/linda", PROGRAM)
        process = place.begin()
        try:
            process.wait(timeout=whole * (0.4 + 0.1 * moment))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        done = place.run()
        assert done.get("state") == "open", done
        place.do("sh", "-c", f"echo {moment} >'{place.data}/file'")
        assert not place.run()["changed"]


def refusals(place: Place) -> list[tuple[str, str, dict[str, Any]]]:
    """Code, a word of the message, and the options that must be refused before anything is made."""
    directory = place.directory
    short, weak, open_, foreign = directory / "short", directory / "weak", directory / "open", directory / "foreign.img"
    short.write_bytes(b"short")
    weak.write_text("00" * KEY_BYTES)
    open_.write_text(place.key.hex())
    for path in (short, weak):
        path.chmod(0o400)
    open_.chmod(0o444)
    link = directory / "link"
    link.symlink_to(place.key_file)
    foreign.touch()
    os.truncate(foreign, 64 * 1024 * 1024)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-L", "somebody", str(foreign)], check=True)
    failing = directory / "failing"
    failing.write_text("#!/bin/sh\necho sealed >&2\nexit 7\n")
    failing.chmod(0o700)
    return [
        ("no_key_source", "key_command", {"key_file": None}),
        ("two_key_sources", "key_file and key_command", {"key_command": ["/bin/true"]}),
        ("bad_option", "key_command = 'vault'", {"key_file": None, "key_command": ["vault"]}),
        ("bad_option", "either device", {"device": "/dev/loop0"}),
        ("bad_option", "image_size_mb = 1", {"image_size_mb": 1}),
        ("bad_option", "lies on the volume", {"key_file": str(place.data / "key")}),
        ("bad_key", "has 5 bytes", {"key_file": str(short)}),
        ("weak_key", "make one", {"key_file": str(weak)}),
        ("key_file_open", "chmod 0400", {"key_file": str(open_)}),
        ("key_file_open", "regular file", {"key_file": str(link)}),
        ("no_key", "cannot be read", {"key_file": str(directory / "missing")}),
        ("no_key", "no credential 'volume'", {"key_file": None, "key_credential": "volume"}),
        ("key_command_failed", "ended with 7: sealed", {"key_file": None, "key_command": [str(failing)]}),
        ("key_command_failed", "cannot be run", {"key_file": None, "key_command": [str(directory / "missing")]}),
        ("foreign_data", "'somebody'", {"image": str(foreign)}),
        ("no_device", "/dev/no-such", {"image": None, "image_size_mb": None, "device": "/dev/no-such"}),
        ("no_device", "not a block device", {"image": None, "image_size_mb": None, "device": "/dev/null"}),
        ("bad_mount_point", "not a directory", {"mount_point": str(link)}),
        ("no_dm_crypt", "dm-crypt", {"type": "luks"}) if not has_dm_crypt() else ("bad_option", "type luks", {"filesystem": "xfs"}),
    ]


def test_what_is_refused_leaves_nothing_behind(place: Place) -> None:
    cases = refusals(place)
    before = sorted(path.name for path in place.directory.iterdir())
    for code, says, changes in cases:
        refused = place.run(**changes)
        assert (refused.get("code"), refused["changed"], refused["steps_done"]) == (code, False, []), refused
        assert says in refused["msg"]
    assert place.run(type="bitlocker")["failed"]
    assert sorted(path.name for path in place.directory.iterdir()) == before
    place.do("ls", PROGRAM, "/etc/linda/volumes", code=2)


def test_a_device_that_is_mounted_elsewhere_is_refused(place: Place) -> None:
    place.run()
    place.program("close")
    elsewhere = place.directory / "elsewhere"
    elsewhere.mkdir()
    place.do("mount", "-o", "loop", place.image, elsewhere)
    refused = place.run()
    assert refused["code"] == "mounted_elsewhere"
    assert str(elsewhere) in refused["msg"]
    place.do("umount", elsewhere)
    place.do("mkdir", "-p", place.data)
    place.do("mount", "-t", "tmpfs", "other", place.data)
    assert place.run()["code"] == "foreign_mount"


def test_luks_as_far_as_it_goes_without_dm_crypt(place: Place) -> None:
    """The container is made and tells keys apart without the kernel's help; only to open it dm-crypt is needed."""
    place.image.touch()
    os.truncate(place.image, 64 * 1024 * 1024)
    volume = Volume("itest", "luks", str(place.image), True, "ext4", str(place.data), "volume.key")
    format_luks(volume, place.key)
    assert signature_of(str(place.image)) == ("crypto_LUKS", "new-itest")
    assert is_right_key(volume, volume.label, place.key) is True
    assert is_right_key(volume, volume.label, secrets.token_bytes(KEY_BYTES)) is False
    assert place.key not in place.image.read_bytes()
    subprocess.run(["cryptsetup", "config", str(place.image), f"--label={volume.label}"], check=True)
    assert signature_of(str(place.image)) == ("crypto_LUKS", "linda-itest")
    # A key is rotated by adding the new one and removing the old one, as the runbook says.
    new = place.directory / "new"
    new.write_bytes(secrets.token_bytes(KEY_BYTES))
    place.key_file.chmod(0o600)
    place.key_file.write_bytes(place.key)
    quick = ["--pbkdf=pbkdf2", "--pbkdf-force-iterations=1000"]
    for change in (
        ["luksAddKey", *quick, f"--key-file={place.key_file}", str(place.image), str(new)],
        ["luksRemoveKey", str(place.image), str(place.key_file)],
    ):
        subprocess.run(["cryptsetup", "--batch-mode", *change], check=True)
    assert is_right_key(volume, volume.label, new.read_bytes()) is True
    assert is_right_key(volume, volume.label, place.key) is False
    dump = subprocess.run(["cryptsetup", "luksDump", str(place.image)], capture_output=True, text=True, check=True).stdout
    assert "aes-xts-plain64" in dump
    assert "512 bits" in dump


@pytest.mark.skipif(not has_dm_crypt(), reason="the kernel has no dm-crypt")
def test_luks_in_full(place: Place) -> None:
    word = secrets.token_hex(32)
    assert place.run(type="luks")["state"] == "open"
    place.do("sh", "-c", f"echo {word} >'{place.data}/file'")
    assert word.encode() not in place.raw()
    place.program("close")
    place.program("open")
    assert place.do("cat", place.data / "file").stdout == f"{word}\n"
    assert not place.run(type="luks")["changed"]
    place.program("close")
