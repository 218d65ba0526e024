# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was found on hosts: as a table for the terminal, as a page for the browser, and as data for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from ansible_collections.hostfw.conntrack.plugins.module_utils._diagnosis._causes import Cause
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan._info import assigns
from ansible_collections.hostfw.conntrack.plugins.plugin_utils._diagnosis import Case, closed, findings

WAYS = (("passive", "ipv4"), ("passive", "ipv6"), ("active", "ipv4"), ("active", "ipv6"))
IP = {"ipv4": "IPv4", "ipv6": "IPv6", "both": "IPv4 and IPv6"}
HEADINGS = ("host", "rules", "helper", "others", *(f"{mode} {IP[ip_version]}" for mode, ip_version in WAYS))


@dataclass(frozen=True)
class Found:
    """What was found of one host.

    - rules: V(as asked), or what is the matter
    - helper: likewise
    - tools: who else makes rules
    - probes: as RV(hostfw.conntrack.ftp_probe#module:probes)
    - counters: as RV(hostfw.conntrack.ftp_info#module:rules)
    - leftovers: as RV(hostfw.conntrack.ftp_info#module:leftovers)
    """

    name: str
    rules: str
    helper: str
    kernel: str
    tools: Sequence[str]
    probes: Sequence[Mapping[str, Any]]
    probed_from: str
    findings: Sequence[Cause]
    notes: Sequence[str]
    counters: Sequence[Mapping[str, Any]]
    leftovers: Sequence[Mapping[str, Any]]

    @property
    def healthy(self) -> bool:
        """Whether nothing is the matter."""
        return not self.findings

    @property
    def advice(self) -> list[str]:
        """What there is to say of the leftovers."""
        return [each["message"] for each in self.leftovers]

    def outcome(self, mode: str, ip_version: str) -> str:
        """Say what became of a mode over an IP version."""
        for probe in self.probes:
            if (probe["mode"], probe["ip_version"]) == (mode, ip_version):
                return outcome(probe)
        return "not tried"

    def cells(self) -> list[str]:
        """Return what the table shows."""
        return [
            self.name,
            self.rules,
            self.helper,
            ", ".join(self.tools) or "none",
            *(self.outcome(*way) for way in WAYS),
        ]


def found(name: str, seen: Mapping[str, Any]) -> Found:
    """Return what was found of a host.

    :arg seen: C(plan), C(before), C(after), C(probe), C(inputs), C(from) and C(tls), as far as they were got
    """
    plan, before, after = (seen.get(key) or {} for key in ("plan", "before", "after"))
    probe = seen.get("probe") or {}
    probes = probe.get("probes") or []
    told: list[Cause] = []
    if plan and "rules" not in before:
        error = before.get("msg") or plan.get("msg", "")
        cause = f"this host cannot be looked at: {error}"
        told.append(Cause("host-unseen", cause, "see that Ansible can log in and become root"))
        plan = {}
    if probe and not probes:
        where = seen.get("from", "")
        told.append(
            Cause(
                "ftp-untried",
                f"FTP could not be tried from {where}: {probe.get('msg', '')}",
                f"see that Ansible can log in to {where}, and that ftp_verify is right",
            )
        )
    case = Case(seen.get("inputs") or {}, plan, before, after or before, tls=bool(seen.get("tls")))
    cases = [replace(case, probe=probe) for probe in probes] or [case]
    told += findings(cases)
    asked = [f"{why.cause}; {why.cure}" for why in map(closed, cases) if why]
    return Found(
        name=name,
        rules=_rules(plan),
        helper=_helper(before),
        kernel=before.get("kernel", ""),
        tools=before.get("tools", []),
        probes=probes,
        probed_from=seen.get("from", ""),
        findings=told,
        notes=[*dict.fromkeys(asked), *plan.get("warnings", ())],
        counters=(after or before).get("rules", []),
        leftovers=before.get("leftovers", []),
    )


def _rules(plan: Mapping[str, Any]) -> str:
    if not plan:
        return "unknown"
    if "converged" not in plan:
        return "cannot be"
    return "as asked" if plan["converged"] else "not as asked"


