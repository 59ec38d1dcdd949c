#!/usr/bin/python
# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module linda.ops.encrypted_volume."""

from __future__ import annotations

DOCUMENTATION = r"""
module: encrypted_volume
short_description: Keep the data of a service on an encrypted volume that is open before the service is
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Makes an encrypted volume on an empty device, installs a systemd unit that opens it at boot, and opens it. The data path is a mount
    point when, and only when, the volume is open; below the mount it is a directory that only root can write to.
  - V(luks) is LUKS2 with the file system inside, and hides everything but the size of the device. V(fscrypt) is an encrypted directory
    of an ext4 file system, for kernels without dm-crypt and for containers; it hides contents and names of files, not their number and
    sizes.
  - The key is 32 random bytes, raw, as 64 hexadecimal digits or as base64. It is never an argument, in the environment, or written
    anywhere. Every run asks for it, and refuses one that would not open the volume at the next boot.
  - A device that holds anything else is refused, and so is a data path that holds data. Nothing is ever deleted.
  - A service that needs the volume names the unit C(linda-volume-NAME.service) in C(Requires=) and C(After=), and its data path in
    C(AssertPathIsMountPoint=). So it does not start while the volume is closed.
options:
  name:
    description: Name of the volume, at most ten lower-case letters and digits. Unit, label and mapped device are named after it.
    type: str
    required: true
  type:
    description:
      - How to encrypt. V(auto) stays with what is on the device; on an empty one it is V(luks) where the kernel has dm-crypt and the
        host is no container, else V(fscrypt).
    type: str
    choices: [auto, luks, fscrypt]
    default: auto
  device:
    description: The block device, such as C(/dev/disk/by-id/...). Empty at first; all of it is used.
    type: str
  image:
    description: A file to be used as the device, through a loop device. For labs and trials.
    type: str
  image_size_mb:
    description: Size of a new image in MB, at least 64. The file is sparse. The size of an existing one is not changed.
    type: int
  filesystem:
    description: File system of a new volume. V(xfs) needs O(type=luks) and xfsprogs.
    type: str
    choices: [ext4, xfs]
    default: ext4
  mount_point:
    description: The data path of the service.
    type: str
    required: true
  owner:
    description: Who owns the data path of the open volume.
    type: str
    default: root
  group:
    description: The group of the data path of the open volume.
    type: str
    default: root
  mode:
    description: The mode of the data path of the open volume; it must shut others out.
    type: str
    default: "0700"
  service:
    description: The unit that uses the volume. While it runs nothing is moved or mounted below it.
    type: str
  key_file:
    description: A file of root's with mode 0400 that holds the key. systemd hands it over as a credential.
    type: str
  key_credential:
    description: Name of a file in C(/etc/credstore.encrypted) (made with C(systemd-creds encrypt)) or C(/etc/credstore) that holds the key.
    type: str
  key_command:
    description:
      - A program with its arguments that prints the key, such as the client of a key vault. It runs as root, at each boot and each run.
      - At boot it is asked again until it answers. It must not have a secret among its arguments.
    type: list
    elements: str
  plain_data:
    description:
      - What becomes of data that lies on O(mount_point) and is not encrypted. V(refuse) fails. V(set_aside) renames the directory to
        C(mount_point.plain), for a migration that copies the data into the volume by itself and then removes the old directory.
    type: str
    choices: [refuse, set_aside]
    default: refuse
attributes:
  check_mode:
    support: full
    description: Reads and plans. A key that is not there yet is no failure then.
  diff_mode:
    support: full
    description: Shows the state of device, data path and installed files. Nothing of the key.
  platform:
    platforms: posix
    support: full
    description: Debian with e2fsprogs, and fscrypt or cryptsetup-bin. Root is needed.
"""

EXAMPLES = r"""
- name: The data of MongoDB on a disk of its own, with the key from a vault
  linda.ops.encrypted_volume:
    name: mongodb
    device: /dev/disk/by-id/virtio-mongodb
    mount_point: /var/lib/mongodb
    owner: mongodb
    group: mongodb
    service: mongod.service
    key_command: [/usr/local/bin/vault-read, mongodb-volume]

- name: A trial without a disk of its own, with the key in a file
  linda.ops.encrypted_volume:
    name: trial
    type: fscrypt
    image: /var/lib/trial.img
    image_size_mb: 512
    mount_point: /srv/trial
    key_file: /etc/trial.key
"""

