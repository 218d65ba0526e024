"""Who filters on a server: how a test has it filter, which of its rules are the role's, and how they are damaged."""

from __future__ import annotations

import re

from lab.desired import parts
from lab.hosts import FOREIGN, JUMP, PROGRAMS, Host
from lab.kinds import KINDS, Firewall, clear, listed

# Port 80 is open for a moment.
HOLES = {
    "iptables": [
        f"{program} {command} {rule} -j ACCEPT"
        for command in ("-I", "-D")
        for program in PROGRAMS
        for rule in ("INPUT -p tcp --dport 80", "OUTPUT -p tcp --sport 80")
    ],
    "nftables": [
        "nft insert rule inet site input tcp dport 80 accept",
        "nft insert rule inet site output tcp sport 80 accept",
        *(
            f"nft delete rule inet site {chain} handle "
            f"$(nft --handle list chain inet site {chain} | sed -n 's/.*port 80 accept # handle //p')"
            for chain in ("input", "output")
        ),
    ],
    "firewalld": [f"firewall-cmd --quiet --zone=public --{change}-port=80/tcp" for change in ("add", "remove")],
}
# In the role's own tables, where nftables rules or firewalld filter.
DAMAGED_TABLES = [
    f"nft {damage.format(family=family)}"
    for family in ("ip", "ip6")
    for damage in (
        "insert rule {family} hostfw-FTP FTP-DATA-IN limit rate 5/minute log",
        "flush chain {family} hostfw-FTP INPUT-DROP",
        "insert rule {family} hostfw-FTP FTP-CONTROL tcp dport 80 return",
        "insert rule {family} hostfw-FTP FTP-HELPER tcp dport 2121 ct helper set ftp",
    )
]
# They leave alone what FTP needs.
DAMAGES = {
    "iptables": [
        f"{program} {damage}"
        for program in PROGRAMS
        for damage in (
            JUMP,
            "-A FTP-OUT -p tcp -m tcp --sport 21 -m conntrack --ctstate ESTABLISHED -j ACCEPT",
            "-I FTP-IN 1 -p tcp -m tcp --dport 80 -j ACCEPT",
            "-I FTP-DATA-IN 1 -m limit --limit 5/min -j LOG",
            "-t mangle -D HOSTFW-INPUT 2",
            "-t mangle -I FTP-CONTROL 1 -p tcp -m tcp --dport 80 -j RETURN",
            "-t raw -I FTP-HELPER 1 -p tcp -m tcp --dport 2121 -j CT --helper ftp",
        )
    ],
    "nftables": [
        *DAMAGED_TABLES,
        "nft add rule inet site input iifname eth0 jump FTP-IN",
        "nft add rule inet site FTP-OUT tcp sport 21 ct state established accept",
        "nft insert rule inet site FTP-IN tcp dport 80 accept",
        "nft insert rule inet site FTP-DATA-IN limit rate 5/minute log",
    ],
    "firewalld": [
        *DAMAGED_TABLES,
        r"sed -i 's|</policy>|  <port port=\"80\" protocol=\"tcp\"/>\n&|' /etc/firewalld/policies/hostfw-FTP.xml",
        "firewall-cmd --quiet --reload",
    ],
}


class Site:
    """Who filters on a server, by its name; all but those of nftables and firewalld have iptables."""

    def __init__(self, host: Host) -> None:
        self.host = host
        name = host.name.rpartition("-")[2]
        self.kind = name if name in KINDS else "iptables"

    def load(self) -> None:
        """Have the site's firewall, and nothing else."""
        if self.kind == "iptables":
            self.host.load(FOREIGN)
        else:
            clear(self.host)
            KINDS[self.kind](self.host, Firewall())

    def run(self, commands: list[str]) -> None:
        """Run commands one after the other."""
        for command in commands:
            self.host.shell.check_output(command)

    def rules(self) -> tuple[list[str], list[str]]:
        """Return the rules of the role, sorted, and all that is of others."""
        if self.kind == "iptables":
            return parts(self.host.rules())
        if self.kind == "firewalld":
            # It answers when it has done what it was asked to before.
            self.host.shell.check_output("firewall-cmd --state")
        ours, others = [], []
        place: list[str] = []
        # The elements are clients that come and go.
        for line in re.sub(r"\s*elements = \{[^}]*\}", "", listed(self.host.shell)).splitlines():
            words = line.strip()
            if words == "}":
                place.pop()
            elif words:
                rule = ": ".join([*place, words])
                (ours if re.search("FTP|hostfw", rule) else others).append(rule)
                if words.endswith("{"):
                    place.append(words.removesuffix(" {"))
        return sorted(ours), others

    def stored(self) -> set[str]:
        """Return the stored files, with checksums."""
        folders = "/etc/hostfw-conntrack" + " /etc/firewalld/policies" * (self.kind == "firewalld")
        return set(self.host.shell.check_output(f"find {folders} -type f -exec sha256sum {{}} +").splitlines())
