"""Firewalls that drop by default, each told to let FTP through as its documentation says.

A host that opens connections to another service with a helper, IRC on port 6667, may do so with each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lab.hosts import FOREIGN, PROGRAMS, Host
from lab.kinds import FAR, IPTABLES_NAT, Firewall, clear, firewalld, iptables, quoted
from lab.topologies import Topology

RANGE = "50000:50099"
CLIENTS = {4: "198.51.100.0/24", 6: "2001:db8::/64"}
FAMILIES = {4: "ip", 6: "ip6"}


@dataclass(frozen=True)
class Peer:
    """A firewall.

    - package: that of Debian, whose version the page names
    - told: returns what it is told to let FTP through at one place
    - start: has it filter there, with that
    """

    name: str
    package: str
    told: Callable[[Topology], list[str]]
    start: Callable[[Host, Topology, list[str]], None]

    def __str__(self) -> str:
        return self.name

    def filters(self, host: Host, topology: Topology) -> None:
        """Have it filter on a host without a firewall."""
        self.start(host, topology, self.told(topology))


def nothing(host: Host) -> None:
    """Have no firewall. ferm takes the other variant of iptables."""
    clear(host)
    for program in PROGRAMS:
        legacy = program.replace("tables", "tables-legacy")
        tables = [f"{legacy} -t {table} -F && {legacy} -t {table} -X" for table in ("raw", "mangle", "nat", "filter")]
        run(host, *tables, *(f"{legacy} -P {chain} ACCEPT" for chain in ("INPUT", "OUTPUT", "FORWARD")))


def both(rules: list[str]) -> list[str]:
    """Return commands for both IP versions."""
    return [f"{program} {rule}" for program in PROGRAMS for rule in rules]


def run(host: Host, *commands: str) -> None:
    """Run commands, up to the first that fails."""
    host.shell.check_output("\n".join(["set -e", *commands]))


# Nobody filters; every connection to port 21 has the helper.
def nobody(topology: Topology) -> list[str]:
    """Return the rules that give the helper."""
    return [f"-t raw -A {chain} -p tcp --dport {topology.site.port} -j CT --helper ftp" for chain in RAW]


RAW = ("PREROUTING", "OUTPUT")


def start_nobody(host: Host, _topology: Topology, told: list[str]) -> None:
    """Drop nothing."""
    run(host, *both(told))


def inputs(topology: Topology) -> list[str]:
    """Return the role's inputs that are not its defaults."""
    return [f"{name}: {value}" for name, value in topology.role_inputs.items()] or ["the defaults"]


def start_role(host: Host, topology: Topology, _told: list[str]) -> None:
    """Apply the role where rules of iptables drop."""
    iptables(host, Firewall("ESTABLISHED" if topology.site.tls else "", topology.nat))
    host.role(**topology.role_inputs)


def classic(topology: Topology) -> list[str]:
    """Return the rules of the tutorials, the client's and the server's sides not confused."""
    to_server, to_client = {
        "server": ("INPUT", "OUTPUT"),
        "client": ("OUTPUT", "INPUT"),
        "gateway": ("FORWARD -i eth0 -o eth1", "FORWARD -i eth1 -o eth0"),
    }[topology.host]
    rules = [
        (to_server, "--dport 21", "NEW,ESTABLISHED"),
        (to_client, "--sport 21", "ESTABLISHED"),
        (to_client, "--sport 20", "ESTABLISHED,RELATED"),
        (to_server, "--dport 20", "ESTABLISHED"),
        (to_server, "--sport 1024:65535 --dport 1024:65535", "ESTABLISHED,RELATED"),
        (to_client, "--sport 1024:65535 --dport 1024:65535", "ESTABLISHED"),
    ]
    if topology.site.tls:
        rules.append((to_server, f"--dport {RANGE}", "NEW,ESTABLISHED"))
    return [f"-A {chain} -p tcp {ports} -m state --state {states} -j ACCEPT" for chain, ports, states in rules]


def start_classic(host: Host, topology: Topology, told: list[str]) -> None:
    """Add the rules to others that drop by policy; the helper is loaded."""
    host.load(FOREIGN)
    nat = [f"{program} -t nat {rule}" for program, rule in zip(PROGRAMS, IPTABLES_NAT.get(topology.nat, ()))]
    run(host, *both(told), *nat)


