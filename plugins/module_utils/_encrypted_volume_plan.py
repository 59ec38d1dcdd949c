# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Plan the way of a data path to an encrypted volume. Pure: no input, no output, no clock.

The rules, which hold at every prefix of a plan:

- a device is formatted only when nothing is on it, or only what a run that died left of its own formatting;
- a volume gets its label last, so that what bears the label has been whole once;
- data that is not encrypted is never deleted and never covered by a mount: it is refused, or renamed when that is asked for;
- nothing is moved or mounted below a server that runs.

:func:`plan` is a fold of :func:`next_step` over :func:`advance`, so that a run that carries out one step, looks again and plans again
follows the plan that was shown, and a run that died goes on from where it stopped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.linda.ops.plugins.module_utils._encrypted_volume_open import CONFIGURATIONS, PROGRAM, Volume, VolumeError

TYPES = ("auto", "luks", "fscrypt")
FILESYSTEMS = ("ext4", "xfs")
# "new-" or "linda-" and the name have to fit into the 16 characters of ext4's label.
NAME = re.compile(r"[a-z][a-z0-9]{0,9}")
CREDENTIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
UNIT = re.compile(r"[A-Za-z0-9:_.@-]+\.(service|target)")
SMALLEST_IMAGE_MB = 64
FILE_CREDENTIAL = "volume.key"
SIGNATURE = {"luks": "crypto_LUKS", "fscrypt": "ext4"}
SOURCES_OF_KEY = ("key_file", "key_credential", "key_command")
OPTIONS = frozenset(
    {
        *("name", "type", "device", "image", "image_size_mb", "filesystem", "mount_point"),
        *("owner", "group", "mode", "service", "plain_data", *SOURCES_OF_KEY),
    }
)


def unready_label(name: str) -> str:
    """Return the label of a volume whose making has begun and not ended."""
    return f"new-{name}"


@dataclass(frozen=True)
class Desired:
    """The description. Exactly one of ``device`` and ``image`` is filled in, and exactly one of the three sources of the key."""

    name: str
    type: str
    mount_point: str
    device: str = ""
    image: str = ""
    image_size_mb: int = 0
    filesystem: str = "ext4"
    owner: str = "root"
    group: str = "root"
    mode: int = 0o700
    service: str = ""
    key_file: str = ""
    key_credential: str = ""
    key_command: tuple[str, ...] = ()
    set_aside: bool = False

    @property
    def source(self) -> str:
        """The device, or the file in its place."""
        return self.device or self.image

    @property
    def aside(self) -> str:
        """Where data goes that is found on the mount point and is to be set aside."""
        return f"{self.mount_point}.plain"

    @property
    def unit(self) -> str:
        """The unit that opens the volume."""
        return f"linda-volume-{self.name}.service"

    def volume(self, kind: str) -> Volume:
        """Return what the boot has to know; ``kind`` is luks or fscrypt."""
        return Volume(
            name=self.name,
            type=kind,
            source=self.source,
            image=bool(self.image),
            filesystem=self.filesystem,
            mount_point=self.mount_point,
            credential="" if self.key_command else self.key_credential or FILE_CREDENTIAL,
            key_command=self.key_command,
        )


