# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is to be done on a host: desired minus current."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.hostfw.conntrack.plugins.module_utils._diagnosis._findings import Finding
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._desired import (
    GUARD,
    LIVE_SET,
    OURS,
    TABLES,
    Chains,
    Desired,
    marked,
)
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._flows import HELPER
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._options import IP_VERSIONS
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._foreign import Near
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._rule import (
    PROGRAMS,
    Rule,
    same,
    target_of,
)
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._ruleset import Ruleset
from ansible_collections.hostfw.conntrack.plugins.module_utils._nftables._ruleset import Tables
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan import _native, _own
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan._site import Site

# Lines that a diff shows before and behind a change.
CONTEXT = 3
IP_VERSION_WORDS = {"ipv4": "IPv4", "ipv6": "IPv6", "both": "IPv4 and IPv6"}


@dataclass
class Plan:
    """What is to be done, in the order of its fields.

    - prepare: commands, each C(argv) and what it reads as C(stdin)
    - helper_rules: arguments of hostfw.conntrack.helper_rule
    - rules: arguments of ansible.builtin.iptables, the jumps last
    - finish: like prepare
    - sets: the ipsets that prepare creates
    - conflicts: why nothing can be done
    - placing: whether nothing is to be done but to move jumps that let FTP pass, below foreign rules such as bans
    - native_diff: what changes of nftables, as a unified diff
    - before, after: the rules of each IP version as they are, and as they will be
    - sites: the foreign rules of each IP version, as FTP meets them
    """

    sets: list[str] = field(default_factory=list)
    prepare: list[dict[str, Any]] = field(default_factory=list)
    helper_rules: list[dict[str, Any]] = field(default_factory=list)
    rules: list[dict[str, Any]] = field(default_factory=list)
    finish: list[dict[str, Any]] = field(default_factory=list)
    conflicts: list[Finding] = field(default_factory=list)
    placing: bool = False
    native_diff: str = ""
    before: Mapping[str, Ruleset] = field(default_factory=dict)
    after: dict[str, Ruleset] = field(default_factory=dict)
    sites: dict[str, Site] = field(default_factory=dict)

    @property
    def diff(self) -> str:
        """What changes, as a unified diff of what iptables-save, ip6tables-save and nft print."""
        diffs = [_diff(ip_version, self.before[ip_version], after) for ip_version, after in self.after.items()]
        return "".join(diffs) + self.native_diff

    def add_native(self, prefix: str, current: Tables, own: Tables, parts: _native.Parts) -> None:
        """Add what is to be done to nftables, in one transaction: first where it lets FTP through, else last.

        :arg own: the tables that the instance is to have
        :arg parts: what it is to have in the site's tables
        """
        self.conflicts += _native.conflicts(prefix, current, parts)
        lines = [*_own.commands(current, own, prefix), *_native.commands(prefix, current, parts)]
        if not lines:
            return
        command = _command("nft", "-f", "-", stdin="".join(f"{line}\n" for line in lines))
        if own or parts:
            self.prepare.insert(0, command)
        else:
            self.finish.append(command)
        self.placing = False
        here = {key: table for key, table in current.items() if key[1] == _own.name(prefix)}
        old, new = _native.shown(here, _native.present(prefix, current)), _native.shown(own, parts)
        diff = difflib.unified_diff(old, new, "nft before", "nft after", n=CONTEXT, lineterm="")
        self.native_diff = "".join(f"{line}\n" for line in diff)

    @property
    def changed(self) -> bool:
        """Tell whether there is anything to do to the rules."""
        return bool(self.prepare or self.helper_rules or self.rules or self.finish)


