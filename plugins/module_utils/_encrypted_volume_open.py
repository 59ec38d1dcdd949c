# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Open and close an encrypted volume: what a host does at boot, without Ansible.

The module linda.ops.encrypted_volume imports this file, and installs it as the program that the volume's systemd unit runs. So it uses
the standard library only, and it never makes anything: a volume that is not as the module left it stays closed, and so does the server
that depends on it.

With ``luks`` the device is a LUKS2 container with a file system inside; with ``fscrypt`` it is an ext4 file system, of which one directory
is encrypted. The file system is mounted where nobody looks (:attr:`Volume.store`), and its directory ``data`` is bound onto the mount
point. So the mount point is a mount point when, and only when, the volume is open.

Keys travel through pipes and anonymous memory, never through arguments, environment or files on a disk.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import hashlib
import json
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

PROGRAM = "/usr/local/libexec/linda-volume"
CONFIGURATIONS = "/etc/linda/volumes"
STORES = "/var/lib/linda/volumes"
KEY_BYTES = 32
COMMAND_SECONDS = 60.0
# Between two attempts to get the key from its command: a vault may come up after the machines that need it.
PAUSE_SECONDS = 10.0
# Nobody runs programs from a data volume; and nobody needs to know when a file was last read.
MOUNT_OPTIONS = "noatime,nodev,nosuid,noexec"
LOOP_CTL_GET_FREE = 0x4C82  # linux/loop.h
LOOP_MAJOR = 7


class VolumeError(Exception):
    """A refusal or a failure with a code that does not change between releases, and a message for people. Neither holds key material."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Volume:
    """What has to be known to open a volume.

    ``source`` is a block device, or with ``image`` a regular file. ``credential`` is the name under which systemd hands the key over;
    with ``key_command`` the key is what that command prints.
    """

    name: str
    type: str
    source: str
    image: bool
    filesystem: str
    mount_point: str
    credential: str = ""
    key_command: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Label of a volume that is ready for data, on the file system (fscrypt) or the LUKS header."""
        return f"linda-{self.name}"

    @property
    def mapper(self) -> str:
        """Name of the opened LUKS device below /dev/mapper."""
        return f"linda-{self.name}"

    @property
    def store(self) -> Path:
        """Where the file system is mounted, readable for root only."""
        return Path(STORES, self.name)

    @property
    def directory(self) -> Path:
        """The directory for the data; with fscrypt it is the encrypted one."""
        return self.store / "data"

    def text(self) -> str:
        """Return it as the configuration file that :func:`load` reads."""
        return json.dumps(asdict(self), indent=2) + "\n"


