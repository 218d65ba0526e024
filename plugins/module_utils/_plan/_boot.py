# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files that bring the rules of one instance back at boot, and whenever another tool has flushed them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._desired import (
    LIVE_SET,
    OURS,
    TABLES,
    Chains,
    Desired,
)
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._rule import PROGRAMS, Rule
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._ruleset import Ruleset
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan import _firewalld
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan._plan import Plan
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan._site import Site

FOLDER = "etc/hostfw-conntrack"
UNITS = "etc/systemd/system"
# Where systemd is in charge (sd_booted(3)).
SYSTEMD = "run/systemd/system"
# What netfilter-persistent runs, in this order, when it loads rules, by its service or by hand.
PLUGINS = "usr/share/netfilter-persistent/plugins.d"
# Which services load rules, and may flush those of others when they do. Those that a host does not have do no harm.
OTHERS = (
    "netfilter-persistent.service iptables.service ip6tables.service nftables.service ufw.service "
    "firewalld.service docker.service ferm.service shorewall.service shorewall6.service csf.service lfd.service "
    "firewall.service"
)

# What nft reads, and the script, to bring back our tables and our part of the site's.
NATIVE = ("nftables-ip", "nftables-ip6", "gates")

# firewalld conflicts with them: what was started with them would have to stop as it starts.
ENDED_BY_FIREWALLD = ("iptables.service", "ip6tables.service", "nftables.service")

# Firewalls that are not named here are in order before network-pre.target, too (systemd.special(7)).
UNIT = f"""\
[Unit]
Description=FTP through the firewall, by connection tracking (hostfw.conntrack, {{prefix}})
After={{others}} network-pre.target
PartOf={{others}}
ReloadPropagatedFrom={{others}}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh /{FOLDER}/{{prefix}}/restore
ExecReload=/bin/sh /{FOLDER}/{{prefix}}/restore

[Install]
WantedBy=multi-user.target {{others}}
"""

# Rules that name a set that is not there do not load, nor do any others of their file.
SETS_UNIT = f"""\
[Unit]
Description=Sets for FTP through the firewall (hostfw.conntrack, {{prefix}})
DefaultDependencies=no
After=local-fs.target systemd-modules-load.service
Before={{others}} network-pre.target shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh /{FOLDER}/{{prefix}}/restore sets

[Install]
WantedBy=multi-user.target
"""

# Where the folder has been removed by hand, netfilter-persistent is not to fail.
PLUGIN = f"""\
#!/bin/sh
# Our rules come back where netfilter-persistent has loaded those that it has saved.
case "$1" in
  start | restart | reload | force-reload)
    [ ! -f /{FOLDER}/{{prefix}}/restore ] || exec sh /{FOLDER}/{{prefix}}/restore
    ;;
esac
"""

# Before those of netfilter-persistent load sets and rules.
SETS_PLUGIN = f"""\
#!/bin/sh
# Rules that netfilter-persistent has saved may name our sets, and would not load without them.
case "$1" in
  start | restart | reload | force-reload)
    [ ! -f /{FOLDER}/{{prefix}}/restore ] || exec sh /{FOLDER}/{{prefix}}/restore sets
    ;;
esac
"""