@dataclass(frozen=True)
class Observed:
    """What the host has.

    ``signature`` and ``label`` are what lies on the device; ``signature`` is empty when nothing does.
    ``mounted_at`` are the places where the device is mounted, ``foreign_mount`` tells that something else is on the mount point.
    ``entries`` counts what the directory holds while nothing is mounted on it. ``ownership`` is owner, group and mode of the open volume;
    a new one is made with the right ones.
    ``right_key`` is None when that cannot be told without opening. ``files`` are the texts of the files that we keep, by path.
    """

    source: str = "absent"
    signature: str = ""
    label: str = ""
    mounted_at: tuple[str, ...] = ()
    dm_crypt: bool = False
    fs_encryption: bool = False
    container: bool = False
    is_open: bool = False
    foreign_mount: bool = False
    point: str = "absent"
    entries: int = 0
    aside_exists: bool = False
    ownership: tuple[str, str, int] | None = None
    service_active: bool = False
    right_key: bool | None = None
    credential_path: str = ""
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One step; ``action`` is make_image, format, set_aside, install, open or own."""

    action: str
    reason: str

    def describe(self) -> dict[str, str]:
        """Return the step for a person and for a program."""
        return {"action": self.action, "reason": self.reason}


# ---------------------------------------------------------------------------------------------------------------- the description


def parse_desired(raw: Mapping[str, Any]) -> Desired:
    """Read the description, as the module's options have it; options that are None or empty count as not given.

    :raises VolumeError: ``bad_option``, ``no_key_source`` or ``two_key_sources``.
    """
    given = {key: value for key, value in raw.items() if value not in (None, "", [], ())}
    name = str(given.get("name", ""))
    if not NAME.fullmatch(name):
        raise _bad("name", name, "is not 1 to 10 lower-case letters and digits that begin with a letter")
    kind = str(given.get("type", "auto"))
    if kind not in TYPES:
        raise _bad("type", kind, f"is not one of {', '.join(TYPES)}")
    sources = [option for option in SOURCES_OF_KEY if option in given]
    if not sources:
        raise VolumeError("no_key_source", f"Say where the key comes from: {', '.join(SOURCES_OF_KEY)}.")
    if len(sources) > 1:
        raise VolumeError("two_key_sources", f"{' and '.join(sources)} are given; the key comes from one place.")
    mount_point = _path("mount_point", given.get("mount_point", ""))
    if mount_point.count("/") < 2:
        raise _bad("mount_point", mount_point, "is a directory of the system, not one for data")
    return Desired(
        name=name,
        type=kind,
        mount_point=mount_point,
        filesystem=_filesystem(kind, given),
        owner=str(given.get("owner", "root")),
        group=str(given.get("group", "root")),
        mode=_mode(given.get("mode", "0700")),
        service=_service(str(given.get("service", ""))),
        set_aside=given.get("plain_data", "refuse") == "set_aside",
        **_place(given, mount_point),
        **_key_source(given, mount_point),
    )


def _bad(option: str, value: object, problem: str) -> VolumeError:
    return VolumeError("bad_option", f"{option} = {value!r} {problem}.")


def _path(option: str, value: object) -> str:
    """Return an absolute path in its shortest form, of characters that need no quoting in units and mount tables."""
    text = str(value)
    if not re.fullmatch(r"(/[A-Za-z0-9_.:@+-]+)+", text) or {".", ".."} & set(text.split("/")):
        raise _bad(option, text, "is not an absolute path of letters, digits and _.:@+- without . and ..")
    return text


def _filesystem(kind: str, given: Mapping[str, Any]) -> str:
    filesystem = str(given.get("filesystem", "ext4"))
    if filesystem not in FILESYSTEMS:
        raise _bad("filesystem", filesystem, f"is not one of {', '.join(FILESYSTEMS)}")
    if filesystem != "ext4" and kind != "luks":
        raise _bad("filesystem", filesystem, f"needs type luks, not {kind}: fscrypt works on ext4")
    return filesystem


def _mode(value: object) -> int:
    text = str(value)
    if not re.fullmatch(r"0?[0-7]{3}", text) or int(text, 8) & 0o007:
        raise _bad("mode", text, 'is not an octal mode that shuts others out, such as "0700"')
    return int(text, 8)


def _service(unit: str) -> str:
    if unit and not UNIT.fullmatch(unit):
        raise _bad("service", unit, "is not the name of a unit, such as mongod.service")
    return unit


def _place(given: Mapping[str, Any], mount_point: str) -> dict[str, Any]:
    """Return device, image and its size."""
    if ("device" in given) == ("image" in given):
        raise VolumeError("bad_option", "Give either device, a block device, or image, a file to be used as one.")
    if "device" in given:
        device = _path("device", given["device"])
        if not device.startswith("/dev/"):
            raise _bad("device", device, "is not below /dev; a file is given as image")
        if "image_size_mb" in given:
            raise _bad("image_size_mb", given["image_size_mb"], "goes with image, not with device")
        return {"device": device}
    image = _path("image", given["image"])
    if image.startswith(("/dev/", f"{mount_point}/")):
        raise _bad("image", image, "is a file neither below /dev nor below the mount point")
    size = given.get("image_size_mb", 0)
    if not isinstance(size, int) or isinstance(size, bool) or size < SMALLEST_IMAGE_MB:
        raise _bad("image_size_mb", size, f"is not a whole number from {SMALLEST_IMAGE_MB} up")
    return {"image": image, "image_size_mb": size}


def _key_source(given: Mapping[str, Any], mount_point: str) -> dict[str, Any]:
    """Return the one source of the key."""
    if "key_file" in given:
        path = _path("key_file", given["key_file"])
        if path.startswith(f"{mount_point}/"):
            raise _bad("key_file", path, "lies on the volume that it opens")
        return {"key_file": path}
    if "key_credential" in given:
        name = str(given["key_credential"])
        if not CREDENTIAL.fullmatch(name):
            raise _bad("key_credential", name, "is not the name of a file in /etc/credstore or /etc/credstore.encrypted")
        return {"key_credential": name}
    command = given["key_command"]
    if isinstance(command, str) or not isinstance(command, Sequence) or not all(isinstance(word, str) and word for word in command):
        raise _bad("key_command", command, "is not a list of words")
    if not re.fullmatch(r"(/[^/\s]+)+", command[0]):
        raise _bad("key_command", command[0], "does not begin with the absolute path of a program")
    return {"key_command": tuple(command)}


# -------------------------------------------------------------------------------------------------------------------- what we keep


def configuration_path(desired: Desired) -> str:
    """Return the path of the file that the program reads."""
    return f"{CONFIGURATIONS}/{desired.name}.json"


def unit_path(desired: Desired) -> str:
    """Return the path of the unit."""
    return f"/etc/systemd/system/{desired.unit}"


def wanted_files(desired: Desired, kind: str, program: str, credential_path: str) -> dict[str, str]:
    """Return the texts of the files that we keep on the host, by path."""
    return {
        PROGRAM: program,
        configuration_path(desired): desired.volume(kind).text(),
        unit_path(desired): unit_text(desired, credential_path),
    }


def unit_text(desired: Desired, credential_path: str) -> str:
    """Return the unit that opens the volume at boot, when the server asks for it, and closes it after the server has ended."""
    waits = [desired.mount_point.rpartition("/")[0] or "/"]
    unit = [f"Description=Encrypted volume {desired.name} on {desired.mount_point}"]
    service = ["Type=oneshot", "RemainAfterExit=yes"]
    if desired.image:
        waits.append(desired.image.rpartition("/")[0] or "/")
    if desired.key_command:
        unit += ["Wants=network-online.target", "After=network-online.target"]
        # The command is asked until it answers, and the server waits for it.
        service += ["TimeoutStartSec=infinity"]
    elif desired.key_file:
        service += [f"LoadCredential={FILE_CREDENTIAL}:{desired.key_file}"]
    else:
        encrypted = "Encrypted" if credential_path.startswith("/etc/credstore.encrypted/") else ""
        service += [f"LoadCredential{encrypted}={desired.key_credential}:{credential_path}"]
    unit += [f"RequiresMountsFor={' '.join(dict.fromkeys(waits))}"]
    run = f"{PROGRAM} {{verb}} {configuration_path(desired)}"
    service += [f"ExecStart={run.format(verb='open')}", f"ExecStop={run.format(verb='close')}"]
    head = "# Managed by Ansible (linda.ops.encrypted_volume). A server that needs the volume requires this unit and comes after it."
    return "\n".join([head, "[Unit]", *unit, "", "[Service]", *service, ""])


# ------------------------------------------------------------------------------------------------------------------------ the plan


def choose(desired: Desired, observed: Observed) -> str:
    """Return ``luks`` or ``fscrypt``: what is on the device already, else what was asked for, else the best the kernel has.

    In a container ``auto`` never means LUKS: opened devices are the whole machine's, and stay open when the container is killed.

    :raises VolumeError: ``other_type``, ``no_dm_crypt``, ``no_fs_encryption`` or ``no_encryption``.
    """
    there = next((kind for kind, signature in SIGNATURE.items() if _is_ours(desired, observed) and observed.signature == signature), "")
    if there and desired.type not in ("auto", there):
        raise VolumeError(
            "other_type", f"{desired.source} is a volume of type {there}, not {desired.type}: say so, or wipe it (wipefs --all) by hand."
        )
    best = "luks" if observed.dm_crypt and not observed.container else "fscrypt" if observed.fs_encryption else ""
    kind = there or (best if desired.type == "auto" else desired.type)
    if not kind:
        raise VolumeError("no_encryption", "The kernel has neither dm-crypt nor encryption of ext4 directories (CONFIG_FS_ENCRYPTION).")
    if kind == "luks" and not observed.dm_crypt:
        raise VolumeError("no_dm_crypt", "LUKS needs dm-crypt, which this kernel lacks; type fscrypt may do.")
    if kind == "fscrypt" and not observed.fs_encryption:
        raise VolumeError("no_fs_encryption", "This kernel cannot encrypt directories of ext4 (CONFIG_FS_ENCRYPTION); use type luks.")
    if kind == "fscrypt" and desired.filesystem != "ext4":
        raise _bad("filesystem", desired.filesystem, "needs type luks: fscrypt works on ext4")
    return kind


def _is_ours(desired: Desired, observed: Observed) -> bool:
    """Tell whether the device is a volume of this name and was whole once."""
    return observed.label == f"linda-{desired.name}" and observed.signature in SIGNATURE.values()


def _may_format(desired: Desired, observed: Observed) -> bool:
    """Tell whether formatting the device can lose nothing."""
    unready = observed.label == unready_label(desired.name) and observed.signature in SIGNATURE.values()
    return observed.signature == "" or unready


def check(desired: Desired, observed: Observed) -> None:
    """Refuse what no step may lead out of.

    :raises VolumeError: ``no_device``, ``foreign_data``, ``mounted_elsewhere``, ``foreign_mount``, ``bad_mount_point``, ``plain_data``,
        ``service_running`` or ``wrong_key``.
    """
    if observed.source == "absent" and desired.device:
        raise VolumeError("no_device", f"There is no {desired.device}.")
    if observed.source == "other":
        raise VolumeError("no_device", f"{desired.source} is not a {'block device' if desired.device else 'regular file'}.")
    ours = _is_ours(desired, observed)
    if not ours and not _may_format(desired, observed):
        what = f"{observed.signature} {observed.label!r}" if observed.label else observed.signature
        raise VolumeError(
            "foreign_data", f"{desired.source} holds something else ({what}). Choose another, or wipe it (wipefs --all) by hand."
        )
    if observed.mounted_at:
        raise VolumeError("mounted_elsewhere", f"{desired.source} is mounted on {', '.join(observed.mounted_at)}: unmount it first.")
    if observed.foreign_mount:
        raise VolumeError("foreign_mount", f"Something else is mounted on {desired.mount_point}: unmount it, or choose another path.")
    if observed.point == "other":
        raise VolumeError("bad_mount_point", f"{desired.mount_point} is not a directory.")
    if observed.right_key is False:
        raise VolumeError("wrong_key", f"The key is not the one that {desired.source} was made with; at the next boot it would not open.")
    if not observed.is_open:
        _check_plain(desired, observed)


def _check_plain(desired: Desired, observed: Observed) -> None:
    """Refuse to move or cover what a server uses, and plain data that nobody asked to set aside."""
    if observed.entries and not desired.set_aside:
        raise VolumeError(
            "plain_data",
            f"{desired.mount_point} holds data that is not encrypted. It cannot be encrypted in place: see the migration, "
            "member by member, in docs/runbooks/mongodb_encrypt.md.",
        )
    if observed.entries and observed.aside_exists:
        raise VolumeError("plain_data", f"{desired.mount_point} holds data, and so does {desired.aside} from before: remove one of them.")
    if observed.service_active:
        raise VolumeError("service_running", f"{desired.service} runs, and {desired.mount_point} is not the volume: stop it first.")


def next_step(desired: Desired, observed: Observed, program: str) -> Step | None:
    """Return the next step, or None when the host is as described.

    :raises VolumeError: see :func:`choose` and :func:`check`.
    """
    check(desired, observed)
    kind = choose(desired, observed)
    if observed.source == "absent":
        return Step("make_image", f"{desired.image} of {desired.image_size_mb} MB does not exist")
    if not _is_ours(desired, observed):
        return Step("format", f"{desired.source} is {'half a volume of a run that died' if observed.signature else 'empty'}; type {kind}")
    if not observed.is_open and observed.entries:
        return Step("set_aside", f"{desired.mount_point} holds data that is not encrypted; it becomes {desired.aside}")
    wanted = wanted_files(desired, kind, program, observed.credential_path)
    differing = [path for path, text in wanted.items() if observed.files.get(path) != text]
    if differing:
        return Step("install", f"{', '.join(differing)} {'differ' if len(differing) > 1 else 'differs'}")
    if not observed.is_open:
        return Step("open", f"{desired.mount_point} is not the volume")
    if observed.ownership is not None and observed.ownership != (desired.owner, desired.group, desired.mode):
        return Step("own", f"{desired.mount_point} belongs to {observed.ownership[0]}:{observed.ownership[1]}, {observed.ownership[2]:04o}")
    return None


def advance(desired: Desired, observed: Observed, step: Step, program: str) -> Observed:
    """Return the host as it is after the step."""
    if step.action == "make_image":
        return replace(observed, source="image")
    kind = choose(desired, observed)
    if step.action == "format":
        return replace(observed, signature=SIGNATURE[kind], label=f"linda-{desired.name}", right_key=True)
    if step.action == "set_aside":
        return replace(observed, entries=0, aside_exists=True)
    if step.action == "install":
        return replace(observed, files=wanted_files(desired, kind, program, observed.credential_path))
    if step.action == "open":
        return replace(observed, is_open=True, point="directory")
    return replace(observed, ownership=(desired.owner, desired.group, desired.mode))


def plan(desired: Desired, observed: Observed, program: str) -> tuple[list[Step], Observed]:
    """Return all steps from what is to what shall be, and the host as it is after them.

    :raises VolumeError: see :func:`next_step`.
    """
    steps: list[Step] = []
    while (step := next_step(desired, observed, program)) is not None:
        steps.append(step)
        observed = advance(desired, observed, step, program)
    return steps, observed


def picture(desired: Desired, observed: Observed, program: str) -> dict[str, Any]:
    """Return what a person compares: the volume and our files, which are named and told apart, not shown."""
    files = wanted_files(desired, choose(desired, observed), program, observed.credential_path)
    return {
        desired.source: f"{observed.signature or 'empty'} {observed.label}".rstrip() if observed.source != "absent" else "absent",
        desired.mount_point: "open" if observed.is_open else "data that is not encrypted" if observed.entries else "closed",
        "ownership": "{} {} {:04o}".format(*(observed.ownership or (desired.owner, desired.group, desired.mode))),
        **{path: "as described" if observed.files.get(path) == text else "differs" for path, text in files.items()},
    }
