"""The rules of the server, line by line."""

from __future__ import annotations

from typing import Any

import pytest

MARK = "hostfw.conntrack:"


def rule(chain: str, matches: str, comment: str, target: str) -> str:
    """Return a rule as iptables -S prints it."""
    return " ".join(f'-A {chain} {matches} -m comment --comment "{MARK} {comment}" -j {target}'.split())


CONTROL = "control connection to port 21:"
ACTIVE = "active data connection from port 20:"
PASSIVE = "passive data connection to ports 1024-65535:"
HIGH = "1024:65535"
LIVE = "-m connmark ! --mark 0x20000000/0x20000000"


def expected(chain: str, mode: str, version: int) -> list[str]:
    """Return the rules of one of the role's chains."""
    tcp = "-p tcp -m tcp"
    state = "-m conntrack --ctstate"
    rules = {
        "FTP-HELPER": [
            rule(
                "FTP-HELPER",
                f"{tcp} --dport 21 -m addrtype --dst-type LOCAL",
                f"{CONTROL} gets the ftp helper",
                "CT --helper ftp",
            )
        ],
        "FTP-CONTROL": [
            rule(
                "FTP-CONTROL",
                f"{tcp} {port} 21 ! --tcp-flags FIN,RST NONE {state} ESTABLISHED",
                f"{CONTROL} {end} closes",
                "CONNMARK --set-xmark 0x20000000/0x20000000",
            )
            for end, port in (("client", "--dport"), ("server", "--sport"))
        ],
        "FTP-IN": [
            rule("FTP-IN", f"{tcp} --dport 21 {state} NEW,ESTABLISHED", f"{CONTROL} client opens", "ACCEPT"),
            rule("FTP-IN", f"{LIVE} -m helper --helper ftp", "data connections of the ftp helper", "FTP-DATA-IN"),
            rule(
                "FTP-IN",
                f"-p {'icmp' if version == 4 else 'ipv6-icmp'} {state} RELATED",
                "ICMP errors (path MTU)",
                "FTP-ICMP",
            ),
        ],
        "FTP-OUT": [
            rule("FTP-OUT", f"{tcp} --sport 21 {state} ESTABLISHED", f"{CONTROL} server answers", "ACCEPT"),
            rule("FTP-OUT", f"{LIVE} -m helper --helper ftp", "data connections of the ftp helper", "FTP-DATA-OUT"),
        ],
        "FTP-ICMP": [
            rule("FTP-ICMP", "-m helper --helper ftp", "ICMP errors of data connections of the ftp helper", "ACCEPT"),
            rule(
                "FTP-ICMP",
                "-m conntrack --ctproto 6 --ctorigdstport 21",
                "ICMP errors of control connection to port 21",
                "ACCEPT",
            ),
        ],
        "FTP-DATA-IN": [],
        "FTP-DATA-OUT": [],
    }
    if mode in ("active", "both"):
        rules["FTP-DATA-OUT"].append(
            rule(
                "FTP-DATA-OUT",
                f"{tcp} --sport 20 --dport {HIGH} {state} RELATED,ESTABLISHED",
                f"{ACTIVE} server opens",
                "ACCEPT",
            )
        )
        rules["FTP-DATA-IN"].append(
            rule(
                "FTP-DATA-IN",
                f"{tcp} --sport {HIGH} --dport 20 {state} ESTABLISHED",
                f"{ACTIVE} client answers",
                "ACCEPT",
            )
        )
    if mode in ("passive", "both"):
        rules["FTP-DATA-IN"].append(
            rule(
                "FTP-DATA-IN",
                f"{tcp} --sport {HIGH} --dport {HIGH} {state} RELATED,ESTABLISHED",
                f"{PASSIVE} client opens",
                "ACCEPT",
            )
        )
        rules["FTP-DATA-OUT"].append(
            rule(
                "FTP-DATA-OUT",
                f"{tcp} --sport {HIGH} --dport {HIGH} {state} ESTABLISHED",
                f"{PASSIVE} server answers",
                "ACCEPT",
            )
        )
    return rules[chain]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    "chain", ["FTP-HELPER", "FTP-CONTROL", "FTP-IN", "FTP-OUT", "FTP-DATA-IN", "FTP-DATA-OUT", "FTP-ICMP"]
)
def test_chain_has_its_rules_and_no_other(server: Any, settings: dict[str, Any], chain: str, version: int) -> None:
    table = {"FTP-HELPER": "raw", "FTP-CONTROL": "mangle"}.get(chain, "filter")
    found = server.iptables.rules(table, chain, version)
    assert sorted(found) == sorted([f"-N {chain}", *expected(chain, settings["ftp_mode"], version)])


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("table", "chain", "line"),
    [
        ("raw", "PREROUTING", rule("PREROUTING", "-i eth0 -p tcp -m tcp --dport 21", "FTP on eth0", "FTP-HELPER")),
        ("mangle", "INPUT", rule("INPUT", "-i eth0 -p tcp -m tcp --dport 21", "FTP on eth0", "FTP-CONTROL")),
        ("mangle", "OUTPUT", rule("OUTPUT", "-o eth0 -p tcp -m tcp --sport 21", "FTP on eth0", "FTP-CONTROL")),
        ("filter", "INPUT", rule("INPUT", "-i eth0", "FTP on eth0", "FTP-IN")),
        ("filter", "OUTPUT", rule("OUTPUT", "-o eth0", "FTP on eth0", "FTP-OUT")),
    ],
)
def test_jump_stands_once_behind_the_rules_of_others(
    server: Any, table: str, chain: str, line: str, version: int
) -> None:
    found = server.iptables.rules(table, chain, version)
    assert found[-1] == line
    assert found.count(line) == 1
    assert not [other for other in found[:-1] if "FTP" in other]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("chain", ["INPUT", "FORWARD", "OUTPUT"])
def test_policy_is_still_drop(server: Any, chain: str, version: int) -> None:
    assert server.iptables.rules("filter", chain, version)[0] == f"-P {chain} DROP"
