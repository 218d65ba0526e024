"""The test hosts, and the figures that stand in the summary."""

from __future__ import annotations

import pytest
from lab.hosts import Host, Lab

FIGURES = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Have a place for the figures."""
    config.stash[FIGURES] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the figures."""
    if config.stash[FIGURES]:
        terminalreporter.section("figures")
    for line in config.stash[FIGURES]:
        terminalreporter.line(line)


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> list[str]:
    """Lines for the summary."""
    return pytestconfig.stash[FIGURES]


@pytest.fixture(scope="session")
def lab() -> Lab:
    """The hosts that Molecule is about to verify."""
    return Lab()


@pytest.fixture(scope="session")
def client(lab: Lab) -> Host:
    """A client without a firewall."""
    return lab.host("client")


@pytest.fixture(scope="session")
def router(lab: Lab) -> Host:
    """A router between the server and an address of the client."""
    return lab.host("router")
