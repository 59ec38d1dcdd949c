# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The file system as config_tree uses it: look at a path, write durably, land a file by rename."""

from __future__ import annotations

import contextlib
import errno
import grp
import hashlib
import os
import pwd
import shutil
import stat
from collections.abc import Iterable, Iterator

from ansible_collections.linda.ops.plugins.module_utils._config_tree_plan import UNKNOWN_ID, ConfigTreeError, Node

_BLOCK = 1 << 20


def digest(content: bytes) -> str:
    """Return the SHA-256 of a content as hex."""
    return hashlib.sha256(content).hexdigest()


def digest_file(path: str) -> str:
    """Return the SHA-256 of a file's content as hex, without reading it into memory at once."""
    total = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK):
            total.update(block)
    return total.hexdigest()


def look(path: str) -> Node | None:
    """Return what stands at a path, links not followed; None if there is nothing."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISLNK(status.st_mode):
        return Node(kind="link", target=os.readlink(path))
    mode, uid, gid = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid
    if stat.S_ISREG(status.st_mode):
        return Node(kind="file", digest=digest_file(path), mode=mode, uid=uid, gid=gid)
    return Node(kind="directory" if stat.S_ISDIR(status.st_mode) else "other", mode=mode, uid=uid, gid=gid)


def walk(directory: str) -> Iterator[str]:
    """Yield every path below a real directory (links to directories are paths, not entered), parents first, sorted."""
    if os.path.islink(directory) or not os.path.isdir(directory):
        return
    for entry in sorted(os.scandir(directory), key=lambda found: found.name):
        yield entry.path
        if entry.is_dir(follow_symlinks=False):
            yield from walk(entry.path)


def watch_digest(path: str) -> str:
    """Return a digest of what a watched path says: link text, content of the file, or of all files below the directory."""
    parts = []
    if os.path.islink(path):
        parts.append("link " + os.readlink(path))
    if os.path.isfile(path):
        parts.append("file " + digest_file(path))
    elif os.path.isdir(path):
        parts.extend(f"{found} {watch_digest(found)}" for found in walk(os.path.realpath(path)) if not os.path.isdir(found))
        parts.append("directory")
    return digest("\n".join(parts).encode()) if parts else "absent"


def user_id(name: str | None) -> int:
    """Return the id of a user, UNKNOWN_ID if the host has none of that name; the own one for None."""
    if name is None:
        return os.geteuid()
    try:
        return int(name) if name.isdigit() else pwd.getpwnam(name).pw_uid
    except KeyError:
        return UNKNOWN_ID


def group_id(name: str | None) -> int:
    """Return the id of a group, UNKNOWN_ID if the host has none of that name; the own one for None."""
    if name is None:
        return os.getegid()
    try:
        return int(name) if name.isdigit() else grp.getgrnam(name).gr_gid
    except KeyError:
        return UNKNOWN_ID


def own(path: str, node: Node) -> None:
    """Give a file or directory its owners, then its mode (chown clears set-id bits). Ids the host does not know are left alone."""
    status = os.lstat(path)
    if (status.st_uid, status.st_gid) != (node.uid, node.gid) and UNKNOWN_ID not in (node.uid, node.gid):
        os.chown(path, node.uid, node.gid)
    os.chmod(path, node.mode)


def sync_file(path: str) -> None:
    """Bring a file's content to the disk."""
    _sync(path, os.O_RDONLY | os.O_NOFOLLOW)


def sync_directory(path: str) -> None:
    """Bring a directory's names to the disk; a directory that is gone needs none."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: str, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_parents(paths: Iterable[str]) -> None:
    """Bring the directories of the given paths to the disk, each once."""
    for directory in sorted({os.path.dirname(path) for path in paths}):
        sync_directory(directory)


def write_private(path: str, content: bytes) -> None:
    """Write a file that only its owner can read, all of it on disk before the name changes over."""
    temporary = f"{path}.new"
    remove(temporary)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.rename(temporary, path)
    sync_directory(os.path.dirname(path))


def write_file(path: str, content: bytes, node: Node) -> None:
    """Create a file with content, owners and mode; never readable by more than its owner meanwhile."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
    own(path, node)


def private_directory(path: str) -> None:
    """Make a directory that only its owner can enter, with what is missing above it; repair its mode."""
    os.makedirs(path, mode=0o700, exist_ok=True)
    os.chmod(path, 0o700)


def remove(path: str) -> None:
    """Remove a file or link, or a whole directory of our own, if it is there."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def keep(path: str, copy: str) -> None:
    """Keep a file under a second name: the same inode where the file system allows it, else a full copy, on disk either way."""
    remove(copy)
    try:
        os.link(path, copy, follow_symlinks=False)
    except OSError:
        status = os.lstat(path)
        shutil.copy2(path, copy, follow_symlinks=False)
        os.chown(copy, status.st_uid, status.st_gid)
        os.chmod(copy, stat.S_IMODE(status.st_mode))
    sync_file(copy)


def land(source: str, path: str) -> None:
    """Move a file or link onto a path in one step. From another file system it is copied beside the path first, under a hidden name."""
    try:
        os.rename(source, path)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise ConfigTreeError(f"{path} is a mount point and cannot be replaced") from error
        if error.errno != errno.EXDEV:
            raise
        beside = beside_name(path)
        remove(beside)
        if os.path.islink(source):
            os.symlink(os.readlink(source), beside)
        else:
            keep(source, beside)
        os.rename(beside, path)
        remove(source)


def beside_name(path: str) -> str:
    """Return the hidden name beside a path under which a copy waits for its rename."""
    return os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.config_tree")


def same_device(path: str, other: str) -> bool:
    """Tell whether two paths, or what exists above them, are on one file system."""
    return os.lstat(existing(path)).st_dev == os.lstat(existing(other)).st_dev


def existing(path: str) -> str:
    """Return the path itself or the nearest directory above it that exists."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path
