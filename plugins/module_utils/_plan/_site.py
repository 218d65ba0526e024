# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The firewall that was there first: where our jumps go in it, and what in it stops FTP all the same."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from heapq import nlargest

from ansible_collections.hostfw.conntrack.plugins.module_utils._diagnosis._findings import Finding
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp import _desired
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._desired import Desired, marked
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._flows import HELPER
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._foreign import Effect, Near, Reader
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._rule import Rule
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._ruleset import Ruleset

# Where packets pass, whatever jumps of ours are there.
HOOKS = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "security": ("INPUT", "FORWARD", "OUTPUT"),
}
# How many pieces of a range of ports are looked at.
PIECES = 64
# How many rules are named in warnings.
NAMED = 10


class Site:
    """The foreign rules of one IP version, as the packets of FTP meet them."""

    def __init__(self, desired: Desired, ip_version: str, ruleset: Ruleset, near: Near | None = None) -> None:
        """Read no rule yet.

        :arg near: to drop what is not near is a ban. Without, that of a network is none.
        """
        self.near = near
        self.desired = desired
        self.ip_version = ip_version
        self.ruleset = ruleset
        self._cuts: list[int] | None = None
        self._ports: dict[str, list[int]] = {}
        self._readers: dict[tuple[str, str], Reader] = {}
        self._of_the_guard: dict[str, Reader] = {}

    def reader(self, table: str, chain: str) -> Reader:
        """Return who reads the rules for the packets that pass a built-in chain."""
        if (table, chain) not in self._readers:
            packets = _desired.packets(self.desired, self.ip_version, table, chain, self._some_of)
            self._readers[table, chain] = Reader(self.ruleset, table, packets, chain, self.near)
        return self._readers[table, chain]

    def place(self, jump: Rule, lines: Sequence[str]) -> int:
        """Return the index at which a jump goes among the rules of its chain.

        In table filter it goes before what stops FTP wherever it is from; what is for some only stays before it, such
        as bans. In the others, it goes before what may keep FTP from it.
        """
        position = self.desired.position(jump)
        if position == "last":
            return len(lines)
        if position == "first":
            return next((index for index, line in enumerate(lines) if not marked(line)), len(lines))
        return self.stop(jump, lines)

    def stop(self, jump: Rule, lines: Sequence[str]) -> int:
        """Return the index of the first rule that stops what a jump is for, or may keep it from the jump."""
        reader = self.reader(jump.table, jump.chain)
        its = self._its(reader, jump)
        anywhere = not (jump.in_interface or jump.out_interface)
        guarded = self._guarded(jump.chain) if jump.table == "mangle" and anywhere else None
        for index, line in enumerate(lines):
            if marked(line):
                continue
            effect = reader.effect(line)
            if effect.stops & its & reader.likely if jump.table == "filter" else effect.accepts & its:
                return index
            if guarded and guarded.effect(line).accepts:
                return index
        return len(lines)

    def _guarded(self, chain: str) -> Reader:
        """Return who reads the rules for all that the guard may have to drop, whatever FTP is let through."""
        if chain not in self._of_the_guard:
            packets = _desired.guarded(chain)
            self._of_the_guard[chain] = Reader(self.ruleset, "mangle", packets, chain, self.near)
        return self._of_the_guard[chain]

    def filters(self) -> bool:
        """Tell whether anything drops FTP where our jumps would let it pass."""
        for jump in (jump for jump in self.desired.rules[self.ip_version].jumps if jump.table == "filter"):
            lines = [line for line in self.ruleset.chain(jump.table, jump.chain) if not marked(line)]
            if self.ruleset.policies.get((jump.table, jump.chain)) == "DROP" or self.stop(jump, lines) < len(lines):
                return True
        return False

    def stops(self, jump: Rule) -> bool:
        """Tell whether the rules of its chain, or the policy, stop something of what a jump is for."""
        reader = self.reader(jump.table, jump.chain)
        effect = reader.walk(self.ruleset.chain(jump.table, jump.chain))
        by_policy = effect.leaves if self.ruleset.policies.get((jump.table, jump.chain)) == "DROP" else 0
        return bool((effect.stops | by_policy) & self._its(reader, jump) & reader.likely)

    def drops(self, jump: Rule, lines: Iterable[str]) -> list[str]:
        """Return the rules that may drop what a jump is for, but for bans of single peers.

        :arg lines: the rules of the jump's chain that stand before it
        """
        reader = self.reader(jump.table, jump.chain)
        its = self._its(reader, jump)
        return [line for line, mask in reader.walk(lines).drops.items() if mask & its]

    def hinders(self, jump: Rule, lines: Iterable[str]) -> bool:
        """Tell whether any of the rules drops something of what a jump is for."""
        reader = self.reader(jump.table, jump.chain)
        its = self._its(reader, jump)
        return any(reader.effect(line).bans & its and not marked(line) for line in lines)

    def untracked(self) -> list[str]:
        """Return the foreign rules after which no control connection gets our helper, whatever its addresses are."""
        found: dict[str, None] = {}
        for chain in HOOKS["raw"]:
            reader = self.reader("raw", chain)
            for line, (_maybe, surely) in self._met("raw", chain).tracks.items():
                if surely & reader.likely & self._tracked(reader, line):
                    found[line] = None
        return list(found)

    def warnings(self, program: str, after: Ruleset) -> list[Finding]:
        """Return a warning for each foreign rule that may stop FTP, but for bans of single peers.

        :arg program: iptables or ip6tables
        :arg after: the rules as they will be
        """
        found: dict[str, Finding] = {}
        for chain in HOOKS["raw"]:
            reader = self.reader("raw", chain)
            for line, (maybe, _surely) in self._met("raw", chain).tracks.items():
                if maybe & self._tracked(reader, line):
                    found[line] = Finding("rule-before-helper", program=program, table="raw", rule=line)
        for table in ("raw", "mangle", "security"):
            for chain in HOOKS[table]:
                met = self._met(table, chain)
                for line in met.drops:
                    found.setdefault(line, self._warning(program, table, line))
                if met.leaves and self.ruleset.policies.get((table, chain)) == "DROP":
                    line = f"-P {chain} DROP"
                    found[f"{table} {line}"] = self._warning(program, table, line)
        for line in self._before_the_jumps(after):
            found.setdefault(line, self._warning(program, "filter", line))
        named = list(found.values())
        if len(named) > NAMED:
            named[NAMED:] = [Finding("more-rules-before-jump", program=program, number=len(named) - NAMED)]
        return named

    def _before_the_jumps(self, after: Ruleset) -> list[str]:
        """Return the rules of table filter that may drop FTP before it meets our jumps."""
        found: dict[str, None] = {}
        for jump in self.desired.rules[self.ip_version].jumps:
            lines, printed = after.chain(jump.table, jump.chain), jump.line()
            if jump.table == "filter" and printed in lines:
                before = [line for line in lines[: lines.index(printed)] if not marked(line)]
                found.update(dict.fromkeys(self.drops(jump, before)))
        return list(found)

    def _its(self, reader: Reader, jump: Rule) -> int:
        """Return the packets that a jump is for."""
        return reader.those(lambda packet: _desired.takes(jump, packet))

    def _some_of(self, ports: str) -> list[int]:
        """Return a port of each piece into which foreign rules cut a range, that of the largest piece first."""
        if self._cuts is None:
            self._cuts = cuts(self.ruleset)
        if ports not in self._ports:
            first, _colon, last = ports.partition(":")
            low, high = int(first), int(last or first)
            starts = [low, *self._cuts[bisect_right(self._cuts, low) : bisect_right(self._cuts, high)]]
            pieces = zip(starts, [*(start - 1 for start in starts[1:]), high])
            largest = nlargest(PIECES, pieces, key=lambda piece: piece[1] - piece[0])
            self._ports[ports] = [(start + end) // 2 for start, end in largest]
        return self._ports[ports]

    def _warning(self, program: str, table: str, line: str) -> Finding:
        cure = "let it spare FTP"
        if table == "filter" and self.desired.options.position != "first":
            cure += ", or set ftp_position to first"
        return Finding("rule-before-jump", program=program, table=table, rule=line, cure=cure)

    def _met(self, table: str, chain: str) -> Effect:
        """Return what the foreign rules of a built-in chain do."""
        return self.reader(table, chain).walk(line for line in self.ruleset.chain(table, chain) if not marked(line))

    def _tracked(self, reader: Reader, line: str) -> int:
        """Return the packets that a rule of table raw must not be for.

        Where others assign the helper, they may have put all of FTP into one zone.
        """
        zoned = "--zone" in line and not any(
            f"--helper {HELPER}" in rule and not marked(rule)
            for rules in self.ruleset.tables["raw"].values()
            for rule in rules
        )
        if zoned or "NOTRACK" in line or "--notrack" in line:
            return reader.all
        ports = self.desired.options.control_ports
        return reader.those(lambda packet: not packet.reply and str(packet.destination_port) in ports)


def cuts(ruleset: Ruleset) -> list[int]:
    """Return the ports at which what rules do may change, in their order."""
    found = set()
    for table in HOOKS:
        for lines in ruleset.tables.get(table, {}).values():
            for line in lines:
                if "port" not in line:
                    continue
                for ports in re.findall(r" --[ds]?ports? ([\d:,]+)", line):
                    for some in ports.split(","):
                        first, _colon, last = some.partition(":")
                        if first.isdecimal() and (last or first).isdecimal():
                            found |= {int(first), int(last or first) + 1}
    return sorted(found)
