"""Load on an FTP server, run on the client: long transfers, a stream of sessions, and probes of closed ports.

Its argument is JSON:
- addresses: the server's, by IP version
- active: whether the data connections are active ones
- transfers: how many transfers last until the end; the last fifth are FTPS
- interval: seconds from one session's start to the next one's
- closed: ports at which nothing may answer
- slow: after how many seconds a session counts as slow

It prints "ready" when all transfers move, ends on a line of its input, and prints JSON.
"""

from __future__ import annotations

import ftplib
import hashlib
import io
import itertools
import json
import os
import select
import socket
import sys
import threading
import time
from typing import Any

# How long an operation may hang; how long a probe waits, which is less than TCP does before it sends a SYN again.
SECONDS = 30
PROBE_SECONDS = 0.3
PROBE_INTERVAL = 0.01
# The pace of the long transfers: they move 4 kB/s, so that five megabytes last for twenty minutes.
BLOCK = 2048
PAUSE = 0.5
LISTED = 100

OPTIONS: dict[str, Any] = json.loads(sys.argv[1])
ADDRESSES: list[str] = [OPTIONS["addresses"][ip_version] for ip_version in ("4", "6")]
ended = threading.Event()


class Narrow(ftplib.FTP):
    """A session that reads ahead but little, so that a slow download is slow for the server, too."""

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int]:
        """Open a data connection with a small buffer."""
        connection, size = super().ntransfercmd(cmd, rest)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        return connection, size or 0


class NarrowTls(Narrow, ftplib.FTP_TLS):
    """The same with TLS on both connections."""


class Transfer(threading.Thread):
    """A download or an upload that lasts until the end."""

    def __init__(self, number: int) -> None:
        super().__init__(daemon=True)
        upload, ip_version = number % 2, number // 2 % 2
        self.address = ADDRESSES[ip_version]
        self.upload = f"upload/long-{number}-{time.time_ns()}" if upload else ""
        self.tls = number >= OPTIONS["transfers"] * 4 // 5
        self.moving = threading.Event()
        self.found = {
            "name": " ".join([self.upload or "five-megabytes", self.address, "FTPS" if self.tls else "FTP"]),
            "file": self.upload or "five-megabytes",
            "size": 0,
            "size_at_end": 0,
            "error": "",
        }
        self.checksum = hashlib.sha256()

    def run(self) -> None:
        """Transfer."""
        try:
            with (NarrowTls if self.tls else Narrow)(self.address, timeout=SECONDS) as session:
                session.login()
                if isinstance(session, NarrowTls):
                    session.prot_p()
                session.set_pasv(not OPTIONS["active"])
                if self.upload:
                    content = io.BytesIO(os.urandom(5_000_000))
                    session.storbinary(f"STOR {self.upload}", content, BLOCK, self.moved)
                else:
                    session.retrbinary("RETR five-megabytes", self.moved, BLOCK)
        except ftplib.all_errors as exc:
            self.found["error"] = repr(exc)
        self.moving.set()
        self.found["checksum"] = self.checksum.hexdigest()

    def moved(self, block: bytes) -> None:
        """Note a block that has been sent or received, and wait before the next one, until the end."""
        self.checksum.update(block)
        self.found["size"] += len(block)
        self.moving.set()
        if not ended.is_set():
            self.found["size_at_end"] = self.found["size"]
            ended.wait(PAUSE)


class Sessions(threading.Thread):
    """Sessions, each with a listing or an upload, over IPv4 and IPv6 in turn."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seconds: list[float] = []
        self.failures: list[str] = []

    def run(self) -> None:
        """Start one after the other, whether those before have ended or not."""
        threads = []
        start = time.monotonic()
        for number in itertools.count():
            if ended.wait(max(0, start + number * OPTIONS["interval"] - time.monotonic())):
                break
            threads.append(threading.Thread(target=self.session, args=(number,), daemon=True))
            threads[-1].start()
        for thread in threads:
            thread.join()

    def session(self, number: int) -> None:
        """Hold a session."""
        address, upload = ADDRESSES[number % 2], number // 2 % 2
        start = time.monotonic()
        doing = "connect"
        try:
            with Narrow(address, timeout=SECONDS) as session:
                doing = "log in"
                session.login()
                session.set_pasv(not OPTIONS["active"])
                doing = "upload" if upload else "list"
                if upload:
                    session.storbinary(f"STOR upload/short-{number}-{time.time_ns()}", io.BytesIO(bytes(5000)))
                else:
                    lines: list[str] = []
                    session.retrlines("LIST many", lines.append)
                    if len(lines) != LISTED:
                        self.failures.append(f"{address}: {len(lines)} lines listed")
        except ftplib.all_errors as exc:
            self.failures.append(f"{address}: {doing}: {exc!r} after {time.monotonic() - start:.1f} s")
        self.seconds.append(time.monotonic() - start)


class Probes(threading.Thread):
    """Connections to closed ports, many in each second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.tried = 0
        self.answered: list[str] = []

    def run(self) -> None:
        """Open them, and wait for each a moment."""
        targets = itertools.cycle(itertools.product(ADDRESSES, OPTIONS["closed"]))
        waiting: dict[int, tuple[float, socket.socket, tuple[str, int]]] = {}
        poll = select.poll()
        while not ended.wait(PROBE_INTERVAL):
            for target in itertools.islice(targets, len(ADDRESSES) * len(OPTIONS["closed"])):
                probe = socket.socket(socket.AF_INET6 if ":" in target[0] else socket.AF_INET)
                probe.setblocking(False)
                probe.connect_ex(target)
                poll.register(probe, select.POLLOUT)
                waiting[probe.fileno()] = time.monotonic(), probe, target
                self.tried += 1
            for number, _event in poll.poll(0):
                _start, probe, (address, port) = waiting[number]
                error = probe.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                self.answered.append(f"{address} {port}: error {error}" if error else f"{address} {port}: connected")
                self.close(poll, waiting.pop(number)[1])
            for number, (start, probe, _target) in list(waiting.items()):
                if time.monotonic() - start < PROBE_SECONDS:
                    break
                self.close(poll, probe)
                del waiting[number]

    def close(self, poll: select.poll, probe: socket.socket) -> None:
        """End a probe."""
        poll.unregister(probe)
        probe.close()


def main() -> None:
    """Run until there is a line to read, or its end."""
    start = time.monotonic()
    transfers = [Transfer(number) for number in range(OPTIONS["transfers"])]
    for transfer in transfers:
        transfer.start()
    for transfer in transfers:
        transfer.moving.wait()
    sessions, probes = Sessions(), Probes()
    sessions.start()
    if OPTIONS["closed"]:
        probes.start()
    print("ready", flush=True)
    sys.stdin.readline()
    ended.set()
    for thread in [*transfers, sessions, *([probes] if OPTIONS["closed"] else [])]:
        thread.join()
    report = {
        "seconds": time.monotonic() - start,
        "transfers": [transfer.found for transfer in transfers],
        "sessions": len(sessions.seconds),
        "failures": sessions.failures,
        "slowest": max(sessions.seconds),
        "slow": sum(seconds > OPTIONS["slow"] for seconds in sessions.seconds),
        "probes": probes.tried,
        "answered": probes.answered,
    }
    print(json.dumps(report), flush=True)


main()