def load(path: Path) -> Volume:
    """Read a configuration file.

    :raises VolumeError: ``bad_configuration``.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return Volume(**{**fields, "key_command": tuple(fields["key_command"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise VolumeError("bad_configuration", f"{path} cannot be used: {error}. Run the playbook again.") from error


# ------------------------------------------------------------------------------------------------------------------------ commands


def call(argv: Sequence[str], data: bytes = b"", descriptors: Sequence[int] = (), seconds: float | None = None) -> tuple[int, bytes, str]:
    """Run a command as root; return its exit code, its output and its complaint on one line.

    :raises VolumeError: ``no_tool`` when there is no such program, ``timeout`` when it took longer than ``seconds``.
    """
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}
    try:
        done = subprocess.run(  # noqa: S603  # argv of our own, or the operator's key command
            list(argv), input=data, capture_output=True, env=environment, pass_fds=tuple(descriptors), timeout=seconds, check=False
        )
    except OSError as error:
        raise VolumeError("no_tool", f"{argv[0]} cannot be run: {error.strerror}.") from error
    except subprocess.TimeoutExpired as error:
        raise VolumeError("timeout", f"{argv[0]} did not end within {seconds:.0f} s.") from error
    return done.returncode, done.stdout, " ".join(done.stderr.decode(errors="replace").split())


def must(code: str, argv: Sequence[str], data: bytes = b"", descriptors: Sequence[int] = ()) -> bytes:
    """Run a command that has to succeed; return its output.

    :raises VolumeError: with ``code`` and the command's own words.
    """
    result, out, complaint = call(argv, data, descriptors)
    if result != 0:
        raise VolumeError(code, f"{' '.join(argv[:2])} ended with {result}: {complaint}")
    return out


# ------------------------------------------------------------------------------------------------------------------------- the key


def parse_key(data: bytes) -> bytes:
    """Return the 32 bytes of a key that is given raw, as 64 hexadecimal digits or as 44 characters of base64.

    :raises VolumeError: ``bad_key`` for another length, ``weak_key`` for what is plainly not random.
    """
    text = data.strip()
    key = b""
    if len(data) == KEY_BYTES:
        key = data
    elif re.fullmatch(rb"[0-9A-Fa-f]{64}", text):
        key = bytes.fromhex(text.decode())
    else:
        with contextlib.suppress(binascii.Error, ValueError):
            key = base64.b64decode(text, validate=True)
    if len(key) != KEY_BYTES:
        raise VolumeError(
            "bad_key",
            f"The key has {len(data)} bytes; it must be {KEY_BYTES} random bytes, raw, as 64 hexadecimal digits or as base64. "
            f"Make one: head -c {KEY_BYTES} /dev/urandom | base64.",
        )
    # Of 32 random bytes all are printable once in 10^13 keys, and fewer than 16 different once in 10^15.
    if len(set(key)) < KEY_BYTES // 2 or all(0x20 <= byte < 0x7F for byte in key):
        raise VolumeError("weak_key", f"The key is no {KEY_BYTES} random bytes: make one, head -c {KEY_BYTES} /dev/urandom | base64.")
    return key


def fingerprint(name: str, key: bytes) -> str:
    """Return what tells one key from another without giving it away: the key is random, so there is nothing to guess."""
    return hashlib.sha256(b"linda.ops encrypted_volume\0" + name.encode() + b"\0" + key).hexdigest()


def key_of_command(argv: Sequence[str]) -> bytes:
    """Return the key that the command prints.

    :raises VolumeError: ``key_command_failed``, ``bad_key`` or ``weak_key``.
    """
    try:
        result, out, complaint = call(argv, seconds=COMMAND_SECONDS)
    except VolumeError as error:
        raise VolumeError("key_command_failed", f"The key command failed: {error.message}") from error
    if result != 0:
        raise VolumeError("key_command_failed", f"The key command {argv[0]} ended with {result}: {complaint[:300]}")
    return parse_key(out)


def key_at_boot(volume: Volume) -> bytes:
    """Return the key from where the unit has it. A key command is asked again until it answers: the server waits for it.

    :raises VolumeError: ``no_key``, ``bad_key`` or ``weak_key``.
    """
    while volume.key_command:
        try:
            return key_of_command(volume.key_command)
        except VolumeError as error:
            if error.code != "key_command_failed":
                raise
            say(volume.name, error, f"The volume stays closed; next attempt in {PAUSE_SECONDS:.0f} s.")
            time.sleep(PAUSE_SECONDS)
    try:
        return parse_key(Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nonexistent"), volume.credential).read_bytes())
    except OSError as error:
        raise VolumeError("no_key", f"systemd handed no credential {volume.credential} over: {error.strerror}.") from error


@contextlib.contextmanager
def key_file(key: bytes) -> Iterator[tuple[str, int]]:
    """Lend the key as a file that exists in memory only and ends with us; yields its path and its descriptor, for a child."""
    descriptor = os.memfd_create("key")
    try:
        os.write(descriptor, key)
        yield f"/dev/fd/{descriptor}", descriptor
    finally:
        os.close(descriptor)


# ------------------------------------------------------------------------------------------------------------------------ mounts


@dataclass(frozen=True)
class Mount:
    """A line of mountinfo: where, which directory of the file system, and the device as ``major:minor``."""

    point: str
    root: str
    device: str


def mounts() -> list[Mount]:
    """Return the mounts that this process sees, in the order they were made."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        fields = line.split(" ")
        root, point = (re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), field) for field in fields[3:5])
        found.append(Mount(point, root, fields[2]))
    return found


