"""The test hosts."""

from __future__ import annotations

from collections import Counter

import pytest
from lab.hosts import FOREIGN, Host, Lab

# What does not come to iptables.
ONCE = ("bad_input", "warnings_name", "ports_come_from", "default_interface", "says", "away_for_the_moment")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let the two variants of iptables take turns at the cases of a test, and try once what does not come to it."""
    legacy = Lab().scenario == "legacy"
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    cases: Counter[str] = Counter()
    for item in items:
        name, _bracket, case = item.name.partition("[")
        cases[name] += 1
        mine = not legacy if any(word in name for word in ONCE) else not case or cases[name] % 2 == legacy
        (kept if mine else left).append(item)
    config.hook.pytest_deselected(items=left)
    items[:] = kept


@pytest.fixture(scope="session")
def server(lab: Lab) -> Host:
    """The server, which remembers its rules with the role applied."""
    return lab.host("server")


@pytest.fixture
def host(server: Host) -> Host:
    """A server with the foreign rules, and without ours."""
    server.load(FOREIGN)
    return server


@pytest.fixture
def converged(host: Host) -> Host:
    """A server to which the role has been applied."""
    host.converge()
    return host
