"""Runs the parts of a house on one machine until asked to stop, or until one dies."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

FATAL = "taskhouse: "  # How every command of the house begins the one line that says why it ends.
TICK_SECONDS = 0.05
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class PartFailed(Exception):
    """A part could not start, or died. The text says which, and why."""


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
        """Start the process. It is told to stop when this one dies, however that happens."""
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
                preexec_fn=_die_with_parent,
            )
        except OSError as error:
            raise PartFailed(f"{self.name} cannot start: {error}") from error
        self._pump(self.process.stdout, self._hear)
        self._pump(self.process.stderr, self._forward)

    def _pump(self, stream: IO[str] | None, take: Callable[[str], None]) -> None:
        def run() -> None:
            for line in stream or ():
                take(line)

        pump = threading.Thread(target=run, name=f"{self.name} output", daemon=True)
        pump.start()
        self.pumps.append(pump)

    def _hear(self, line: str) -> None:
        if line.rstrip("\n") == self.ready_line:
            self.ready.set()
        else:
            self._forward(line)

    def _forward(self, line: str) -> None:
        if line.startswith(FATAL):
            self.reason = line.removeprefix(FATAL).strip()
            return
        if "[critical]" in line:  # Envoy's last words.
            self.reason = line.split("] ", 4)[-1].strip()
        sys.stderr.write(line)
        sys.stderr.flush()

    def is_ready(self) -> bool:
        """Say whether it answers."""
        if self.answers and not self.ready.is_set() and self.answers():
            self.ready.set()
        return self.ready.is_set()

    def check(self) -> None:
        """Raise PartFailed if it has ended."""
        if self.process is None or (code := self.process.poll()) is None:
            return
        for pump in self.pumps:
            pump.join(timeout=1)
        ended = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        raise PartFailed(f"{self.name} {ended}" + (f": {self.reason}" if self.reason else ""))

    def ask_to_stop(self) -> None:
        """Send SIGTERM, if it runs."""
        if self.process and self.process.poll() is None:
            self.process.terminate()

    def wait_or_kill(self, deadline: float) -> None:
        """Wait for its end until the deadline (of time.monotonic); then kill it."""
        if not self.process:
            return
        try:
            self.process.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            print(f"{FATAL}{self.name} did not stop in time and was killed", file=sys.stderr)
            self.process.kill()
            self.process.wait()


class House:
    """All parts together. Must be used from the main thread: Envoy dies with the thread that started it."""

    def __init__(self, *, servers: list[Part], worker: Part, edge: Part, drain_edge: Callable[[], None]) -> None:
        """Take the parts; `drain_edge` makes Envoy accept no new connections."""
        self.servers, self.worker, self.edge, self._drain_edge = servers, worker, edge, drain_edge
        self.parts = [*servers, worker, edge]
        self.stopping = threading.Event()

    def start(self, *, within: float) -> None:
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
            if self.stopping.wait(TICK_SECONDS):
                return
            if time.monotonic() > deadline:
                raise PartFailed(f"{waiting[0].name} does not answer")

    def watch(self) -> None:
        """Return when asked to stop. Raises PartFailed as soon as a part has died."""
        while not self.stopping.wait(TICK_SECONDS * 2):
            for part in self.parts:
                part.check()

    def stop(self, *, grace: float) -> None:
        """Stop all: no new connections, then the worker, the servers with their calls under way, and Envoy last."""
        deadline = time.monotonic() + grace + 2
        if self.edge.process and self.edge.process.poll() is None:
            self._drain_edge()
        self.worker.ask_to_stop()
        self.worker.wait_or_kill(deadline)
        for server in self.servers:
            server.ask_to_stop()
        for server in self.servers:
            server.wait_or_kill(deadline)
        self.edge.ask_to_stop()
        self.edge.wait_or_kill(deadline + 2)


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == 1:  # It died before the line above.
        os._exit(1)
