"""Runs the parts of a house on one machine until asked to stop. A part that dies is started again."""

import ctypes
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import IO

from server.journal import Journal
from server.stderr import flush, say

FATAL = "taskhouse: "  # How every command of the house begins the one line that says why it ends.
TICK_SECONDS = 0.05
SPARE_SECONDS = 5.0  # What a part may take besides its grace: to commit, to say goodbye.
FIRST_BACK_OFF, MOST_BACK_OFF = 0.1, 10.0  # Seconds until a part starts again, doubled with each death.
HEALTHY_SECONDS = 30.0  # A part that answered for so long and then dies has its first back-off again.
LAST_SECONDS = 1.0  # What taking in, or writing, the last words may take.
START_SECONDS = 30.0  # What the first start may take; machines can be slow.
PR_SET_PDEATHSIG = 1
_LAST_WORDS = re.compile(r" edge critical: (?:error `)?(.*?)(?:` initializing config .*)?$")
"""Envoy's, in the format that server/edge.py gives it. It ends some in text that differs from start to start."""

_libc = ctypes.CDLL(None, use_errno=True)


class PartFailed(Exception):
    """A part could not start. The text says which, and why."""


@dataclass
class Part:
    """One process of the house."""

    name: str
    command: Sequence[str]
    ready_line: str | None = None  # what it prints on standard output once it answers; None: see `answers`
    answers: Callable[[], bool] | None = None  # asked until it says yes
    environment: Mapping[str, str] = field(default_factory=dict)  # besides this process's own
    process: "subprocess.Popen[str] | None" = None
    ready: threading.Event = field(default_factory=threading.Event)
    reason: str = ""
    pumps: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Start the process, anew if it has ended. It is told to stop when this one dies, however that happens."""
        self.ready, self.reason, self.pumps = threading.Event(), "", []
        try:
            self.process = subprocess.Popen(  # noqa: S603 - our own commands.
                self.command,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,  # Ctrl-C reaches this process alone, which then stops the others in order.
                preexec_fn=partial(_die_with, os.getpid()),
            )
        except OSError as error:
            raise PartFailed(f"{self.name} cannot start: {error}") from error
        self._pump(self.process.stdout, partial(self._hear, self.ready))
        self._pump(self.process.stderr, self._forward)

    def _pump(self, stream: IO[str] | None, take: Callable[[str], None]) -> None:
        def run() -> None:
            with stream or nullcontext():
                for line in stream or ():
                    take(line)

        pump = threading.Thread(target=run, name=f"{self.name} output", daemon=True)
        pump.start()
        self.pumps.append(pump)

    def _hear(self, ready: threading.Event, line: str) -> None:
        if line.rstrip("\n") == self.ready_line:
            ready.set()
        else:
            self._forward(line)

    def _forward(self, line: str) -> None:
        if line.startswith(FATAL):
            self.reason = line.removeprefix(FATAL).strip()
            return
        if last := _LAST_WORDS.search(line):
            self.reason = last[1].strip()
        say(line)

    def is_ready(self) -> bool:
        """Say whether it answers."""
        if self.answers and not self.ready.is_set() and self.answers():
            self.ready.set()
        return self.ready.is_set()

    def end(self) -> str | None:
        """Say how it ended, and why if it said so; None while it runs. What it had started itself is ended, too."""
        if self.process is None or (code := self.process.poll()) is None:
            return None
        self._kill_all(self.process.pid)
        deadline = time.monotonic() + LAST_SECONDS
        for pump in self.pumps:
            pump.join(max(0.0, deadline - time.monotonic()))
        ended = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return ended + (f": {self.reason}" if self.reason else "")

    def check(self) -> None:
        """Raise PartFailed if it has ended."""
        if how := self.end():
            raise PartFailed(f"{self.name} {how}")

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self.process is not None and self.process.poll() is None

    def ask_to_stop(self) -> None:
        """Send SIGTERM, if it runs."""
        if self.process:
            self.process.terminate()

    def kill(self) -> None:
        """Send SIGKILL to it and to what it has started, and wait for its end."""
        if self.process:
            self._kill_all(self.process.pid)
            self.process.wait()

    @staticmethod
    def _kill_all(leader: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGKILL)


class Nurse:
    """Starts one part again whenever it has died, later and later while it does not stay alive."""

    def __init__(self, part: Part, journal: Journal) -> None:
        self._part, self._journal = part, journal
        self._deaths = 0  # in a row
        self._again: float | None = None  # when to start it; None: it runs, as far as is known
        self._answered: float | None = time.monotonic()  # since when; None: not yet, since it was started again

    def look(self) -> None:
        """Do what is to be done for the part now; at most a second's work."""
        now = time.monotonic()
        if self._again is not None:
            if now >= self._again:
                self._start(now)
        elif how := self._part.end():
            self._bury(now, how)
        elif self._answered is None and self._part.is_ready():  # However long it takes: it may wait for another part.
            self._answered = now
            say(f"{FATAL}{self._part.name} answers again\n")
            self._journal.note(self._part.name, "back")

    def _bury(self, now: float, how: str) -> None:
        healthy = self._answered is not None and now - self._answered >= HEALTHY_SECONDS
        self._deaths = 1 if healthy else self._deaths + 1
        delay = min(FIRST_BACK_OFF * 2 ** min(self._deaths - 1, 20), MOST_BACK_OFF)
        self._again = now + delay
        again = f" (death {self._deaths} in a row)" if self._deaths > 1 else ""
        say(f"{FATAL}{self._part.name} {how}; it is started again in {delay:g} s{again}\n")
        self._journal.note(self._part.name, "died", how)

    def _start(self, now: float) -> None:
        self._answered = None
        try:
            self._part.start()
        except PartFailed as failure:
            self._bury(now, str(failure).removeprefix(f"{self._part.name} "))
        else:
            self._again = None


