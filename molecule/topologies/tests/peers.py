"""Programs on the test hosts that try ports, or hold connections."""

from __future__ import annotations

import json
from typing import Any

OWN = {4: "198.51.100.2", 6: "2001:db8::2"}
OTHER = {4: "198.51.100.64", 6: "2001:db8::64"}

# Which of the ports answer, and how; all are tried at once, some times.
SCAN = """
import errno, json, select, socket, sys, time
source, target, first, last = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
family = socket.AF_INET6 if ":" in target else socket.AF_INET
sockets = {}
for port in range(first, last + 1):
    connection = socket.socket(family)
    connection.setblocking(False)
    connection.bind((source, 0))
    connection.connect_ex((target, port))
    sockets[connection] = port
end = time.monotonic() + 3
found = {}
while sockets and time.monotonic() < end:
    for connection in select.select([], list(sockets), [], 0.2)[1]:
        error = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        found[sockets.pop(connection)] = errno.errorcode.get(error, "open")
print(json.dumps(found))
"""

HOLD = """
import socket, sys, time
connection = socket.create_connection((sys.argv[2], 21), source_address=(sys.argv[1], 0))
print(connection.recv(100).decode(), flush=True)
time.sleep(60)
"""


def start(host: Any, program: str, *words: object) -> str:
    """Run a Python program in the background; return its process id."""
    command = " ".join(map(str, words))
    return str(host.check_output(f"nohup python3 -c %s {command} > /tmp/out 2>&1 & echo $!", program))


def scan(client: Any, source: str, target: str) -> dict[int, str]:
    """Return how each port of the passive range answers to an address of the client."""
    out = client.check_output("python3 -c %s %s %s 50000 50099", SCAN, source, target)
    return {int(port): answer for port, answer in json.loads(out).items()}
