"""What a role writes to stderr: one JSON object a line, ours and the libraries' alike."""

import json
import subprocess
import sys

SCRIPT = """
import logging, structlog
from federation.log import configure_logging

log = structlog.get_logger()  # As modules do, before anything is configured.
configure_logging("agent", "info")
log.info("store answers", store="a", bytes=3)
log.debug("not shown")
try:
    raise ValueError("two\\nlines")
except ValueError:
    log.exception("went wrong")
logging.getLogger("uvicorn.error").info("not shown either")
logging.getLogger("uvicorn.error").warning("from %s", "uvicorn")
"""


def test_each_line_is_an_object_with_the_same_four_words() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == ""
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["store answers", "went wrong", "from uvicorn"]
    assert [line["level"] for line in lines] == ["info", "error", "warning"]
    assert {line["role"] for line in lines} == {"agent"}
    assert all(line["ts"].endswith("Z") for line in lines)
    assert list(lines[0]) == ["ts", "level", "event", "role", "store", "bytes"]
    assert "ValueError: two\nlines" in lines[1]["exception"]
