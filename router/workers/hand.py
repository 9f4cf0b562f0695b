"""The parent's end of one worker: its process, its channel, and what it said last. The outside world: processes."""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from federation.clock import Clock
from router.workers.channel import Channel
from router.workers.messages import Beat, Begin, Counts, Figures, Message, Phase
from router.workers.tally import Family

SPARE = "spare"  # What a worker is called until it has a place.
LEAVING = "leaving"  # What it is called once it was told to end, and takes no more connections.
SILENT_S = 1.0  # Ten beats missed: it is frozen, or drowned; nobody waits for it.


@dataclass(frozen=True, slots=True)
class WorkerCommand:
    """How a worker is started: the configuration file, and the environment with what the command line changed."""

    config: Path
    environ: Mapping[str, str]

    def arguments(self, descriptors: Sequence[int]) -> Sequence[str]:
        return (sys.executable, "-m", "router.workers.process", str(self.config), *map(str, descriptors))


@dataclass(slots=True, eq=False)
class Hand:
    """One worker as the parent knows it."""

    name: str  # "1" to "N": the place that it has taken; or SPARE, or LEAVING.
    process: asyncio.subprocess.Process
    started_at: float
    heard_at: float
    channel: Channel | None = None
    phase: Phase | None = None  # None: still loading.
    calls: int = 0
    connections: int = 0
    in_flight: Counts = ()
    families: tuple[Family, ...] = ()
    figures_at: float | None = None  # When it last told its figures.
    answered: int = 0  # The latest question for figures that it has answered.
    told_drains: dict[str, int] = field(default_factory=dict)  # Cluster -> version of the drain that it was told.

    @property
    def up(self) -> bool:
        """Loaded, and able to take calls when told."""
        return self.phase is not None

    @property
    def takes_connections(self) -> bool:
        return self.phase in (Phase.LISTENING, Phase.LAME_DUCK)

    def age_s(self, now: float) -> float:
        """How old its last word is."""
        return now - self.heard_at

    def is_silent(self, now: float) -> bool:
        return self.age_s(now) > SILENT_S

    def take(self, beat: Beat) -> None:
        self.phase = beat.phase
        self.calls = beat.calls
        self.connections = beat.connections
        self.in_flight = beat.in_flight

    def take_figures(self, figures: Figures, now: float) -> None:
        self.families = figures.families
        self.figures_at = now
        self.answered = max(self.answered, figures.number)

    def send(self, message: Message) -> bool:
        """Tell it something; whether there was room."""
        return self.channel is not None and self.channel.send(message)

    def kill(self) -> None:
        """SIGKILL."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)


async def start_hand(
    command: WorkerCommand,
    listener: socket.socket,
    table: int,
    begin: Begin,
    clock: Clock,
    on_message: Callable[[Hand, Message], None],
) -> Hand:
    """Start a worker that waits for the word to listen. Raises OSError."""
    ours, theirs = socket.socketpair()
    with theirs:
        descriptors = (listener.fileno(), theirs.fileno(), table)
        try:
            process = await asyncio.create_subprocess_exec(
                *command.arguments(descriptors),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),  # Our own stdout is for the ready line alone.
                pass_fds=descriptors,
                env=dict(command.environ),
            )
        except BaseException:
            ours.close()
            raise
    now = clock.monotonic()
    hand = Hand(SPARE, process, started_at=now, heard_at=now)
    # The end of a channel says nothing that the end of its process does not say better.
    hand.channel = await Channel.over(ours, lambda message: on_message(hand, message), lambda: None)
    hand.send(begin)
    return hand
