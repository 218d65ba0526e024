# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The site's own nftables tables: which of their base chains drop FTP, and our chains and jumps in them.

A packet must be accepted by every base chain on its hook.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from ansible_collections.hostfw.conntrack.plugins.module_utils._diagnosis._findings import Finding
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._desired import OURS, Chains, Desired
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._foreign import Near
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._rule import Rule
from ansible_collections.hostfw.conntrack.plugins.module_utils._nftables import _foreign as _nft
from ansible_collections.hostfw.conntrack.plugins.module_utils._nftables._rule import statements
from ansible_collections.hostfw.conntrack.plugins.module_utils._nftables._ruleset import (
    BUILT_IN,
    FAMILIES,
    OF_IPTABLES,
    Chain,
    Listed,
    Table,
    Tables,
    base_chains,
)
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan._own import PRIORITY, is_own, listing
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan._site import NAMED, Site

# The chains of iptables whose packets pass each hook.
HOOKS = {
    "input": ("INPUT",),
    "output": ("OUTPUT",),
    "forward": ("FORWARD",),
    "prerouting": ("INPUT", "FORWARD"),
    "postrouting": ("OUTPUT", "FORWARD"),
}
# NF_IP_PRI_CONNTRACK in the kernel's netfilter_ipv4.h.
CONNTRACK = -200
MARK = {"ct": {"key": "mark"}}
ALL = 0xFFFFFFFF


@dataclass(frozen=True)
class Gate:
    """A base chain that drops FTP.

    - place: how many of its foreign rules stand before what drops
    - early: whether it drops before the kernel knows which connection a packet belongs to
    """

    family: str
    table: str
    chain: str
    place: int
    early: bool = False


@dataclass
class Part:
    """What an instance has in one foreign table.

    - chains: its chains, with their rules
    - jumps: those to them, by base chain; each with the number of foreign rules that stand before it
    """

    chains: dict[str, list[Listed]] = field(default_factory=dict)
    jumps: dict[str, list[tuple[Listed, int]]] = field(default_factory=dict)


class Translating(NamedTuple):
    """Rules that translate addresses.

    - program: whose they are
    - lines: as iptables-save prints them
    - told: returns a line as the program prints it
    """

    program: str
    lines: Sequence[str]
    told: Callable[[str], str] = str


# By family and name of the table.
Parts = dict[tuple[str, str], Part]


def ours(rule: Listed) -> bool:
    """Tell whether a rule is the role's."""
    return (rule.comment or "").startswith(OURS)


def _foreign(chain: Chain) -> list[Listed]:
    return [rule for rule in chain.rules if not ours(rule)]


def _of_iptables(family: str, name: str, table: Table) -> bool:
    """Tell whether a table is one that iptables-nft makes, by its name and those of its chains."""
    return family != "inet" and name in OF_IPTABLES and bool(set(BUILT_IN) & set(table.chains))


class Sites:
    """The site's base chains, as FTP meets them; each is read once."""

    def __init__(self, desired: Desired, tables: Tables, near: Near | None = None) -> None:
        """Read nothing yet.

        :arg near: to drop what is not near is a ban
        """
        self.desired = desired
        self.tables = tables
        self.near = near
        self._met: dict[tuple[str, str, str], list[tuple[Site, _nft.Foreign, Rule]]] = {}

    def chains(self) -> Iterator[tuple[tuple[str, str, str], Chain]]:
        """Return the base chains that may be gates, by family, table and name: neither firewalld's nor our own."""
        for family, table, name, chain in base_chains(self.tables):
            if table != "firewalld" and not is_own(table):
                yield (family, table, name), chain

    def foreign(self, place: tuple[str, str, str]) -> list[Listed]:
        """Return the foreign rules of a base chain."""
        return _foreign(self.tables[place[:2]].chains[place[2]])

    def met(self, place: tuple[str, str, str]) -> list[tuple[Site, _nft.Foreign, Rule]]:
        """Return what FTP meets in a base chain: for each jump that could stand there, the rules of its IP version."""
        if place not in self._met:
            self._met[place] = list(self._meet(place))
        return self._met[place]

    def _meet(self, place: tuple[str, str, str]) -> Iterator[tuple[Site, _nft.Foreign, Rule]]:
        family, table, name = place
        chain = self.tables[family, table].chains[name]
        for ip_version in FAMILIES[family]:
            here = _jumps_at(self.desired, ip_version, chain)
            hooks = list(dict.fromkeys(jump.chain for jump in here))
            if hooks:
                read = _nft.read(ip_version, self.tables[family, table], (name, chain), self.foreign(place), hooks)
                site = Site(self.desired, ip_version, read.ruleset, self.near)
                yield from ((site, read, jump) for jump in here)


