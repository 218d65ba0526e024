"""The load on the client, and plays that can be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.ftp import address
from lab.hosts import ENVIRONMENT, Host


class Load:
    """Transfers, sessions and probes from a client to a server, until stop()."""

    def __init__(
        self,
        client: Host,
        server: Host,
        *,
        active: bool = False,
        transfers: int = 0,
        interval: float = 0.1,
        closed: tuple[int, ...] = (),
        slow: float = 2,
    ) -> None:
        options = {
            "addresses": {ip_version: address(server.shell, ip_version) for ip_version in (4, 6)},
            "active": active,
            "transfers": transfers,
            "interval": interval,
            "closed": closed,
            "slow": slow,
        }
        self.process = client.program(Path(__file__).parent / "load.py", json.dumps(options))
        assert self.process.stdout
        assert self.process.stdout.readline() == "ready\n"

    def stop(self) -> dict[str, Any]:
        """Let the transfers and sessions end; return the report."""
        return dict(json.loads(self.process.communicate("\n")[0]))


@contextmanager
def load(client: Host, server: Host, **options: Any) -> Iterator[Load]:
    """Run a load in the meantime."""
    running = Load(client, server, **options)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.communicate("\n")


@dataclass(frozen=True)
class Moment:
    """A moment of a play: how many lines it has printed, and how many seconds ago the last one."""

    lines: int
    seconds: float


class Play:
    """A run of the role that can be killed."""

    def __init__(self, host: Host, inputs: dict[str, Any]) -> None:
        self.lines = [(time.monotonic(), "")]
        self.process = subprocess.Popen(
            host.command(**inputs), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT
        )
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self) -> None:
        """Note every line with its time."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append((time.monotonic(), line.rstrip()))

    def wait(self) -> float:
        """Wait for its end; return how long it took."""
        self.process.wait()
        self.reader.join()
        return time.monotonic() - self.lines[0][0]

    def wait_for(self, moment: Moment) -> None:
        """Wait for the moment at which another run stood where this one is to be killed, or for the end."""
        while len(self.lines) < moment.lines and self.process.poll() is None:
            time.sleep(0.002)
        since = self.lines[min(moment.lines, len(self.lines)) - 1][0]
        while len(self.lines) == moment.lines and self.process.poll() is None:
            if time.monotonic() - since >= moment.seconds:
                break
            time.sleep(0.002)

    def moment(self, fraction: float) -> Moment:
        """Return the moment at a fraction of a run that has ended."""
        start, end = self.lines[0][0], self.lines[-1][0]
        at = start + fraction * (end - start)
        before = [number for number, (when, _line) in enumerate(self.lines, 1) if when <= at]
        return Moment(before[-1], at - self.lines[before[-1] - 1][0])

    @property
    def task(self) -> str:
        """The task that it is at, and how many items of it are done."""
        lines = [line for _when, line in self.lines]
        tasks = [number for number, line in enumerate(lines) if line.startswith("TASK [")]
        if not tasks:
            return "start"
        name = lines[tasks[-1]].removeprefix("TASK [").partition("]")[0].removeprefix("hostfw.conntrack.ftp : ")
        done = sum(" => (item=" in line for line in lines[tasks[-1] :])
        return f"{name}, {done} items done" if done else name

    def kill(self) -> bool:
        """Kill it with all its processes here, in whatever session they are; tell whether it had not ended before."""
        alive = self.process.poll() is None
        stopped: list[int] = []
        while True:
            found = [number for number in descendants(self.process.pid) if number not in stopped]
            if not found:
                break
            for number in found:
                send(number, signal.SIGSTOP)
            stopped += found
        for number in stopped:
            send(number, signal.SIGKILL)
        self.wait()
        return alive


def descendants(process: int) -> list[int]:
    """Return a process and all that it has started."""
    found = [process]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(OSError):
                found += map(int, children.read_text(encoding="utf-8").split())
    return found


def send(process: int, number: signal.Signals) -> None:
    """Send a signal, if the process is still there."""
    with suppress(ProcessLookupError):
        os.kill(process, number)
