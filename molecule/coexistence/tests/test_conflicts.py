"""What drops only some, or elsewhere, is no conflict."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab.hosts import FOREIGN
from lab.kinds import quoted
from program import LAB, Program

ELSEWHERE = """
systemd-run --unit elsewhere --property PrivateNetwork=yes dbus-run-session -- \
  sh -c 'DBUS_SYSTEM_BUS_ADDRESS=$DBUS_SESSION_BUS_ADDRESS exec firewalld --nofork --nopid'
until nsenter --net=/proc/$(pgrep -x firewalld)/ns/net nft list table inet firewalld > /dev/null; do sleep 0.1; done
"""
# Bans of fail2ban, and a chain that a policy leaves open.
HARMLESS = """
table inet f2b-table {
  set bans { type ipv4_addr; elements = { 192.0.2.66 } }
  chain f2b-chain {
    type filter hook input priority filter - 1; policy accept
    tcp dport 21 ip saddr @bans reject
  }
}
"""


@pytest.fixture
def host() -> Iterator[Program]:
    """A host without rules."""
    found = Program("", LAB.host("host"), units=("elsewhere",))
    yield found
    found.clean()


def test_what_drops_only_some_is_no_conflict(host: Program) -> None:
    host.name = "no conflict"
    host.host.load(FOREIGN)
    host.run(quoted(HARMLESS, "/tmp/harmless.nft"), "nft -f /tmp/harmless.nft", ELSEWHERE)
    host.others = host.rules(ours=False)
    host.blocked("bans by nft, firewalld in another network namespace")
    host.role()
    host.passes("role")