def gates(sites: Sites) -> list[Gate]:
    """Return the base chains that drop FTP."""
    found = []
    for place, chain in sites.chains():
        first = _first_drop(sites, place)
        if first is not None:
            too_early = chain.hook in ("prerouting", "output") and chain.priority <= CONNTRACK
            found.append(Gate(*place, first, too_early))
    return found


def _first_drop(sites: Sites, place: tuple[str, str, str]) -> int | None:
    """Return the index, among the foreign rules of a base chain, of the first that drops FTP, but for bans.

    It is their number where its policy does; None where nothing does.
    """
    found = []
    for site, read, jump in sites.met(place):
        if site.stops(jump):
            stop = site.stop(jump, read.ruleset.chain("filter", jump.chain))
            found.append(read.indexes[stop] if stop < len(read.indexes) else len(sites.foreign(place)))
    return min(found, default=None)


def warnings(sites: Sites, parts: Parts, printed: Callable[[str], str]) -> list[Finding]:
    """Return a warning for each foreign rule that may stop FTP before it meets our jumps, but for bans, or the guard.

    :arg printed: returns what C(nft --stateless --handle --terse list table) prints of a chain's table
    """
    found: dict[tuple[str, int], None] = {}
    for (family, table, name), _chain in sites.chains():
        jumps = parts.get((family, table), Part()).jumps.get(name)
        for site, read, jump in sites.met((family, table, name)):
            lines = read.ruleset.chain("filter", jump.chain)
            before = [line for line, index in zip(lines, read.indexes) if not jumps or index < jumps[0][1]]
            for line in site.drops(jump, before):
                chain, handle = read.sources[line]
                found[f"{family} {table} {chain}", handle] = None
    named = [
        Finding("nftables-rule-before-jump", chain=chain, rule=_printed_rule(handle, printed(chain).splitlines()))
        for chain, handle in list(found)[:NAMED]
    ]
    if len(found) > NAMED:
        named.append(Finding("more-rules-before-jump", program="nft", number=len(found) - NAMED))
    return named + _tracking(sites.desired, sites.tables, printed)


def _others(tables: Tables) -> Iterator[tuple[str, str, Table]]:
    """Return the tables, by family and name, that are neither ours nor those of iptables."""
    for (family, name), table in tables.items():
        if not is_own(name) and not _of_iptables(family, name, table):
            yield family, name, table


def _tracking(desired: Desired, tables: Tables, printed: Callable[[str], str]) -> list[Finding]:
    """Return a warning for each foreign rule that touches our bits of FTP's marks, or leaves FTP untracked."""
    ours_bits = desired.options.control_bit | desired.options.closed_bit
    found = []
    for family, name, table in _others(tables):
        for chain_name, chain in table.chains.items():
            for rule in _foreign(chain):
                untracked = _before_tracking(chain) and any("notrack" in statement for statement in rule.statements)
                uses = [(writes, bits) for writes, bits in map(_mark_of, rule.statements) if bits & ours_bits]
                if not (uses or untracked) or not _is_for_ftp(desired, family, table, chain, rule):
                    continue
                text = _printed_rule(rule.handle, printed(f"{family} {name} {chain_name}").splitlines())
                of: dict[str, Any] = {"program": "nft", "table": f"{family} {name}", "rule": text}
                if untracked:
                    found.append(Finding("rule-before-helper", **of))
                    continue
                writes, bits = uses[0]
                cure = "let it keep these bits" if writes else "let it ask for other bits only"
                if bits != ALL:
                    cure += ", or set ftp_connmark to two bits that it does not use"
                of |= {"bits": ours_bits, "cure": cure}
                found.append(Finding("connmark-written" if writes else "connmark-read", **of))
    return found


def _before_tracking(chain: Chain) -> bool:
    """Tell whether packets may meet a chain before the kernel knows which connection they belong to."""
    return not chain.hook or (chain.hook in ("prerouting", "output") and chain.priority < CONNTRACK)


