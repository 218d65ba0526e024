"""The test hosts' side of the tests: the load on the client."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ftp import address
from role import Host

LOAD = (Path(__file__).parent / "load.py").read_text(encoding="utf-8")


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
        self.process = subprocess.Popen(
            ["docker", "exec", "--interactive", client.name, "python3", "-c", LOAD, json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
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
