"""Settings of the application: environment variables that begin with LINDA_API_."""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl


class SettingsError(Exception):
    """A variable is missing or wrong; the text names it and never a secret's value."""


@dataclass(frozen=True)
class Settings:
    """What the application is told: LINDA_API_<FIELD>. Times are in seconds. README.md describes each; drills are off by default."""

    mongodb_uri: str
    mongodb_database: str = "linda"
    host: str = "127.0.0.1"
    port: int = 8000
    name: str = socket.gethostname()
    timeout: float = 30.0
    ready_timeout: float = 3.0
    shutdown_deadline: int = 20
    push_interval: float = 10.0
    log_level: str = "INFO"
    drill_error_ratio: float = 0.0
    drill_latency: float = 0.0
    drill_refuse_start: bool = False
    drill_slow_start: float = 0.0
    drill_memory_growth: float = 0.0


_LIMITS = {
    "port": (0, 65535),
    "timeout": (0.1, 3600),
    "ready_timeout": (0.1, 60),
    "shutdown_deadline": (1, 3600),
    "push_interval": (0.01, 3600),
    "drill_error_ratio": (0, 1),
    "drill_latency": (0, 3600),
    "drill_slow_start": (0, 3600),
    "drill_memory_growth": (0, 1024),
}


def read(environment: Mapping[str, str]) -> Settings:
    """Settings from `environment`; unknown LINDA_API_ names are refused, so that a typing mistake does not pass for a default."""
    left = {name.removeprefix("LINDA_API_"): value for name, value in environment.items() if name.startswith("LINDA_API_")}
    values: dict[str, Any] = {"mongodb_uri": _uri(left.pop("MONGODB_URI", ""), left.pop("MONGODB_URI_FILE", ""))}
    for entry in fields(Settings):
        if (text := left.pop(entry.name.upper(), None)) is not None:
            values[entry.name] = _value(entry.name, entry.type, text)
    if left:
        raise SettingsError(f"Unknown settings: {', '.join(f'LINDA_API_{name}' for name in sorted(left))}.")
    settings = Settings(**values)
    pool_of(settings.mongodb_uri)
    if settings.log_level not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise SettingsError(f"LINDA_API_LOG_LEVEL = {settings.log_level!r} is none of DEBUG, INFO, WARNING, ERROR.")
    return settings


def _value(name: str, kind: object, text: str) -> str | int | float | bool:
    label = f"LINDA_API_{name.upper()} = {text!r}"
    if kind is str:
        return text
    if kind is bool:
        if text not in {"true", "false"}:
            raise SettingsError(f"{label} is neither true nor false.")
        return text == "true"
    low, high = _LIMITS[name]
    pattern, wanted = (r"\d+", "whole number") if kind is int else (r"\d+(\.\d+)?", "number")
    if not re.fullmatch(pattern, text, re.ASCII) or not low <= float(text) <= high:
        raise SettingsError(f"{label} is not a {wanted} from {low} to {high}.")
    return int(text) if kind is int else float(text)


def pool_of(uri: str) -> tuple[int, int]:
    """Connections to each MongoDB member, at least and at most, as the URI has them; 10 and 100 where it says nothing."""
    options = {name.lower(): value for name, value in parse_qsl(uri.partition("?")[2])}
    low, high = options.get("minpoolsize", "10"), options.get("maxpoolsize", "100")
    if not (low.isdecimal() and high.isdecimal() and int(low) <= int(high)):
        raise SettingsError(
            f"The MongoDB URI has minPoolSize = {low!r} and maxPoolSize = {high!r}: two numbers, the first not above the second."
        )
    return int(low), int(high)


def _uri(uri: str, path: str) -> str:
    """The MongoDB URI: from a file, so that the password is in nobody's environment, or given directly."""
    if bool(uri) == bool(path):
        raise SettingsError("Set either LINDA_API_MONGODB_URI_FILE (preferred) or LINDA_API_MONGODB_URI.")
    if path:
        try:
            uri = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeError) as error:
            raise SettingsError(f"LINDA_API_MONGODB_URI_FILE = {path!r} cannot be read: {type(error).__name__}.") from error
    if not uri.startswith(("mongodb://", "mongodb+srv://")):
        raise SettingsError("The MongoDB URI must begin with mongodb:// or mongodb+srv://.")
    return uri