RETURN = r"""
type:
  description: V(luks) or V(fscrypt).
  returned: success
  type: str
  sample: luks
state:
  description: V(open), or V(closed) when it is yet to be opened (check mode).
  returned: success
  type: str
  sample: open
plan:
  description: >-
    The steps from what was found to the description, each with C(action) (C(make_image), C(format), C(set_aside), C(install), C(open) or
    C(own)) and C(reason).
  returned: always
  type: list
  elements: dict
  sample:
    - action: open
      reason: /var/lib/mongodb is not the volume
steps_done:
  description: The steps that were carried out, also when a later one failed.
  returned: always
  type: list
  elements: dict
  sample: []
code:
  description: >-
    What went wrong, in one word that stays the same between releases, such as V(bad_option), V(bad_key), V(weak_key), V(key_file_open),
    V(no_key), V(key_command_failed), V(wrong_key), V(foreign_data), V(mounted_elsewhere), V(plain_data), V(service_running),
    V(no_dm_crypt) or V(no_encryption).
  returned: failure
  type: str
  sample: plain_data
"""

import grp
import inspect
import os
import pwd
import re
import stat
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.linda.ops.plugins.module_utils import _encrypted_volume_open as program
from ansible_collections.linda.ops.plugins.module_utils._encrypted_volume_open import (
    KEY_BYTES,
    Volume,
    VolumeError,
    call,
    close_volume,
    configure_fscrypt,
    directory_state,
    fingerprint,
    is_of,
    key_file,
    key_of_command,
    mount_store,
    mounts,
    must,
    open_luks,
    parse_key,
)
from ansible_collections.linda.ops.plugins.module_utils._encrypted_volume_plan import (
    SIGNATURE,
    Desired,
    Observed,
    Step,
    choose,
    next_step,
    parse_desired,
    picture,
    plan,
    unready_label,
    wanted_files,
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "type": {"type": "str", "choices": ["auto", "luks", "fscrypt"], "default": "auto"},
    "device": {"type": "str"},
    "image": {"type": "str"},
    "image_size_mb": {"type": "int"},
    "filesystem": {"type": "str", "choices": ["ext4", "xfs"], "default": "ext4"},
    "mount_point": {"type": "str", "required": True},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
    "mode": {"type": "str", "default": "0700"},
    "service": {"type": "str"},
    "key_file": {"type": "str", "no_log": False},
    "key_credential": {"type": "str", "no_log": False},
    "key_command": {"type": "list", "elements": "str", "no_log": False},
    "plain_data": {"type": "str", "choices": ["refuse", "set_aside"], "default": "refuse"},
}
CREDENTIAL_STORES = ("/etc/credstore.encrypted", "/etc/credstore")
MODES = {"/usr": 0o755, "/etc/linda": 0o600, "/etc/systemd": 0o644}
#: Where the store keeps what tells the right key from a wrong one, since fscrypt asks for no key while the directory is unlocked.
KEY_MARK = "key.sha256"
#: More rounds than a plan has steps; a host that does not come to rest in them never will.
ROUNDS = 12


def program_text() -> str:
    """Return the program of the boot: the file that this module imports, so that both do the same."""
    return "#!/usr/bin/python3\n" + inspect.getsource(program)


# ----------------------------------------------------------------------------------------------------------------------------- read


def read_key(desired: Desired, credential_path: str) -> bytes:
    """Return the key from its source.

    :raises VolumeError: ``no_key``, ``key_file_open``, ``key_command_failed``, ``bad_key`` or ``weak_key``.
    """
    if desired.key_command:
        return key_of_command(desired.key_command)
    path = desired.key_file or credential_path
    if not path:
        stores = " nor ".join(CREDENTIAL_STORES)
        raise VolumeError("no_key", f"There is no credential {desired.key_credential!r} in {stores}.")
    encrypted = path.startswith(CREDENTIAL_STORES[0])
    try:
        found = os.lstat(path)
        # What is encrypted may be read by everybody; systemd-creds leaves it so.
        if not stat.S_ISREG(found.st_mode) or found.st_uid != 0 or stat.S_IMODE(found.st_mode) & (0o022 if encrypted else 0o177):
            raise VolumeError(
                "key_file_open", f"{path} must be a regular file of root that nobody else can read: chown root {path}; chmod 0400 {path}."
            )
        data = Path(path).read_bytes()
    except OSError as error:
        raise VolumeError("no_key", f"The key in {path} cannot be read: {error.strerror}.") from error
    if encrypted:
        data = must("no_key", ["systemd-creds", "decrypt", f"--name={desired.key_credential}", path, "-"])
    return parse_key(data)


