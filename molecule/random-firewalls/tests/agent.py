"""Runs on a test host, its functions called by the tests."""

from __future__ import annotations

import errno
import itertools
import selectors
import socket
import subprocess
import threading
import time


def run(command: str, stdin: str = "") -> list[object]:
    """Run a command; return its exit code, output and errors."""
    done = subprocess.run(["sh", "-c", command], input=stdin, capture_output=True, text=True, check=False)
    return [done.returncode, done.stdout, done.stderr]


def listen(ports: list[int]) -> None:
    """Listen on ports of both IP versions, from now on."""
    for port in ports:
        server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=100)
        threading.Thread(target=accept, args=(server,), daemon=True).start()


def accept(server: socket.socket) -> None:
    """Close each connection at once: those that wait would keep others out when there are many."""
    while True:
        server.accept()[0].close()


def reach(addresses: list[str], ports: list[int], seconds: float, source_ports: tuple[int, ...] = (0,)) -> list[str]:
    """Return those of the ports that answer to a connection from any of some ports, of which 0 is any."""
    found = []
    selector = selectors.DefaultSelector()
    for address, port, source_port in itertools.product(addresses, ports, source_ports):
        tried = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("", source_port))
        except OSError:  # a program has it at present
            continue
        tried.setblocking(False)
        if tried.connect_ex((address, port)) in (0, errno.EINPROGRESS):
            selector.register(tried, selectors.EVENT_WRITE, f"{address} {port}")
    end = time.monotonic() + seconds
    while selector.get_map() and time.monotonic() < end:
        for key, _events in selector.select(end - time.monotonic()):
            if isinstance(key.fileobj, socket.socket):
                if key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    found.append(str(key.data))
                selector.unregister(key.fileobj)
                key.fileobj.close()
    for key in list(selector.get_map().values()):
        if isinstance(key.fileobj, socket.socket):
            key.fileobj.close()
    return found
