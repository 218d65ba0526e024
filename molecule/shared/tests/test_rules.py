"""The rules of the server, line by line."""

from __future__ import annotations

from typing import Any

import pytest
from lab.hosts import Host

MARK = "hostfw.conntrack:"


def rule(chain: str, matches: str, comment: str, target: str) -> str:
    """Return a rule as iptables -S prints it."""
    return " ".join(f'-A {chain} {matches} -m comment --comment "{MARK} {comment}" -j {target}'.split())


CONTROL = "control connection to port 21:"
ACTIVE = "active data connection from port 20:"
PASSIVE = "passive data connection to ports 1024-65535:"
HIGH = "1024:65535"
OURS = "-m connmark ! --mark 0x0/0x30000000"
LIVE = "-m connmark --mark 0x10000000/0x30000000"
CONTROL_BIT = "CONNMARK --set-xmark 0x10000000/0x10000000"
LET_IN = "CONNMARK --set-xmark 0x20000000/0x30000000"
TCP = "-p tcp -m tcp"
STATE = "-m conntrack --ctstate"


def data(mode: str, target: str, extra: str = "") -> dict[str, list[str]]:
    """Return the rules for data connections, by chain."""
    rules: dict[str, list[str]] = {"FTP-DATA-IN": [], "FTP-DATA-OUT": []}
    if mode in ("active", "both"):
        opens = f"{TCP} --sport 20 --dport {HIGH} {STATE} RELATED,ESTABLISHED {extra}"
        answers = f"{TCP} --sport {HIGH} --dport 20 {STATE} ESTABLISHED {extra}"
        rules["FTP-DATA-OUT"].append(rule("FTP-DATA-OUT", opens, f"{ACTIVE} server opens", target))
        rules["FTP-DATA-IN"].append(rule("FTP-DATA-IN", answers, f"{ACTIVE} client answers", target))
    if mode in ("passive", "both"):
        opens = f"{TCP} --sport {HIGH} --dport {HIGH} {STATE} RELATED,ESTABLISHED {extra}"
        answers = f"{TCP} --sport {HIGH} --dport {HIGH} {STATE} ESTABLISHED {extra}"
        rules["FTP-DATA-IN"].append(rule("FTP-DATA-IN", opens, f"{PASSIVE} client opens", target))
        rules["FTP-DATA-OUT"].append(rule("FTP-DATA-OUT", answers, f"{PASSIVE} server answers", target))
    return rules


def guard(chain: str, matches: str, sender: str, target: str) -> list[str]:
    """Return the rules of a chain that all instances share."""
    return [
        rule(chain, matches, f"FTP on eth0: data connections, {sender}", target),
        rule(chain, "-m connmark --mark 0x10000000/0x10000000", "data connections that nothing lets in", "DROP"),
    ]


