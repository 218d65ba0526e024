"""Hosts on which firewalld filters: the same inputs, and the same promises."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ansible_collections.hostfw.conntrack.plugins.module_utils._diagnosis._findings import Finding
from lab.ftp import BLOCKED_SECONDS, SECONDS, address
from lab.hosts import LOOK
from lab.kinds import EGRESS, quoted, state
from lab.verdict import check
from program import BEHIND, CLIENT, LAB, SERVER, ZONED, Program


@pytest.fixture
def firewalld() -> Iterator[Program]:
    """A host with firewalld, its interfaces in zones of their own; afterwards it is as it was."""
    found = Program("firewalld", LAB.host("host"), units=("firewalld",))
    found.run("cp -r /etc/firewalld /tmp/firewalld", *ZONED)
    before = state(found.host)
    yield found
    found.host.role(ftp_state="absent")
    after = state(found.host)
    found.clean()
    found.run("rm -r /etc/firewalld", "mv /tmp/firewalld /etc/firewalld")
    assert after == before


def test_ftp_passes_to_a_server_with_firewalld(firewalld: Program) -> None:
    firewalld.blocked("systemctl start firewalld")
    run = firewalld.host.role(ftp_interface="eth0")
    assert run.result(LOOK)["gates"] == ["firewalld"]
    firewalld.passes("role")
    firewalld.finds_nothing_to_do(ftp_interface="eth0")
    for command in ("firewall-cmd --reload", "firewall-cmd --complete-reload", "systemctl restart firewalld"):
        firewalld.run(command)
        firewalld.passes(command)
    firewalld.finds_nothing_to_do(ftp_interface="eth0")


def test_reload_that_would_take_away_rules_of_others_is_refused(firewalld: Program) -> None:
    tables = firewalld.run("nft list tables")
    firewalld.run("iptables -A INPUT -s 192.0.2.77 -j DROP")
    before = state(firewalld.host)
    run = firewalld.host.attempt(ftp_interface="eth0")
    assert "such as iptables -t filter -A INPUT -s 192.0.2.77/32 -j DROP" in run.error
    assert run.changed == 0
    firewalld.is_as(before)
    firewalld.run("iptables -D INPUT -s 192.0.2.77 -j DROP")
    if "table ip filter" not in tables:
        firewalld.run("nft delete table ip filter")


def test_only_the_mode_asked_for_comes_in(firewalld: Program) -> None:
    firewalld.host.role(ftp_interface="eth0", ftp_mode="active")
    assert firewalld.modes() == {"active"}


def test_what_any_instance_allows_passes(firewalld: Program) -> None:
    firewalld.run(quoted(EGRESS, "/etc/firewalld/policies/egress.xml"), "firewall-cmd --reload")
    firewalld.any_instance_allows(ftp_interface="eth0")
    firewalld.run("rm /etc/firewalld/policies/egress.xml", "firewall-cmd --reload")


def test_run_whose_probe_fails_is_rolled_back(firewalld: Program) -> None:
    firewalld.run(quoted(EGRESS, "/etc/firewalld/policies/egress.xml"), "firewall-cmd --reload")
    firewalld.rolls_back(ftp_interface="eth0")
    firewalld.run("rm /etc/firewalld/policies/egress.xml", "firewall-cmd --reload")


def test_ftps_passes_for_those_who_hold_a_control_connection(firewalld: Program) -> None:
    firewalld.host.role(ftp_interface="eth0", ftp_tls=True, ftp_passive_ports="50000:50099", ftp_mode="passive")
    firewalld.lets_ftps_in_for_live_peers_only()


def test_ftp_passes_through_a_gateway_with_firewalld(firewalld: Program) -> None:
    firewalld.at, firewalld.server = BEHIND, SERVER
    firewalld.blocked("gateway, systemctl start firewalld")
    firewalld.host.role(ftp_side="gateway", ftp_interface="eth0", ftp_out_interface="eth1")
    firewalld.passes("gateway, role")
    firewalld.run("firewall-cmd --reload")
    firewalld.passes("gateway, firewall-cmd --reload")


def test_ftp_passes_from_a_client_behind_a_policy_that_rejects(firewalld: Program) -> None:
    rejects = EGRESS.replace("DROP", "REJECT")
    firewalld.run(quoted(rejects, "/etc/firewalld/policies/egress.xml"), "firewall-cmd --reload")
    assert None not in firewalld.as_client(BLOCKED_SECONDS)
    firewalld.host.role(ftp_side="client", ftp_interface="eth1")
    assert firewalld.as_client(SECONDS) == {None}
    firewalld.run("rm /etc/firewalld/policies/egress.xml", "firewall-cmd --reload")


def test_ftp_check_says_why_ftp_hangs_and_that_it_passes(firewalld: Program) -> None:
    firewalld.verdict("Firewalld runs, and FTP hangs", ftp_interface="eth0")
    firewalld.host.role(ftp_interface="eth0")
    firewalld.is_well(ftp_interface="eth0")


def test_service_of_a_zone_is_left_over_and_lets_in_more_than_the_inputs(firewalld: Program) -> None:
    host, zone = firewalld.host, "/etc/firewalld/zones/public.xml"
    inputs = {"ftp_interface": "eth0", "ftp_allowed_addresses": ["203.0.113.0/24"]}
    told = f"{host.name}: {Finding('firewalld-ftp-service', of='the zone public')}"
    host.role(**inputs)
    for change, there in ((r"s|^  <interface|  <service name=\"ftp\"/>\n&|", True), ('/name="ftp"/d', False)):
        firewalld.run(f"sed -i '{change}' {zone}", "firewall-cmd --reload")
        assert ("ftp" in firewalld.run("firewall-cmd --zone=public --list-services").split()) is there
        knock = f"timeout 3 bash -c '< /dev/tcp/{address(host.shell, 4)}/21'"
        assert (CLIENT.run(knock).rc == 0) is there
        _code, lines = check(LAB, host.name, **inputs)
        assert (told in lines) is there


def test_what_a_reload_would_lose_stops_the_role(firewalld: Program) -> None:
    firewalld.run("firewall-cmd --zone=public --add-port=9999/tcp")
    before = state(firewalld.host)
    run = firewalld.host.attempt(ftp_interface="eth0")
    assert "public: ports: 9999/tcp; keep them by firewall-cmd --runtime-to-permanent" in run.error
    assert state(firewalld.host) == before
    firewalld.run("firewall-cmd --zone=public --remove-port=9999/tcp")