def plan(
    desired: Desired,
    current: Mapping[str, Ruleset],
    sets: Mapping[str, str],
    *,
    together: bool,
    first: bool = False,
    kept: Sequence[str] = (),
    sites: Mapping[str, Site] | None = None,
    near: Near | None = None,
) -> Plan:
    """Return what turns the current rules into the desired ones.

    :arg current: the rules of each IP version that can be read on the host
    :arg sets: the type and the family of each ipset of the host, such as V(hash:ip inet)
    :arg together: whether one item may add a rule for both IP versions
    :arg first: whether a jump that is missing, or behind what stops FTP, goes before all rules: the number of any other
        place may be wrong by then, where others change rules all the time
    :arg kept: the names of ipsets that are to be there although they are not asked for
    :arg sites: the foreign rules of each IP version, as FTP meets them, where they have been looked at
    :arg near: where peers are whom a foreign rule does not ban
    """
    result = Plan(before=current)
    changes: dict[str, _Changes] = {}
    for ip_version, ruleset in current.items():
        site = (sites or {}).get(ip_version) or Site(desired, ip_version, ruleset, near)
        result.sites[ip_version] = site
        result.conflicts += _conflicts(desired, ip_version, ruleset, sets, site)
        changes[ip_version] = _Changes(desired, ip_version, ruleset, site, first=first)
    if result.conflicts:
        result.conflicts = list(dict.fromkeys(result.conflicts))
        return result

    inside = {
        ip_version: [rule.arguments(ip_version) for rule in change.rules] for ip_version, change in changes.items()
    }
    for arguments in _merge(inside, together=together):
        (result.helper_rules if "helper" in arguments else result.rules).append(arguments)
    # Last, so that packets only ever enter finished chains.
    # Their places count those before them: they stay in order, in one item only where all are the same.
    jumps = {ip_version: change.jumps for ip_version, change in changes.items()}
    bare = [[{**jump, "ip_version": None} for jump in found] for found in jumps.values()]
    alike = all(found == bare[0] for found in bare)
    result.rules += _merge(jumps, together=together and alike)
    for arguments in result.helper_rules + result.rules:
        arguments["label"] = _label(arguments)
    for ip_version, change in changes.items():
        name = desired.chains.live(ip_version)
        live = ip_version in desired.live_sets or name in kept
        if live and name not in sets:
            result.sets.append(name)
            result.prepare.append(_command("ipset", "-exist", "create", name, *LIVE_SET[ip_version]))
        result.prepare += _restore(ip_version, change.prepare)
        result.finish += _restore(ip_version, change.finish)
        if name in sets and not live:
            result.finish.append(_command("ipset", "destroy", name))
    result.after = {ip_version: change.after for ip_version, change in changes.items()}
    only = not (result.prepare or result.helper_rules or result.rules)
    result.placing = only and all(change.finish == change.moves for change in changes.values())
    return result


def snapshot(
    prefix: str, current: Mapping[str, Ruleset], sets: Mapping[str, str], tables: Tables | None = None
) -> dict[str, Any]:
    """Return what an instance has on the host, for undo()."""
    chains = Chains(prefix)
    names = [chains.live(ip_version) for ip_version in IP_VERSIONS]
    return {
        "rules": {
            ip_version: {table: _chains_and_jumps(chains, table, ruleset) for table in TABLES}
            for ip_version, ruleset in current.items()
        },
        "sets": [name for name in names if name in sets],
        "own": _own.snapshot(prefix, tables or {}),
        "parts": _native.snapshot(prefix, tables or {}),
    }


def undo(
    prefix: str,
    before: Mapping[str, Any],
    current: Mapping[str, Ruleset],
    sets: Mapping[str, str],
    tables: Tables | None = None,
    kept: Sequence[str] = (),
) -> Plan:
    """Return what gives an instance what it had.

    :arg before: from snapshot()
    :arg kept: the names of ipsets that are to stay in any case
    """
    chains = Chains(prefix)
    result = Plan(before=current, after={ip_version: ruleset.copy() for ip_version, ruleset in current.items()})
    for ip_version, ruleset in result.after.items():
        name = chains.live(ip_version)
        if name in before["sets"] and name not in sets:
            result.finish.append(_command("ipset", "-exist", "create", name, *LIVE_SET[ip_version]))
        lines = {table: _back(chains, table, ruleset, before["rules"][ip_version][table]) for table in TABLES}
        result.finish += _restore(ip_version, lines)
        if name in sets and name not in before["sets"] and name not in kept:
            result.finish.append(_command("ipset", "destroy", name))
    own, parts = _own.of_snapshot(prefix, before["own"]), _native.of_snapshot(before["parts"])
    result.add_native(prefix, tables or {}, own, parts)
    return result


def _chains_and_jumps(chains: Chains, table: str, ruleset: Ruleset) -> dict[str, Any]:
    """Return the chains of an instance in one table, with their rules, and the jumps to them, each with its index.

    The chains that all instances share are among them.
    """
    here = ruleset.tables.get(table, {})
    names = [name for name in here if (table, name) in chains.all() or _shared(table, name)]
    return {
        "chains": {name: list(here[name]) for name in names},
        "jumps": [
            [chain, index, line]
            for chain, lines in here.items()
            for index, line in enumerate(lines)
            if chain not in names and (ours(line, chains) or _to_guard(line))
        ],
    }


