"""The test hosts of the scenario that is being verified."""

from __future__ import annotations

import os
from typing import Any

import pytest
import testinfra
from testinfra.utils.ansible_runner import AnsibleRunner

inventory = AnsibleRunner(os.environ["MOLECULE_INVENTORY_FILE"])


def hosts(group: str) -> list[str]:
    """Return the names of the test hosts of a group."""
    return sorted(inventory.get_hosts(group))


@pytest.fixture(scope="session", params=hosts("servers"))
def server(request: pytest.FixtureRequest) -> Any:
    """A server behind the firewall."""
    return testinfra.get_host(f"docker://{request.param}")


@pytest.fixture(scope="session")
def settings(server: Any) -> dict[str, Any]:
    """The inventory's variables of the server."""
    return dict(inventory.get_variables(server.backend.name))


@pytest.fixture(scope="session")
def client() -> Any:
    """A client without a firewall."""
    return testinfra.get_host(f"docker://{hosts('clients')[0]}")


@pytest.fixture(scope="session")
def router() -> Any:
    """A router with a narrow link to the client."""
    return testinfra.get_host(f"docker://{hosts('routers')[0]}")
