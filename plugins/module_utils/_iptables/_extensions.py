# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The matches and targets that the rules need, of which each is a library of iptables and a module of the kernel.

For a match or target, C(iptables --help) loads the library, and asks the kernel for the module, which loads it where it
can. It changes no rule and makes no table, unlike C(iptables-restore --test), which makes those of iptables-legacy and
succeeds where a module is missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.hostfw.conntrack.plugins.module_utils._host import _host
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._rule import Rule

TARGETS = ("CT", "CONNMARK", "SET")
# Where the module has another name than its match or target.
MODULES = {"CONNMARK": "xt_connmark", "SET": "xt_set", "tcp": "xt_tcpudp"}
LIBRARIES = ("usr/lib/*/xtables", "usr/lib64/xtables", "usr/lib/xtables", "lib/xtables", "lib64/xtables")

Run = Callable[[Sequence[str]], tuple[int, str, str]]


@dataclass(frozen=True)
class Extension:
    """A match or a target of iptables.

    - kind: V(match) or V(target)
    """

    kind: str
    name: str

    @property
    def words(self) -> tuple[str, str]:
        """What loads it on the command line of iptables."""
        return ("-m" if self.kind == "match" else "-j", self.name)

    @property
    def module(self) -> str:
        """The kernel's module."""
        return MODULES.get(self.name, f"xt_{self.name}")

    @property
    def library(self) -> str:
        """The file of iptables."""
        return f"libxt_{self.name}.so"


def needed(rules: Iterable[Rule]) -> list[Extension]:
    """Return the matches and targets of rules, each once."""
    found: dict[Extension, None] = {}
    for rule in rules:
        words = rule.spec()
        found.update({Extension("match", name): None for word, name in zip(words, words[1:]) if word == "-m"})
        if rule.jump in TARGETS:
            found[Extension("target", rule.jump)] = None
    return list(found)


def missing(program: str, wanted: Sequence[Extension], run: Run, root: str = "/") -> list[tuple[Extension, bool]]:
    """Return what is missing, each with whether the kernel lacks it, rather than iptables.

    :arg program: C(iptables) or C(ip6tables), as it is to be called
    :arg run: runs a command, and returns its code and what it printed, out and err
    """
    # One command knows any number of matches, but only one target.
    matches = [each for each in wanted if each.kind == "match"]
    targets = [each for each in wanted if each.kind == "target"]
    groups = [[*matches, *targets[:1]], *([each] for each in targets[1:])]
    doubtful = [each for group in groups if group and _missing(program, group, run) for each in group]
    return [(each, found) for each in doubtful for found in _missing(program, [each], run, root)]


def _missing(program: str, group: Sequence[Extension], run: Run, root: str = "/") -> list[bool]:
    """Return whether the kernel lacks something of a group; nothing where all is there."""
    code, out, err = run([program, *(word for each in group for word in each.words), "--help"])
    # Up to 1.8.7, iptables says of a module that it is the library that could not be loaded.
    warned = "missing kernel module" in err
    unknown = [each for each in group if each.kind == "target" and f"{each.name} target options" not in out]
    if code == 0 and not warned and not unknown:
        return []
    return [warned or any(list(Path(root).glob(f"{path}/{group[0].library}")) for path in LIBRARIES)]


def error(lacking: Sequence[tuple[Extension, bool]], release: str, root: str = "/") -> str:
    """Return what is missing, and what provides it.

    :arg release: the kernel's release, as C(uname -r) prints it
    """
    found = []
    modules = [each for each, kernel in lacking if kernel]
    libraries = [each for each, kernel in lacking if not kernel]
    if modules:
        names = ", ".join(f"{each.kind} {each.name} (module {each.module})" for each in modules)
        reasons = [_host.module_missing(each.module, release, root) for each in modules]
        reason = next((f": {reason}" for reason in reasons if reason), "")
        commands = " ".join(dict.fromkeys(each.module for each in modules))
        found.append(
            f"the kernel lacks what the rules need of iptables, {names}, and cannot load it here{reason}. In a "
            f"container, run modprobe -a {commands} on the container's host; elsewhere, install "
            f"{package(release, root)}, or reboot into the kernel that is installed"
        )
    if libraries:
        names = ", ".join(f"{each.kind} {each.name} ({each.library})" for each in libraries)
        found.append(f"iptables lacks what the rules need, {names}; install the whole package of iptables again")
    return "; ".join(found)


def package(release: str, root: str = "/") -> str:
    """Return which package has the kernel's modules that are missing, by os-release(5)."""
    try:
        text = Path(root, "etc/os-release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    ids = " ".join(re.findall(r"^ID(?:_LIKE)?=(.*)", text, re.MULTILINE)).replace('"', "").split()
    if {"rhel", "fedora", "centos"} & set(ids):
        return f"the package kernel-modules-extra-{release}"
    if "ubuntu" in ids:
        return f"the package linux-modules-extra-{release}"
    return "the package with all modules of the running kernel"