def firewalld_told(topology: Topology) -> list[str]:
    """Return what firewall-cmd is told."""
    service, place = "ftp", "--zone=public"
    commands = []
    if topology.host != "server":
        ends = ("HOST", "ANY") if topology.host == "client" else ("public", "internal")
        place = "--policy=ftp"
        commands += ["--new-policy=ftp", f"{place} --set-priority=-100"]
        commands += [f"{place} --add-{end}-zone={zone}" for end, zone in zip(("ingress", "egress"), ends)]
    if topology.site.port != 21:
        service = f"ftp-{topology.site.port}"
        commands += [
            f"--new-service={service}",
            f"--service={service} --add-port={topology.site.port}/tcp",
            f"--service={service} --add-helper=ftp",
            f"--zone=public --add-service={service}",
        ]
    commands.append(f"{place} --add-service=ftp")
    if topology.site.tls:
        commands.append(f"{place} --add-port={RANGE.replace(':', '-')}/tcp")
    return [f"firewall-cmd --permanent {command}" for command in commands]


def start_firewalld(host: Host, topology: Topology, told: list[str]) -> None:
    """Start firewalld, with a policy that drops what the host itself opens."""
    run(host, "rm -f /etc/firewalld/services/*.xml")
    firewalld(host, Firewall(nat=topology.nat))
    irc = "firewall-cmd --permanent --policy=egress --add-port=6667/tcp"
    run(host, *(f"{command} > /dev/null" for command in (irc, *told, "firewall-cmd --reload")))


UFW_WORDS = {
    "server": "ufw allow {port}/tcp",
    "client": "ufw allow out {port}/tcp",
    "gateway": "ufw route allow in on eth0 out on eth1 to any port {port} proto tcp",
}


def ufw_told(topology: Topology) -> list[str]:
    """Return what ufw is told by commands, besides the modules in IPT_MODULES."""
    commands = [UFW_WORDS[topology.host].format(port=21)]
    if topology.site.tls:
        commands.append(UFW_WORDS[topology.host].format(port=RANGE))
    return commands


def start_ufw(host: Host, topology: Topology, told: list[str]) -> None:
    """Enable ufw, with defaults that deny everything."""
    commands = [
        """sed -i 's/^IPT_MODULES=.*/IPT_MODULES="nf_conntrack_ftp nf_nat_ftp"/' /etc/default/ufw""",
        "ufw --force reset",
        *(f"ufw default deny {direction}" for direction in ("incoming", "outgoing", "routed")),
        "ufw allow 22/tcp",
        "ufw allow out 6667/tcp",
        *(command for command in told if command.startswith("ufw")),
    ]
    raw = [line for line in told if not line.startswith("ufw")]
    for name, nat in zip(("before", "before6"), IPTABLES_NAT.get(topology.nat, ("", ""))):
        tables = ["*raw", *raw, "COMMIT"] * bool(raw) + ["*nat", nat, "COMMIT"] * bool(nat)
        commands += [f"echo {word!r} >> /etc/ufw/{name}.rules" for word in tables]
    run(host, *(f"{command} > /dev/null" if command[:3] == "ufw" else command for command in commands))
    run(host, "ufw --force enable > /dev/null")


def ufw_by_hand(topology: Topology) -> list[str]:
    """Return the same with the helper's rules, in the files of rules, as ufw-framework(8) wants it."""
    return ufw_told(topology) + [f"-A {chain} -p tcp --dport {topology.site.port} -j CT --helper ftp" for chain in RAW]


def ferm_told(topology: Topology) -> list[str]:
    """Return the rules for ferm."""
    chain = {"server": "INPUT", "client": "OUTPUT", "gateway": "FORWARD"}[topology.host]
    rules = [f"table raw chain ({' '.join(RAW)}) proto tcp dport {topology.site.port} CT helper ftp;"]
    rules.append(f"table filter chain {chain} proto tcp dport ftp ACCEPT;")
    if topology.site.tls:
        rules.append(f"table filter chain {chain} proto tcp dport {RANGE} ACCEPT;")
    return rules


FERM = """
domain (ip ip6) {
  table filter {
    chain (INPUT OUTPUT FORWARD) {
      policy DROP;
      mod state state INVALID DROP;
      mod state state (ESTABLISHED RELATED) ACCEPT;
      proto icmp ACCEPT;
    }
    chain INPUT {
      interface lo ACCEPT;
      proto tcp dport ssh ACCEPT;
    }
    chain OUTPUT {
      outerface lo ACCEPT;
      proto tcp dport 6667 ACCEPT;
    }
  }
"""