def credential_path(desired: Desired) -> str:
    """Return where the named credential lies, empty when it does not or none is named."""
    paths = [f"{store}/{desired.key_credential}" for store in CREDENTIAL_STORES] if desired.key_credential else []
    return next((path for path in paths if os.path.exists(path)), "")


def signature_of(source: str) -> tuple[str, str]:
    """Return what lies on a device or image, and its label, by blkid's own look at it."""
    code, out, complaint = call(["blkid", "--probe", "--output", "export", source])
    if code == 2:
        return "", ""
    if code != 0:
        raise VolumeError("foreign_data", f"{source} holds what blkid cannot tell ({code}: {complaint}): wipe it (wipefs --all) by hand.")
    fields = dict(line.partition("=")[::2] for line in out.decode(errors="replace").splitlines())
    return fields.get("TYPE") or fields.get("PTTYPE", "data"), fields.get("LABEL", "").replace("\\", "")


def kind_of(path: str) -> str:
    """Return ``absent``, ``device``, ``image`` (a regular file) or ``other``."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return "absent"
    return "device" if stat.S_ISBLK(mode) else "image" if stat.S_ISREG(mode) else "other"


def has_dm_crypt() -> bool:
    """Tell whether the kernel has dm-crypt, or can load it."""
    if os.path.isdir("/sys/module/dm_crypt"):
        return True
    try:
        return call(["modprobe", "--dry-run", "--quiet", "dm-crypt"])[0] == 0
    except VolumeError:
        return False


def is_active(unit: str) -> bool:
    """Tell whether systemd runs the unit, or is about to."""
    if not unit or not os.path.isdir("/run/systemd/system"):
        return False
    state = call(["systemctl", "is-active", unit])[1].decode().strip()
    return state in ("active", "activating", "reloading", "deactivating")


def is_right_key(volume: Volume, label: str, key: bytes | None) -> bool | None:
    """Tell whether the key is the volume's; None where that cannot be told yet."""
    if key is None or label != volume.label:
        return None
    if volume.type == "luks":
        test = ["cryptsetup", "open", "--test-passphrase", "--type=luks2", "--key-file=-", f"--keyfile-size={KEY_BYTES}", volume.source]
        return call(test, key)[0] == 0
    try:
        return (volume.store / KEY_MARK).read_text(encoding="ascii").strip() == fingerprint(volume.name, key)
    except OSError:
        return None


def observe(desired: Desired, key: bytes | None, *, check_mode: bool = False) -> Observed:
    """Read the host. To show what setting data aside would do, a server that runs is taken as one that an earlier task would have stopped.

    :raises VolumeError: ``foreign_data`` or ``no_tool``.
    """
    source = kind_of(desired.source)
    source = "other" if source not in ("absent", "device" if desired.device else "image") else source
    signature, label = signature_of(desired.source) if source in ("device", "image") else ("", "")
    volume = desired.volume("luks" if signature == SIGNATURE["luks"] else "fscrypt")
    seen = mounts()
    ours = [mount for mount in seen if is_of(volume, mount)]
    there = [mount for mount in seen if mount.point == desired.mount_point]
    is_open = bool(there) and there[-1] in ours
    if is_open and volume.type == "fscrypt":
        is_open = directory_state(Path(desired.mount_point)) == "unlocked"
    return Observed(
        source=source,
        signature=signature,
        label=label,
        mounted_at=tuple(mount.point for mount in ours if mount.point not in (desired.mount_point, str(volume.store))),
        dm_crypt=has_dm_crypt(),
        fs_encryption=os.path.exists("/sys/fs/ext4/features/encryption"),
        container=any(map(os.path.exists, ("/run/systemd/container", "/run/.containerenv", "/.dockerenv"))),
        is_open=is_open,
        foreign_mount=bool(there) and there[-1] not in ours,
        point=point_of(desired.mount_point),
        entries=0 if there or not os.path.isdir(desired.mount_point) else len(os.listdir(desired.mount_point)),
        aside_exists=os.path.lexists(desired.aside),
        ownership=ownership_of(desired.mount_point) if is_open else None,
        service_active=is_active(desired.service) and not (check_mode and desired.set_aside),
        right_key=is_right_key(volume, label, key),
        credential_path=credential_path(desired),
        files={path: text_of(path) for path in wanted_files(desired, volume.type, "", "")},
    )