def _back(chains: Chains, table: str, ruleset: Ruleset, before: Mapping[str, Any]) -> list[str]:
    """Return the lines of iptables-restore that give an instance back its part of one table; make them there."""
    now = _chains_and_jumps(chains, table, ruleset)
    if now == before:
        return []
    here = ruleset.tables.setdefault(table, {})
    lines = []
    for chain, _index, line in now["jumps"]:
        lines.append(_delete(line))
        here[chain].remove(line)
    lines += [f"{'-F' if name in here else '-N'} {name}" for name in before["chains"]]
    for name, rules in before["chains"].items():
        lines += rules
        here[name] = list(rules)
    gone = [name for name in now["chains"] if name not in before["chains"]]
    lines += [f"{command} {name}" for command in ("-F", "-X") for name in gone]
    for name in gone:
        del here[name]
    for chain, index, line in before["jumps"]:
        lines.append(_insert(line, index + 1))
        here[chain].insert(index, line)
    return lines


def ours(line: str, chains: Chains) -> bool:
    """Tell whether a rule outside our chains is a jump that we made: our mark, into a chain of ours."""
    return marked(line) and target_of(line) in [name for _table, name in chains.all()]


def _shared(table: str, chain: str) -> bool:
    """Tell whether a chain is one that all instances share."""
    return table == "mangle" and chain in GUARD.values()


def _to_guard(line: str) -> bool:
    """Tell whether a rule outside of the shared chains is the jump to one that an instance made."""
    return marked(line) and target_of(line) in GUARD.values()


def _of_others(chains: Chains, lines: Sequence[str]) -> list[str]:
    """Return the jumps of other instances in a shared chain, and the drop behind them."""
    found = [line for line in lines if marked(line) and not ours(line, chains)]
    jumps = [line for line in found if re.search("-DATA-(IN|OUT)$", target_of(line) or "")]
    return [*jumps, *(line for line in found if target_of(line) == "DROP")] if jumps else []


def _conflicts(
    desired: Desired, ip_version: str, ruleset: Ruleset, sets: Mapping[str, str], site: Site
) -> list[Finding]:
    """Return why the rules of one IP version cannot become the desired ones."""
    found = []
    options, chains = desired.options, desired.chains
    name = chains.live(ip_version)
    own = f"{LIVE_SET[ip_version][0]} {LIVE_SET[ip_version][2]}"
    if options.live_over(ip_version) and sets.get(name, own) != own:
        found.append(Finding("foreign-ipset", ipset=name, type=sets[name], own=own, prefix=options.prefix))
    if ip_version in options.peers:
        found += [Finding("unreadable-table", table=table, ip_version=ip_version) for table in ruleset.incompatible]
    if site.desired.any:  # also where nftables has the helper
        found += [
            Finding("helper-kept-away", ip_version=ip_version, rule=line, helper=HELPER) for line in site.untracked()
        ]
    foreign = _foreign_chains(ruleset, chains)
    if desired.rules[ip_version].jumps:
        found += _guard_conflicts(desired, ip_version, ruleset)
        for (table, name), line in foreign.items():
            where = {"chain": name, "table": table, "ip_version": ip_version}
            found.append(Finding("foreign-chain", **where, rule=line, prefix=options.prefix))
    elif not foreign:
        for table, line in _foreign_jumps(ruleset, chains):
            found.append(Finding("chain-in-use", chain=target_of(line), table=table, ip_version=ip_version, rule=line))
    return found


def _guard_conflicts(desired: Desired, ip_version: str, ruleset: Ruleset) -> list[Finding]:
    """Return why an instance cannot enter the chains that all share."""
    found = []
    drops = {rule.chain: rule.line() for rule in desired.rules[ip_version].guard if rule.jump == "DROP"}
    for chain, drop in drops.items():
        lines = ruleset.chain("mangle", chain)
        if lines and not any(marked(line) for line in lines):
            found.append(Finding("foreign-guard-chain", chain=chain, ip_version=ip_version, rule=lines[0]))
        other = next((line for line in lines if target_of(line) == "DROP" and not same(line, drop)), None)
        if other and _of_others(desired.chains, lines):
            found.append(Finding("connmark-differs", bits=desired.marks.both, rule=other))
    return found[:1]


