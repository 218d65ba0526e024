"""A host with another program in charge of its rules, and what is seen there."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import unified_diff
from itertools import product
from typing import Any

from lab.ftp import BLOCKED_SECONDS, OPERATIONS, SECONDS, WAYS, Site, curl, site, transfers
from lab.hosts import LOOK, PROGRAMS, ROLLED_BACK, Host, Lab
from lab.kinds import FAR, state
from lab.verdict import check, tried, words

LAB = Lab()
CLIENT = LAB.host("client").shell
# Behind the host, where that is a gateway or a client.
SERVER = LAB.host("server").shell
BEHIND = Site(FAR)
UNIT = "hostfw-conntrack-FTP"
# firewalld, with each interface in a zone of its own.
ZONED = (
    "mkdir -p /etc/firewalld/policies",
    "systemctl start firewalld",
    "firewall-cmd --permanent --zone=public --add-interface=eth0",
    "firewall-cmd --permanent --zone=internal --add-interface=eth1",
    "firewall-cmd --reload",
)
# The figures of the summary: the program, the event, what passed, and how many foreign rules changed.
FIGURES: list[tuple[str, str, str, str]] = []

CLEAN = """
set -e
systemctl stop 'hostfw-conntrack-*'
rm -rf /etc/hostfw-conntrack /etc/systemd/system/*hostfw-conntrack* /etc/systemd/system/*/hostfw-conntrack-*
rm -f /etc/modules-load.d/hostfw-conntrack-* /usr/share/netfilter-persistent/plugins.d/*hostfw-conntrack*
systemctl daemon-reload
nft flush ruleset
until ipset destroy; do sleep 0.1; done
"""


@dataclass
class Program:
    """A program with rules of its own on a host.

    - units: those of its services
    - at: where the client finds the FTP server, where that is another host
    """

    name: str
    host: Host
    units: tuple[str, ...] = ()
    at: Site | None = None
    server: Any = None
    # The rules as they are to stay: those of others and, with the role, ours.
    others: list[str] = field(default_factory=list)
    ours: list[str] = field(default_factory=list)

    def run(self, *commands: str) -> str:
        """Run commands on the host, and wait until systemd has done what they brought about."""
        printed = []
        for command in commands:
            done = self.host.shell.run(command)
            journal = "" if done.rc == 0 else self.host.shell.run("journalctl --no-pager --lines 40").stdout
            assert done.rc == 0, f"{command}\n{done.stdout}{done.stderr}{journal}"
            printed.append(str(done.stdout))
        self.settle()
        return "\n".join(printed)

    def settle(self) -> None:
        """Wait until systemd has nothing to do."""
        while self.host.shell.check_output("systemctl list-jobs --no-legend"):
            time.sleep(0.1)

    def clean(self) -> None:
        """Stop the program, and remove all rules and whatever is of the role."""
        for unit in self.units:
            self.host.shell.run(f"systemctl disable --now {unit}")
        self.run(CLEAN)

    def rules(self, *, ours: bool) -> list[str]:
        """Return our rules, or those of others, each with its program and table."""
        found = []
        for program, saved in zip(PROGRAMS, self.host.save()):
            table = ""
            for line in re.sub(r" \[\d+:\d+\]$", "", saved, flags=re.MULTILINE).splitlines():
                table = line if line.startswith("*") else table
                # The role makes the tables that it needs.
                unused = line.startswith(("#", "*", "COMMIT")) or re.fullmatch(r":\w+ ACCEPT", line)
                if not unused and ours is bool(re.search(r"\b(FTP|HOSTFW)-[A-Z]", line)):
                    found.append(f"{program} {table} {line}")
        return found

    def role(self, **inputs: object) -> None:
        """Run the role; from now on its rules are to stay."""
        self.host.role(**inputs)
        self.ours = self.rules(ours=True)
        assert len(set(self.ours)) == len(self.ours)

    def tried(self, seconds: int) -> list[str | None]:
        """Try every operation in every way."""
        server = self.server or self.host.shell
        keys = product(WAYS, OPERATIONS)
        return list(transfers(CLIENT, server, keys, seconds, self.at or site(server)).values())

    def modes(self) -> set[str]:
        """Return the modes that pass; of the others, nothing does."""
        found = dict(zip(product(WAYS, OPERATIONS), self.tried(2 * BLOCKED_SECONDS)))
        passed, failed = (
            {way.mode for (way, _operation), why in found.items() if (why is None) is yes} for yes in (True, False)
        )
        assert not passed & failed, found
        return passed

    def any_instance_allows(self, **inputs: object) -> None:
        """Check that what any of two instances allows passes, and nothing else."""
        self.host.role(**inputs, ftp_mode="active")
        assert self.modes() == {"active"}
        self.host.role(**inputs, ftp_mode="passive", ftp_chain_prefix="MIRROR")
        assert self.modes() == {"active", "passive"}
        self.host.role(**inputs, ftp_mode="active", ftp_state="absent")
        assert self.modes() == {"passive"}
        self.host.role(**inputs, ftp_chain_prefix="MIRROR", ftp_state="absent")
        assert self.modes() == set()

    def passes(self, event: str) -> None:
        """Check that FTP passes, and that the rules of both are there once and as they were."""
        found = self.tried(SECONDS)
        changed = set(self.rules(ours=False)) ^ set(self.others)
        self.note(event, found, len(changed))
        assert set(found) == {None}
        assert self.rules(ours=False) == self.others
        assert sorted(self.rules(ours=True)) == sorted(self.ours)

    def blocked(self, event: str) -> None:
        """Check that nothing passes."""
        found = self.tried(BLOCKED_SECONDS)
        self.note(event, found)
        assert None not in found

    def verdict(self, symptom: str, **inputs: object) -> None:
        """Check that ftp_check says why FTP does not pass, or will not."""
        to = {"to": self.at.addresses[4]} if self.at else {}
        before = self.host.rules()
        code, lines = check(LAB, self.host.name, ftp_verify=tried(self.host, **to), **inputs)
        said = "\n".join(lines)
        assert code == 2
        assert all(part in said for part in words(symptom)), said
        assert self.host.rules() == before

    def is_well(self, **inputs: object) -> None:
        """Check that ftp_check finds nothing the matter, and FTP passing."""
        code, lines = check(LAB, self.host.name, ftp_verify=tried(self.host), **inputs)
        assert code == 0, lines
        assert lines[-1] == "1 of 1 host is well."

    def finds_nothing_to_do(self, **inputs: object) -> None:
        """Check that another run of the role changes nothing, and takes one module."""
        again = self.host.role(**inputs)
        assert again.changed == 0
        assert [name for name in again.modules if name.endswith(LOOK)] == again.modules

    def rolls_back(self, **inputs: object) -> None:
        """Check that a run whose probe fails takes back what it has changed, on the host and of settings of before."""
        verify = {**tried(self.host), "rescue": "rollback"}
        here = state(self.host)
        self.blocks_passive_mode("-A")
        try:
            assert ROLLED_BACK in self.host.attempt(**inputs, ftp_verify=verify).error
            self.is_as(here)
            self.host.role(**inputs, ftp_mode="active")
            active = state(self.host)
            assert ROLLED_BACK in self.host.attempt(**inputs, ftp_verify=verify).error
            self.is_as(active)
        finally:
            self.blocks_passive_mode("-D")
        assert self.modes() == {"active"}
        self.host.role(**inputs, ftp_verify=verify)
        assert self.modes() == {"active", "passive"}

    def is_as(self, before: str) -> None:
        """Check that rules, sets and firewalld's files are as they were; tables of nftables in any order."""
        there, here = (
            "".join(sorted(re.split(r"(?<=^}\n)|^(?=table )", text, flags=re.MULTILINE))).splitlines()
            for text in (before, state(self.host))
        )
        changes = list(unified_diff(there, here, "before", "now", lineterm=""))
        assert not changes, "\n".join(changes)

    def blocks_passive_mode(self, how: str) -> None:
        """Have the client's own firewall reject passive data connections, or no longer."""
        for program in PROGRAMS:
            CLIENT.check_output(f"{program} {how} OUTPUT -p tcp --syn --dport 1024:65535 -j REJECT")

    def as_client(self, seconds: int) -> set[str | None]:
        """Try every operation in every way from the host itself, to the server behind it."""
        return set(transfers(self.host.shell, SERVER, product(WAYS, OPERATIONS), seconds, BEHIND).values())

    def lets_ftps_in_for_live_peers_only(self) -> None:
        """Check that FTPS passes in passive mode, and that a passive port is closed to all other peers."""
        at = site(self.host.shell)
        self.run("systemd-run --unit listening python3 -m http.server --bind 198.51.100.1 50050")
        knock = ("--output", "/dev/null", f"http://{at.addresses[4]}:50050/")
        assert curl(CLIENT, BLOCKED_SECONDS, *knock).rc == 28
        passive = [(way, operation) for way, operation in product(WAYS, OPERATIONS) if way.mode == "passive"]
        found = transfers(CLIENT, self.host.shell, passive, SECONDS, Site(at.addresses, tls=True))
        assert set(found.values()) == {None}
        self.run("systemctl stop listening")

    def note(self, event: str, found: Iterable[str | None], changed: int | None = None) -> None:
        """Put a line into the figures of the summary."""
        found = list(found)
        figures = f"{found.count(None)} of {len(found)}", "" if changed is None else str(changed)
        FIGURES.append((self.name, event, *figures))
