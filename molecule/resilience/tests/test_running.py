"""The role runs again and again, with other settings and over damages, while clients transfer: nothing breaks."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from lab.ftp import address
from lab.hosts import Host
from runs import load
from sites import DAMAGES, Site

TRANSFERS = 20
SLOW = 2
BASE: dict[str, Any] = {"ftp_tls": True, "ftp_passive_ports": "50000:50099"}
# What passes throughout on each server; the other mode comes and goes.
MODES = {
    "resilience-server": "passive",
    "resilience-legacy": "active",
    "resilience-nftables": "active",
    "resilience-firewalld": "passive",
}


@dataclass
class Running:
    """What became of the load on a server, and of the role."""

    server: str
    report: dict[str, Any]
    checksums: dict[str, str]
    changed: list[int]
    lost: dict[str, int]
    seconds: float


def retransmitted(*hosts: Host) -> dict[str, int]:
    """Return how many TCP segments, and SYNs among them, hosts have sent once more."""
    printed = [host.shell.check_output("nstat -asz TcpRetransSegs TcpExtTCPSynRetrans") for host in hosts]
    rows = [line.split() for text in printed for line in text.splitlines()[1:]]
    return {name: sum(int(row[1]) for row in rows if row[0] == name) for name in {row[0] for row in rows}}


def apply(server: Host, client: Host) -> list[int]:
    """Apply the role in every way; return how many tasks changed each time."""
    addresses = [address(client.shell, ip_version) for ip_version in (4, 6)]
    base = {**BASE, "ftp_mode": MODES[server.name]}
    changed = []
    for settings in (
        {},
        {"ftp_control_ports": [21, 2121]},
        {},
        {"ftp_mode": "both"},
        {},
        {"ftp_allowed_addresses": addresses},
        {"ftp_allowed_addresses": ["192.0.2.0/24", *addresses, "2001:db8:2::/48", "203.0.113.0/24"]},
        {"ftp_mode": "both", "ftp_control_ports": [2121, 21], "ftp_allowed_addresses": addresses},
        {},
    ):
        changed.append(server.role(**{**base, **settings}).changed)
    site = Site(server)
    site.run(DAMAGES[site.kind])
    changed += [server.role(**base).changed, server.role(**base).changed]
    return changed


def observe(server: Host, client: Host) -> Running:
    """Apply the role under load."""
    Site(server).load()
    active = MODES[server.name] == "active"
    server.role(**BASE, ftp_mode=MODES[server.name])
    before = retransmitted(client, server)
    with load(client, server, active=active, transfers=TRANSFERS, slow=SLOW) as running:
        start = time.monotonic()
        changed = apply(server, client)
        seconds = time.monotonic() - start
        report = running.stop()
    after = retransmitted(client, server)
    listed = server.shell.check_output("cd /srv/ftp && sha256sum five-megabytes upload/long-* && rm upload/*")
    checksums = {name: checksum for checksum, name in map(str.split, listed.splitlines())}
    lost = {name: after[name] - before[name] for name in after}
    return Running(server.name, report, checksums, changed, lost, seconds)


@pytest.fixture(scope="module")
def observed(sites: list[Host], client: Host, figures: list[str]) -> list[Running]:
    """All servers, two at a time, but firewalld alone: the client's lost packets are its own."""
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda server: observe(server, client), sites[:-1]))
    found.append(observe(sites[-1], client))
    for running in found:
        report = running.report
        figures.append(
            f"{running.server}, {MODES[running.server]}: {len(running.changed)} role runs "
            f"({sum(map(bool, running.changed))} with changes) in {running.seconds:.0f} s, meanwhile "
            f"{len(report['transfers'])} transfers, {len(broken(running))} broken, "
            f"{sum(transfer['size'] for transfer in report['transfers'])} bytes; "
            f"{report['sessions']} sessions, {len(report['failures'])} failed, slowest {report['slowest']:.2f} s, "
            f"{report['slow']} over {SLOW} s; retransmitted {running.lost['TcpRetransSegs']} segments, "
            f"{running.lost['TcpExtTCPSynRetrans']} of them SYNs"
        )
    return found


def broken(running: Running) -> list[str]:
    """Return the transfers that ended early, or with an error or another content."""
    return [
        f"{transfer['name']}: {transfer['error'] or 'ended early, or differs'}"
        for transfer in running.report["transfers"]
        if transfer["error"]
        or transfer["size"] == transfer["size_at_end"]
        or transfer["checksum"] != running.checksums.get(transfer["file"])
    ]


def test_no_transfer_breaks(observed: list[Running]) -> None:
    assert [broken(running) for running in observed] == [[]] * len(observed)


def test_no_session_fails_or_waits_for_a_lost_packet(observed: list[Running]) -> None:
    assert [running.report["failures"] for running in observed] == [[]] * len(observed)
    *others, firewalld = observed
    assert [running.lost["TcpExtTCPSynRetrans"] for running in others] == [0] * len(others)
    # While firewalld reloads, which a change of its files wants, it lets no new connection in.
    assert firewalld.report["slow"] == 0


def test_role_changed_what_differed_and_nothing_else(observed: list[Running]) -> None:
    for running in observed:
        assert [bool(changed) for changed in running.changed] == [False, *[True] * 9, False]
