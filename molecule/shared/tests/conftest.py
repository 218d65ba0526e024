"""The servers of the scenario that is being verified."""

from __future__ import annotations

from typing import Any

import pytest
from lab.hosts import Host, Lab
from testinfra.utils.ansible_runner import AnsibleRunner

inventory = AnsibleRunner(Lab().inventory)


@pytest.fixture(scope="session", params=sorted(inventory.get_hosts("servers")))
def server(request: pytest.FixtureRequest, lab: Lab) -> Host:
    """A server behind the firewall."""
    return Host(lab, request.param)


@pytest.fixture(scope="session")
def settings(server: Host) -> dict[str, Any]:
    """The inventory's variables of the server."""
    return dict(inventory.get_variables(server.name))
