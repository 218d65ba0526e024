"""What all attacks share."""

from __future__ import annotations

import pytest
from sessions import NO_FIREWALL, other_client, other_server


@pytest.fixture(scope="session", autouse=True)
def network() -> None:
    """No host has a firewall but the one that is attacked."""
    for machine in (other_client, other_server):
        machine.load(NO_FIREWALL)
        machine.open = True
