"""A process that has imported the house and forks its commands: one starts in some milliseconds, not in a second.

`Nursery` is its handle. What it forks runs the real command in a process of its own, and dies with it.
"""

import ctypes
import faulthandler
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

PR_SET_PDEATHSIG = 1


class Nursery:
    """The process, until `close`."""

    def __init__(self) -> None:
        root = Path(__file__).parents[2]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.nursery"],
            cwd=root,
            env=os.environ | {"PYTHONPATH": f"{root}:{root / 'gen' / 'python'}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, *arguments: str, environment: dict[str, str], folder: Path, log: Path) -> int:
        """Start `taskhouse …` in a folder and return its pid. What it prints goes to the log."""
        return self._order(arguments=arguments, environment=environment, folder=str(folder), log=str(log))

    def wait(self, pid: int) -> int:
        """Return the exit code of what was started, after its end."""
        return self._order(wait=pid)

    def _order(self, **order: object) -> int:
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it, and with it all that still runs."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def _serve() -> None:
    from server.cli import datasets, edge, keys, main, orgs, serve, tokens, work  # noqa: F401 - before it forks.

    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            answer = os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])
        elif not (answer := os.fork()):
            _become(main.main, **order)  # It never returns.
        print(answer, flush=True)


def _become(
    main: Callable[[], None], *, arguments: list[str], environment: dict[str, str], folder: str, log: str
) -> None:
    os.environ.update(environment)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    os.chdir(folder)
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number, file in ((0, os.open(os.devnull, os.O_RDONLY)), (1, written), (2, written)):
        os.dup2(file, number)
    faulthandler.register(signal.SIGQUIT, sys.__stderr__)  # It can be asked where it hangs.
    sys.argv = ["taskhouse", *arguments]
    sys.path.insert(0, folder)
    code = 1
    try:
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