def point_of(path: str) -> str:
    """Return what is at the mount point: ``absent``, ``directory`` or ``other`` (a link, too)."""
    if not os.path.lexists(path):
        return "absent"
    return "directory" if os.path.isdir(path) and not os.path.islink(path) else "other"


def ownership_of(path: str) -> tuple[str, str, int]:
    """Return owner, group and mode; numbers where there is no name."""
    found = os.stat(path)
    try:
        owner, group = pwd.getpwuid(found.st_uid).pw_name, grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        owner, group = str(found.st_uid), str(found.st_gid)
    return owner, group, stat.S_IMODE(found.st_mode)


def text_of(path: str) -> str:
    """Return a file's text, empty when there is none or its mode is not ours (so that it is written anew)."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read() if stat.S_IMODE(os.fstat(file.fileno()).st_mode) == mode_of(path) else ""
    except OSError:
        return ""


def mode_of(path: str) -> int:
    """Return the mode that one of our files has."""
    return next(mode for prefix, mode in MODES.items() if path.startswith(prefix))


# ---------------------------------------------------------------------------------------------------------------------------- apply


def write(path: str, text: str) -> None:
    """Write one of our files, whole or not at all."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fresh = f"{path}.new"
    with open(fresh, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode_of(path))
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)


def make_image(desired: Desired) -> None:
    """Make the file that stands for a device; sparse, readable for root only."""
    os.makedirs(os.path.dirname(desired.image), exist_ok=True)
    fresh = f"{desired.image}.new"
    with open(fresh, "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.truncate(desired.image_size_mb * 1024 * 1024)
    os.replace(fresh, desired.image)


def make_file_system(desired: Desired, volume: Volume, key: bytes, source: str, label: str) -> None:
    """Make the file system and its directory for data, encrypted with fscrypt where that is the type. Leaves it unmounted."""
    if volume.filesystem == "xfs":
        must("format_failed", ["mkfs.xfs", "-q", "-f", "-L", label, source])
    else:
        features = ["-O", "encrypt"] if volume.type == "fscrypt" else []
        must("format_failed", ["mkfs.ext4", "-q", "-F", "-m", "1", *features, "-L", label, source])
    mount_store(volume)
    try:
        volume.directory.mkdir(mode=0o700)
        if volume.type == "fscrypt":
            configure_fscrypt()
            must("format_failed", ["fscrypt", "setup", str(volume.store), "--quiet"])
            with key_file(key) as (path, descriptor):
                protector = ["--source=raw_key", f"--name={volume.label}", f"--key={path}", "--no-recovery", "--quiet"]
                must("format_failed", ["fscrypt", "encrypt", str(volume.directory), *protector], b"", [descriptor])
            (volume.store / KEY_MARK).write_text(fingerprint(volume.name, key) + "\n", encoding="ascii")
        own(desired, str(volume.directory))
    finally:
        must("busy", ["umount", str(volume.store)])


def format_luks(volume: Volume, key: bytes) -> None:
    """Make an empty LUKS2 container. The key is random, so nothing is won by a slow derivation (cryptsetup's FAQ, 5.13)."""
    derivation = ["--pbkdf=pbkdf2", "--pbkdf-force-iterations=1000"]
    options = ["--batch-mode", "--type=luks2", f"--label={unready_label(volume.name)}", "--key-file=-", f"--keyfile-size={KEY_BYTES}"]
    must("format_failed", ["cryptsetup", "luksFormat", *options, *derivation, volume.source], key)


def own(desired: Desired, path: str) -> None:
    """Give the directory for data to its owner.

    :raises VolumeError: ``no_owner``.
    """
    try:
        uid, gid = pwd.getpwnam(desired.owner).pw_uid, grp.getgrnam(desired.group).gr_gid
    except KeyError as error:
        raise VolumeError("no_owner", f"There is no account {desired.owner} or no group {desired.group}.") from error
    os.chown(path, uid, gid)
    os.chmod(path, desired.mode)


def format_volume(desired: Desired, volume: Volume, key: bytes) -> None:
    """Make the volume. Its label, by which it is known to be whole, comes last."""
    close_volume(volume)
    if volume.type == "luks":
        format_luks(volume, key)
        open_luks(volume, key)
        try:
            make_file_system(desired, volume, key, f"/dev/mapper/{volume.mapper}", volume.label)
        finally:
            close_volume(volume)
        must("format_failed", ["cryptsetup", "config", volume.source, f"--label={volume.label}"])
    else:
        make_file_system(desired, volume, key, volume.source, unready_label(volume.name))
        must("format_failed", ["tune2fs", "-L", volume.label, volume.source])


def install(desired: Desired, observed: Observed, kind: str) -> None:
    """Write program, configuration and unit."""
    for path, text in wanted_files(desired, kind, program_text(), observed.credential_path).items():
        if observed.files.get(path) != text:
            write(path, text)
    if os.path.isdir("/run/systemd/system"):
        must("install_failed", ["systemctl", "daemon-reload"])


def open_by_unit(desired: Desired, volume: Volume, key: bytes) -> None:
    """Open the volume as the boot does, by its unit; by ourselves where no systemd runs.

    :raises VolumeError: with the code that the program left in the journal, else ``open_failed``.
    """
    if not os.path.isdir("/run/systemd/system"):
        program.open_volume(volume, key)
        return
    # A unit that has ended well counts as active, also when somebody has unmounted the volume since.
    code, _out, complaint = call(["systemctl", "restart" if is_active(desired.unit) else "start", desired.unit])
    if code != 0:
        journal = call(["journalctl", "--unit", desired.unit, "--lines", "20", "--output", "cat", "--no-pager"])[1].decode(errors="replace")
        said = re.findall(rf"^Encrypted volume {desired.name}: (\w+): (.*)$", journal, re.MULTILINE)
        raise VolumeError(*said[-1]) if said else VolumeError("open_failed", f"{desired.unit} does not start: {complaint}")


def carry_out(desired: Desired, observed: Observed, step: Step, key: bytes) -> None:
    """Do one step.

    :raises VolumeError: with the tool's own words.
    """
    if step.action == "make_image":
        make_image(desired)
        return
    kind = choose(desired, observed)
    volume = desired.volume(kind)
    if step.action == "format":
        format_volume(desired, volume, key)
    elif step.action == "set_aside":
        os.rename(desired.mount_point, desired.aside)
    elif step.action == "install":
        install(desired, observed, kind)
    elif step.action == "open":
        open_by_unit(desired, volume, key)
    else:
        own(desired, desired.mount_point)


# --------------------------------------------------------------------------------------------------------------------------- report


def run(module: AnsibleModule, result: dict[str, Any]) -> None:
    """Do the work of one module call; ``result`` is filled as it goes.

    :raises VolumeError: for every refusal and failure.
    """
    desired = parse_desired(module.params)
    if os.geteuid() != 0:
        raise VolumeError("not_root", "Only root can open volumes: run the task with become.")
    key = None
    try:
        key = read_key(desired, credential_path(desired))
    except VolumeError as error:
        if not module.check_mode or error.code != "no_key":
            raise
        module.warn(f"{error.message} The run would fail unless it is there by then.")
    text = program_text()
    observed = observe(desired, key, check_mode=module.check_mode)
    steps, foreseen = plan(desired, observed, text)
    result.update(plan=[step.describe() for step in steps], type=choose(desired, observed), state="open" if observed.is_open else "closed")
    result["diff"] = {"before": picture(desired, observed, text), "after": picture(desired, foreseen, text)}
    if module.check_mode or key is None:
        result["changed"] = bool(steps)
        return
    for _round in range(ROUNDS):
        step = next_step(desired, observed, text)
        if step is None:
            result["state"] = "open"
            return
        carry_out(desired, observed, step, key)
        result["steps_done"].append(step.describe())
        result["changed"] = True
        observed = observe(desired, key)
    raise VolumeError("restless", f"After {ROUNDS} steps {desired.source} is still not as described: {step.reason if step else ''}.")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    result: dict[str, Any] = {"changed": False, "plan": [], "steps_done": []}
    try:
        run(module, result)
    except VolumeError as error:
        module.fail_json(msg=error.message, code=error.code, **result)
    except OSError as error:
        module.fail_json(msg=str(error), code="failed", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