def _foreign_jumps(ruleset: Ruleset, chains: Chains) -> list[tuple[str, str]]:
    """Return the foreign rules that jump into our chains, each with its table."""
    names = chains.all()
    return [
        (table, line)
        for table in TABLES
        for chain, lines in ruleset.tables.get(table, {}).items()
        for line in lines
        if chains.prefix in line
        and (table, target_of(line)) in names
        and (table, chain) not in names
        and not ours(line, chains)
    ]


def _foreign_chains(ruleset: Ruleset, chains: Chains) -> dict[tuple[str, str], str]:
    """Return the chains with the names of ours that others use, each with a rule that shows it.

    There are none where any rule shows that this instance has been here.
    """
    found: dict[tuple[str, str], str] = {}
    names = chains.all()
    for table in TABLES:
        for chain, lines in ruleset.tables.get(table, {}).items():
            for line in lines if (table, chain) in names else [line for line in lines if chains.prefix in line]:
                if ours(line, chains) or ((table, chain) in names and marked(line)):
                    return {}
                if (table, chain) in names:
                    found.setdefault((table, chain), line)
                elif (table, target_of(line)) in names:
                    found.setdefault((table, str(target_of(line))), line)
    return found


class _Changes:
    """What one IP version needs, worked out on a copy of its rules that ends as they will."""

    def __init__(self, desired: Desired, ip_version: str, ruleset: Ruleset, site: Site, *, first: bool) -> None:
        """Work it out, in the order in which it will be carried out."""
        self.first = first
        self.site = site
        self.desired = desired
        self.ip_version = ip_version
        self.own = desired.chains
        self.after = ruleset.copy()
        self.rules: list[Rule] = []
        # the arguments of the jumps, with their place
        self.jumps: list[dict[str, Any]] = []
        # for each table the lines of iptables-restore, before all else and after it
        self.prepare: dict[str, list[str]] = {table: [] for table in TABLES}
        self.finish: dict[str, list[str]] = {table: [] for table in TABLES}
        # of finish, those that move jumps which let FTP pass
        self.moves: dict[str, list[str]] = {table: [] for table in TABLES}

        if _foreign_chains(ruleset, self.own):
            return
        rules = desired.rules[ip_version]
        self.add_chains(rules.inside)
        self.write_chains([rule for rule in rules.inside if rule.table == "mangle"])
        self.add_rules([rule for rule in rules.inside if rule.table != "mangle"])
        self.add_guard(rules.guard)
        for jump in rules.jumps:
            self.add_jump(jump)
        # From here on in one transaction for each table, so that nothing is missing for a moment.
        for jump in rules.jumps:
            self.move_jump(jump)
        self.remove_rules(rules.all)
        self.remove_guard()
        self.remove_chains(rules.inside)

    def add_chains(self, wanted: Sequence[Rule]) -> None:
        """Add the chains that are missing for the rules."""
        for table, name in self.own.all():
            needed = any((rule.table, rule.chain) == (table, name) for rule in wanted)
            if needed and not self.after.has(table, name):
                self.prepare[table].append(f"-N {name}")
                self.after.tables.setdefault(table, {})[name] = []

    def write_chains(self, wanted: Sequence[Rule]) -> None:
        """Write those of our chains anew, each in one go, in which the order counts and is not as it should be."""
        for chain in dict.fromkeys(rule.chain for rule in wanted):
            lines = self.after.tables["mangle"][chain]
            here = [rule.line() for rule in wanted if rule.chain == chain]
            if len(here) == len(lines) and all(map(same, here, lines)):
                continue
            if lines:
                self.prepare["mangle"].append(f"-F {chain}")
            self.prepare["mangle"] += here
            lines[:] = here

    def add_rules(self, wanted: Sequence[Rule]) -> None:
        """Add the rules that are missing from our chains."""
        for rule in wanted:
            lines = self.after.tables[rule.table][rule.chain]
            if any(same(rule.line(), line) for line in lines):
                continue
            if rule.expressible:
                self.rules.append(rule)
            else:
                self.prepare[rule.table].append(rule.line())
            lines.append(rule.line())

    def add_guard(self, wanted: Sequence[Rule]) -> None:
        """Add what is missing in the chains that all instances share: jumps first, the drop last."""
        mangle = self.after.tables.setdefault("mangle", {})
        for rule in wanted:
            if rule.chain not in mangle:
                self.prepare["mangle"].append(f"-N {rule.chain}")
                mangle[rule.chain] = []
            lines = mangle[rule.chain]
            if rule.jump != "DROP":
                if not any(same(rule.line(), line) for line in lines):
                    self.prepare["mangle"].append(_insert(rule.line(), 1))
                    lines.insert(0, rule.line())
            elif not lines or not same(lines[-1], rule.line()) or target_of(lines[-2] if lines[1:] else "") == "DROP":
                for line in [line for line in lines if target_of(line) == "DROP"]:
                    self.prepare["mangle"].append(_delete(line))
                    lines.remove(line)
                self.prepare["mangle"].append(rule.line())
                lines.append(rule.line())

    def well_placed(self, jump: Rule, index: int) -> bool:
        """Tell whether a jump stands where its position asks for; other instances of this role do not count."""
        lines = self.after.chain(jump.table, jump.chain)
        place = self.site.place(jump, lines)
        between = lines[index + 1 : place]
        if self.first:
            return index <= place
        if self.desired.position(jump) == "last":
            return index <= place and all(map(marked, between))
        return index <= place and not self.site.hinders(jump, between)

    def place(self, jump: Rule, lines: Sequence[str]) -> int:
        """Return the index at which a jump goes."""
        return 0 if self.first else self.site.place(jump, lines)

    def add_jump(self, jump: Rule) -> None:
        """Add a jump that is missing, at its place."""
        lines = self.after.tables.setdefault(jump.table, {}).setdefault(jump.chain, [])
        self.after.policies.setdefault((jump.table, jump.chain), "ACCEPT")
        printed = jump.line()
        if any(same(printed, line) for line in lines):
            return
        if jump.helper or not jump.expressible:
            return  # move_jump()'s
        index = self.place(jump, lines)
        arguments = jump.arguments(self.ip_version)
        if index < len(lines):
            arguments.update(action="insert", rule_num=str(index + 1))
        self.jumps.append(arguments)
        lines.insert(index, printed)

    def move_jump(self, jump: Rule) -> None:
        """Leave a jump once, at its place; add it where no module can."""
        lines = self.after.tables[jump.table][jump.chain]
        printed = jump.line()
        standing = [line for line in lines if same(printed, line)]
        if len(standing) == 1 and self.well_placed(jump, lines.index(standing[0])):
            return
        passes = bool(standing) and lines.index(standing[0]) <= self.site.place(jump, lines)
        commands = [_delete(line) for line in standing]
        for line in standing:
            lines.remove(line)
        index = self.place(jump, lines)
        commands.append(_insert(printed, index + 1) if index < len(lines) else printed)
        lines.insert(index, printed)
        self.finish[jump.table] += commands
        if passes:
            self.moves[jump.table] += commands

    def remove_rules(self, wanted: Sequence[Rule]) -> None:
        """Remove the rules of ours that are not wanted, or are there twice; those of a chain that goes go with it."""
        staying = {(rule.table, rule.chain) for rule in wanted}
        for table in TABLES:
            for chain, lines in self.after.tables.get(table, {}).items():
                own = (table, chain) in self.own.all()
                if own and (table, chain) not in staying:
                    continue
                others: list[str] = []
                if _shared(table, chain) and any(marked(line) for line in lines):
                    own, others = True, _of_others(self.own, lines)
                here = [rule.line() for rule in wanted if (rule.table, rule.chain) == (table, chain)]
                kept: list[str] = []
                for line in lines:
                    if not own and OURS not in line:
                        kept.append(line)
                        continue
                    foreign = not own and not ours(line, self.own) and not self.of_old_guard(line, wanted)
                    foreign = foreign or line in others
                    asked_for = any(same(line, other) for other in here) and not any(
                        same(line, other) for other in kept
                    )
                    if foreign or asked_for:
                        kept.append(line)
                    else:
                        self.finish[table].append(_delete(line))
                lines[:] = kept

    def of_old_guard(self, line: str, wanted: Sequence[Rule]) -> bool:
        """Tell whether a rule is a jump to a shared chain that has got another form."""
        return _to_guard(line) and any(rule.jump == target_of(line) for rule in wanted)

    def remove_guard(self) -> None:
        """Remove the shared chains that no instance needs any more."""
        mangle = self.after.tables.get("mangle", {})
        gone = [name for name in GUARD.values() if name in mangle]
        needed = [target_of(line) for lines in mangle.values() for line in lines if not marked(line)]
        gone = [name for name in gone if not mangle[name] and name not in needed]
        for lines in mangle.values():
            for line in [line for line in lines if _to_guard(line) and target_of(line) in gone]:
                self.finish["mangle"].append(_delete(line))
                lines.remove(line)
        for command in ("-F", "-X"):
            self.finish["mangle"] += [f"{command} {name}" for name in gone]
        for name in gone:
            del mangle[name]

    def remove_chains(self, wanted: Sequence[Rule]) -> None:
        """Remove the chains of ours that no rule needs."""
        staying = {(rule.table, rule.chain) for rule in wanted}
        gone = [(table, name) for table, name in self.own.all() if self.after.has(table, name)]
        gone = [chain for chain in gone if chain not in staying]
        for command in ("-F", "-X"):
            for table, name in gone:
                self.finish[table].append(f"{command} {name}")
        for table, name in gone:
            del self.after.tables[table][name]


