"""Services that load the foreign rules, and flush ours: netfilter-persistent, nftables, and a site's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab.hosts import FOREIGN
from lab.kinds import quoted
from program import LAB, UNIT, Program

FILES = ("/etc/iptables/rules.v4", "/etc/iptables/rules.v6")
# In the tables of iptables.
NFTABLES = """
flush ruleset
table ip filter {
  chain INPUT {
    type filter hook input priority filter; policy drop
    iifname "lo" counter accept
    meta l4proto tcp tcp dport 22 counter accept
  }
  chain OUTPUT {
    type filter hook output priority filter; policy drop
    oifname "lo" counter accept
    meta l4proto tcp tcp sport 22 counter accept
  }
}
table ip6 filter {
  chain INPUT {
    type filter hook input priority filter; policy drop
    iifname "lo" counter accept
    meta l4proto ipv6-icmp counter accept
  }
  chain OUTPUT {
    type filter hook output priority filter; policy drop
    oifname "lo" counter accept
    meta l4proto ipv6-icmp counter accept
  }
}
"""
# A site's own service, by a name that the role knows, and by another one, which an input tells it.
LOAD = "/bin/sh -c 'iptables-restore /etc/iptables/rules.v4 && ip6tables-restore /etc/iptables/rules.v6'"
OWN = f"""
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={LOAD}
ExecReload={LOAD}
[Install]
WantedBy=multi-user.target
"""
INPUTS = {"site-firewall": {"ftp_restore_after": ["site-firewall.service"]}}
SERVICES = ("netfilter-persistent", "nftables", "firewall", "site-firewall")


def save(service: Program) -> None:
    """Let the service load the foreign rules, and them alone."""
    for rules, path in zip(FOREIGN, FILES):
        service.run(quoted(rules, path))
    service.run(quoted(NFTABLES, "/etc/nftables.conf"))
    for name in SERVICES[2:]:
        service.run(quoted(OWN, f"/etc/systemd/system/{name}.service"))
    service.run("systemctl daemon-reload")


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> Iterator[Program]:
    """A host with a service that has loaded the foreign rules."""
    found = Program(request.param, LAB.host("host"), units=SERVICES)
    save(found)
    found.run(f"systemctl enable --now {request.param}")
    found.others = found.rules(ours=False)
    yield found
    found.clean()
    found.run(f"rm -f {' '.join(f'/etc/systemd/system/{name}.service' for name in SERVICES[2:])}")


# Debian's unit of netfilter-persistent knows no reload.
RELOADS = {"netfilter-persistent": [], **{name: [f"systemctl reload {name}"] for name in SERVICES[1:]}}
# Which events bring our rules back without systemd, by our plugin, and which take them away.
BY_HAND: dict[str, tuple[list[str], list[str]]] = {
    "netfilter-persistent": (["netfilter-persistent reload"], []),
    "nftables": ([], ["nft -f /etc/nftables.conf"]),
}
WITHOUT = (
    f"systemctl disable --now {UNIT}",
    "rm -f /usr/share/netfilter-persistent/plugins.d/90-hostfw-conntrack-FTP",
)


def test_ftp_is_back_whenever_the_service_has_loaded_its_rules(service: Program) -> None:
    name = service.name
    service.blocked(f"systemctl start {name}")
    service.role(**INPUTS.get(name, {}))
    service.passes("role")
    for event in (f"systemctl restart {name}", f"systemctl stop {name} && systemctl start {name}", *RELOADS[name]):
        service.run(event)
        service.passes(event)
    before = service.host.rules()
    service.run(f"systemctl restart {UNIT}", f"systemctl restart {UNIT}")
    assert service.host.rules() == before
    loads, flushes = BY_HAND.get(name, ([], []))
    for event in loads:
        service.run(event)
        service.passes(event)
    for event in flushes:
        service.run(event)
        service.blocked(event)
        service.run(f"systemctl restart {UNIT}")
        service.passes(f"{event}, our unit restarted")
    service.run(*WITHOUT, f"systemctl restart {name}")
    service.blocked(f"systemctl restart {name}, without our unit and plugin")


@pytest.mark.parametrize("service", ["nftables"], indirect=True)
def test_rules_without_a_unit_work_until_the_next_reboot(service: Program) -> None:
    service.role(ftp_persistent=False)
    service.passes("role, ftp_persistent: false")
    service.verdict("It works until the next reboot", ftp_persistent=False)


@pytest.mark.parametrize("service", ["netfilter-persistent"], indirect=True)
def test_saved_rules_of_ours_are_not_doubled_and_do_not_come_back(service: Program) -> None:
    service.role(ftp_interface=["eth0", "lo"], ftp_control_ports=[21, 2121])
    service.run("netfilter-persistent save", "systemctl restart netfilter-persistent")
    service.passes("restart, with our rules saved")
    old = set(service.ours)
    service.role()
    service.run("systemctl restart netfilter-persistent")
    service.passes("restart, with old rules of ours saved")
    assert old - set(service.ours)
    service.run(*WITHOUT, "systemctl restart netfilter-persistent")
    assert set(service.rules(ours=True)) == old, "they did not come back from the save"
