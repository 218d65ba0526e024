# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which foreign rules write over our bits of the connection mark, or read them with the rest of it.

Source: connmark_tg_shift and connmark_mt in the kernel's xt_connmark.c.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from ansible_collections.hostfw.conntrack.plugins.module_utils._diagnosis._findings import Finding
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._desired import OURS
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._options import HIGH_PORTS, Options
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._rule import (
    Clause,
    clauses,
    comment_of,
    target_of,
)
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._ruleset import Ruleset, covers

# In the order in which a packet meets them.
TABLES = ("raw", "mangle", "nat", "filter")
BUILT_IN = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
ALL = 0xFFFFFFFF
# Where a server takes another port than ftp_data_port says, it is most likely this one (RFC 959).
FTP_DATA = "20"


@dataclass(frozen=True)
class Use:
    """What a rule does with the connection mark.

    - bits: those that it writes or reads
    - narrowed: the same options without our bits; None where they are what it is about
    """

    writes: bool
    bits: int
    narrowed: str | None


def warnings(options: Options, program: str, ruleset: Ruleset) -> list[Finding]:
    """Return a warning for each foreign rule that may be for FTP and touches our bits.

    :arg program: iptables or ip6tables
    """
    ours = options.control_bit | options.closed_bit
    found = []
    for table in TABLES:
        lines = {
            line for chain in ruleset.tables.get(table, {}).values() for line in chain if "connmark" in line.lower()
        }
        for line in _met(options, ruleset, table) if lines else ():
            if line in lines and not (comment_of(line) or "").startswith(OURS):
                found += [_warning(program, table, line, ours, use) for use in uses(line, ours) if use.bits & ours]
    return found


def _warning(program: str, table: str, line: str, ours: int, use: Use) -> Finding:
    cures = [f"write {use.narrowed}"] if use.narrowed else []
    if use.bits != ALL:
        cures.append("set ftp_connmark to two bits that it does not use")
    cure = ", or ".join(cures or ["let it spare the connections of FTP"])
    name = "connmark-written" if use.writes else "connmark-read"
    return Finding(name, program=program, table=table, bits=ours, rule=line, cure=cure)


def uses(line: str, ours: int) -> list[Use]:
    """Return what a printed rule does with the connection mark."""
    words = shlex.split(line)
    found = []
    match = ""
    for position in range(2, len(words) - 1):
        before, word, following = words[position - 1 : position + 2]
        if before == "--comment":
            continue
        if word == "-m":
            match = following
        elif word == "--mark" and match == "connmark":
            found.append(_match(following, ours, negated=before == "!"))
        elif word in ("-j", "-g"):
            if following == "CONNMARK":
                found += _target(words[position + 2 :], ours)
            break
    return found


def _match(text: str, ours: int, *, negated: bool) -> Use:
    value, mask = _value(text)
    narrowed = f"{'! ' if negated else ''}--mark {value:#x}/{mask & ~ours:#x}"
    return Use(writes=False, bits=mask, narrowed=None if value & ours or not mask & ~ours else narrowed)


def _target(words: list[str], ours: int) -> list[Use]:
    """Return what the target CONNMARK does; nothing for what iptables itself could not read."""
    options = dict(zip(words, words[1:]))
    left = int(options.get("--left-shift-mark", 0)) - int(options.get("--right-shift-mark", 0))
    if "--set-xmark" in options:
        value, mask = _value(options["--set-xmark"])
        # The kernel clears the bits of the mask, and turns those of the value; then it shifts all of them.
        bits = ALL if left else mask | value
        asked = left or value & ours or not mask & ~ours
        return [Use(writes=True, bits=bits, narrowed=None if asked else f"--set-xmark {value:#x}/{mask & ~ours:#x}")]
    if "--nfmask" not in options or "--ctmask" not in options:
        return []
    of_packet, of_connection = (int(options[name], 16) for name in ("--nfmask", "--ctmask"))
    # What is copied is the mask's part of the one, shifted; before that, the mask's part of the other is cleared.
    if words[0] == "--save-mark":
        bits = of_connection | _shifted(of_packet, left)
        of_packet &= ~_shifted(ours, -left)
    else:
        bits = of_connection
        of_packet &= ~_shifted(ours, left)
    of_connection &= ~ours
    same = of_packet == of_connection
    masks = f"--mask {of_packet:#x}" if same else f"--nfmask {of_packet:#x} --ctmask {of_connection:#x}"
    shift = f" --{'left' if left > 0 else 'right'}-shift-mark {abs(left)}" if left else ""
    narrowed = f"{words[0]} {masks}{shift}" if of_packet and of_connection else None
    return [Use(writes=words[0] == "--save-mark", bits=bits, narrowed=narrowed)]


def _shifted(bits: int, left: int) -> int:
    return (bits << left if left > 0 else bits >> -left) & ALL


def _value(text: str) -> tuple[int, int]:
    """Return a mark and its mask, as iptables prints them."""
    value, _slash, mask = text.partition("/")
    return int(value, 16), int(mask, 16) if mask else ALL


def _met(options: Options, ruleset: Ruleset, table: str) -> list[str]:
    """Return the rules of a table that FTP may meet, in chains that it may get to."""
    found: dict[str, None] = {}
    todo = list(BUILT_IN)
    seen = set(todo)
    while todo:
        for line in ruleset.chain(table, todo.pop(0)):
            if may_meet(options, line):
                found[line] = None
                name = target_of(line)
                if name and ruleset.has(table, name) and name not in seen:
                    seen.add(name)
                    todo.append(name)
    return list(found)


def may_meet(options: Options, line: str) -> bool:
    """Tell whether FTP may meet a rule, as far as its conditions are known here."""
    return all(_may_be(options, clause) for clause in clauses(line))


def _may_be(options: Options, clause: Clause) -> bool:
    """Tell whether a condition may be true for a packet of FTP; of a condition that is not known here, it may."""
    if clause.option == "-p":
        return (clause.values[0] in ("tcp", "all")) is not clause.negated
    if clause.option in ("-i", "-o"):
        interfaces = options.interfaces + options.out_interfaces
        return any(covers(clause.values[0], name, negated=clause.negated) for name in interfaces)
    if clause.option in ("--dport", "--sport", "--dports", "--sports", "--ports") and not clause.negated:
        ours = [
            *options.control_ports,
            options.data_port or FTP_DATA,
            options.active_ports,
            options.passive_ports,
            HIGH_PORTS,
        ]
        return any(_overlap(ports, own) for ports in clause.values[0].split(",") for own in ours)
    return True


def _overlap(one: str, other: str) -> bool:
    """Tell whether two ports, or ranges, have a port in common."""
    (first, last), (other_first, other_last) = (
        (int(head), int(tail or head)) for head, _colon, tail in (ports.partition(":") for ports in (one, other))
    )
    return first <= other_last and other_first <= last