def expected(table: str, mode: str, version: int) -> dict[str, list[str]]:
    """Return the rules of the role's chains in a table."""
    if table == "raw":
        local = f"{TCP} --dport 21 -m addrtype --dst-type LOCAL"
        return {"FTP-HELPER": [rule("FTP-HELPER", local, f"{CONTROL} gets the ftp helper", "CT --helper ftp")]}
    if table == "mangle":
        marks = [
            ("--dport 21", f"{STATE} NEW", "client opens", "CONNMARK --set-xmark 0x10000000/0x30000000"),
            (
                "--sport 21 --tcp-flags SYN,ACK SYN,ACK",
                f"{STATE} ESTABLISHED",
                "server begins anew",
                "CONNMARK --set-xmark 0x10000000/0x30000000",
            ),
            ("--dport 21", f"{STATE} ESTABLISHED", "client goes on", CONTROL_BIT),
            ("--sport 21", f"{STATE} ESTABLISHED", "server goes on", CONTROL_BIT),
            *(
                (
                    f"{port} 21 ! --tcp-flags FIN,RST NONE",
                    f"{STATE} ESTABLISHED --ctexpire 0:120 {LIVE}",
                    f"{end} closes",
                    "CONNMARK --set-xmark 0x20000000/0x20000000",
                )
                for end, port in (("client", "--dport"), ("server", "--sport"))
            ),
        ]
        return {
            "FTP-CONTROL": [
                rule("FTP-CONTROL", f"{TCP} {port} {state}", f"{CONTROL} {words}", target)
                for port, state, words, target in marks
            ],
            **data(mode, LET_IN, "-m connmark ! --mark 0x20000000/0x20000000"),
            "HOSTFW-INPUT": guard("HOSTFW-INPUT", "-i eth0", "client", "FTP-DATA-IN"),
            "HOSTFW-OUTPUT": guard("HOSTFW-OUTPUT", "-o eth0", "server", "FTP-DATA-OUT"),
        }
    helper = "-m helper --helper ftp", "data connections of the ftp helper"
    icmp = f"-p {'icmp' if version == 4 else 'ipv6-icmp'} {STATE} RELATED"
    return {
        "FTP-IN": [
            rule("FTP-IN", f"{TCP} --dport 21 {STATE} NEW,ESTABLISHED", f"{CONTROL} client opens", "ACCEPT"),
            rule("FTP-IN", *helper, "FTP-DATA-IN"),
            rule("FTP-IN", icmp, "ICMP errors (path MTU)", "ACCEPT"),
        ],
        "FTP-OUT": [
            rule("FTP-OUT", f"{TCP} --sport 21 {STATE} ESTABLISHED", f"{CONTROL} server answers", "ACCEPT"),
            rule("FTP-OUT", *helper, "FTP-DATA-OUT"),
        ],
        **data(mode, "ACCEPT"),
    }


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("table", ["raw", "mangle", "filter"])
def test_chains_have_their_rules_and_no_other(server: Host, settings: dict[str, Any], table: str, version: int) -> None:
    for chain, rules in expected(table, settings["ftp_mode"], version).items():
        found = server.shell.iptables.rules(table, chain, version)
        order = list if table == "mangle" else sorted
        assert order(found[1:]) == order(rules)
        assert found[0] == f"-N {chain}"


GUARD = rule(
    "HOOK",
    "-m connmark ! --mark 0x20000000/0x30000000 -m helper --helper ftp",
    "data connections of the ftp helper: guard",
    "HOSTFW-HOOK",
)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("table", "chain", "line"),
    [
        ("raw", "PREROUTING", rule("PREROUTING", "-i eth0 -p tcp -m tcp --dport 21", "FTP on eth0", "FTP-HELPER")),
        ("mangle", "INPUT", rule("INPUT", "-i eth0 -p tcp -m tcp --dport 21", "FTP on eth0", "FTP-CONTROL")),
        ("mangle", "OUTPUT", rule("OUTPUT", "-o eth0 -p tcp -m tcp --sport 21", "FTP on eth0", "FTP-CONTROL")),
        ("mangle", "INPUT", GUARD.replace("HOOK", "INPUT")),
        ("mangle", "OUTPUT", GUARD.replace("HOOK", "OUTPUT")),
        ("filter", "INPUT", rule("INPUT", f"-i eth0 {OURS}", "FTP on eth0", "FTP-IN")),
        ("filter", "OUTPUT", rule("OUTPUT", f"-o eth0 {OURS}", "FTP on eth0", "FTP-OUT")),
    ],
)
def test_jump_stands_once_behind_the_rules_of_others(
    server: Host, table: str, chain: str, line: str, version: int
) -> None:
    found = server.shell.iptables.rules(table, chain, version)
    assert found.count(line) == 1
    ours = [other for other in found if MARK in other]
    assert line in ours
    assert found[-len(ours) :] == ours
    assert len(ours) == (2 if table == "mangle" else 1)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("chain", ["INPUT", "FORWARD", "OUTPUT"])
def test_policy_is_still_drop(server: Host, chain: str, version: int) -> None:
    assert server.shell.iptables.rules("filter", chain, version)[0] == f"-P {chain} DROP"
