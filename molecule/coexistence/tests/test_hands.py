"""A host that changes hands: who filters now is opened, and what let FTP through before is cleared away."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab.hosts import FOREIGN
from lab.kinds import NFTABLES, quoted
from program import LAB, UNIT, Program

# What the site has no longer.
GONE = {
    "iptables": """
for program in iptables ip6tables; do
  $program-save | grep -E '^(\\*|COMMIT)|FTP|HOSTFW' > /tmp/ours
  for chain in INPUT FORWARD OUTPUT; do sed -i "s/^\\*filter/&\\n:$chain ACCEPT [0:0]/" /tmp/ours; done
  $program-restore < /tmp/ours
done
""",
    "nftables": "nft delete table inet site",
    "firewalld": "systemctl disable --now firewalld",
}


@pytest.fixture
def host() -> Iterator[Program]:
    """A host without rules; afterwards it is as it was."""
    found = Program("changes hands", LAB.host("host"), units=("firewalld",))
    found.run("cp -r /etc/firewalld /tmp/firewalld", "mkdir -p /etc/firewalld/policies")
    yield found
    found.clean()
    found.run("rm -r /etc/firewalld", "mv /tmp/firewalld /etc/firewalld")


def take_over(host: Program, kind: str) -> None:
    """Let somebody filter."""
    if kind == "iptables":
        host.host.load(FOREIGN)
    elif kind == "nftables":
        # With other rules there: iptables' own tables stay.
        rules = NFTABLES.format(accepted="", nat="").replace("flush ruleset", "")
        host.run(quoted(rules, "/tmp/site.nft"), "nft -f /tmp/site.nft")
    else:
        host.run("systemctl enable --now firewalld")


def ours(host: Program) -> dict[str, bool]:
    """Tell what of the role's is there, for each who can filter."""
    listed = host.run("nft list ruleset")
    return {
        "iptables": bool(host.rules(ours=True)),
        "own tables": "table ip hostfw-FTP" in listed,
        "nftables": "\tchain FTP-IN" in listed.partition("table inet site")[2],
        "firewalld": bool(host.run("ls /etc/firewalld/policies").strip()),
    }


EXPECTED = {
    "iptables": {"iptables"},
    "nftables": {"own tables", "nftables"},
    "firewalld": {"own tables", "firewalld"},
}
OWN = {"nftables-ip", "nftables-ip6"}
STORED = {"iptables": {"iptables", "ip6tables"}, "nftables": {*OWN, "gates"}, "firewalld": OWN}


def test_next_run_opens_the_new_gate_and_clears_the_old_one(host: Program) -> None:
    before = ""
    for kind in ("iptables", "nftables", "firewalld", "iptables", "firewalld", "nftables", "iptables"):
        if before:
            host.run(GONE[before])
        take_over(host, kind)
        host.host.role(ftp_interface="eth0")
        found = host.tried(20)
        host.note(f"from {before or 'nobody'} to {kind}", found)
        assert set(found) == {None}
        assert {name for name, there in ours(host).items() if there} == EXPECTED[kind]
        assert set(host.run("ls /etc/hostfw-conntrack/FTP").split()) == {*STORED[kind], "restore"}
        assert host.run(f"systemctl is-enabled {UNIT}").strip() == "enabled"
        host.finds_nothing_to_do(ftp_interface="eth0")
        before = kind
    host.host.role(ftp_state="absent")
    assert not any(ours(host).values())
    assert host.host.shell.run("ls /etc/hostfw-conntrack").rc != 0