SCRIPT = r"""#!/bin/sh
# Puts back what is missing of the sets and rules in this folder, and changes nothing else. A list is a text with a line
# for each item. At boot, to run other programs is what takes time, so that the shell itself reads the lists.
set -euf
PATH=/usr/sbin:/usr/bin:/sbin:/bin
cd "$(dirname "$0")"

if [ -f ipset ]; then
  ipset -exist restore <ipset
fi
if [ "${1:-}" = sets ]; then
  exit 0
fi
IFS='
'

say() {
  printf '%s\n' "$1"
}

# Tells whether the list $2 has the line $1.
has() {
  for other in $2; do
    case "$other" in "$1") return 0 ;; esac
  done
  return 1
}

# Tells whether a line of the list $2 begins with $1.
begins() {
  for other in $2; do
    case "$other" in "$1"*) return 0 ;; esac
  done
  return 1
}

# Prints the rules of chain $1 in the list $2.
rules() {
  for other in $2; do
    case "$other" in "-A $1 "*) say "$other" ;; esac
  done
}

# Prints the number of the rule $1 in chain $2 of the list $3; nothing where it is not there.
number() {
  number=1
  for other in $3; do
    case "$other" in
      "$1") say "$number" && return ;;
      "-A $2 "*) number=$((number + 1)) ;;
    esac
  done
}

# Prints the lines of table $1 in the list $2.
table() {
  here=
  for other in $2; do
    case "$other" in
      "*"*) here="${other#?}" ;;
      COMMIT) here= ;;
      *) [ "$here" != "$1" ] || say "$other" ;;
    esac
  done
}

# Prints the rule $1 of chain $2, as it is added to the list $3 at the place of which the comment $4 tells.
add() {
  place=
  case "$4" in
    "# last") say "$1" && return ;;
    "# before "*) place="$(number "${4#"# before "}" "$2" "$3")" ;;
    "# after "*) place="$(number "${4#"# after "}" "$2" "$3")" && place="${place:+$((place + 1))}" ;;
  esac
  # Where the rule beside it is gone, it comes first: FTP passes, and the role's next run finds its place.
  say "${place:-1} $2 ${1#-A "$2" }"
}

# Prints what iptables-restore is to read to put a table in order: $1 is what it is to hold, $2 what it holds.
missing() {
  own=
  for line in $1; do
    case "$line" in :*) own="$own${line#:}$IFS" ;; esac
  done
  for chain in $own; do
    if [ "$(rules "${chain%% *}" "$1")" != "$(rules "${chain%% *}" "$2")" ]; then
      for chain in $own; do
        say ":$chain"
      done
      for chain in $own; do
        rules "${chain%% *}" "$1"
      done
      break
    fi
  done
  hint= added=
  for line in $1; do
    chain="${line#-[AN] }"
    chain="${chain%% *}"
    case "$line" in
      "# "*) hint="$line" && continue ;;
      "-N "*) begins ":$chain " "$2" || say ":$chain - [0:0]" ;;
      "-A "*)
        if ! begins "$chain " "$own" && ! has "$line" "$2"; then
          added="$added$(add "$line" "$chain" "$2" "$hint")$IFS"
        fi
        ;;
    esac
    hint=
  done
  # Each place counts the rules that are there, and those that have come before it.
  places=
  for line in $added; do
    case "$line" in
      -*) say "$line" && continue ;;
    esac
    place="${line%% *}"
    chain="${line#* }"
    chain="${chain%% *}"
    moved="$place"
    for other in $places; do
      if [ "${other#* }" = "$chain" ] && [ "${other%% *}" -le "$place" ]; then
        moved=$((moved + 1))
      fi
    done
    say "-I $chain $moved ${line#* * }"
    places="$places$place $chain$IFS"
  done
  # Jumps of ours that others have kept and loaded again.
  for line in $2; do
    case "$line" in
      "-A "*'OURS'*" -j "*)
        chain="${line#-A }"
        if begins "${line##* -j } " "$own" && ! begins "${chain%% *} " "$own" && ! has "$line" "$1"; then
          say "-D $chain"
        fi
        ;;
    esac
  done
}

# Prints what puts all tables in order for iptables-restore: $1 is what is stored, $2 what iptables-save prints.
change() {
  for name in raw mangle filter; do
    wanted="$(table "$name" "$1")"
    [ -n "$wanted" ] || continue
    change="$(missing "$wanted" "$(table "$name" "$2")")"
    [ -z "$change" ] || printf '*%s\n%s\nCOMMIT\n' "$name" "$change"
  done
}

# Prints the handle of the rule $1 in what nft prints of a chain, $2.
handle() {
  for other in $2; do
    case "$other" in *"	$1 # handle "*) say "${other##* }" && return ;; esac
  done
}

# Prints the commands by which nft puts back what is missing of our part in the site's tables, from the file gates.
gates() {
  there= chain= listing= hint=
  while read -r line; do
    case "$line" in
      "table "*) nft list "$line" >/dev/null 2>&1 && there=yes || there= ;;
      "chain "*)
        chain="${line#chain }"
        listing="$(nft --stateless --handle list chain "$chain" 2>/dev/null)" && known=yes || known=
        ;;
      "# "*) hint="${line#??}" ;;
      "jump "*)
        [ -n "$there" ] && [ -n "$known" ] || continue
        # nft may print the rest in other words.
        case "$listing" in *" comment ${line##* comment } # handle "*) continue ;; esac
        place=
        case "$hint" in "before "*) place="$(handle "${hint#before }" "$listing")" ;; esac
        case "$hint" in
          last) say "add rule $chain ${line#jump }" ;;
          *) say "insert rule $chain ${place:+handle $place }${line#jump }" ;;
        esac
        ;;
      *) [ -z "$there" ] || say "$line" ;;
    esac
  done <gates
}

# What is there may come from a file of others, saved with earlier inputs.
for family in ip ip6; do
  [ -f "nftables-$family" ] || continue
  table="table $family hostfw-${PWD##*/}"
  { printf '%s\n' "$table" "delete $table" && cat "nftables-$family"; } | nft -f -
done
if [ -f gates ]; then
  change="$(gates)"
  [ -z "$change" ] || say "$change" | nft -f -
fi

# firewalld removes all rules of iptables, and does so some time after systemd takes it for started.
if { [ -f iptables ] || [ -f ip6tables ]; } && command -v firewall-cmd >/dev/null &&
  systemctl --quiet is-active firewalld; then
  tries=0
  until firewall-cmd --state >/dev/null 2>&1 || [ "$tries" -ge 60 ]; do
    tries=$((tries + 1))
    sleep 1
  done
fi

# Others may change rules at the same time.
for program in iptables ip6tables; do
  [ -f "$program" ] || continue
  stored="$(cat "$program")"
  present="$("$program-save")"
  change="$(change "$stored" "$present")"
  tries=0
  while [ -n "$change" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 10 ]; then
      echo "The rules in $PWD/$program are not in order after 10 tries; missing:" >&2
      say "$change" >&2
      exit 1
    fi
    say "$change" | "$program-restore" --noflush -w 60 || sleep 1
    present="$("$program-save")"
    change="$(change "$stored" "$present")"
  done
done
""".replace("OURS", OURS)


