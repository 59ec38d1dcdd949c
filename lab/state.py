"""Where a lab keeps what it knows: paths, and the record of its addresses."""

import fcntl
import ipaddress
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .addresses import DEFAULT_LAB, Taken
from .errors import LabError

CHECKOUT = Path(__file__).resolve().parent.parent
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?")


def cache_directory() -> Path:
    """Where images, packages and downloads are kept between labs: linda-lab in the user's cache directory."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "linda-lab"


@dataclass(frozen=True)
class State:
    """The state directory of one lab (.lab/NAME) and the places that follow from it."""

    name: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise LabError(
                f"{self.name!r} cannot be the name of a lab.",
                "Use small letters, digits and dashes, beginning with a letter, at most 22 of them.",
            )

    @property
    def directory(self) -> Path:
        """Everything about this lab, readable for its owner only."""
        return CHECKOUT / ".lab" / self.name

    @property
    def inventory(self) -> Path:
        """The inventory directory that Ansible is given."""
        return CHECKOUT / "inventories" / "lab" if self.name == DEFAULT_LAB else self.directory / "inventory"

    @property
    def ssh_key(self) -> Path:
        """Private key of the account `ansible` on all hosts."""
        return self.directory / "ssh_key"

    @property
    def known_hosts(self) -> Path:
        """The host keys of the lab's machines."""
        return self.directory / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        """For `ssh -F`: names, key and known hosts of the lab."""
        return self.directory / "ssh_config"

    @property
    def vault_password(self) -> Path:
        """Password of the lab's vaulted variables."""
        return self.directory / "vault_password"

    @property
    def hosts_file(self) -> Path:
        """What every machine of the lab sees as /etc/hosts."""
        return self.directory / "hosts"

    @property
    def record(self) -> Path:
        """JSON: the lab's block of addresses and its fleet file."""
        return self.directory / "lab.json"

    def create(self) -> None:
        """Make the directory."""
        self.directory.parent.mkdir(exist_ok=True)
        self.directory.mkdir(mode=0o700, exist_ok=True)
        self.directory.chmod(0o700)

    def read(self) -> "Record | None":
        """The record, or None for a lab that was never started here."""
        try:
            data = json.loads(self.record.read_text(encoding="utf-8"))
            return Record(ipaddress.IPv4Network(data["block"]), Path(data["fleet"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise LabError(
                f"{self.record} is damaged.", f"Remove the lab's state and start anew: lab down --name {self.name} --purge.", str(error)
            ) from error

    def write(self, record: "Record") -> None:
        """Put the record down."""
        write(self.record, json.dumps({"block": str(record.block), "fleet": str(record.fleet)}, indent=2) + "\n")


@dataclass(frozen=True)
class Record:
    """What a lab remembers: its addresses and the fleet file that it was started from."""

    block: ipaddress.IPv4Network
    fleet: Path


def write(path: Path, text: str, mode: int = 0o600) -> bool:
    """Make `path` hold `text`, by rename; True if that changed it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode()
    if path.is_file() and path.read_bytes() == data:
        path.chmod(mode)
        return False
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    temporary.chmod(mode)
    temporary.replace(path)
    return True


def blocks_of_other_labs(name: str) -> list[Taken]:
    """The blocks that other labs of this checkout have on record, running or not."""
    found = []
    for directory in sorted((CHECKOUT / ".lab").glob("*/")):
        if directory.name != name and (directory / "lab.json").is_file():
            record = State(directory.name).read()
            if record:
                found.append(Taken(record.block, f"the lab {directory.name} of this checkout"))
    return found


@contextmanager
def only_one(path: Path, busy: str) -> Iterator[None]:
    """Hold the lock at `path` (the kernel drops it with the process), or refuse with the sentence `busy`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LabError(busy, "Wait until it has ended.") from error
        yield


@contextmanager
def in_turn(path: Path, report: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock at `path`; `report` is told if another command has it first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("waiting for another lab that is at the same work")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def together(path: Path) -> Iterator[None]:
    """Hold the lock at `path` beside others that hold it so; waits for one that holds it alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Hold the lock at `path` if nobody else does; tells whether it is held."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
