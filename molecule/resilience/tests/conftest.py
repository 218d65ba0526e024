"""The test hosts."""

from __future__ import annotations

import pytest
from lab.hosts import Host, Lab


@pytest.fixture(scope="session")
def servers(lab: Lab) -> list[Host]:
    """The servers, one for each variant of iptables."""
    return [lab.host("server"), lab.host("legacy")]


@pytest.fixture(scope="session")
def sites(servers: list[Host], lab: Lab) -> list[Host]:
    """The same, and one for each other kind of site."""
    return [*servers, lab.host("nftables"), lab.host("firewalld")]
