"""The test hosts."""

from __future__ import annotations

import pytest
from lab.hosts import Host, Lab


@pytest.fixture(scope="session")
def servers(lab: Lab) -> list[Host]:
    """The servers, one for each variant of iptables."""
    return [lab.host("server"), lab.host("legacy")]
