"""Runs that fail half-way: what they had changed is rolled back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab import PROJECT
from lab.desired import parts
from lab.hosts import FOREIGN, ROLLED_BACK, Host

# A jump of the kernel's nftables reaches 16 chains far; then it refuses the rule ("Too many links").
TOO_FAR = [
    *(f"-N FAR{number}" for number in range(16)),
    *(f"-A FAR{number} -j FAR{number + 1}" for number in range(15)),
    "-A FTP-HELPER -j FAR0",
]
# Passive mode only, with a foreign rule in our chain from which the kernel will refuse the jump to it.
REFUSED = "Add the missing FTP rules: PREROUTING: FTP on eth0 (IPv4): "


def files(host: Host) -> str:
    """Return the files of the role, with their contents."""
    return str(host.shell.check_output("find /etc/hostfw-conntrack | sort; cat /etc/hostfw-conntrack/*/* || true"))


@pytest.fixture
def host(servers: list[Host], figures: list[str], request: pytest.FixtureRequest) -> Iterator[Host]:
    """A server with iptables-nft and the foreign rules, and without ours; afterwards theirs have not changed."""
    host = servers[0]
    host.load(FOREIGN)
    host.shell.check_output("rm -rf /etc/hostfw-conntrack")
    others = parts(host.rules())[1]
    yield host
    changed = set(parts(host.rules())[1]) ^ set(others)
    changed = {line for line in changed if "FAR" not in line}  # the test's own
    figures.append(f"{request.node.name}: {len(changed)} foreign rules changed")
    assert not changed


@pytest.fixture
def refusing(host: Host) -> Host:
    """A server with ftp_mode passive, on which the kernel refuses the jump of table raw, which is missing."""
    host.role(ftp_mode="passive")
    jump = next(line for line in host.lines("PREROUTING", "raw") if line.endswith("-j FTP-HELPER"))
    host.shell.check_output(f"iptables --table raw -D{jump[2:]}")
    for command in TOO_FAR:
        host.shell.check_output(f"iptables --table raw {command}")
    return host


@pytest.fixture
def replaced(host: Host) -> Iterator[Host]:
    """A server one of whose programs is replaced by the test; it comes back."""
    programs = ("iptables-restore", "ip6tables-restore")
    for name in programs:
        host.shell.check_output(f"cp -P /etc/alternatives/{name} /etc/alternatives/{name}.real")
    yield host
    for name in programs:
        host.shell.check_output(f"mv /etc/alternatives/{name}.real /etc/alternatives/{name}")


def replace(host: Host, name: str, script: str) -> None:
    """Replace a program by a script."""
    host.shell.check_output("printf '%%s\\n' '#!/bin/sh' %s > /tmp/program && chmod +x /tmp/program", script)
    host.shell.check_output(f"ln -sf /tmp/program /etc/alternatives/{name}")


def test_kernel_refuses_a_rule_in_the_middle(refusing: Host) -> None:
    before = refusing.rules(), files(refusing)
    run = refusing.attempt(ftp_mode="both", ftp_tls=True, ftp_passive_ports="50000:50099")
    assert REFUSED in run.error
    assert "Too many links" in run.error
    assert ROLLED_BACK in run.error
    assert (refusing.rules(), files(refusing)) == before
    assert refusing.shell.check_output("ipset list -name") == ""


def test_next_run_converges_where_the_cause_is_gone(refusing: Host) -> None:
    assert ROLLED_BACK in refusing.attempt(ftp_mode="both").error
    refusing.shell.check_output("iptables --table raw -D FTP-HELPER -j FAR0")
    refusing.role(ftp_mode="both")
    assert refusing.role(ftp_mode="both").changed == 0


def test_one_ip_version_fails_after_the_other(replaced: Host) -> None:
    replaced.role(ftp_state="absent")
    before = replaced.rules()
    replace(replaced, "ip6tables-restore", "cat > /dev/null; echo no memory >&2; exit 4")
    run = replaced.attempt()
    assert "Create the missing chains, sets, and rules that no module can express: no memory" in run.error
    assert ROLLED_BACK in run.error
    assert replaced.rules() == before


def test_files_cannot_be_written(host: Host) -> None:
    host.role(ftp_state="absent")
    before = host.rules()
    host.shell.check_output("touch /etc/hostfw-conntrack")
    try:
        run = host.attempt()
    finally:
        host.shell.check_output("rm /etc/hostfw-conntrack")
    assert "Store what is to be loaded at boot: " in run.error
    assert ROLLED_BACK in run.error
    assert host.rules() == before


def test_what_cannot_be_rolled_back_is_said(refusing: Host, replaced: Host) -> None:
    assert refusing is replaced
    # It succeeds once, for the chains, and no more.
    fails = "if test -e /tmp/once; then cat > /dev/null; echo no memory >&2; exit 4; fi"
    replaced.shell.check_output("rm -f /tmp/once")
    replace(replaced, "iptables-restore", f'{fails}; touch /tmp/once; exec iptables-nft-restore "$@"')
    run = replaced.attempt(ftp_mode="both")
    assert "What this run had changed could not be rolled back: " in run.error
    assert "The host stands between its old and its new settings" in run.error


def test_undo_by_hand_as_documented(host: Host) -> None:
    host.role(ftp_state="absent")
    before = host.rules()
    host.role(ftp_tls=True, ftp_passive_ports="50000:50099", ftp_chain_prefix="FTP-OTHER")
    other = host.rules()
    host.role(ftp_tls=True, ftp_passive_ports="50000:50099")
    text = (PROJECT / "docs/operations.md").read_text(encoding="utf-8")
    commands = text.partition("## Undo by hand")[2].split("```")[1].removeprefix("console\n")
    host.shell.run(commands)
    assert host.rules() == other
    assert host.shell.check_output("ls /etc/hostfw-conntrack") == "FTP-OTHER"
    host.shell.run(commands.replace("FTP", "FTP-OTHER"))
    assert host.rules() == before
    assert host.shell.check_output("ipset list -name") == ""