def start_ferm(host: Host, topology: Topology, told: list[str]) -> None:
    """Load what Debian's file says, with a policy that drops for OUTPUT, too."""
    lines = [FERM, *told, "}"]
    for version, family in FAMILIES.items():
        far = FAR[4] if version == 4 else f"[{FAR[6]}]"
        if topology.nat == "masquerade":
            lines.append(f"domain {family} table nat chain POSTROUTING outerface eth1 MASQUERADE;")
        if topology.nat == "DNAT":
            words = f'interface eth0 proto tcp dport 2121 DNAT to "{far}:21"'
            lines.append(f"domain {family} table nat chain PREROUTING {words};")
    run(host, quoted("\n".join([*lines, ""]), "/etc/ferm/ferm.conf"), "ferm /etc/ferm/ferm.conf")


def shorewall_told(topology: Topology) -> list[str]:
    """Return the rules for shorewall; for shorewall6, they are the same, with the server's other address."""
    ends = {"server": "net $FW", "client": "$FW net", "gateway": "net loc"}[topology.host]
    rules = [f"FTP(ACCEPT) {ends}"]
    if topology.nat == "DNAT":
        rules = [f"DNAT net loc:{FAR[4]}:21 tcp {topology.site.port} {{ helper=ftp }}"]
    if topology.site.tls:
        rules.append(f"ACCEPT {ends} tcp {RANGE}")
    return rules


def start_shorewall(host: Host, topology: Topology, told: list[str]) -> None:
    """Start shorewall and shorewall6, with a policy that drops everything."""
    for version, name in ((4, "shorewall"), (6, "shorewall6")):
        gateway = topology.host == "gateway"
        files = {
            "zones": ["fw firewall", f"net ipv{version}", *[f"loc ipv{version}"] * gateway],
            "interfaces": ["?FORMAT 2", "net eth0", *["loc eth1"] * gateway],
            "policy": ["all all DROP"],
            "rules": ["?SECTION NEW", "ACCEPT $FW net tcp 6667", *told],
            "snat": [f"MASQUERADE {CLIENTS[version]} eth1"] * (topology.nat == "masquerade"),
        }
        if version == 6:
            files["rules"] = [line.replace(FAR[4], f"[{FAR[6]}]") for line in files["rules"]]
        commands = [quoted("\n".join([*lines, ""]), f"/etc/{name}/{file}") for file, lines in files.items()]
        run(host, *commands, f"{name} start > /tmp/{name}.log 2>&1")


def foomuuri_told(topology: Topology) -> list[str]:
    """Return the rules for foomuuri."""
    rules = ["ftp"]
    if topology.site.port != 21:
        rules.append(f"tcp {topology.site.port} helper ftp-{topology.site.port}")
    if topology.site.tls:
        rules.append(f"tcp {RANGE.replace(':', '-')}")
    return rules


FOOMUURI = """
zone {{
  localhost
  public eth0
  internal eth1
}}
{zones} {{
{told}
  drop
}}
{more}
"""
ZONES = {"server": "public-localhost", "client": "localhost-public", "gateway": "public-internal"}
FOOMUURI_NAT = {
    "": "",
    "masquerade": f"""
snat {{
  saddr {CLIENTS[4]} oifname eth1 masquerade
  saddr {CLIENTS[6]} oifname eth1 masquerade
}}
""",
    "DNAT": f"""
dnat {{
  iifname eth0 tcp 2121 dnat to {FAR[4]}:21
  iifname eth0 tcp 2121 dnat to [{FAR[6]}]:21
}}
""",
}


def start_foomuuri(host: Host, topology: Topology, told: list[str]) -> None:
    """Start foomuuri, with zones between which everything is dropped."""
    irc = "localhost-public {\n  tcp 6667\n  drop\n}\n" if topology.host != "client" else ""
    more = irc + FOOMUURI_NAT[topology.nat]
    text = FOOMUURI.format(zones=ZONES[topology.host], told="\n".join(f"  {line}" for line in told), more=more)
    run(host, quoted(text, "/etc/foomuuri/foomuuri.conf"), "foomuuri start")


NOBODY = Peer("nobody", "", nobody, start_nobody)
ROLE = Peer("hostfw.conntrack", "iptables", inputs, start_role)
PEERS = (
    ROLE,
    Peer("the tutorials' rules", "iptables", classic, start_classic),
    Peer("firewalld", "firewalld", firewalld_told, start_firewalld),
    Peer("ufw", "ufw", ufw_told, start_ufw),
    Peer("ufw, rules by hand", "ufw", ufw_by_hand, start_ufw),
    Peer("ferm", "ferm", ferm_told, start_ferm),
    Peer("shorewall", "shorewall", shorewall_told, start_shorewall),
    Peer("foomuuri", "foomuuri", foomuuri_told, start_foomuuri),
)
