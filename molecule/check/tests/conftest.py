"""The server, as it is to be before each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab.ftp import configure
from lab.hosts import FOREIGN, OPEN, Host, Lab


@pytest.fixture(scope="session")
def ftp(lab: Lab) -> Host:
    """The server."""
    return lab.host("server")


@pytest.fixture
def server(ftp: Host, client: Host) -> Iterator[Host]:
    """A server with the foreign rules, and vsftpd as it was; the client has no rules."""
    ftp.load(FOREIGN)
    yield ftp
    configure(ftp.shell)
    client.load(OPEN)
