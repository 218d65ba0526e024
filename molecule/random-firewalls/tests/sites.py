"""A site's firewall between two networks, with an agent on each host."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp import _desired
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables import _rule, _ruleset
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._foreign import Near, sets_with
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._rule import Rule
from ansible_collections.hostfw.conntrack.plugins.module_utils._nftables import _ruleset as _nftables
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan import _gates, _native, _plan, _warnings
from generator import WORDS, Firewall
from lab.agent import Agent
from lab.desired import options
from lab.ftp import CURL, WAYS, Way
from lab.hosts import NO_NAT, OPEN, PROGRAM, Lab

ADDRESSES = {
    "near": {4: "198.51.100.2", 6: "2001:db8::2"},
    "far": {4: "203.0.113.2", 6: "2001:db8:1::2"},
    "site from near": {4: "198.51.100.1", 6: "2001:db8::1"},
    "site from far": {4: "203.0.113.1", 6: "2001:db8:1::1"},
}
# Who calls whom, by where the role stands.
CALLS = {"server": ("near", "site from near"), "client": ("site", "far"), "gateway": ("near", "far")}
# Ports that are to stay as open as they were: of the site, or of what is behind it.
OTHERS = [22, 80, 1024, 3306, 8080, 40000, 50050, 60000]
SECONDS, BLOCKED_SECONDS = 8, 2
# Of those that Linux gives to programs; rules may let some of them through.
CLIENT_PORTS = list(range(33000, 61000, 2000))
NEAR = ("198.51.100.0/24", "203.0.113.0/24", "2001:db8::/64", "2001:db8:1::/64")
INPUTS = {"passive_ports": "auto", "persistent": False}
LAB = Lab()


@dataclass
class Found:
    """What was seen of one firewall.

    - outcome: V(passed); V(warned), where FTP passes without the rules that the plan has named; V(failed)
    - named: these rules
    - tried: the firewall at first, as the site has it
    - why: what failed
    """

    firewall: Firewall
    outcome: str = "failed"
    named: list[str] = field(default_factory=list)
    tried: str = ""
    why: list[str] = field(default_factory=list)


class Machine(Agent):
    """A test host and the agent on it."""

    def run(self, command: str, stdin: str = "") -> str:
        """Run a command; return its output."""
        code, out, err = self.call("run", command, stdin)
        assert code == 0, f"{self.host.name}: {command}: {err}\n{stdin}"
        return str(out)


class Site:
    """A site, and a host on either side of it."""

    def __init__(self, site: str) -> None:
        program = Path(__file__).parent / "agent.py"
        self.hosts = {name: Machine(LAB.host(f"{site}-{name}"), program) for name in ("near", "site", "far")}
        for agent in self.hosts.values():
            agent.call("listen", OTHERS)
        self.site = self.hosts["site"]

    def load(self, texts: dict[int, str]) -> dict[int, str]:
        """Replace all rules and sets; return what iptables-save prints of them."""
        for program, rules in zip(PROGRAM.values(), OPEN):
            self.site.run(f"{program}-restore", rules + NO_NAT)
        self.site.run("n=0; until ipset destroy 2>/dev/null; do n=$((n+1)); [ $n -lt 100 ] || exit 1; sleep 0.1; done")
        for ip_version, words in WORDS.items():
            family = "inet" if ip_version == 4 else "inet6"
            for name, member in (("banned", words["other"]), ("allowed", words["lan"])):
                commands = f"create {name}{ip_version} hash:net family {family}\nadd {name}{ip_version} {member}\n"
                self.site.run("ipset restore", commands)
        for ip_version, saved in texts.items():
            text = saved
            ruleset = _ruleset.parse(text, (*_desired.TABLES, "nat"))
            odd = [
                (table, chain, number, rule)
                for table, chains in ruleset.tables.items()
                for chain, rules in chains.items()
                for number, rule in enumerate(rules, 1)
                if "\n" in rule  # iptables-restore cannot read it
            ]
            for _table, _chain, _number, rule in odd:
                text = text.replace(f"{rule}\n", "")
            code, _out, err = self.site.call("run", f"{PROGRAM[ip_version]}-restore", text)
            at = re.search(r"line:? (\d+)", err)
            assert code == 0, f"{err}: {text.splitlines()[int(at[1]) - 1] if at else text}"
            for table, chain, number, rule in odd:
                words = shlex.join([PROGRAM[ip_version], "-t", table, "-I", chain, str(number), *shlex.split(rule)[2:]])
                self.site.run(words)
        return self.save()

    def save(self) -> dict[int, str]:
        """Return what iptables-save prints, counters and dates aside."""
        found = {}
        for ip_version, program in PROGRAM.items():
            text = self.site.run(f"{program}-save")
            text = re.sub(r"^(:\S+ \S+) \[\d+:\d+\]$", r"\1 [0:0]", text, flags=re.MULTILINE)
            found[ip_version] = re.sub(r"^# (Generated|Completed) .*\n", "", text, flags=re.MULTILINE)
        return found

    def role(self, inputs: dict[str, Any]) -> tuple[_plan.Plan, list[str]]:
        """Do what the role does; return its plan and its warnings, or the conflicts."""
        chosen = options({**INPUTS, **inputs}, "eth1")
        current = {
            f"ipv{ip_version}": _ruleset.parse(text, (*_desired.TABLES, "nat"))
            for ip_version, text in self.of_iptables()
        }
        tables = _nftables.parse(self.of_nftables())
        near = Near(NEAR, sets_with(NEAR, self.site.run("ipset list")))
        desired, share = _gates.share(_desired.of(chosen), current, tables, near)
        plan = _plan.plan(share.iptables, current, {}, together=False, near=near, sites=share.sites)
        plan.add_native(chosen.prefix, tables, share.own, share.parts)
        plan.conflicts += _gates.conflicts(desired, share.gates, firewalld_drops=False)
        if plan.conflicts:
            return plan, plan.conflicts
        warnings = _warnings.warnings(chosen, current, [], root="/nowhere")
        for ip_version, site in plan.sites.items():
            warnings += site.warnings(_rule.PROGRAMS[ip_version], plan.after[ip_version])
        warnings += _native.warnings(share.native, share.parts, self.printed)
        for command in plan.prepare:
            self.site.run(shlex.join(command["argv"]), command["stdin"])
        for ip_version, program in _rule.PROGRAMS.items():
            items = [item for item in plan.helper_rules + plan.rules if item["ip_version"] == ip_version]
            text = "".join(f"*{item['table']}\n{line(item)}\nCOMMIT\n" for item in items)
            self.site.run(f"{program}-restore --noflush", text)
        for command in plan.finish:
            self.site.run(shlex.join(command["argv"]), command["stdin"])
        return plan, warnings

    def of_iptables(self) -> list[tuple[int, str]]:
        """Return what iptables-save prints."""
        return list(self.save().items())

    def of_nftables(self) -> str:
        """Return what nft prints in JSON; nothing where there is no nft."""
        return ""

    def printed(self, chain: str) -> str:
        """Return what nft prints of a chain with handles."""
        raise NotImplementedError(chain)

    def transfers(self, side: str, ways: Sequence[Way], seconds: int) -> dict[str, bool]:
        """Fetch a listing in each way, all at once; tell what passed."""
        caller, called = CALLS[side]
        script = ["cd $(mktemp -d)"]
        for way in ways:
            address = ADDRESSES[called][way.ip_version]
            url = f"ftp://{f'[{address}]' if way.ip_version == 6 else address}/"
            curl = shlex.join([*CURL, str(seconds), *way.curl, "--output", "/dev/null", url])
            script.append(f"({curl} 2>/dev/null; echo {way} $?) > {way} &")
        out = self.hosts[caller].run("\n".join([*script, "wait", "cat *", "rm -r $PWD"]))
        codes = dict(line.split() for line in out.splitlines())
        assert len(codes) == len(ways)
        return {name: code == "0" for name, code in codes.items()}

    def open_ports(self, side: str, seconds: float = 0.7) -> set[str]:
        """Return the ports of others that answer."""
        if side == "client":
            caller, called = "far", "site from far"
        else:
            caller, called = CALLS[side]
        return set(self.hosts[caller].call("reach", list(ADDRESSES[called].values()), OTHERS, seconds))

    def new_connections(self, side: str, mode: str) -> str:
        """Return the IP versions over which the site lets through what is like a data connection of a mode."""
        caller, called = CALLS[side]
        if mode == "active":
            caller, called = {
                "server": ("site", "near"),
                "client": ("far", "site from far"),
                "gateway": ("far", "near"),
            }[side]
        sources = [20] if mode == "active" else CLIENT_PORTS
        addresses = ADDRESSES[called]
        found = self.hosts[caller].call("reach", list(addresses.values()), [40000, 50050, 60000], 4, sources)
        return "".join(
            str(version) for version, address in addresses.items() if any(f"{address} " in to for to in found)
        )

    def written(self, firewall: Firewall) -> dict[int, str]:
        """Return a firewall as load() takes it."""
        return {ip_version: firewall.saved(ip_version) for ip_version in PROGRAM}

    def without(self, texts: dict[int, str], told: Iterable[str]) -> tuple[dict[int, str], list[str]]:
        """Return a firewall without the rules that are named, and these."""
        return without(texts, told)

    def look(self, firewall: Firewall) -> Found:
        """Try the role in a firewall, and once more without the rules that the plan names, until FTP passes."""
        found = Found(firewall)
        texts = self.written(firewall)
        found.tried = "\n".join(texts.values())
        for rounds in range(8):
            before = self.load(texts)
            told, blocked = self.look_once(firewall, before, found)
            if found.why:
                return found
            if not blocked:
                found.outcome = "warned" if rounds else "passed"
                return found
            texts, named = self.without(before, told)
            if not named:
                found.why.append(f"{', '.join(blocked)} did not pass, and no rule is named; told: {told}")
                return found
            found.named += named
        found.why.append("FTP does not pass without the rules that were named")
        return found

    def look_once(self, firewall: Firewall, before: dict[int, str], found: Found) -> tuple[list[str], list[str]]:
        """Try the role once; return what it told, and what did not pass. What else is wrong is noted as found."""
        open_before = self.open_ports(firewall.side)
        plan, told = self.role(firewall.inputs)
        if plan.conflicts:
            if self.save() != before:
                found.why.append("the rules have changed in spite of a conflict")
            return told, ["all"]
        again, _warnings = self.role(firewall.inputs)
        if again.changed:
            found.why.append(f"a second plan is not empty: {again.diff}")
        mode = firewall.inputs["mode"]
        asked = [way for way in WAYS if mode in (way.mode, "both")]
        passed = self.transfers(firewall.side, asked, SECONDS)
        again = [way for way in asked if not passed[str(way)]]
        if again and len(again) < len(asked):  # most likely a busy machine: what drops all of a way does so again
            passed.update(self.transfers(firewall.side, again, SECONDS))
        others = [way for way in WAYS if way not in asked]
        more = self.transfers(firewall.side, others, BLOCKED_SECONDS) if others else {}
        # What the site lets through as a new connection is not FTP's to stop.
        let = (
            self.new_connections(firewall.side, "active" if mode == "passive" else "passive")
            if any(more.values())
            else ""
        )
        wrong = [way for way, passes in more.items() if passes and way[-1] not in let]
        if wrong:
            found.why.append(f"passed, and was not asked for: {wrong}")
        opened = self.open_ports(firewall.side) - open_before
        self.role({**firewall.inputs, "state": "absent"})
        for _time in range(3 if opened else 0):  # matches such as limit let in now and then
            opened -= self.open_ports(firewall.side, 3)
        if opened:
            found.why.append(f"opened: {sorted(opened)}")
        after = self.save()
        for ip_version, text in before.items():
            changes = list(difflib.unified_diff(tables(text), tables(after[ip_version]), "before", "after absent", n=0))
            if changes:
                found.why.append("\n".join(changes))
        return told, [way for way, passes in passed.items() if not passes]


NATIVE = 0


class NativeSite(Site):
    """A site where native rules of nftables filter; they are the key 0 of what load() takes."""

    def written(self, firewall: Firewall) -> dict[int, str]:
        """Return a firewall in the words of nft, but for what iptables cannot translate."""
        commands = []
        for ip_version, saved in super().written(firewall).items():
            ruleset = _ruleset.parse(saved, ["filter"])
            chains = ruleset.tables["filter"]
            lines = ["*filter", *(f":{chain} {ruleset.policies['filter', chain]} [0:0]" for chain in chains)]
            lines += [rule for rules in chains.values() for rule in rules if "\n" not in rule and "-set " not in rule]
            printed = self.translated(PROGRAM[ip_version], [*lines, "COMMIT", ""])
            commands += [line for line in printed.splitlines() if line.startswith("add ")]
        text = "".join(re.sub(r"^(add \w+ ip6?) filter", r"\1 site", line) + "\n" for line in commands)
        return {NATIVE: text}

    def translated(self, program: str, lines: list[str]) -> str:
        """Return what a program of iptables translates, without the lines that it cannot."""
        while True:
            self.site.run("cat > /tmp/saved", "\n".join(lines))
            code, out, err = self.site.call("run", f"{program}-restore-translate -f /tmp/saved")
            if code == 0:
                return str(out)
            at = re.search(r"line:? (\d+)", err)
            assert at, err
            del lines[int(at[1]) - 1]

    def load(self, texts: dict[int, str]) -> dict[int, str]:
        """Replace all rules; return what nft prints of them."""
        lines = texts[NATIVE].splitlines()
        while True:
            code, _out, err = self.site.call("run", "nft -f -", "\n".join(["flush ruleset", *lines, ""]))
            if code == 0:
                return self.save()
            # What iptables translates is not always what nft understands.
            at = re.search(r"stdin:(\d+):", err)
            assert at, err
            del lines[int(at[1]) - 2]

    def save(self) -> dict[int, str]:
        """Return what nft prints, without what has been counted: connections of an address, too."""
        printed = self.site.run("nft -s list ruleset")
        return {NATIVE: re.sub(r"^\t\telements = {[^}]* ct count [^}]*}\n", "", printed, flags=re.MULTILINE)}

    def of_iptables(self) -> list[tuple[int, str]]:
        """Return nothing."""
        return []

    def of_nftables(self) -> str:
        """Return what nft prints in JSON."""
        return self.site.run("nft -j list ruleset")

    def printed(self, chain: str) -> str:
        """Return what nft prints of a chain with handles."""
        return self.site.run(f"nft -s -a list chain {chain}")

    def without(self, texts: dict[int, str], told: Iterable[str]) -> tuple[dict[int, str], list[str]]:
        """Return a firewall without the rules that are named, and these."""
        words = "\n".join(told)
        lines = texts[NATIVE].splitlines()
        named = [line for line in lines if line.startswith("\t\t") and f": {line.strip()};" in words]
        left = [line for line in lines if line not in named]
        return {NATIVE: "\n".join(left)}, [line.strip() for line in named]


def tables(text: str) -> list[str]:
    """Return the lines of what iptables-save printed, but for tables without rules, which are there once looked at.

    What nft printed is returned as it is.
    """
    if "*" not in text[:1]:
        return text.splitlines()
    ruleset = _ruleset.parse(text, (*_desired.TABLES, "nat"))
    found = []
    for table, chains in sorted(ruleset.tables.items()):
        policies = [f":{chain} {ruleset.policies[table, chain]}" for chain in chains]
        rules = [rule for lines in chains.values() for rule in lines]
        if rules or any(not policy.endswith(" ACCEPT") for policy in policies):
            found += [f"*{table}", *policies, *rules]
    return found


def line(item: dict[str, Any]) -> str:
    """Return a rule of a plan as iptables-restore reads it."""
    fields = {name: item[name] for name in Rule.__dataclass_fields__ if name in item}
    if "destination_ports" in item:
        fields["destination_port"] = ",".join(item["destination_ports"])
    text = Rule(**fields, live_set=item.get("match_set"), live_end=item.get("match_set_flags")).line()
    if item.get("action") == "insert":
        return text.replace(f"-A {item['chain']}", f"-I {item['chain']} {item['rule_num']}", 1)
    return text


def without(texts: dict[int, str], told: Iterable[str]) -> tuple[dict[int, str], list[str]]:
    """Return the firewall without the rules that are named, and these."""
    named = []
    left = {}
    for ip_version, text in texts.items():
        words = "\n".join(line for line in told if f"{PROGRAM[ip_version]}:" in line or f"(ipv{ip_version})" in line)
        chains = _ruleset.parse(text, (*_desired.TABLES, "nat")).tables.values()
        here = [rule for lines in chains for rules in lines.values() for rule in rules if rule in words]
        named += here
        left[ip_version] = text
        for rule in here:
            left[ip_version] = left[ip_version].replace(f"{rule}\n", "", 1)
    return left, named