def translating(ip_version: str, tables: Tables, printed: Callable[[str], str]) -> Translating:
    """Return the foreign rules that translate addresses.

    :arg printed: returns what C(nft --stateless --handle --terse list table) prints of a chain's table
    """
    lines = {
        line: (f"{family} {name} {chain}", handle)
        for family, name, table in _others(tables)
        if ip_version in FAMILIES[family]
        for line, (chain, handle) in _nft.translating(ip_version, table).items()
    }

    def told(line: str) -> str:
        chain, handle = lines[line]
        return _printed_rule(handle, printed(chain).splitlines())

    return Translating("nft", list(lines), told)


def _mark_of(statement: Mapping[str, Any]) -> tuple[bool, int]:
    """Return whether a statement writes the connection mark, and the bits that it writes or reads."""
    (kind, value), *_rest = statement.items()
    if kind == "match":
        return False, _mask(value["left"])
    if kind == "mangle" and value["key"] == MARK:
        new = value["value"]
        kept, *turned = new["|"] if isinstance(new, dict) and "|" in new else (new, 0)
        (bits,) = turned if len(turned) == 1 else [ALL]
        return True, ALL & ~_mask(kept) | (bits if isinstance(bits, int) else ALL)
    return False, 0


def _mask(left: object) -> int:
    """Return the bits of the connection mark that are meant; none where it is something else."""
    if left == MARK:
        return ALL
    sides = left.get("&") if isinstance(left, dict) else None
    return sides[1] if sides and sides[0] == MARK and isinstance(sides[1], int) else 0


def _is_for_ftp(desired: Desired, family: str, table: Table, chain: Chain, rule: Listed) -> bool:
    """Tell whether the conditions of a rule may be true for a packet of FTP that gets to its chain."""
    conditions = [each for each in rule.statements if next(iter(each)) in ("match", "limit")]
    alone = [Listed([*conditions, {"accept": None}])]
    # Its conditions may name sets, and lead to no chain.
    sets, base = Table(sets=table.sets), Chain("input")
    for ip_version in FAMILIES[family]:
        passed = [jump.chain for jump in desired.rules[ip_version].jumps if jump.table == "filter"]
        hooks = [hook for hook in dict.fromkeys(passed) if hook in HOOKS.get(str(chain.hook), passed)]
        read = _nft.read(ip_version, sets, ("", base), alone, hooks)
        site = Site(desired, ip_version, read.ruleset)
        if any(site.reader("filter", hook).walk(read.ruleset.chain("filter", hook)).accepts for hook in hooks):
            return True
    return False


def _jumps_at(desired: Desired, ip_version: str, chain: Chain) -> list[Rule]:
    """Return the jumps of an IP version that could stand in a base chain."""
    hooks = HOOKS.get(str(chain.hook), ())
    return [jump for jump in desired.rules[ip_version].jumps if jump.table == "filter" and jump.chain in hooks]


def jumps(desired: Desired, family: str, chain: Chain) -> list[Listed]:
    """Return the jumps from a base chain into ours."""
    of = {
        ip_version: [_known(rule, chain) for rule in _jumps_at(desired, ip_version, chain)]
        for ip_version in FAMILIES[family]
    }
    return _listed(of)


def _known(rule: Rule, chain: Chain) -> Rule:
    """Return a rule with those conditions alone that can be asked in a base chain.

    Before routing, nobody knows where a packet goes, and the guard has not marked the first one.
    """
    if chain.hook == "prerouting":
        rule = replace(rule, out_interface=None)
    return replace(rule, connmark=None) if early(chain) else rule


def open_ports(gates: Iterable[Gate], tables: Tables) -> bool:
    """Tell whether a gate cannot tell who is live."""
    return any(early(tables[gate.family, gate.table].chains[gate.chain]) for gate in gates)


def early(chain: Chain) -> bool:
    """Tell whether packets pass a base chain before the guard has marked their connection."""
    return chain.hook == "prerouting" or chain.priority <= PRIORITY


