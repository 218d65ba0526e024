"""Firewalls as people write them, at random."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any

# What stands for an address or a word in a rule of either IP version.
WORDS = {
    4: {
        "near": "198.51.100.0/24",
        "far": "203.0.113.0/24",
        "other": "192.0.2.0/25",
        "private": "10.0.0.0/8",
        "lan": "198.51.0.0/16",
        "banned": "192.0.2.",
        "range": "192.0.2.10-192.0.2.20",
        "multicast": "224.0.0.0/4",
        "port_unreachable": "icmp-port-unreachable",
        "prohibited": "icmp-admin-prohibited",
        "icmp": "icmp",
        "broadcast": "BROADCAST",
        "version": "4",
    },
    6: {
        "near": "2001:db8::/64",
        "far": "2001:db8:1::/64",
        "other": "2001:db8:2::/64",
        "private": "fc00::/7",
        "lan": "2001:db8::/48",
        "banned": "2001:db8:bad::",
        "range": "2001:db8:2::10-2001:db8:2::20",
        "multicast": "ff00::/8",
        "port_unreachable": "icmp6-port-unreachable",
        "prohibited": "icmp6-adm-prohibited",
        "icmp": "ipv6-icmp",
        "broadcast": "MULTICAST",
        "version": "6",
    },
}
HOOKS = {"server": ("INPUT", "OUTPUT"), "client": ("INPUT", "OUTPUT"), "gateway": ("FORWARD",)}
COMMENTS = (
    "allow web",
    "-j DROP",
    'say "no"',
    "it's mine",
    "back\\slash",
    "two\nlines",
    "two\n-A INPUT -j DROP",
    "ümläut ✓",
    " spaces ",
    "--dport 21",
    "$(reboot) `id` %s",
    "*filter",
)
STATES = ("NEW", "INVALID", "ESTABLISHED", "RELATED,ESTABLISHED", "INVALID,NEW", "NEW,RELATED", "UNTRACKED")
SETS = ("create banned{version} hash:net family {family}", "create allowed{version} hash:net family {family}")


@dataclass
class Firewall:
    """A site's firewall, and what the role is asked for there.

    - inputs: the role's, without their C(ftp_)
    - rules: for each table and chain, its rules with what stands for the words of an IP version
    - policies: of the chains of table filter that do not accept
    """

    seed: str
    side: str
    inputs: dict[str, Any]
    rules: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    policies: dict[str, str] = field(default_factory=dict)

    def saved(self, ip_version: int) -> str:
        """Return the firewall as iptables-restore reads it."""
        lines = []
        for table in ("raw", "mangle", "nat", "filter"):
            chains = self.rules.get(table, {})
            lines.append(f"*{table}")
            built_in = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
            for chain in chains:
                policy = (
                    (self.policies.get(chain, "ACCEPT") if table == "filter" else "ACCEPT")
                    if chain in built_in
                    else "-"
                )
                lines.append(f":{chain} {policy} [0:0]")
            lines += [
                f":{chain} {policy} [0:0]"
                for chain, policy in self.policies.items()
                if table == "filter" and chain not in chains
            ]
            for chain, rules in chains.items():
                lines += [f"-A {chain} {worded(rule, ip_version)}" for rule in rules]
            lines.append("COMMIT")
        return "".join(f"{line}\n" for line in lines)


def worded(rule: str, ip_version: int) -> str:
    """Return a rule with the words of an IP version."""
    for name, word in WORDS[ip_version].items():
        rule = rule.replace("{" + name + "}", word)
    return rule


class Writer:
    """Writes one firewall."""

    def __init__(self, seed: str) -> None:
        """Choose what it is for."""
        self.random = Random(seed)  # noqa: S311 - the same firewalls for the same seed
        side = self.random.choice(("server", "server", "client", "gateway"))
        interface = {"server": ["eth0"], "client": ["eth1"], "gateway": ["eth0"]}[side]
        inputs: dict[str, Any] = {
            "side": side,
            "mode": self.random.choice(("both", "both", "active", "passive")),
            "passive_ports": "50000:50099",
            "interface": self.random.choice((interface, interface, ["eth+"], ["any"])),
        }
        if side == "gateway":
            inputs["interface"] = interface
            inputs["out_interface"] = ["eth1"]
        if self.random.random() < 0.2:
            far = side == "client"
            inputs["allowed_addresses"] = (
                ["203.0.113.0/24", "2001:db8:1::/64"] if far else ["198.51.100.2", "2001:db8::/64"]
            )
        if self.random.random() < 0.1:
            inputs["position"] = self.random.choice(("first", "last"))
        self.firewall = Firewall(seed, side, inputs)
        self.hooks = HOOKS[side]
        self.own = 0

    def add(self, table: str, chain: str, *rules: str) -> None:
        """Add rules to a chain."""
        self.firewall.rules.setdefault(table, {}).setdefault(chain, []).extend(rules)

    def some(self, values: Iterable[str]) -> str:
        """Return one of some values."""
        return self.random.choice(list(values))

    def chance(self, share: float) -> bool:
        """Tell, in that share of cases, yes."""
        return self.random.random() < share

    def not_(self, share: float = 0.25) -> str:
        """Negate what follows, now and then."""
        return "! " if self.chance(share) else ""

    def port(self) -> str:
        """Return a port."""
        return self.some(
            ("20", "21", "22", "22", "25", "53", "80", "80", "443", "3306", "8080", "50000", "50050", "60000")
        )

    def ports(self) -> str:
        """Return ports as one condition."""
        kind = self.random.randrange(6)
        if kind == 0:
            first, last = sorted(
                self.random.sample((1, 20, 22, 1023, 1024, 5000, 32768, 49999, 50050, 50099, 61000, 65535), 2)
            )
            return f"{self.not_()}--dport {first}:{last}"
        if kind == 1:
            several = ",".join(dict.fromkeys(self.port() for _port in range(self.random.randint(2, 5))))
            return f"-m multiport {self.not_()}--{self.some(('dports', 'dports', 'sports', 'ports'))} {several}"
        if kind == 2:
            return (
                f"{self.not_(0.1)}--sport {self.some(('1024:65535', '1024:65535', '20', '21', '22', '1:1023', '53'))}"
            )
        return f"{self.not_()}--dport {self.port()}"

    def address(self) -> str:
        """Return a condition on an address."""
        kind = self.random.randrange(8)
        if kind == 0:
            return f"-m iprange {self.not_()}--src-range {{range}}"
        if kind == 1:
            name = self.some(("banned", "allowed"))
            return f"-m set {self.not_(0.15)}--match-set {name}{{version}} {self.some(('src', 'dst'))}"
        if kind < 4:
            return f"-s {{banned}}{self.random.randint(1, 99)}"
        network = self.some(("{near}", "{far}", "{other}", "{private}", "{lan}", "{multicast}"))
        return f"{self.not_()}{self.some(('-s', '-s', '-d'))} {network}"

    def interface(self, chain: str) -> str:
        """Return a condition on an interface."""
        option = "-o" if chain in ("OUTPUT", "POSTROUTING") or (chain == "FORWARD" and self.chance(0.5)) else "-i"
        return f"{self.not_()}{option} {self.some(('lo', 'eth0', 'eth1', 'eth+', 'docker0'))}"

    def match(self, chain: str) -> str:
        """Return a condition of any other kind."""
        kinds = [
            f"-m addrtype {self.not_()}--dst-type {self.some(('LOCAL', '{broadcast}', 'MULTICAST', 'UNICAST'))}",
            f"-m pkttype {self.not_()}--pkt-type {self.some(('unicast', 'broadcast', 'multicast'))}",
            f"-m mark {self.not_()}--mark 0x{self.random.randint(1, 9)}",
            f"-m limit --limit {self.random.choice((20, 50, 100))}/second --limit-burst 100",
            f"-p tcp -m connlimit --connlimit-above {self.random.choice((20, 50))}",
            f"-m hashlimit --hashlimit-above {self.some(('100', '200'))}/sec --hashlimit-mode srcip --hashlimit-name h",
            "-p tcp --syn",
            "-p tcp ! --syn -m conntrack --ctstate NEW",
            "-p tcp --tcp-flags SYN SYN",
            "-p tcp --tcp-flags ALL NONE",
            "-p tcp --tcp-flags SYN,FIN SYN,FIN",
            "-m length --length 2000:3000",
            "-m dscp --dscp 0x2e",
            "-m recent --name scan --rcheck --seconds 60",
            "-m helper --helper ftp",
            "-m conntrack --ctstatus CONFIRMED",
            "-m conntrack --ctdir ORIGINAL",
        ]
        if chain == "OUTPUT":
            kinds.append(f"-m owner {self.not_()}--uid-owner 33")
        return self.some(kinds)

    def conditions(self, chain: str) -> str:
        """Return some conditions that go together."""
        found = []
        if self.chance(0.3):
            found.append(self.interface(chain))
        if self.chance(0.3):
            found.append(self.address())
        kind = self.random.random()
        tcp = False
        if kind < 0.45:
            found.append(f"-p {self.some(('tcp', 'tcp', 'tcp', 'udp'))} {self.ports()}")
            tcp = True
        elif kind < 0.6:
            found.append(f"{self.not_()}-p {self.some(('tcp', 'udp', '{icmp}', '47'))}")
            tcp = True
        if self.chance(0.3):
            match = self.some(("-m conntrack {}--ctstate {}", "-m state {}--state {}"))
            found.append(match.format(self.not_(), self.some(STATES)))
        if self.chance(0.25):
            match = self.match(chain)
            if not (tcp and match.startswith("-p")):
                found.append(match)
        if self.chance(0.2):
            found.append(self.comment())
        return " ".join(found)

    def comment(self) -> str:
        """Return a comment with odd characters."""
        words = self.some(COMMENTS)
        quoted = words.replace("\\", "\\\\").replace('"', '\\"')
        return f'-m comment --comment "{quoted}"'

    def rule(self, chain: str, *targets: str) -> str:
        """Return a rule."""
        return f"{self.conditions(chain)} -j {self.some(targets)}".strip()

    def drop(self) -> str:
        """Return a target that drops."""
        return self.some(
            ("DROP", "DROP", "REJECT", "REJECT --reject-with {port_unreachable}", "REJECT --reject-with {prohibited}")
        )

    def chain(self) -> str:
        """Return the name of a chain of the site's own."""
        self.own += 1
        return self.some(("LOGGING", "block", "TCP", "in_public", "f2b-sshd", "my-chain")) + f"-{self.own}"

    # Shapes that people use.

    def opening(self, hook: str) -> None:
        """What most firewalls begin with; without neighbour discovery, there is no IPv6."""
        self.add("filter", hook, "-p {icmp} -j ACCEPT")
        if self.chance(0.7):
            self.add("filter", hook, f"-{'o' if hook == 'OUTPUT' else 'i'} lo -j ACCEPT")
        if self.chance(0.6):
            match = self.some(("-m conntrack --ctstate", "-m state --state"))
            self.add("filter", hook, f"{match} {self.some(('ESTABLISHED', 'RELATED,ESTABLISHED'))} -j ACCEPT")
        if self.chance(0.3):
            self.add("filter", hook, f"-m conntrack --ctstate INVALID -j {self.drop()}")

    def ending(self, hook: str) -> None:
        """How most firewalls end."""
        kind = self.random.random()
        if kind < 0.3:
            self.firewall.policies[hook] = "DROP"
        elif kind < 0.5:
            self.add("filter", hook, f"-j {self.drop()}")
        elif kind < 0.65:
            log = self.chain()
            self.add("filter", hook, f"-j {log}")
            self.add("filter", log, '-m limit --limit 5/min -j LOG --log-prefix "[BLOCK] "', f"-j {self.drop()}")
        elif kind < 0.8:
            self.add("filter", hook, f"-p tcp -m multiport ! --dports 22,80,443 -j {self.drop()}")

    def soup(self, hook: str) -> None:
        """Rules of any kind."""
        for _rule in range(self.random.randint(1, 8)):
            self.add("filter", hook, self.rule(hook, "ACCEPT", "ACCEPT", self.drop(), self.drop(), "LOG", "RETURN"))

    def bans(self, hook: str) -> None:
        """Bans, as fail2ban has them."""
        name = self.chain()
        numbers = self.random.sample(range(1, 99), self.random.randint(1, 5))
        bans = [f"-s {{banned}}{number} -j {self.drop()}" for number in numbers]
        self.add("filter", name, *bans, "-j RETURN")
        self.add("filter", hook, self.some((f"-j {name}", f"-p tcp -m multiport --dports 21,20,990 -j {name}")))

    def flood(self, hook: str) -> None:
        """A chain that lets a rate return and drops the rest."""
        name = self.chain()
        self.add("filter", name, "-m limit --limit 100/second --limit-burst 200 -j RETURN", f"-j {self.drop()}")
        self.add("filter", hook, f"-p tcp --syn -j {name}")

    def friends(self, hook: str) -> None:
        """A chain for those who are let in."""
        name = self.chain()
        self.add("filter", name, f"{self.address()} -j {self.some(('ACCEPT', 'RETURN'))}", f"-j {self.drop()}")
        self.add("filter", hook, f"{self.conditions(hook)} -j {name}".strip())

    def chains(self, hook: str) -> None:
        """Chains that call one another, and share one."""
        last = self.chain()
        names = [self.chain() for _chain in range(self.random.randint(1, 4))]
        rules = [self.rule(hook, "ACCEPT", self.drop(), "RETURN", "LOG") for _rule in range(self.random.randint(1, 3))]
        self.add("filter", last, *rules)
        for name, following in zip(names, [*names[1:], last]):
            self.add("filter", name, self.rule(hook, "ACCEPT", self.drop(), "RETURN", last))
            self.add("filter", name, f"{self.conditions(hook)} -{self.some('jjjg')} {following}".strip())
        self.add("filter", hook, f"{self.conditions(hook)} -j {names[0]}".strip())

    def docker(self, _hook: str) -> None:
        """What docker makes of FORWARD."""
        self.add("filter", "DOCKER-USER", "-j RETURN")
        self.add("filter", "DOCKER", "! -i docker0 -o docker0 -j DROP")
        rules = [
            "-j DOCKER-USER",
            "-o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-o docker0 -j DOCKER",
        ]
        self.add("filter", "FORWARD", *rules, "-i docker0 ! -o docker0 -j ACCEPT")
        self.add("nat", "POSTROUTING", "-s {private} ! -o docker0 -j MASQUERADE")

    def earlier(self) -> None:
        """Rules of tables raw and mangle."""
        come_in = self.firewall.side != "client"
        hooks = {"raw": ["PREROUTING", "OUTPUT"], "mangle": ["PREROUTING", "INPUT", "OUTPUT", "FORWARD", "POSTROUTING"]}
        for _rule in range(self.random.randint(1, 3)):
            table = self.some(hooks)
            chain = self.some(hooks[table])
            conditions = self.conditions(chain)
            if table == "raw" and ("state" in conditions or "helper" in conditions):
                conditions = ""
            target = self.some(
                ("ACCEPT", "CT --notrack", "CT --zone 5", "DROP", "NOTRACK")
                if table == "raw"
                else (
                    "ACCEPT",
                    "MARK --set-mark 0x1",
                    "DROP",
                    "CONNMARK --set-mark 0x1/0xff",
                    "MARK --or-mark 0x2",
                )
            )
            if target in ("CT --notrack", "CT --zone 5", "NOTRACK") and self.chance(0.7):
                conditions = "-p udp --dport 53"
            if target == "DROP" and not conditions:
                conditions = "-p udp --dport 1900"
            self.add(table, chain, f"{conditions} -j {target}".strip())
        if come_in and self.chance(0.5):
            self.add("mangle", "PREROUTING", "-p tcp ! --syn -m conntrack --ctstate NEW -j DROP")
            self.add("mangle", "PREROUTING", "-m conntrack --ctstate INVALID -j DROP")

    def write(self) -> Firewall:
        """Write it."""
        shapes = (
            self.soup,
            self.soup,
            self.soup,
            self.bans,
            self.flood,
            self.friends,
            self.chains,
            self.chains,
            self.docker,
        )
        for hook in self.hooks:
            self.opening(hook)
            for shape in self.random.sample(shapes, self.random.randint(1, 4)):
                shape(hook)
            self.ending(hook)
        if self.chance(0.3):
            self.earlier()
        return self.firewall


def firewall(seed: str) -> Firewall:
    """Return the firewall of a seed."""
    return Writer(seed).write()