def _helper(info: Mapping[str, Any]) -> str:
    helper = info.get("helper")
    if not helper:
        return "unknown"
    if not helper["ready"]:
        return "missing"
    assigned = any(assigns(rule["rule"]) for rule in info["rules"])
    return "assigned" if assigned else "not assigned"


def outcome(probe: Mapping[str, Any]) -> str:
    """Say what became of a trial."""
    if probe["passed"]:
        return "passes" if probe["expected"] == "pass" else "closed, as asked"
    return f"stops: {probe['stage']}" if probe["expected"] == "pass" else "passes, must not"


def shared(hosts: Sequence[Found]) -> list[tuple[str, dict[str, list[str]]]]:
    """Return each cure once, with its causes and their hosts; what most hosts share comes first.

    A cause may be told in other words of each host, such as the error of its connection.
    """
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for host in hosts:
        for finding in dict.fromkeys((each.id, each.cure, each.cause) for each in host.findings):
            causes = found.setdefault(finding[:2], {})
            causes.setdefault(finding[2], []).append(host.name)
    groups = [(cure, causes) for (_id, cure), causes in found.items()]
    return sorted(groups, key=lambda group: -sum(map(len, group[1].values())))


def ill_first(hosts: Sequence[Found]) -> list[Found]:
    """Return the hosts with which something is the matter, and then the others."""
    return sorted(hosts, key=lambda host: host.healthy)


