"""TCP between the test hosts."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lab.ftp import address

LISTENER = """
import socket
with socket.create_server(("::", {port}), family=socket.AF_INET6, dualstack_ipv6=True) as server:
    server.settimeout(60)
    while True:
        server.accept()[0].close()
"""

CONNECT = """
import socket, sys
family = socket.AF_INET6 if ":" in "{address}" else socket.AF_INET
with socket.socket(family) as connection:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    connection.bind(("", {source_port}))
    connection.settimeout({seconds})
    try:
        connection.connect(("{address}", {port}))
    except TimeoutError:
        sys.exit("timed out")
    print("connected")
"""


def python(host: Any, program: str, **values: object) -> Any:
    """Run a Python program on a test host."""
    return host.run("python3 -c %s", textwrap.dedent(program.format(**values)))


def wait_for_sockets(host: Any, state: str, condition: str) -> None:
    """Wait until a test host has a TCP socket in a state that meets one of ss's conditions."""
    for _attempt in range(100):
        if host.check_output(f"ss --no-header --numeric --tcp state {state} '{condition}'"):
            return
        time.sleep(0.1)
    raise AssertionError(f"no socket: {state} {condition}")


@contextmanager
def background(host: Any, command: str, *values: object) -> Iterator[None]:
    """Run a command on a test host in the meantime."""
    process = host.check_output(f"nohup {command} > /dev/null 2>&1 & echo $!", *values)
    try:
        yield
    finally:
        host.run(f"kill {process}")


@contextmanager
def listener(host: Any, port: int) -> Iterator[None]:
    """Listen on a TCP port of a test host."""
    with background(host, "python3 -c %s", LISTENER.format(port=port)):
        wait_for_sockets(host, "listening", f"sport = :{port}")
        yield


def reaches(client: Any, server: Any, ip_version: int, port: int, source_port: int = 0, seconds: int = 1) -> bool:
    """Tell whether a TCP connection from the client to a listening port of the server comes about."""
    result = python(
        client, CONNECT, address=address(server, ip_version), port=port, source_port=source_port, seconds=seconds
    )
    assert result.stdout == "connected\n" or result.stderr == "timed out\n", result
    return bool(result.stdout)
