"""fail2ban."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab.ftp import address
from lab.hosts import FOREIGN
from lab.kinds import quoted
from program import CLIENT, LAB, Program

JAIL = """
[DEFAULT]
backend = polling
banaction = {action}
[sshd]
enabled = false
[vsftpd]
enabled = true
"""


@pytest.fixture(params=["iptables-multiport", "nftables-multiport"])
def fail2ban(request: pytest.FixtureRequest) -> Iterator[Program]:
    """A host with fail2ban, which bans by iptables or by nftables, and with a firewall that drops."""
    found = Program(f"fail2ban, {request.param}", LAB.host("host"), units=("fail2ban",))
    found.host.load(FOREIGN)
    found.others = found.rules(ours=False)
    found.run(
        "touch /var/log/vsftpd.log; rm -f /var/lib/fail2ban/*",
        quoted(JAIL.format(action=request.param), "/etc/fail2ban/jail.local"),
        "systemctl start fail2ban",
        "until fail2ban-client status vsftpd; do sleep 0.1; done",
    )
    yield found
    found.clean()


def jail(fail2ban: Program, command: str) -> None:
    """Ban or unban the client."""
    addresses = [address(CLIENT, ip_version) for ip_version in (4, 6)]
    there = "until" if command == "banip" else "while"
    fail2ban.run(
        f"fail2ban-client set vsftpd {command} {' '.join(addresses)}",
        *(f"{there} nft list ruleset | grep -qw {address}; do sleep 0.1; done" for address in addresses),
    )


def unbanned(fail2ban: Program, event: str) -> None:
    """Check that FTP passes, whatever chains fail2ban keeps."""
    own = [line for line in fail2ban.rules(ours=False) if "f2b" in line]
    assert not any(" DROP" in line or " REJECT" in line for line in own)
    before = fail2ban.others
    fail2ban.others = [line for line in fail2ban.rules(ours=False) if line in own or line in before]
    fail2ban.passes(event)
    fail2ban.others = before


def test_bans_hold_for_ftp(fail2ban: Program) -> None:
    fail2ban.role()
    fail2ban.passes("role")
    jail(fail2ban, "banip")
    fail2ban.blocked("banip")
    assert fail2ban.host.role().changed == 0
    jail(fail2ban, "unbanip")
    unbanned(fail2ban, "unbanip")
    fail2ban.run("systemctl restart fail2ban")
    fail2ban.passes("systemctl restart fail2ban")


@pytest.mark.parametrize("fail2ban", ["iptables-multiport"], indirect=True)
def test_bans_stay_before_a_jump_that_comes_later(fail2ban: Program) -> None:
    jail(fail2ban, "banip")
    fail2ban.role()
    fail2ban.blocked("banip, role")
    jail(fail2ban, "unbanip")
    unbanned(fail2ban, "unbanip")