def table(hosts: Sequence[Found]) -> list[str]:
    """Return the lines of a table, and below it the cause and the cure of what is the matter."""
    rows = [list(HEADINGS), *(host.cells() for host in ill_first(hosts))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    for cure, causes in shared(hosts):
        lines += ["", *(f"{_names(names)}: {cause}" for cause, names in causes.items()), f"  {cure}"]
    lines += _told("", {host.name: host.notes for host in hosts})
    lines += _told(ADVICE, {host.name: host.advice for host in hosts})
    return [*lines, "", summary(hosts)]


def _told(heading: str, notes: Mapping[str, Sequence[str]]) -> list[str]:
    """Return each note once, with the hosts that share it, below a heading.

    :arg notes: those of each host
    """
    found: dict[str, list[str]] = {}
    for name, words in notes.items():
        for note in dict.fromkeys(words):
            found.setdefault(note, []).append(name)
    lines = [f"{_names(names)}: {note}" for note, names in found.items()]
    return ["", *([heading] if heading else []), *lines] if lines else []


def _names(names: Sequence[str]) -> str:
    return f"{len(names)} hosts, {', '.join(names)}" if len(names) > 1 else names[0]


VERSION = 1
ADVICE = "Left over from other recipes for FTP; once the role lets FTP through, docs/migration.md has the order:"


def data(hosts: Sequence[Found], time: str) -> dict[str, Any]:
    """Return the report for programs; what may change is its version."""
    return {
        "version": VERSION,
        "time": time,
        "hosts": {
            host.name: {
                "well": host.healthy,
                "rules": host.rules,
                "helper": host.helper,
                "kernel": host.kernel,
                "tools": list(host.tools),
                "findings": [{"id": each.id, "cause": each.cause, "cure": each.cure} for each in host.findings],
                "warnings": list(host.notes),
                "leftovers": list(host.leftovers),
                "probes": [{**probe, "outcome": outcome(probe)} for probe in host.probes],
            }
            for host in hosts
        },
    }


def changes(hosts: Sequence[Found], earlier: Mapping[str, Any]) -> list[str]:
    """Return what has come and gone since an earlier report, by the ids of what was found.

    :arg earlier: what data() returned then
    :raises ValueError: where it is no such report
    """
    lines = []
    try:
        # Of another version, there is none.
        time, then = {VERSION: (earlier["time"], earlier["hosts"])}[earlier["version"]]
        for host in hosts:
            if host.name not in then:
                lines.append(f"{host.name}: was not looked at then")
                continue
            before = {each["id"]: each["cause"] for each in then[host.name]["findings"]}
            now = {each.id: each.cause for each in host.findings}
            lines += [f"{host.name}: new: {now[each]}" for each in now if each not in before]
            lines += [f"{host.name}: gone: {before[each]}" for each in before if each not in now]
    except (KeyError, TypeError):
        raise ValueError(f"must be a report of ftp_check in JSON, version {VERSION}") from None
    return ["", f"Since {time}:", *(f"  {line}" for line in lines or ["nothing has changed"])]


def summary(hosts: Sequence[Found]) -> str:
    """Say how many hosts are well."""
    well = sum(host.healthy for host in hosts)
    return f"{well} of {len(hosts)} {'host is' if len(hosts) == 1 else 'hosts are'} well."


STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --dim: #57606a; --paper: #ffffff; --line: #d0d7de; --card: #f6f8fa;
  --good: #116329; --bad: #a40e26; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --dim: #9aa4af; --paper: #0d1117; --line: #30363d; --card: #161b22; --good: #56d364;
    --bad: #ff8a80; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 75rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 2.5rem 0 .5rem; overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin: 1rem 0 .25rem; }
p { margin: .25rem 0; max-width: 50rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem; border-bottom: 1px solid var(--line); }
th { color: var(--dim); font-weight: 600; }
td { overflow-wrap: anywhere; }
td[data-label="IP"] { white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
a { color: inherit; }
code { font: .85rem/1.4 ui-monospace, monospace; overflow-wrap: anywhere; white-space: pre-wrap; }
.dim { color: var(--dim); }
.good { color: var(--good); }
.bad { color: var(--bad); font-weight: 600; }
.finding { border-left: 4px solid var(--bad); background: var(--card); padding: .6rem .8rem; margin: .5rem 0; }
summary { cursor: pointer; margin: .5rem 0; }
form { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; align-items: center; margin: 1rem 0; }
input[type="search"] { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line);
  border-radius: .25rem; padding: .3rem .6rem; width: min(24rem, 100%); }
[hidden] { display: none !important; }
@media print { form { display: none; } .finding, tr { break-inside: avoid; } h2, h3 { break-after: avoid; } }
@media (max-width: 45rem) {
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  tbody tr { display: block; border-bottom: 2px solid var(--line); padding: .5rem 0; }
  tbody td, tbody th { display: flex; gap: 1rem; justify-content: space-between; border: 0; padding: .2rem 0; }
  tbody td::before { content: attr(data-label); color: var(--dim); flex: none; }
  td.number { text-align: left; }
}
"""


# Shows what has all the words that are typed in. Without it, the page shows everything.
SCRIPT = """
const form = document.querySelector("form");
const all = document.querySelectorAll("[data-find]");
function show() {
  const words = form.elements.words.value.toLowerCase().split(" ");
  for (const one of all)
    one.hidden = (form.elements.ill.checked && one.dataset.well !== undefined)
      || !words.every(word => one.dataset.find.includes(word));
}
form.hidden = false;
form.addEventListener("input", show);
form.addEventListener("submit", event => event.preventDefault());
show();
"""
FORM = """
<form hidden>
<input type="search" name="words" placeholder="words of a host or a cause"
aria-label="Show only hosts with these words">
<label><input type="checkbox" name="ill"> only where something is the matter</label>
</form>
"""


def page(hosts: Sequence[Found], time: str, since: Sequence[str] = ()) -> str:
    """Return an HTML page that needs nothing else.

    :arg since: the lines of changes()
    """
    well = all(host.healthy for host in hosts)
    hosts = ill_first(hosts)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>FTP: {escape(summary(hosts))}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>Does FTP pass?</h1>
<p class="{"good" if well else "bad"}">{escape(summary(hosts))}</p>
<p class="dim">{escape(time)}</p>
{_since(since)}
{"".join(_shared(cure, causes) for cure, causes in shared(hosts))}
{FORM if len(hosts) > 1 else ""}
{_table(HEADINGS, [_marked(host) for host in hosts], [_found_by(host) for host in hosts])}
{"".join(_section(number, host) for number, host in enumerate(hosts))}
{f"<script>{SCRIPT}</script>" if len(hosts) > 1 else ""}
</body>
</html>
"""


def _since(lines: Sequence[str]) -> str:
    """Return what has changed, in HTML."""
    if not lines:
        return ""
    _empty, time, *changed = lines
    items = "".join(f"<li>{escape(line)}</li>" for line in changed)
    return f"<h3>{escape(time)}</h3><ul>{items}</ul>"


def _shared(cure: str, causes: Mapping[str, Sequence[str]]) -> str:
    """Return causes, their hosts and their cure, in HTML."""
    told = "".join(
        f"<p>{f'{len(names)} hosts, ' if len(names) > 1 else ''}{', '.join(map(_link, names))}: {escape(cause)}</p>"
        for cause, names in causes.items()
    )
    return f'<div class="finding">{told}<p><strong>Cure:</strong> {escape(cure)}</p></div>\n'


def _link(name: str) -> str:
    return f'<a href="#{escape(name)}">{escape(name)}</a>'


def _found_by(host: Found) -> str:
    """Return the attributes by which the page's script finds what is of a host."""
    words = " ".join([*host.cells(), *(finding.cause for finding in host.findings), *host.notes, *host.advice]).lower()
    return f' data-find="{escape(words)}"{" data-well" if host.healthy else ""}'


def _marked(host: Found) -> list[str]:
    """Return the cells of a host, in HTML."""
    anchor = _link(host.name)
    return [anchor, *(f'<span class="{_kind(cell)}">{escape(cell)}</span>' for cell in host.cells()[1:])]


def _kind(cell: str) -> str:
    if cell.startswith(("stops", "passes, must", "not as", "cannot", "missing", "unknown", "not assigned")):
        return "bad"
    return "good" if cell in ("passes", "as asked", "closed, as asked", "assigned") else "plain"


def _section(number: int, host: Found) -> str:
    """Return what there is to say of a host, in HTML."""
    found = "".join(
        f'<div class="finding"><p>{escape(finding.cause)}</p><p><strong>Cure:</strong> {escape(finding.cure)}</p></div>'
        for finding in host.findings
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in host.notes)
    leftovers = "".join(f"<li>{escape(advice)}</li>" for advice in host.advice)
    trials = [
        [
            f"{escape(probe['mode'])} {IP[probe['ip_version']]}",
            f'<span class="{_kind(outcome(probe))}">{escape(outcome(probe))}</span>',
            escape(probe["address"] or ""),
            escape(probe["endpoint"] or "none"),
            f"{probe['seconds']:.2f}",
            str(probe["bytes"]),
        ]
        for probe in host.probes
    ]
    counted = [
        [
            IP[rule["ip_version"]],
            escape(rule["words"]),
            f"<code>{escape(rule['table'])} {escape(rule['rule'])}</code>",
            str(rule["packets"]),
            str(rule["bytes"]),
        ]
        for rule in host.counters
    ]
    opened = " open" if number == 0 else ""
    return f"""
<section{_found_by(host)}>
<h2 id="{escape(host.name)}">{escape(host.name)}</h2>
<p class="dim">{escape(f"Linux {host.kernel}" if host.kernel else "")}</p>
{found or '<p class="good">Nothing is the matter.</p>'}
{f"<h3>Warnings</h3><ul>{notes}</ul>" if notes else ""}
{f"<h3>{ADVICE.rstrip(':')}</h3><ul>{leftovers}</ul>" if leftovers else ""}
{_table(("trial", "result", "server", "data endpoint", "#seconds", "#bytes"), trials) if trials else ""}
{f"<details{opened}><summary>Our rules, with their counters ({len(counted)})</summary>" if counted else ""}
{_table(("IP", "what for", "rule", "#packets", "#bytes"), counted) + "</details>" if counted else ""}
</section>
"""


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], attributes: Sequence[str] = ()) -> str:
    """Return a table in HTML; numbers stand in columns whose heading begins with a hash.

    :arg attributes: those of the rows, where they have any
    """
    kinds = [' class="number"' if heading.startswith("#") else "" for heading in headings]
    words = [heading.lstrip("#") for heading in headings]
    head = "".join(f'<th scope="col"{kind}>{word}</th>' for word, kind in zip(words, kinds))
    body = "".join(
        f"<tr{attribute}>"
        + "".join(
            f'<td{kind} data-label="{word}"><span>{cell}</span></td>' for cell, word, kind in zip(row, words, kinds)
        )
        + "</tr>\n"
        for row, attribute in zip(rows, attributes or [""] * len(rows))
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>"
