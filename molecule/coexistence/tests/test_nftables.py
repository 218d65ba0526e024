"""Hosts whose own firewall is native nftables rules: the same inputs, and the same promises."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
from lab.ftp import BLOCKED_SECONDS, OPERATIONS, SECONDS, WAYS, site, transfers
from lab.hosts import LOOK
from lab.kinds import listed, quoted
from program import BEHIND, CLIENT, LAB, SERVER, Program

NEIGHBOURS = "meta l4proto ipv6-icmp accept"
# As people write them: what drops is a policy, a last rule, another chain, a verdict map, and stands before routing.
SITES = {
    "policy": f"""
table inet filter {{
  chain input {{
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    iif lo accept
    {NEIGHBOURS}
    tcp dport 22 ct state new accept
  }}
  chain output {{
    type filter hook output priority filter; policy drop;
    ct state established accept
    oif lo accept
    {NEIGHBOURS}
  }}
}}
""",
    "last rule": """
table ip filter {
  set bans { type ipv4_addr; elements = { 192.0.2.66 } }
  chain input {
    type filter hook input priority 0;
    ip saddr @bans drop
    iif lo accept
    counter log prefix "drop: " drop
  }
}
table ip6 filter {
  chain end_of_it {
    log prefix "reject: " reject
  }
  chain input {
    type filter hook input priority 0;
    iif lo accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    jump end_of_it
  }
}
""",
    "verdict maps": f"""
table inet site {{
  chain from_outside {{
    {NEIGHBOURS}
    tcp dport vmap {{ 22 : accept, 80 : accept }}
    drop
  }}
  chain entry {{
    type filter hook input priority 10; policy accept;
    ct state vmap {{ established : accept, invalid : drop }}
    iifname vmap {{ "lo" : accept, "eth0" : jump from_outside }}
  }}
}}
""",
    "before routing": f"""
table inet early {{
  chain pre {{
    type filter hook prerouting priority -160; policy drop;
    iif lo accept
    {NEIGHBOURS}
    tcp dport 22 accept
  }}
}}
""",
}

# Beside the server's sites: what is forwarded, or opened by the host itself, is dropped in both directions.
SIDES = {
    "forward": f"""
table inet filter {{
  chain forward {{
    type filter hook forward priority filter; policy drop;
    {NEIGHBOURS}
    ct state established,related accept
    counter reject
  }}
}}
""",
    "strict": f"""