def device_number(path: str) -> str:
    """Return a block device's ``major:minor``, empty when there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return ""
    return f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}" if stat.S_ISBLK(found.st_mode) else ""


def backing_file(device: str) -> str:
    """Return the file behind a loop device given as ``major:minor``, empty when there is none."""
    try:
        return Path("/sys/dev/block", device, "loop/backing_file").read_text(encoding="utf-8").rstrip("\n")
    except OSError:
        return ""


def is_of(volume: Volume, mount: Mount) -> bool:
    """Tell whether what is mounted lies on the volume's device."""
    if volume.image and volume.type != "luks":
        return backing_file(mount.device) == volume.source
    return mount.device in {device_number(volume.source), device_number(f"/dev/mapper/{volume.mapper}")} - {""}


def mounted(volume: Volume, point: str) -> bool:
    """Tell whether the volume is what one sees at ``point``.

    :raises VolumeError: ``foreign_mount`` when something else is mounted there.
    """
    there = [mount for mount in mounts() if mount.point == point]
    if there and not is_of(volume, there[-1]):
        raise VolumeError("foreign_mount", f"Something else is mounted on {point}: unmount it, or choose another mount point.")
    return bool(there)


def have_loop_device() -> None:
    """Make the node of the next free loop device if there is none; in a container nobody else does."""
    with contextlib.suppress(OSError), open("/dev/loop-control", "rb") as control:
        number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
        path = f"/dev/loop{number}"
        if not os.path.exists(path):
            os.mknod(path, 0o600 | stat.S_IFBLK, os.makedev(LOOP_MAJOR, number))


# ----------------------------------------------------------------------------------------------------------------- open and close


def close_directory(mount_point: str) -> None:
    """Make the directory below the mount a place where no server can leave anything, and refuse one that holds something.

    :raises VolumeError: ``plain_data``.
    """
    os.makedirs(mount_point, exist_ok=True)
    if os.listdir(mount_point):
        raise VolumeError("plain_data", f"{mount_point} holds data that is not encrypted, below where the volume belongs: move it away.")
    os.chown(mount_point, 0, 0)
    os.chmod(mount_point, 0o500)


def directory_state(directory: Path) -> str:
    """Return ``plain``, ``locked`` or ``unlocked`` for a directory of an ext4 file system; ``absent`` when there is none.

    :raises VolumeError: ``fscrypt_failed``.
    """
    if not directory.is_dir():
        return "absent"
    configure_fscrypt()
    result, out, complaint = call(["fscrypt", "status", str(directory)])
    if result != 0:
        if "is not encrypted" in complaint:
            return "plain"
        raise VolumeError("fscrypt_failed", f"fscrypt status {directory} ended with {result}: {complaint}")
    return "unlocked" if re.search(rb"^Unlocked:\s+Yes", out, re.MULTILINE) else "locked"


def configure_fscrypt() -> None:
    """Write fscrypt's configuration if there is none. Its hashing costs are for passphrases; we have none, and need not wait for them.

    :raises VolumeError: ``fscrypt_failed``.
    """
    if not os.path.exists("/etc/fscrypt.conf"):
        must("fscrypt_failed", ["fscrypt", "setup", "--quiet", "--time=1ms"])


def open_volume(volume: Volume, key: bytes) -> None:
    """Open the volume and mount it. What was begun is undone if it cannot be finished.

    :raises VolumeError: ``wrong_key``, ``plain_data``, ``not_encrypted``, ``foreign_mount``, ``mount_failed``, ``luks_failed`` or
        ``fscrypt_failed``.
    """
    covered = mounted(volume, volume.mount_point)
    if not covered:
        close_directory(volume.mount_point)
    try:
        if volume.type == "luks":
            open_luks(volume, key)
        mount_store(volume)
        if volume.type == "fscrypt":
            unlock(volume, key)
        if not covered:
            must("mount_failed", ["mount", "--bind", str(volume.directory), volume.mount_point])
    except VolumeError:
        if covered:
            raise
        with contextlib.suppress(VolumeError):
            close_volume(volume)
        raise


