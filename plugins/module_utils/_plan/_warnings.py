# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What on a host keeps FTP from passing, or lets in more than FTP, although our rules are as they should be."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ansible_collections.hostfw.conntrack.plugins.module_utils._diagnosis._findings import Finding
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._options import Options
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._servers import Server
from ansible_collections.hostfw.conntrack.plugins.module_utils._host import _host, _image
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._foreign import Packet, Reader
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._rule import PROGRAMS, clauses, target_of
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._ruleset import Ruleset, covers
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan import _boot, _marks
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan._native import Translating

# RFC 4861, section 4.
NEIGHBOUR = {"135": "solicitations", "136": "advertisements"}
FORWARDING = {"ipv4": "net/ipv4/ip_forward", "ipv6": "net/ipv6/conf/all/forwarding"}
LOOSE = "sys/module/nf_conntrack_ftp/parameters/loose"

# A control connection counts as closed by a FIN or RST after which the kernel keeps it for no longer than this, in
# seconds (--ctexpire in our rules). A forged one that the kernel does not believe changes nothing of how long that is.
CLOSING_SECONDS = 120
# To which address, if it is not the packet's own, and to which port, if it is another.
SENT = re.compile(r" -j (?:REDIRECT --to-ports |DNAT --to-destination ([\d.]*)(?::|(?= |$)))(\d+(?:-\d+)?|)")
NETFILTER = "net/netfilter/nf_conntrack_tcp_"
STAYING = ("timeout_established", "timeout_max_retrans", "timeout_unacknowledged")
# After the first FIN, and after a RST.
LEAVING = ("timeout_fin_wait", "timeout_close")


def warnings(
    options: Options,
    current: Mapping[str, Ruleset],
    servers: Sequence[Server],
    root: str = "/",
    native: Callable[[str], Translating] = lambda _ip_version: Translating("nft", ()),
    *,
    running: bool = True,
) -> list[Finding]:
    """Return the warnings for a host, each naming the rule or the setting.

    :arg servers: those that the host itself runs
    :arg native: returns what native nftables rules translate of an IP version
    :arg running: whether the kernel's settings and modules are the host's, as they are not in an image
    """
    if options.state == "absent":
        return []
    found = [warning for server in servers for warning in _server(options, server)]
    for ip_version, ruleset in current.items():
        if options.open_over(ip_version):
            found += _marks.warnings(options, PROGRAMS[ip_version], ruleset)
            if ip_version == "ipv6":
                found += _neighbours(options, ruleset)
            if options.side == "gateway" and running:
                found += _forwarding(ip_version, root)
            chains = {name: lines for name, lines in ruleset.tables.get("nat", {}).items() if name != "OUTPUT"}
            lines = [line for chain in chains.values() for line in chain]
            for translating in (Translating(PROGRAMS[ip_version], lines), native(ip_version)):
                found += _translated(options, translating, root, running=running)
                found += _sent_on(options, translating, root, alone=not servers)
    found += _tracking(root) if running else []
    systemd = Path(root, _boot.SYSTEMD).is_dir() if running else _image.has_systemd(root)
    if options.persistent and not systemd and not Path(root, _boot.PLUGINS).is_dir():
        found.append(Finding("no-boot", command=_boot.restore(options.prefix)))
    if running and _host.setting(LOOSE, root) == "Y":
        found.append(Finding("helper-loose", setting=LOOSE))
    return found


def _server(options: Options, server: Server) -> list[Finding]:
    """Warn of modes and ports that do not go with the configuration of a server."""
    found = [
        Finding("mode-not-served", mode=options.mode, other=mode, server=server.name, path=server.path)
        for mode, allowed in (("active", server.active), ("passive", server.passive))
        if options.mode in (mode, "both") and not allowed
    ]
    if server.name == "proftpd" and options.active and options.data_port:
        found.append(Finding("data-port-not-kept", server=server.name, path=server.path, port=options.data_port))
    return found


def _tracking(root: str) -> list[Finding]:
    """Warn of settings under which the kernel does not tell an honest end of a control connection from a forged one."""
    found = []
    for name in (*STAYING, *LEAVING):
        value = _host.setting(f"proc/sys/{NETFILTER}{name}", root)
        if not value or (int(value) > CLOSING_SECONDS) is (name in STAYING):
            continue
        setting = f"{NETFILTER.replace('/', '.')}{name}"
        if name in STAYING:
            found.append(Finding("forged-end-believed", setting=setting, value=value, to=f"above {CLOSING_SECONDS}"))
        else:
            found.append(Finding("end-unnoticed", setting=setting, value=value, to=f"to {CLOSING_SECONDS} or less"))
    if _host.setting(f"proc/sys/{NETFILTER}be_liberal", root) == "1":
        setting = f"{NETFILTER.replace('/', '.')}be_liberal"
        found.append(Finding("forged-end-believed", setting=setting, value=1, to="to 0"))
    return found