# How files are written; behind it come their texts, each up to a line that none of them has.
STORE = """\
set -eu
umask 077

store() {
  cat >"$2.new"
  chmod "$1" "$2.new"
  mv -f "$2.new" "$2"
}
"""
END = "END OF FILE"


@dataclass
class Changes:
    """What is to be done to files and units, in the order of its fields.

    - disable: names of units to stop and disable
    - remove: paths of files and folders
    - write: the path, text and mode of files
    - enable: names of units to enable and start
    """

    disable: list[str]
    remove: list[str]
    write: list[dict[str, str]]
    enable: list[str]

    @property
    def changed(self) -> bool:
        """Tell whether there is anything to do."""
        return bool(self.disable or self.remove or self.write or self.enable)

    @property
    def store(self) -> list[dict[str, Any]]:
        """Return the command that writes the files, by its words and what it reads; none where there are none.

        Nobody reads half a file: each is written beside its place, and moved there.
        """
        if not self.write:
            return []
        folders = dict.fromkeys(item["dest"].rpartition("/")[0] for item in self.write)
        lines = [STORE, *(f"install -d -m 0755 {folder}" for folder in folders if folder.startswith(f"/{FOLDER}"))]
        end = END
        while any(end in item["content"] for item in self.write):
            end += "."
        lines += [f"store {item['mode']} {item['dest']} <<'{end}'\n{item['content']}{end}" for item in self.write]
        return [{"argv": ["sh"], "stdin": "".join(f"{line}\n" for line in lines)}]


