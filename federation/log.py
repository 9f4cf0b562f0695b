"""One JSON object a line on stderr: `{"ts": ..., "level": ..., "event": ..., "role": ...}`.

Our own lines come from structlog, those of libraries through the standard library's
logging; both are written in the same form. stdout is left to what programs read, such as
a role's `ready` line.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from structlog.typing import Processor

# Libraries that tell at "info" what we count as metrics.
_CHATTY = ("httpx", "httpcore", "uvicorn", "asyncio")

_LEVELS = ("debug", "info", "warning", "error", "critical")


def configure_logging(role: str, level: str = "info") -> None:
    """Write logs of at least `level` as JSON lines to stderr, each with `role`. Call once, at the start of a role."""
    assert level in _LEVELS, f"log level {level!r} is none of {', '.join(_LEVELS)}"
    number = logging.getLevelNamesMapping()[level.upper()]

    def add_role(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        # Built anew so that the four words everyone greps for stand first in the line.
        first = {"ts": event.pop("ts", None), "level": event.pop("level", None), "event": event.pop("event", None)}
        return {**first, "role": role, **event}

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.format_exc_info,
        add_role,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [lines]
    root.setLevel(number)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
