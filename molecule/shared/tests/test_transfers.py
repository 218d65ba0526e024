"""What passes and what does not, by packets."""

from __future__ import annotations

import time
from itertools import product
from typing import Any

import pytest
from lab.ftp import (
    BLOCKED_SECONDS,
    OPERATIONS,
    SECONDS,
    WAYS,
    Way,
    address,
    narrow_status,
    narrow_transfer,
    transfers,
)
from lab.hosts import Host
from lab.sockets import background, listener, reaches, wait_for_sockets

SESSION = """
import ftplib, time
session = ftplib.FTP("{address}", timeout=10)
session.login()
time.sleep(20)
"""


@pytest.fixture(scope="session")
def attempts(server: Host, client: Host, settings: dict[str, Any]) -> dict[tuple[Way, str], str | None]:
    """What became of each operation in each way."""
    found = {}
    for passes, seconds in ((True, SECONDS), (False, BLOCKED_SECONDS)):
        ways = [way for way in WAYS if (settings["ftp_mode"] in (way.mode, "both")) is passes]
        if ways:
            found.update(transfers(client.shell, server.shell, product(ways, OPERATIONS), seconds))
    return found


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_transfer_passes_in_the_modes_asked_for_and_in_no_other(
    attempts: dict[tuple[Way, str], str | None], settings: dict[str, Any], way: Way, operation: str
) -> None:
    failure = attempts[way, operation]
    if settings["ftp_mode"] in (way.mode, "both"):
        assert failure is None
    else:
        assert failure is not None
        assert "curl: (28)" in failure, "it failed, but not by waiting for the data connection"
        assert "(0 bytes arrived)" in failure, "it was slow, but passed"


def test_others_ports_stay_reachable(server: Host, client: Host) -> None:
    with listener(server.shell, 22):
        assert reaches(client.shell, server.shell, 4, 22, seconds=10)
        assert reaches(client.shell, server.shell, 6, 22, seconds=10)


@pytest.mark.parametrize("ip_version", [4, 6])
@pytest.mark.parametrize("source_port", [0, 20, 21])
def test_port_that_no_session_announced_stays_closed(
    server: Host, client: Host, ip_version: int, source_port: int
) -> None:
    session = SESSION.format(address=address(server.shell, ip_version))
    with listener(server.shell, 34567), background(client.shell, "python3 -c %s", session):
        wait_for_sockets(server.shell, "established", "sport = :21")
        assert not reaches(client.shell, server.shell, ip_version, 34567, source_port)


IRC_SERVER = """
import socket
with socket.create_server(("", 6667)) as server:
    server.settimeout(20)
    connection = server.accept()[0]
    connection.recv(1000)
    connection.recv(1000)
"""

# The helper takes an offer for real only from the address of the connection (nf_conntrack_irc.c).
IRC_CLIENT = """
import ipaddress, socket, time
connection = socket.create_connection(("{peer}", 6667), timeout=5)
own = int(ipaddress.ip_address(connection.getsockname()[0]))
connection.sendall(f"PRIVMSG bob :\\x01DCC SEND file {{own}} 5555 100\\x01\\r\\n".encode())
time.sleep(15)
"""


def test_port_that_another_helper_expects_stays_closed(server: Host, client: Host) -> None:
    def announced() -> int:
        rules = server.shell.check_output("iptables -L INPUT --numeric --verbose --exact")
        return int(next(line for line in rules.splitlines() if "announced by IRC" in line).split()[0])

    with listener(server.shell, 5555), background(client.shell, "python3 -c %s", IRC_SERVER):
        wait_for_sockets(client.shell, "listening", "sport = :6667")
        with background(server.shell, "python3 -c %s", IRC_CLIENT.format(peer=address(client.shell, 4))):
            wait_for_sockets(client.shell, "established", "sport = :6667")
            time.sleep(0.5)
            before = announced()
            assert not reaches(client.shell, server.shell, 4, 5555)
            assert announced() > before, "the connection was not one that the helper expected"


def test_path_mtu_is_discovered(server: Host, client: Host, router: Host, settings: dict[str, Any]) -> None:
    ways = [way for way in WAYS if settings["ftp_mode"] in (way.mode, "both")]
    hosts = client.shell, server.shell, router.shell
    found = {str(way): narrow_transfer(*hosts, way) for way in ways}
    found |= {f"control IPv{version}": narrow_status(*hosts, version) for version in (4, 6)}
    assert set(found.values()) == {None}, found
