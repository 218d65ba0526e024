"""Runs on a server: answers on ports that the firewall closes, and kills what a play runs here."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

HELD = Path("/run/held")
# The server's own, and docker's way into the container.
SPARED = ("vsftpd", "runc")
SECONDS = 120


def processes() -> dict[int, str]:
    """Return the names of the processes by their ids, but of none that has ended, and none that was always there."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            _number, _name, rest = Path(folder, "stat").read_text(encoding="utf-8").partition("(")
        except OSError:
            continue
        name, _end, fields = rest.rpartition(") ")
        number = int(folder.name)
        if number not in ALWAYS and not fields.startswith("Z") and not name.startswith(SPARED):
            found[number] = name
    return found


def kill(seconds: float, name: str, alone: bool = False) -> list[str]:
    """Kill everything that a play runs here, or one program alone, once that program is there; return the names."""
    names: list[str] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        here = processes()
        if names and not (name in here.values() if alone else here):
            break
        if names or name in here.values():
            for number, killed in here.items():
                if not alone or killed == name:
                    with suppress(ProcessLookupError):
                        os.kill(number, signal.SIGKILL)
                        names.append(killed)
        time.sleep(0.002)
    return names


def quiet() -> bool:
    """Wait until nothing of a play runs here any more."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if not processes():
            return True
        time.sleep(0.05)
    return False


def held() -> bool:
    """Wait until a program is held."""
    end = time.monotonic() + SECONDS
    while not HELD.exists() and time.monotonic() < end:
        time.sleep(0.02)
    return HELD.exists()


def answer(ports: list[int]) -> None:
    """Accept connections to ports, always."""
    for port in ports:
        threading.Thread(target=accept, args=(port,), daemon=True).start()


def accept(port: int) -> None:
    """Accept connections to a port."""
    with socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        while True:
            server.accept()[0].close()


ALWAYS = {int(folder.name) for folder in Path("/proc").glob("[0-9]*")}