def _delete(line: str) -> str:
    return line.replace("-A ", "-D ", 1)


def _insert(line: str, number: int) -> str:
    return re.sub(r"^-A (\S+)", rf"-I \1 {number}", line)


def _command(*argv: str, stdin: str = "") -> dict[str, Any]:
    return {"argv": list(argv), "stdin": stdin}


def _merge(items: Mapping[str, Sequence[dict[str, Any]]], *, together: bool) -> list[dict[str, Any]]:
    """Put what is the same for both IP versions into one item, where that may be."""
    merged: list[dict[str, Any]] = []
    for ip_version in IP_VERSIONS:
        for arguments in items.get(ip_version, ()):
            twin = {**arguments, "ip_version": "ipv4"}
            if together and ip_version == "ipv6" and twin in merged:
                merged[merged.index(twin)]["ip_version"] = "both"
            else:
                merged.append(dict(arguments))
    return merged


def _restore(ip_version: str, tables: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Return the command that changes the tables, each in one transaction, if there is anything for it to do."""
    lines = [line for table, commands in tables.items() if commands for line in (f"*{table}", *commands, "COMMIT")]
    program = f"{PROGRAMS[ip_version]}-restore"
    return [_command(program, "--noflush", "-w", "60", stdin="\n".join(lines) + "\n")] if lines else []


def _label(arguments: Mapping[str, Any]) -> str:
    """Return a rule in words."""
    peer = arguments.get("source") or arguments.get("destination")
    where = IP_VERSION_WORDS[arguments["ip_version"]]
    return f"{arguments['chain']}: {arguments['comment'][len(OURS) :]} ({peer or where})"


def _diff(ip_version: str, before: Ruleset, after: Ruleset) -> str:
    """Return a unified diff of the two tables, as iptables-save prints them."""
    if before == after:
        return ""
    name = f"{PROGRAMS[ip_version]}-save"
    old, new = _print(before), _print(after)
    # What is alike before the first change and behind the last may be long, and difflib is slow.
    first = next((index for index, (one, other) in enumerate(zip(old, new)) if one != other), min(len(old), len(new)))
    ends = zip(reversed(old[first:]), reversed(new[first:]))
    alike = next((index for index, (one, other) in enumerate(ends) if one != other), 0)
    start = max(first - CONTEXT, 0)
    old, new = (lines[start : len(lines) - max(alike - CONTEXT, 0)] for lines in (old, new))
    return "".join(
        f"{_shifted(line.rstrip(), start)}\n"
        for line in difflib.unified_diff(old, new, f"{name} before", f"{name} after", n=CONTEXT)
    )


def _shifted(line: str, lines: int) -> str:
    """Return a line of a unified diff that begins some lines further down."""
    if not line.startswith("@@ "):
        return line
    return re.sub(r"(?<=[-+])\d+", lambda number: str(int(number[0]) + lines), line)


def _print(ruleset: Ruleset) -> list[str]:
    lines = []
    for table in TABLES:
        chains = ruleset.tables.get(table, {})
        lines.append(f"*{table}")
        for chain in chains:
            lines.append(f":{chain} {ruleset.policies.get((table, chain), '-')}")
        for chain in sorted(chains):
            lines += chains[chain]
    return lines