def _listed(rules: Mapping[str, Sequence[Rule]]) -> list[Listed]:
    """Return the rules of some IP versions, by IP version; what is the same for both once."""
    plain = {
        ip_version: [(each, rule) for rule in of for each in statements(rule, ip_version)]
        for ip_version, of in rules.items()
    }
    found: list[Listed] = []
    for ip_version, each in plain.items():
        others = [said for other, of in plain.items() if other != ip_version for said, _rule in of]
        for said, rule in each:
            if said not in others and len(plain) > 1:
                found += [Listed(alone, rule.comment) for alone in statements(rule, ip_version, both=True)]
            else:
                found.append(Listed(said, rule.comment))
    return list({rule.text: rule for rule in found}.values())


def _chains(desired: Desired, family: str, *, marked: bool) -> dict[str, list[Listed]]:
    """Return our chains in a table of a family, with their rules.

    :arg marked: whether the guard has marked all packets that come there
    """
    let_in = desired.marks.let_in if marked else None
    names = dict.fromkeys(
        rule.chain for ip in FAMILIES[family] for rule in desired.rules[ip].inside if rule.table == "filter"
    )
    found = {}
    for name in names:
        of = {
            ip_version: [
                # The set of live addresses is in our own table, whose guard has let in what is theirs.
                replace(rule, live_set=None, live_end=None, connmark=let_in) if rule.live_set else rule
                for rule in desired.rules[ip_version].inside
                if (rule.table, rule.chain) == ("filter", name)
            ]
            for ip_version in FAMILIES[family]
        }
        found[name] = _listed(of)
    return found


def parts(desired: Desired, tables: Tables, gates: Iterable[Gate]) -> Parts:
    """Return what an instance is to have in the site's tables."""
    found: Parts = {}
    for gate in (gate for gate in gates if not gate.early):
        table = tables[gate.family, gate.table]
        marked = not any(early(chain) for chain in table.chains.values() if chain.hook)
        part = found.setdefault((gate.family, gate.table), Part(_chains(desired, gate.family, marked=marked)))
        chain = table.chains[gate.chain]
        place = {"first": 0, "last": len(_foreign(chain))}.get(desired.options.position, gate.place)
        part.jumps[gate.chain] = [(jump, place) for jump in jumps(desired, gate.family, chain)]
    return found


def present(prefix: str, tables: Tables) -> Parts:
    """Return what an instance has in the tables of others."""
    names = [name for table, name in Chains(prefix).all() if table == "filter"]
    found: Parts = {}
    for (family, name), table in tables.items():
        if not is_own(name) and not _of_iptables(family, name, table):
            part = _present(names, table)
            if part.chains or part.jumps:
                found[family, name] = part
    return found


def _present(names: Sequence[str], table: Table) -> Part:
    part = Part()
    for chain_name, chain in table.chains.items():
        if chain_name in names and (not chain.rules or any(map(ours, chain.rules))):
            part.chains[chain_name] = chain.rules
            continue
        before = 0
        for rule in chain.rules:
            if ours(rule) and rule.statements[-1].get("jump", {}).get("target") in names:
                part.jumps.setdefault(chain_name, []).append((rule, before))
            elif not ours(rule):
                before += 1
    return part


def conflicts(prefix: str, tables: Tables, desired: Parts) -> list[Finding]:
    """Return a conflict for each chain with the name of one of ours that the site has made."""
    here = present(prefix, tables)
    return [
        Finding("foreign-chain-nftables", chain=name, table=" ".join(key), prefix=prefix)
        for key, part in desired.items()
        for name in part.chains
        if name in tables[key].chains and name not in here.get(key, Part()).chains
    ]


def snapshot(prefix: str, tables: Tables) -> list[list[Any]]:
    """Return what an instance has in the site's tables in JSON's terms."""
    return [[*key, asdict(part)] for key, part in present(prefix, tables).items()]


def of_snapshot(snapshot: Iterable[Sequence[Any]]) -> Parts:
    """Return the parts of which snapshot() has made JSON's terms."""
    return {
        (family, name): Part(
            {chain: [Listed(**rule) for rule in rules] for chain, rules in part["chains"].items()},
            {chain: [(Listed(**rule), before) for rule, before in jumps] for chain, jumps in part["jumps"].items()},
        )
        for family, name, part in snapshot
    }


def commands(prefix: str, tables: Tables, desired: Parts) -> list[str]:
    """Return the lines of one transaction after which an instance has in the site's tables what is desired."""
    current = present(prefix, tables)
    lines: list[str] = []
    for key in dict.fromkeys([*desired, *current]):
        if key in tables:
            lines += _part(key, tables[key], current.get(key, Part()), desired.get(key, Part()))
    return lines


