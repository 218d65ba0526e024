"""firewalld, which drops whatever iptables accepts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import yaml
from lab.hosts import FOREIGN
from program import LAB, Program, quoted

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
    found = Program("", LAB.host("host"), units=("firewalld", "elsewhere"))
    yield found
    found.run("rm -f /etc/firewalld/zones/*")
    found.clean()


def state(host: Program) -> str:
    """Return all rules and all files that the role may change."""
    files = "find /etc/hostfw-conntrack /etc/systemd /etc/modules-load.d -type f -exec sha256sum {} +"
    rules = "nft list ruleset | sed 's/packets [0-9]* bytes [0-9]*//'"
    return host.host.rules() + str(host.host.shell.run(f"{rules}; {files}").stdout)


def refusal(host: Program) -> str:
    """Run the role, which changes nothing; return its error."""
    before = state(host)
    run = host.host.attempt()
    assert run.error
    assert run.changed == 0
    assert state(host) == before
    return run.error


def ignored(host: Program, *words: str) -> None:
    """Run the role in spite of the conflicts, and find a warning of each."""
    run = host.host.role(ftp_ignore_conflicts=True)
    assert run.changed > 0
    warnings = run.result("Compare the host with what is asked for")["warnings"]
    assert all(any(word in warning for warning in warnings) for word in words), warnings
    assert host.host.role(ftp_ignore_conflicts=True).changed == 0


def playbook(host: Program, error: str) -> None:
    """Run the task that the error names."""
    task = next(line for line in error.splitlines() if "ansible.posix.firewalld" in line)
    play = yaml.safe_dump([{"hosts": host.host.name, "gather_facts": False, "tasks": [yaml.safe_load(task)]}])
    LAB.ansible("ansible-playbook", "/dev/stdin", stdin=play).check_returncode()


def command(host: Program, error: str) -> None:
    """Run the command that the error names."""
    host.run(next(line for line in error.splitlines() if "firewall-cmd" in line))


@pytest.mark.parametrize("cure", [playbook, command], ids=["task", "command"])
def test_firewalld_lets_ftp_through_by_what_the_error_names(
    host: Program, cure: Callable[[Program, str], None]
) -> None:
    host.name = "firewalld"
    host.run("systemctl start firewalld")
    host.blocked("systemctl start firewalld")
    host.verdict("Firewalld allows the service ftp")
    cure(host, refusal(host))
    host.passes(f"the {cure.__name__} that the error names, without the role")
    # It stands in nobody's way who wants nothing of it.
    assert host.host.role(ftp_state="absent").changed == 0


def test_firewalld_can_be_ignored(host: Program) -> None:
    host.name = "firewalld, ignored"
    host.run("systemctl start firewalld")
    ignored(host, "firewalld")
    host.blocked("role")
    host.host.role(ftp_state="absent")
    assert not host.rules(ours=True)


def test_what_drops_only_some_is_no_conflict(host: Program) -> None:
    host.name = "no conflict"
    host.host.load(FOREIGN)
    host.run(quoted(HARMLESS, "/tmp/harmless.nft"), "nft -f /tmp/harmless.nft", ELSEWHERE)
    host.others = host.rules(ours=False)
    host.blocked("bans by nft, firewalld in another network namespace")
    host.role()
    host.passes("role")
