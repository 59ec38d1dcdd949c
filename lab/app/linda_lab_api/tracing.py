"""W3C trace context, and logs of one JSON object a line that carry its trace id."""

import json
import logging
import re
import secrets
import sys
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


@dataclass(frozen=True)
class Trace:
    """Where this call belongs: trace_id (32 hex digits) is the caller's, or new; span_id (16) names the work done here."""

    trace_id: str
    span_id: str
    flags: str = "01"

    def header(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def take(header: str | None) -> Trace:
    """Continue the trace of a `traceparent` header; begin one when the header is missing or not valid."""
    match = _TRACEPARENT.fullmatch(header.strip()) if header else None
    span = secrets.token_hex(8)
    if match is None or not int(match[1], 16) or not int(match[2], 16) or (match[4] and header and header.startswith("00")):
        return Trace(secrets.token_hex(16), span)
    return Trace(match[1], span, match[3])


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC, ms), level, logger, message, trace_id (null outside a call), then the record's extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        trace = current.get()
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "trace_id": trace.trace_id if trace else None,
        }
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def configure(level: str) -> None:
    """Send every log line of the process to standard output in JSON."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("pymongo").setLevel(logging.WARNING)
