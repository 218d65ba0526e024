"""FTP that others allow on the same host, and several instances of the role: what any of them allows passes."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from lab.ftp import WAYS, Way
from saved import firewall, planned, text
from sessions import (
    OF_IPTABLES,
    RELATED,
    TOPOLOGIES,
    Machine,
    Session,
    Site,
    client,
    high_ports,
    server,
    volley,
)

# Some of the data connections that are tried together pass, and others do not.
PATIENCE = 2

# What a site that opens active data connections by itself, as a client, has for it.
OWN_CLIENT = [
    "raw -A OUTPUT -p tcp --dport 21 -j CT --helper ftp",
    "filter -A OUTPUT -p tcp --dport 21 -m conntrack --ctstate NEW -j ACCEPT",
]


def passing(ways: Iterable[Way], from_client: Machine = client, to_server: Machine = server) -> set[str]:
    """Return the ways in which data connections pass."""
    found = set()
    for mode in ("active", "passive"):
        chosen = [way for way in ways if way.mode == mode]
        sessions = [Session(way, from_client, to_server).greet() for way in chosen]
        shots = [session.opens(next(high_ports)) for session in sessions]
        for session, shot in zip(sessions, shots):
            session.announce(shot.target, shot.port)
        found |= {str(way) for way, hit in zip(chosen, volley(shots, PATIENCE)) if hit}
        for session in sessions:
            session.close(from_client, reset=True)
    return found


def named(*modes: str) -> set[str]:
    """Return the ways of some modes."""
    return {str(way) for way in WAYS if way.mode in modes}


def steps(site: Site) -> list[list[str]]:
    """Return the rules before the role, after two instances of it, and after the first one has gone."""
    found = [firewall(site, OWN_CLIENT)]
    for inputs in (
        {"ftp_mode": "active"},
        {"ftp_chain_prefix": "MIRROR", "ftp_mode": "passive"},
        {"ftp_mode": "active", "ftp_state": "absent"},
    ):
        found.append(planned(found[-1], TOPOLOGIES[0], **inputs))
    return [text(rules) for rules in found]


@pytest.mark.parametrize("site", OF_IPTABLES, ids=str)
def test_what_any_instance_allows_passes(site: Site) -> None:
    found = []
    for rules in steps(site)[1:]:
        server.guard(rules)
        found.append(passing(WAYS))
    assert found == [named("active"), named("active", "passive"), named("passive")]


def test_what_a_site_allows_itself_as_a_client_passes_beside_a_server() -> None:
    for rules in steps(RELATED):
        server.guard(rules)
        assert passing(WAYS, server, client) == named("active", "passive")