table inet filter {{
  chain input {{
    type filter hook input priority filter; policy drop;
    iif lo accept
    {NEIGHBOURS}
  }}
  chain output {{
    type filter hook output priority filter; policy drop;
    oif lo accept
    {NEIGHBOURS}
  }}
}}
""",
}


@pytest.fixture(params=SITES)
def host(request: pytest.FixtureRequest) -> Iterator[Program]:
    """A host whose firewall is in /etc/nftables.conf; afterwards it is as it was."""
    found = Program(f"nftables, {request.param}", LAB.host("host"), units=("nftables",))
    found.run(
        "cp -n /etc/nftables.conf /etc/nftables.conf.orig",
        quoted(f"flush ruleset\n{(SITES | SIDES)[request.param]}", "/etc/nftables.conf"),
        "systemctl restart nftables",
    )
    before = listed(found.host.shell)
    yield found
    found.host.role(ftp_state="absent")
    after = listed(found.host.shell)
    found.clean()
    found.run("mv /etc/nftables.conf.orig /etc/nftables.conf")
    assert after == before
    assert found.host.shell.run("ls /etc/hostfw-conntrack").rc != 0


def passing(host: Program, event: str, modes: tuple[str, ...] = ("passive", "active"), **inputs: object) -> None:
    """Run the role, and check that the modes pass and no other, and that a second run finds nothing to do."""
    host.host.role(**inputs)
    keys = list(product(WAYS, OPERATIONS))
    found = transfers(CLIENT, host.host.shell, keys, SECONDS, site(host.host.shell))
    host.note(event, found.values())
    assert {way.mode for (way, _operation), error in found.items() if error is None} == set(modes)
    assert {way.mode for (way, _operation), error in found.items() if error is not None} == (
        {"passive", "active"} - set(modes)
    )
    host.finds_nothing_to_do(**inputs)


def test_ftp_passes_where_nftables_filters(host: Program) -> None:
    host.blocked("systemctl start nftables")
    passing(host, "role")
    assert not host.rules(ours=True)  # none of iptables
    host.run("systemctl restart nftables")
    host.passes("systemctl restart nftables, whose file flushes all")
    host.run("systemctl reload nftables")
    host.passes("systemctl reload nftables")


@pytest.mark.parametrize("host", ["policy"], indirect=True)
def test_only_the_mode_asked_for_passes(host: Program) -> None:
    # The site accepts RELATED first.
    passing(host, "role, ftp_mode passive", ("passive",), ftp_mode="passive")
    passing(host, "role, ftp_mode active", ("active",), ftp_mode="active")


@pytest.mark.parametrize("host", ["policy"], indirect=True)
def test_rules_that_were_saved_with_earlier_inputs_count_no_more(host: Program) -> None:
    host.host.role()
    host.run("(echo flush ruleset; nft list ruleset) > /etc/nftables.conf")
    host.host.role(ftp_mode="passive")
    assert host.modes() == {"passive"}
    host.run("systemctl restart nftables")
    assert host.modes() == {"passive"}


@pytest.mark.parametrize("host", ["policy"], indirect=True)
def test_what_any_instance_allows_passes(host: Program) -> None:
    host.any_instance_allows()


@pytest.mark.parametrize("host", ["policy"], indirect=True)
def test_run_whose_probe_fails_is_rolled_back(host: Program) -> None:
    host.rolls_back()


@pytest.mark.parametrize("host", ["forward"], indirect=True)
def test_ftp_passes_through_a_gateway(host: Program) -> None:
    host.at, host.server = BEHIND, SERVER
    host.blocked("gateway, systemctl start nftables")
    gateway = {"ftp_side": "gateway", "ftp_interface": "eth0", "ftp_out_interface": "eth1"}
    host.host.role(**gateway)
    host.passes("gateway, role")
    host.run("systemctl restart nftables")
    host.passes("gateway, systemctl restart nftables")
    host.host.role(**gateway, ftp_mode="passive")
    assert host.modes() == {"passive"}


@pytest.mark.parametrize("host", ["strict"], indirect=True)
def test_ftp_passes_from_a_client(host: Program) -> None:
    # Nothing answers, or the host itself says that it may not.
    assert None not in host.as_client(BLOCKED_SECONDS)
    host.host.role(ftp_side="client", ftp_interface="eth1")
    assert host.as_client(SECONDS) == {None}
    assert host.host.role(ftp_side="client", ftp_interface="eth1").changed == 0


@pytest.mark.parametrize("host", ["strict"], indirect=True)
def test_ftps_passes_for_those_who_hold_a_control_connection(host: Program) -> None:
    host.host.role(ftp_tls=True, ftp_passive_ports="50000:50099", ftp_mode="passive")
    host.lets_ftps_in_for_live_peers_only()


@pytest.mark.parametrize("host", ["policy"], indirect=True)
def test_ftp_check_says_why_ftp_hangs_and_that_it_passes(host: Program) -> None:
    host.verdict("Everything hangs, or the control connection works and nothing else")
    host.host.role()
    host.is_well()


@pytest.mark.parametrize("host", ["policy"], indirect=True)
def test_dry_run_shows_it_and_changes_nothing(host: Program) -> None:
    before = listed(host.host.shell)
    run = host.host.attempt("--check", "--diff")
    assert not run.error
    assert listed(host.host.shell) == before
    assert "+table ip hostfw-FTP {" in run.result(LOOK)["diff"]["prepared"]
    assert run.result(LOOK)["gates"] == ["nftables inet filter input", "nftables inet filter output"]