def files(
    desired: Desired,
    plan: Plan,
    modules: Sequence[str],
    native: Mapping[str, str] = MappingProxyType({}),
    *,
    systemd: bool,
    plugins: bool,
    kept: Sequence[str] = (),
    by_firewalld: bool = False,
) -> dict[str, str]:
    """Return the files of an instance, by their paths without the first slash.

    :arg modules: those kernel modules of the instance that this kernel can load
    :arg native: the texts for nftables, by the names of their files
    :arg systemd: whether systemd is in charge of the host
    :arg plugins: whether the host has netfilter-persistent
    :arg kept: the names of ipsets that are to be there although they are not asked for
    :arg by_firewalld: whether firewalld filters
    """
    options = desired.options
    known = [unit for unit in OTHERS.split() if not (by_firewalld and unit in ENDED_BY_FIREWALLD)]
    others = " ".join(dict.fromkeys([*known, *options.restore_after]))
    names = [*desired.live_sets.values(), *kept]
    sets = sets_files(options.prefix, names, systemd=systemd, plugins=plugins, others=others)
    # Somebody may save the rules, which name the sets, whether ours are to last or not.
    if options.state == "absent" or not options.persistent:
        return sets if systemd or plugins else {}
    folder = f"{FOLDER}/{options.prefix}"
    texts = {
        PROGRAMS[ip_version]: _rules(desired, ip_version, after, plan.sites[ip_version])
        for ip_version, after in plan.after.items()
    }
    found = {f"{folder}/{program}": text for program, text in texts.items() if text}
    found.update({f"{folder}/{name}": text for name, text in native.items()})
    found.update(sets)
    found[f"{folder}/restore"] = SCRIPT
    if plugins:
        found[plugin(options.prefix)] = PLUGIN.replace("{prefix}", options.prefix)
    if systemd:
        if modules:
            found[f"etc/modules-load.d/hostfw-conntrack-{options.prefix}.conf"] = _lines(modules)
        text = UNIT.replace("{prefix}", options.prefix).replace("{others}", others)
        found[f"{UNITS}/{unit(options.prefix)}"] = text
    return found


def sets_files(
    prefix: str, names: Sequence[str], *, systemd: bool, plugins: bool, others: str = OTHERS
) -> dict[str, str]:
    """Return the files that make ipsets of an instance at boot, before anything loads rules.

    :arg others: the names of the units that load rules
    """
    live = {Chains(prefix).live(ip_version): kind for ip_version, kind in LIVE_SET.items()}
    lines = [" ".join(["create", name, *live[name]]) for name in live if name in names]
    if not lines:
        return {}
    found = {f"{FOLDER}/{prefix}/ipset": _lines(lines), f"{FOLDER}/{prefix}/restore": SCRIPT}
    if plugins:
        found[sets_plugin(prefix)] = SETS_PLUGIN.replace("{prefix}", prefix)
    if systemd:
        text = SETS_UNIT.replace("{prefix}", prefix).replace("{others}", others)
        found[f"{UNITS}/{sets_unit(prefix)}"] = text
    return found


def paths(prefix: str) -> list[str]:
    """Return all paths that an instance may have, each file before its folder."""
    folder = f"{FOLDER}/{prefix}"
    return [
        f"{UNITS}/{unit(prefix)}",
        f"{UNITS}/{sets_unit(prefix)}",
        f"etc/modules-load.d/hostfw-conntrack-{prefix}.conf",
        plugin(prefix),
        sets_plugin(prefix),
        *_firewalld.paths(prefix),
        *(f"{folder}/{name}" for name in (*PROGRAMS.values(), *NATIVE, "ipset", "restore")),
    ]


def read(prefix: str, root: str = "/") -> dict[str, str]:
    """Return the files that an instance has, by their paths without the first slash."""
    return {path: Path(root, path).read_text(encoding="utf-8") for path in paths(prefix) if Path(root, path).is_file()}


def changes(prefix: str, wanted: Mapping[str, str], *, systemd: bool, root: str = "/") -> Changes:
    """Return what turns the files of an instance into those that are wanted.

    :arg wanted: their texts, by their paths without the first slash
    :arg systemd: whether systemd is in charge of the host
    """
    folder = f"{FOLDER}/{prefix}"
    here = read(prefix, root)
    remove = [f"/{path}" for path in here if path not in wanted]
    if Path(root, folder).is_dir() and not any(path.startswith(f"{folder}/") for path in wanted):
        others = [path.name for path in Path(root, FOLDER).iterdir() if path.name != prefix]
        remove.append(f"/{folder}" if others else f"/{FOLDER}")
    write = []
    for path, text in wanted.items():
        mode = "0600" if path.startswith(FOLDER) else "0755" if path.startswith(PLUGINS) else "0644"
        if here.get(path) != text or f"{Path(root, path).stat().st_mode & 0o7777:04o}" != mode:
            write.append({"dest": f"/{path}", "content": text, "mode": mode})
    units = {path.rpartition("/")[2]: path for path in (f"{UNITS}/{unit(prefix)}", f"{UNITS}/{sets_unit(prefix)}")}
    on = {name: enabled(name, root) for name in units}
    written = [item["dest"] for item in write]
    # Enabled before it was for others: systemctl takes it for enabled, and adds no links.
    asked = {name: _asked(wanted.get(path, "")) for name, path in units.items()}
    stale = [name for name in units if on[name] and asked[name] and asked[name] != _links(name, root)]
    return Changes(
        disable=[name for name in units if systemd and on[name] and (units[name] not in wanted or name in stale)],
        remove=remove,
        write=write,
        enable=[
            name
            for name, path in units.items()
            if systemd and path in wanted and (not on[name] or name in stale or f"/{path}" in written)
        ],
    )


