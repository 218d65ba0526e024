"""The rules that settings of the role come to, as the collection's code has them."""

from __future__ import annotations

import gc
import re
from collections.abc import Mapping
from dataclasses import replace
from time import process_time
from typing import Any

import yaml
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp import _desired, _options
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables import _rule, _ruleset
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan import _boot, _plan, _warnings

from lab import PROJECT

DEFAULTS = yaml.safe_load((PROJECT / "roles/ftp/defaults/main.yml").read_text(encoding="utf-8"))
DEFAULTS = {name.removeprefix("ftp_"): value for name, value in DEFAULTS.items()}
# As the inventory has them, and the ports that Linux gives to programs where nobody has changed them.
DEFAULTS["passive_ports"] = "1024:65535"
LOCAL_PORTS = "32768:60999"


def options(inputs: Mapping[str, Any], *interfaces: str) -> _options.Options:
    """Return the options of a test host.

    :arg inputs: the role's, with or without their C(ftp_), where they are not the defaults
    :arg interfaces: those that the host has besides lo and eth0
    """
    given = {name.removeprefix("ftp_"): value for name, value in inputs.items()}
    return _options.parse({**DEFAULTS, **given}, ["lo", "eth0", *interfaces], ["eth0"], LOCAL_PORTS)


def desired(inputs: Mapping[str, Any]) -> list[str]:
    """Return the rules and jumps of a test host, for both IP versions, sorted."""
    rules = _desired.of(options(inputs)).rules
    return sorted(rule.line() for ip_version in ("ipv4", "ipv6") for rule in rules[ip_version].all)


def one_by_one() -> dict[str, Any]:
    """Return the rules of a host with the defaults as arguments of modules, without the guard and its marks."""
    desired = _desired.of(options({}))
    plan = _plan.plan(desired, {version: _ruleset.Ruleset() for version in _options.IP_VERSIONS}, {}, together=True)
    helper_rules, rules = (
        [
            {name: value for name, value in rule.items() if name != "label"}
            for rule in items
            if rule["table"] != "mangle"
        ]
        for items in (plan.helper_rules, plan.rules)
    )
    # What asks for a mark is no module's to add.
    jumps = [jump for jump in desired.rules["ipv4"].jumps if jump.table == "filter"]
    rules += [replace(jump, connmark=None).arguments("both") for jump in jumps]
    chains = [{"table": table, "chain": chain} for table, chain in desired.chains.all() if table != "mangle"]
    return {"chains": chains, "helper_rules": helper_rules, "rules": rules}


def foreign(number: int, ip_version: str) -> str:
    """Return foreign rules as iptables-save prints them: bans of single addresses, ports, states."""
    icmp, network, bits = ("icmp", "10.", 32) if ip_version == "ipv4" else ("icmp6", "2001:db8::", 128)
    lines = []
    for index in range(number):
        high, low, port = index >> 8, index & 255, index % 65535 + 1
        peer = f"{network}{high >> 8}.{high & 255}.{low}/{bits}" if bits == 32 else f"{network}{high:x}:{low:x}/{bits}"
        kinds = (
            f"-A BANS -s {peer} -j REJECT --reject-with {icmp}-port-unreachable",
            f"-A INPUT -s {peer} -j DROP",
            f'-A INPUT -s {peer} -p tcp -m tcp --dport {port} -m comment --comment "ban {index}" -j DROP',
            f"-A INPUT -s {peer} -p tcp -m multiport --dports 80,443,{port} -j ACCEPT",
            f"-A INPUT -i eth{index % 7} -p tcp -m tcp --dport {port} -m conntrack --ctstate NEW -j ACCEPT",
        )
        lines.append(kinds[index % len(kinds)])
    chains = ["*filter", ":INPUT DROP [0:0]", ":FORWARD DROP [0:0]", ":OUTPUT DROP [0:0]", ":BANS - [0:0]"]
    return "\n".join([*chains, "-A INPUT -j BANS", *lines, "-A INPUT -j DROP", "COMMIT", ""])


def seconds_of_a_plan(number: int) -> float:
    """Return the time of a processor that a plan takes on a host with so many foreign rules for each IP version."""
    printed = {version: foreign(number, version) for version in _options.IP_VERSIONS}
    _rule.clauses.cache_clear()
    gc.collect()
    gc.disable()  # as the module does
    start = process_time()
    current = {version: _ruleset.parse(text, (*_desired.TABLES, "nat")) for version, text in printed.items()}
    chosen = options({"passive_ports": "50000:50999"})
    desired = _desired.of(chosen)
    plan = _plan.plan(desired, current, {}, together=True)
    for version, site in plan.sites.items():
        site.warnings(_rule.PROGRAMS[version], plan.after[version])
    _warnings.warnings(chosen, current, [])
    _boot.files(desired, plan, [], systemd=True, plugins=True)
    assert plan.diff
    took = process_time() - start
    gc.enable()
    return took


def parts(rules: str) -> tuple[list[str], list[str]]:
    """Split what Host.rules() returns: the rules of the role, sorted, and all that is of others."""
    lines = rules.splitlines()
    ours = [line for line in lines if re.search("FTP|HOSTFW", line)]
    return sorted(line for line in ours if line.startswith("-A")), [line for line in lines if line not in ours]
