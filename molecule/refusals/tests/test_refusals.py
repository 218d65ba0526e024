"""Hosts on which something is missing: it is had, or the role says what to do and changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

from lab.hosts import JUMP, Lab


def test_it_works_under_become(lab: Lab) -> None:
    host = lab.host("unprivileged")
    host.shell.check_output(
        "id admin || useradd -m admin && echo 'admin ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/admin"
    )
    without = host.attempt(ansible_docker_user="admin")
    assert without.error.startswith("the firewall's rules cannot be read: they want root (become: true) and")
    host.role(ansible_docker_user="admin", ansible_become=True)
    assert JUMP in host.lines("INPUT")
    assert host.role(ansible_docker_user="admin", ansible_become=True).changed == 0


def test_rules_of_the_other_variant_are_warned_of(lab: Lab) -> None:
    host = lab.host("unprivileged")
    host.shell.check_output("iptables-legacy -A INPUT -s 192.0.2.66 -j DROP")
    warnings = host.role().result("Compare the host with what is asked for")["warnings"]
    assert any("rules of iptables-nft, which this host uses, and of iptables-legacy" in text for text in warnings)


def test_helper_rule_tells_no_permission_from_no_rule(lab: Lab) -> None:
    host = lab.host("unprivileged")
    command = ["ansible", host.name, "--module-name", "hostfw.conntrack.helper_rule"]
    command += ["--args", "helper=ftp chain=PREROUTING state=absent"]
    done = lab.ansible(*command, ansible_docker_user="nobody")
    assert "iptables -C failed: " in done.stdout
    assert "ermission denied" in done.stdout


def test_iptables_is_installed_where_it_is_missing(lab: Lab) -> None:
    host = lab.host("bare")
    host.shell.check_output("apt-get purge --yes iptables ipset && rm -rf /var/lib/apt/lists/*")
    ftps = {"ftp_tls": True, "ftp_passive_ports": "50000:50099"}
    run = host.role("--check", "--diff", **ftps)
    assert not host.shell.exists("iptables")
    shown = run.result("Compare the host with what is asked for")["diff"]["prepared"]
    assert shown.startswith("+package iptables\n+package ipset\n+ipset FTP-LIVE-IPV4\n+ipset FTP-LIVE-IPV6\n")
    assert f"+{JUMP}" in shown
    host.role(**ftps)
    assert host.shell.check_output("ipset list -name").split() == ["FTP-LIVE-IPV4", "FTP-LIVE-IPV6"]
    assert host.role(**ftps).changed == 0
    host.role()
    assert host.shell.check_output("ipset list -name") == ""
    assert JUMP in host.lines("INPUT")
    assert JUMP in [line.replace("ip6tables", "iptables") for line in host.lines("INPUT", program="ip6tables")]
    assert host.role().changed == 0


def test_no_iptables_and_no_package_manager(lab: Lab) -> None:
    host = lab.host("bare")
    host.shell.check_output("! dpkg --status iptables || apt-get purge --yes iptables; mv /usr/bin/apt-get /root")
    try:
        run = host.attempt()
    finally:
        host.shell.check_output("mv /root/apt-get /usr/bin")
    assert run.error == (
        "iptables must be installed, and this host has no package manager to do it with "
        "(apt-get, dnf, dnf5, yum, microdnf, zypper, apk, pacman)"
    )
    assert run.changed == 0


def test_no_net_admin(lab: Lab) -> None:
    run = lab.host("incapable").attempt()
    assert run.error.startswith(
        "the firewall's rules cannot be read: they want root (become: true) and, in a container, "
        "the capability NET_ADMIN (docker run --cap-add NET_ADMIN). iptables-save said: "
    )
    assert run.changed == 0


def test_no_helper_in_the_kernel(lab: Lab) -> None:
    host = lab.host("unhelped")
    before = host.rules()
    run = host.attempt()
    assert run.error.startswith(
        "the kernel's FTP helper nf_conntrack_ftp is neither loaded nor built in, and cannot be loaded here: "
    )
    assert "run modprobe nf_conntrack_ftp on the container's host" in run.error
    assert run.changed == 0
    assert host.rules() == before


def test_kernel_without_ipsets_has_no_ftps_but_ftp(lab: Lab) -> None:
    host = lab.host("unprivileged")
    refusal = "ipset v7.17: Cannot open session to kernel."
    host.shell.check_output("mv /usr/sbin/ipset /root")
    host.shell.check_output(
        f"printf '#!/bin/sh\necho {refusal} >&2; exit 1' > /usr/sbin/ipset; chmod +x /usr/sbin/ipset"
    )
    try:
        host.role()
        run = host.attempt(ftp_tls=True, ftp_passive_ports="50000:50099")
    finally:
        host.shell.check_output("mv /root/ipset /usr/sbin")
    assert run.error.endswith(
        "ftp_tls: this kernel has no ipsets, or hides them, and FTPS opens its data ports by one; "
        f"ipset list said: {refusal}"
    )
    assert run.changed == 0


def test_iptables_lacks_a_match(lab: Lab) -> None:
    host = lab.host("unprivileged")
    host.role(ftp_state="absent")
    before = host.rules()
    library = host.shell.check_output("ls /usr/lib/*/xtables/libxt_helper.so")
    host.shell.check_output(f"mv {library} /root")
    try:
        run = host.attempt()
    finally:
        host.shell.check_output(f"mv /root/libxt_helper.so {library}")
    assert run.error == (
        "iptables lacks what the rules need, match helper (libxt_helper.so); "
        "install the whole package of iptables again"
    )
    assert run.changed == 0
    assert host.rules() == before


def test_two_sides_under_one_prefix(lab: Lab, tmp_path: Path) -> None:
    host = lab.host("unprivileged")
    sides = [{"role": "hostfw.conntrack.ftp", "vars": {"ftp_side": side}} for side in ("server", "client")]
    play = tmp_path / "site.yml"
    play.write_text(json.dumps([{"hosts": host.name, "gather_facts": False, "roles": sides}]), encoding="utf-8")
    done = lab.ansible("ansible-playbook", str(play))
    printed = done.stdout + done.stderr
    assert "ftp_chain_prefix: must be another one for each side of a host, got FTP for ftp_side client" in printed
    assert JUMP in host.lines("INPUT")
    warnings = host.role(ftp_side="client").result("Compare the host with what is asked for")["warnings"]
    assert any("the rules of FTP on this host are those of a server" in text for text in warnings)
