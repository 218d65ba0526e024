"""On a server: answers on ports that the firewall closes, and kills what a play runs here.

Its arguments are the ports. It reads a command a line, and prints JSON.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
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


def kill(seconds: str, name: str, alone: str = "") -> list[str]:
    """Kill everything that a play runs here, or one program alone, once that program is there; return the names."""
    names: list[str] = []
    end = time.monotonic() + float(seconds)
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


def answer(port: int) -> None:
    """Accept connections to a port, always."""
    with socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        while True:
            server.accept()[0].close()


COMMANDS: dict[str, Callable[..., object]] = {"kill": kill, "quiet": quiet, "held": held}
ALWAYS = {int(folder.name) for folder in Path("/proc").glob("[0-9]*")}
for word in sys.argv[1:]:
    threading.Thread(target=answer, args=(int(word),), daemon=True).start()
print(json.dumps("ready"), flush=True)
for command in sys.stdin:
    function, *arguments = command.split()
    print(json.dumps(COMMANDS[function](*arguments)), flush=True)
