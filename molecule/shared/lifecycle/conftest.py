"""The test hosts."""

from __future__ import annotations

from typing import Any

import pytest
import testinfra
from role import OTHERS, SCENARIO, Host


@pytest.fixture(scope="session")
def server() -> tuple[Host, list[str]]:
    """The server, and its rules with the role applied."""
    host = Host(f"{SCENARIO}-server")
    host.load(OTHERS)
    host.role()
    return host, host.save()


@pytest.fixture
def host(server: tuple[Host, list[str]]) -> Host:
    """A server with the rules of others, and without ours."""
    server[0].load(OTHERS)
    return server[0]


@pytest.fixture
def converged(server: tuple[Host, list[str]]) -> Host:
    """A server to which the role has been applied."""
    server[0].load(server[1])
    return server[0]


@pytest.fixture(scope="session")
def router() -> Host:
    """A router between the server and an address of the client."""
    return Host(f"{SCENARIO}-router")


@pytest.fixture(scope="session")
def client() -> Any:
    """A client without a firewall."""
    return testinfra.get_host(f"docker://{SCENARIO}-client")