def open_luks(volume: Volume, key: bytes) -> None:
    """Open the LUKS container, unless it is open.

    :raises VolumeError: ``wrong_key`` or ``luks_failed``.
    """
    if os.path.exists(f"/dev/mapper/{volume.mapper}"):
        return
    argv = ["cryptsetup", "open", "--type=luks2", "--key-file=-", f"--keyfile-size={KEY_BYTES}", volume.source, volume.mapper]
    result, _out, complaint = call(argv, key)
    if result == 2:  # cryptsetup(8): no permission (bad passphrase)
        raise wrong_key(volume)
    if result != 0:
        raise VolumeError("luks_failed", f"cryptsetup open {volume.source} ended with {result}: {complaint}")


def mount_store(volume: Volume) -> None:
    """Mount the volume's file system where nobody looks, unless it is.

    :raises VolumeError: ``mount_failed`` or ``foreign_mount``.
    """
    os.makedirs(volume.store, exist_ok=True)
    os.chmod(STORES, 0o700)
    if mounted(volume, str(volume.store)):
        return
    loop = volume.image and volume.type != "luks"
    source = f"/dev/mapper/{volume.mapper}" if volume.type == "luks" else volume.source
    options = MOUNT_OPTIONS + (",loop" if loop else "")
    for attempt in range(10):
        if loop:
            have_loop_device()
        result, _out, complaint = call(["mount", "-t", volume.filesystem, "-o", options, source, str(volume.store)])
        if result == 0:
            return
        # Loop devices are the kernel's: another container on it may have taken the free one in between.
        if not (loop and "loop device" in complaint) or attempt == 9:
            raise VolumeError("mount_failed", f"{source} cannot be mounted on {volume.store}: {complaint}")


def unlock(volume: Volume, key: bytes) -> None:
    """Give the kernel the key of the encrypted directory, unless it has it.

    :raises VolumeError: ``not_encrypted``, ``wrong_key`` or ``fscrypt_failed``.
    """
    state = directory_state(volume.directory)
    if state in ("absent", "plain"):
        raise VolumeError("not_encrypted", f"{volume.directory} is {state}, not an encrypted directory: {volume.source} is another volume.")
    if state == "unlocked":
        return
    with key_file(key) as (path, descriptor):
        result, _out, complaint = call(["fscrypt", "unlock", str(volume.directory), f"--key={path}", "--quiet"], b"", [descriptor])
    if "incorrect key" in complaint:
        raise wrong_key(volume)
    if result != 0:
        raise VolumeError("fscrypt_failed", f"fscrypt unlock {volume.directory} ended with {result}: {complaint}")


def wrong_key(volume: Volume) -> VolumeError:
    """Return the refusal of a key that does not open the volume."""
    return VolumeError("wrong_key", f"The key does not open {volume.source}: it is not the one that the volume was made with.")


def close_volume(volume: Volume) -> None:
    """Unmount the volume, so that the kernel forgets its key.

    :raises VolumeError: ``busy``, or ``luks_failed``.
    """
    for point in (volume.mount_point, str(volume.store)):
        while mounted(volume, point):
            result, _out, complaint = call(["umount", point])
            # At shutdown systemd unmounts, too, and may be faster.
            if result != 0 and mounted(volume, point):
                raise VolumeError("busy", f"{point} cannot be unmounted: {complaint}")
    if volume.type == "luks" and os.path.exists(f"/dev/mapper/{volume.mapper}"):
        must("luks_failed", ["cryptsetup", "close", volume.mapper])


# ------------------------------------------------------------------------------------------------------------------------ program


def say(name: str, error: VolumeError, more: str = "") -> None:
    """Put one line into the journal."""
    sys.stderr.write(f"Encrypted volume {name}: {error.code}: {error.message} {more}".rstrip() + "\n")
    sys.stderr.flush()


def main(arguments: Sequence[str]) -> int:
    """Run ``open`` or ``close`` with the path of a configuration file; return the exit code."""
    if len(arguments) != 2 or arguments[0] not in ("open", "close"):
        sys.stderr.write("usage: linda-volume open|close CONFIGURATION\n")
        return 64
    name = Path(arguments[1]).stem
    try:
        volume = load(Path(arguments[1]))
        if arguments[0] == "close":
            close_volume(volume)
        else:
            open_volume(volume, key_at_boot(volume))
            sys.stdout.write(f"Encrypted volume {name}: open on {volume.mount_point}.\n")
    except VolumeError as error:
        say(name, error, "The volume stays closed." if arguments[0] == "open" else "")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
