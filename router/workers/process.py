"""`python -m router.workers.process CONFIG LISTENER CHANNEL TABLE`: one worker, as its parent starts it.

The last three are descriptors that it inherits: of the main port, to the parent, of the balance.
"""

import os
import signal
import socket
import sys
from pathlib import Path


def main(arguments: list[str]) -> int:
    """The exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all at once; the parent says what it means.
    config, (listener, channel, table) = Path(arguments[0]), map(int, arguments[1:])
    # Loaded now, since it takes most of a second in which Ctrl-C must not end in a traceback.
    from router.workers.worker import run_worker

    return run_worker(config, dict(os.environ), socket.socket(fileno=listener), socket.socket(fileno=channel), table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