def _part(key: tuple[str, str], table: Table, here: Part, wanted: Part) -> list[str]:
    place = " ".join(key)
    anew = {
        name: rules
        for name, rules in wanted.chains.items()
        if name not in here.chains or _said(rules) != _said(here.chains[name])
    }
    lines = [f"add chain {place} {name}" for name in anew if name not in here.chains]
    lines += [f"flush chain {place} {name}" for name in anew if name in here.chains]
    lines += [f"add rule {place} {name} {rule.text}" for name, rules in anew.items() for rule in rules]
    for name in dict.fromkeys([*wanted.jumps, *here.jumps]):
        now, then = here.jumps.get(name, []), wanted.jumps.get(name, [])
        if _said(rule for rule, _before in now) == _said(rule for rule, _before in then) and all(
            before <= limit for (_rule, before), (_other, limit) in zip(now, then)
        ):
            continue
        lines += [f"delete rule {place} {name} handle {rule.handle}" for rule, _before in now]
        foreign = _foreign(table.chains[name])
        for rule, before in then:
            if before < len(foreign):
                lines.append(f"insert rule {place} {name} handle {foreign[before].handle} {rule.text}")
            else:
                lines.append(f"add rule {place} {name} {rule.text}")
    gone = [name for name in here.chains if name not in wanted.chains]
    lines += [f"flush chain {place} {name}" for name in gone]
    lines += [f"delete chain {place} {name}" for name in gone]
    return lines


def _said(rules: Iterable[Listed]) -> list[tuple[object, str | None]]:
    return [(rule.statements, rule.comment) for rule in rules]


def stored(parts: Parts, tables: Tables, printed: Callable[[str], str]) -> str:
    """Return our part of the site's tables as the script reads it that brings them back.

    :arg printed: returns what C(nft --stateless --handle --terse list table) prints of a chain's table
    """
    lines: list[str] = []
    for key, part in parts.items():
        place = " ".join(key)
        lines.append(f"table {place}")
        for name in part.chains:
            lines += [f"add chain {place} {name}", f"flush chain {place} {name}"]
        for name, rules in part.chains.items():
            lines += [f"add rule {place} {name} {rule.text}" for rule in rules]
        for name, added in part.jumps.items():
            lines.append(f"chain {place} {name}")
            foreign = _foreign(tables[key].chains[name])
            listing = printed(f"{place} {name}").splitlines()
            for rule, before in added:
                hint = _hint(foreign[before].handle, listing) if before < len(foreign) else "last"
                lines += [f"# {hint}", f"jump {rule.text}"]
    return "".join(f"{line}\n" for line in lines)


def files(own: Tables, parts: Parts, tables: Tables, printed: Callable[[str], str]) -> dict[str, str]:
    """Return the texts, by their names, from which our tables and our part of the site's come back."""
    found = {
        f"nftables-{family}": "".join(f"{line}\n" for line in listing(family, name, table))
        for (family, name), table in own.items()
    }
    return found | ({"gates": stored(parts, tables, printed)} if parts else {})


def _hint(handle: int, listing: Sequence[str]) -> str:
    """Return where a jump goes that stands before a rule, of which nft prints the handle."""
    rule = _printed_rule(handle, listing)
    return f"before {rule}" if rule else "first"


def _printed_rule(handle: int, listing: Sequence[str]) -> str:
    """Return a rule as nft prints it; nothing where it is not there."""
    end = f" # handle {handle}"
    return next((line[: -len(end)].strip() for line in listing if line.endswith(end)), "")


def shown(own: Tables, parts: Parts) -> list[str]:
    """Return what an instance has in nftables, for a diff."""
    lines = [line for (family, name), table in own.items() for line in listing(family, name, table)]
    for key, part in parts.items():
        lines.append(f"table {' '.join(key)} {{")
        for name, rules in part.chains.items():
            lines += [f"\tchain {name} {{", *(f"\t\t{rule.text}" for rule in rules), "\t}"]
        for name, added in part.jumps.items():
            lines += [f"\tchain {name} {{", *(f"\t\t{rule.text}" for rule, _before in added)]
            lines.append("\t}")
        lines.append("}")
    return lines