def unit(prefix: str) -> str:
    """Return the name of the unit that restores the rules."""
    return f"hostfw-conntrack-{prefix}.service"


def _links(name: str, root: str) -> set[str]:
    """Return the units that start a unit of ours with them, as systemctl has enabled it."""
    folders = Path(root, UNITS).glob("*.wants")
    return {folder.name[: -len(".wants")] for folder in folders if os.path.lexists(folder / name)}


def _asked(text: str) -> set[str]:
    """Return the units that are to start a unit of ours with them, by its text."""
    return {name for line in text.splitlines() if line.startswith("WantedBy=") for name in line[9:].split()}


def enabled(name: str, root: str = "/") -> bool:
    """Tell whether systemd starts a unit of ours at boot."""
    return os.path.lexists(Path(root, UNITS, "multi-user.target.wants", name))


def sets_unit(prefix: str) -> str:
    """Return the name of the unit that restores the sets, before anything loads rules."""
    return f"hostfw-conntrack-{prefix}.sets.service"


def plugin(prefix: str) -> str:
    """Return the path of the plugin of netfilter-persistent, without the first slash."""
    return f"{PLUGINS}/90-hostfw-conntrack-{prefix}"


def sets_plugin(prefix: str) -> str:
    """Return the path of the plugin of netfilter-persistent that makes the sets, without the first slash."""
    return f"{PLUGINS}/05-hostfw-conntrack-{prefix}"


def restore(prefix: str) -> str:
    """Return the command that puts back what is missing."""
    return f"sh /{FOLDER}/{prefix}/restore"


def _rules(desired: Desired, ip_version: str, after: Ruleset, site: Site) -> str:
    """Return the chains and jumps of one IP version, as iptables-restore reads them.

    Before a jump, a comment says beside which foreign rule its place is, or that it is C(first) or C(last).
    C(-N) stands before chains that other instances use, too.
    """
    rules = desired.rules[ip_version]
    lines: list[str] = []
    for table in TABLES if rules.inside else ():
        inside, guard, jumps = (
            [rule for rule in part if rule.table == table] for part in (rules.inside, rules.guard, rules.jumps)
        )
        lines += [f"*{table}", *(f":{chain} - [0:0]" for chain in dict.fromkeys(rule.chain for rule in inside))]
        lines += [rule.line() for rule in inside]
        lines += [f"-N {chain}" for chain in dict.fromkeys(rule.chain for rule in guard)]
        # As the plan has put each before the others.
        for rule in reversed(guard):
            lines += ["# last" if rule.jump == "DROP" else "# first", rule.line()]
        for jump in jumps:
            lines += [*_hint(site, after.chain(table, jump.chain), jump), jump.line()]
        lines.append("COMMIT")
    return _lines(lines)


def _hint(site: Site, lines: Sequence[str], jump: Rule) -> list[str]:
    """Return the comment that says where a jump's place is among the rules of its chain."""
    position = site.desired.position(jump)
    if position != "auto":
        return [f"# {position}"]
    foreign = [line for line in lines if OURS not in line]
    place = site.place(jump, foreign)
    for words, beside in (("before", foreign[place : place + 1]), ("after", reversed(foreign[:place]))):
        for line in beside:
            if "\n" not in line:
                return [f"# {words} {line}"]
    return []


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