class House:
    """All parts together. Must be used from the main thread: Envoy dies with the thread that started it."""

    def __init__(
        self, *, servers: list[Part], worker: Part, edge: Part, drain_edge: Callable[[], None], journal: Journal
    ) -> None:
        """Take the parts; `drain_edge` makes Envoy accept no new connections."""
        self.servers, self.worker, self.edge, self._drain_edge = servers, worker, edge, drain_edge
        self.parts = [*servers, worker, edge]
        self._journal = journal
        self._guest: subprocess.Popen[bytes] | None = None
        self._asked = 0  # A number, as a signal's handler must take no lock.

    @property
    def stopping(self) -> bool:
        """Whether it was asked to stop."""
        return self._asked > 0

    def ask_to_stop(self) -> None:
        """Have `watch` return; asked again, `stop` waits for nothing more. For handlers of signals."""
        self._asked += 1

    def start(self, *, within: float = START_SECONDS) -> None:
        """Start all parts and return when each answers. Raises PartFailed; then some may run: call `stop`."""
        deadline = time.monotonic() + within
        for part in (*self.servers, self.edge):
            part.start()
        self._await(self.servers, deadline)
        self.worker.start()  # After the servers: it would find nobody, and back off.
        self._await(self.parts, deadline)

    def _await(self, parts: list[Part], deadline: float) -> None:
        while waiting := [part for part in parts if not part.is_ready()]:
            for part in self.parts:
                part.check()
            if self.stopping:
                return
            if time.monotonic() > deadline:
                raise PartFailed(f"{waiting[0].name} does not answer")
            time.sleep(TICK_SECONDS)

    def run_beside(self, command: Sequence[str]) -> None:
        """Run a command that is no part: its end changes nothing, and it is the first to be stopped."""
        self._guest = subprocess.Popen(command, preexec_fn=partial(_die_with, os.getpid()))  # noqa: S603 - ours.

    def watch(self) -> None:
        """Return when asked to stop. Until then, start again whatever part dies."""
        nurses = [Nurse(part, self._journal) for part in self.parts]
        while not self.stopping:
            for nurse in nurses:
                nurse.look()
            if self._guest:
                self._guest.poll()  # Its end is to be noticed by the system, too.
            time.sleep(TICK_SECONDS)

    def stop(self, *, grace: float) -> None:
        """Stop all: no new connections, then the worker, the servers with their calls under way, and Envoy last.

        The worker has this grace (seconds), and then the servers have it; asked to stop again, all are killed at once.
        """
        if self._guest:
            self._dismiss(self._guest)
        if self.edge.runs:
            self._drain_edge()
        self._end([self.worker], grace + SPARE_SECONDS)
        self._end(self.servers, grace + SPARE_SECONDS)
        self._end([self.edge], SPARE_SECONDS)
        flush(within=LAST_SECONDS)

    def _dismiss(self, guest: "subprocess.Popen[bytes]") -> None:
        guest.terminate()
        deadline = time.monotonic() + SPARE_SECONDS
        while guest.poll() is None:
            if self._asked > 1 or time.monotonic() > deadline:
                guest.kill()
                guest.wait()
            time.sleep(TICK_SECONDS)

    def _end(self, parts: list[Part], within: float) -> None:
        for part in parts:
            part.ask_to_stop()
        deadline = time.monotonic() + within
        while running := [part for part in parts if part.runs]:
            hurried = self._asked > 1
            if hurried or time.monotonic() > deadline:
                for part in running:
                    part.kill()
                    say(f"{FATAL}{part.name} {'was' if hurried else 'did not stop in time and was'} killed\n")
                break
            time.sleep(TICK_SECONDS)
        for part in parts:
            part.end()


def _die_with(parent: int) -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # It died before the line above.
        os._exit(1)