def _neighbours(options: Options, ruleset: Ruleset) -> list[Finding]:
    """Warn where IPv6 cannot find its neighbours."""
    found = []
    for interface in options.interfaces + options.out_interfaces:
        packet = Packet("ipv6-icmp", "UNTRACKED", in_interface=interface, out_interface=interface)
        packets = [packet._replace(icmp_type=icmp_type) for icmp_type in NEIGHBOUR]
        for chain in ("INPUT", "OUTPUT"):
            effect = Reader(ruleset, "filter", packets, chain).walk(ruleset.chain("filter", chain))
            pass_by_policy = 0 if ruleset.policies.get(("filter", chain)) == "DROP" else effect.leaves
            found += [
                Finding(
                    "neighbours-dropped",
                    messages=words,
                    chain=chain,
                    interface=interface or "any interface",
                    type=icmp_type,
                )
                for number, (icmp_type, words) in enumerate(NEIGHBOUR.items())
                if not (effect.accepts | pass_by_policy) >> number & 1
            ]
    return found


def _forwarding(ip_version: str, root: str) -> list[Finding]:
    """Warn of forwarding that is off on a gateway."""
    if _host.setting(f"proc/sys/{FORWARDING[ip_version]}", root) != "0":
        return []
    return [Finding("forwarding-off", ip_version=ip_version, setting=FORWARDING[ip_version].replace("/", "."))]


def _translated(options: Options, rules: Translating, root: str, *, running: bool) -> list[Finding]:
    """Warn of NAT on a gateway of which the inputs do not speak."""
    if options.side != "gateway":
        return []
    found = []
    translating = [line for line in rules.lines if _translates(options, line)]
    ready = running and _host.nat_helper_ready(_host.NAT_HELPER, _host.release(), root)
    if translating and not options.nat and not ready:
        facts = {"program": rules.program, "module": _host.NAT_HELPER, "rule": rules.told(translating[0])}
        found.append(Finding("nat-without-helper", **facts))
    for line in rules.lines:
        before = next((clause.values[0] for clause in clauses(line) if clause.option == "--dport"), None)
        # --to-destination 192.0.2.1:21 or [2001:db8::1]:21
        after = re.search(r" --to-destination (?:\[.*\]|[^:\s]*):(\d+)\b", line)
        if before in options.control_ports and after and after.group(1) not in options.control_ports:
            facts = {"program": rules.program, "port": before, "to": after.group(1), "rule": rules.told(line)}
            found.append(Finding("port-sent-on", **facts, chain="FORWARD"))
    return found


def _translates(options: Options, line: str) -> bool:
    """Tell whether a rule may translate addresses of FTP; of DNAT, where it may be for a control connection."""
    target = target_of(line)
    ports = re.findall(r"(?<!! )--dports? ([\d:,]+)", line) if target == "DNAT" else []
    asked = all(any(port in some.split(",") for port in options.control_ports) or ":" in some for some in ports)
    return target in ("DNAT", "SNAT", "MASQUERADE", "NETMAP") and asked and _marks.may_meet(options, line)


def _sent_on(options: Options, rules: Translating, root: str, *, alone: bool) -> list[Finding]:
    """Warn where a server's host sends a control port to another one, or to another host, such as a container.

    :arg alone: whether no server is known here, so that the FTP of another host is meant
    """
    if options.side != "server":
        return []
    found = []
    own = ["", *_host.addresses(root)]
    for line in rules.lines:
        to = SENT.search(line)
        if to is None:
            continue
        elsewhere = (to[1] or "") not in own
        if not alone if elsewhere else to[2] in ("", *options.control_ports):
            continue
        words = {clause.option: clause.values[0] for clause in clauses(line) if clause.values and not clause.negated}
        ports = (words.get("--dport") or words.get("--dports") or "").split(",")
        before = next((port for port in ports if port in options.control_ports), None)
        here = any(covers(words.get("-i", "+"), interface, negated=False) for interface in options.interfaces)
        if before and here and words.get("-p") == "tcp":
            facts = {"program": rules.program, "port": before, "rule": rules.told(line)}
            sent_on = Finding("port-published", **facts, address=to[1])
            found.append(sent_on if elsewhere else Finding("port-sent-on", **facts, to=to[2], chain="INPUT"))
    return found
