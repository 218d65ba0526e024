# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Why FTP does not pass: from what was tried, what the rules have counted meanwhile, and what was to be changed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.hostfw.conntrack.plugins.module_utils._diagnosis._causes import Cause


@dataclass(frozen=True)
class Case:
    """What was seen of a host; what was not looked at is empty.

    - inputs: the role's, by their names without C(ftp_)
    - plan: what hostfw.conntrack.ftp_plan returned, also where it failed
    - before, after: what hostfw.conntrack.ftp_info returned before and after the trial
    - probe: one of RV(hostfw.conntrack.ftp_probe#module:probes)
    - tls: whether it was by FTPS
    """

    inputs: Mapping[str, Any]
    plan: Mapping[str, Any]
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    probe: Mapping[str, Any] = field(default_factory=dict)
    tls: bool = False

    @property
    def converged(self) -> bool:
        """Whether the rules are as asked for."""
        return bool(self.plan.get("converged"))

    @property
    def found(self) -> set[str]:
        """The ids of what the plan has found, ignored or not."""
        told = [*self.plan.get("conflicts", ()), *self.plan.get("findings", ())]
        return {each["facts"].get("of", each["id"]) for each in told}

    def stopped(self, *stages: str) -> bool:
        """Tell whether the trial stopped at one of some stages."""
        return self.probe.get("stage") in stages

    def tried(self, mode: str) -> bool:
        """Tell whether the trial was one of a mode."""
        return self.probe.get("mode") == mode

    def counted(self, words: str) -> int:
        """Return the packets that our rules with some words in their comments have seen during the trial.

        :arg words: a regular expression
        """
        seen = [self._total(info.get("rules", ()), words) for info in (self.before, self.after)]
        return seen[1] - seen[0]

    def _total(self, rules: Iterable[Mapping[str, Any]], words: str) -> int:
        version = self.probe.get("ip_version")
        return sum(
            rule["packets"]
            for rule in rules
            if rule["ip_version"] in (version, "both") and re.search(words, rule["words"])
        )

    @property
    def port(self) -> int:
        """The port of the data connection that was announced; 0 where there was none."""
        found = re.search(r":(\d+)$", self.probe.get("endpoint") or "")
        return int(found.group(1)) if found else 0

    @property
    def passive_ports(self) -> tuple[int, int]:
        """The passive ports that pass."""
        ports = self.plan.get("passive_ports", {}).get("ports", "1024:65535")
        first, _colon, last = ports.partition(":")
        return int(first), int(last or first)


@dataclass(frozen=True)
class Diagnosis(Cause):
    """One thing that goes wrong with FTP: how people meet it, what to look at, why it is, and what helps."""

    symptom: str
    look: str
    applies: Callable[[Case], bool]


def _data(case: Case, mode: str) -> bool:
    """Tell whether no data connection of a mode came about."""
    return case.probe.get("mode") == mode and case.stopped("data connection")


def _plain(case: Case) -> bool:
    return not case.tls


def _outside(case: Case) -> bool:
    first, last = case.passive_ports
    return bool(case.port) and not first <= case.port <= last


def _public(case: Case) -> bool:
    """Tell whether a server on this host announced an IPv4 address that is none of the host's."""
    address = re.match(r"([\d.]+):\d+$", case.probe.get("endpoint") or "")
    own = case.plan.get("addresses") or ()
    server = case.inputs.get("side") == "server" and case.plan.get("public_address") == "none"
    return server and address is not None and bool(own) and address[1] not in own


def _tool(case: Case, name: str) -> bool:
    return name in case.before.get("tools", ()) and not case.converged


RUN = "run the role on this host; ansible-playbook --check --diff shows what it adds"

# What is to be seen without a trial. All that apply are told.
OF_HOSTS: tuple[Diagnosis, ...] = (
    Diagnosis(
        id="firewalld-by-iptables",
        symptom="The role stops, as firewalld filters by its backend iptables",
        look="grep FirewallBackend /etc/firewalld/firewalld.conf",
        cause="firewalld drops what it does not allow, and each reload of it removes all other rules of iptables",
        cure="set FirewallBackend=nftables there, restart firewalld and run the role again; or leave this role out, "
        "and let firewalld allow FTP by what the role's error names",
        applies=lambda case: "firewalld-drops" in case.found,
    ),
    Diagnosis(
        id="firewalld-closed",
        symptom="Firewalld runs, and FTP hangs",
        look="firewall-cmd --list-all-policies shows no policy hostfw-FTP",
        cause="firewalld drops what none of its zones and policies allow",
        cure=f"{RUN}; its policies and its helper outlast firewall-cmd --reload",
        applies=lambda case: _tool(case, "firewalld") and "firewalld-drops" not in case.found,
    ),
    Diagnosis(
        id="nftables-drop-early",
        symptom="The role stops, as a chain of nftables drops before the kernel knows the connection",
        look="nft list ruleset shows a base chain at prerouting with a priority of -200 or less that drops",
        cause="nftables rules drop FTP where nobody can tell its data connections from others yet",
        cure="give that chain a priority above -200 (raw is -300, mangle -150), or let it drop no FTP and set "
        "ftp_ignore_conflicts: true",
        applies=lambda case: "nftables-drops-early" in case.found,
    ),
    Diagnosis(
        id="kernel-without-helper",
        symptom="The role stops with: the kernel's FTP helper nf_conntrack_ftp is neither loaded nor built in",
        look="modprobe nf_conntrack_ftp; ls /lib/modules/$(uname -r)",
        cause="the running kernel has no FTP helper, and none can be loaded: its modules are missing, or this is a "
        "container and the module belongs to its host",
        cure="install the package with all modules of the running kernel or reboot into the installed one; for a "
        "container, run modprobe nf_conntrack_ftp on its host",
        applies=lambda case: "helper-missing" in case.found,
    ),
    Diagnosis(
        id="ufw-drops",
        symptom="The rule of ufw allow 21/tcp is there, and transfers hang",
        look="iptables -S ufw-user-input; iptables-save -t raw has no CT --helper ftp",
        cause="ufw drops what it has no rule for, and its rule for port 21 opens the control connection only",
        cure=f"{RUN}; its jumps stand before ufw's drops, and ufw reload leaves them",
        applies=lambda case: _tool(case, "ufw"),
    ),
    Diagnosis(
        id="docker-drops",
        symptom="FTP through the host has stopped since docker is installed",
        look="iptables -S FORWARD: docker has set the policy to DROP",
        cause="docker drops what the host forwards and it has no rule for",
        cure=f"with ftp_side: gateway where the host forwards FTP, {RUN}",
        applies=lambda case: _tool(case, "docker"),
    ),
    Diagnosis(
        id="not-converged",
        symptom="Everything hangs, or the control connection works and nothing else",
        look="iptables-save | grep hostfw.conntrack",
        cause="the firewall is not as asked for: rules of the role are missing or altered",
        cure=RUN,
        applies=lambda case: (
            case.plan.get("converged") is False
            and not any(_tool(case, name) for name in ("firewalld", "ufw", "docker"))
        ),
    ),
    Diagnosis(
        id="not-at-boot",
        symptom="It works until the next reboot",
        look="systemctl is-enabled hostfw-conntrack-FTP",
        cause="nothing brings the rules back at boot",
        cure="set ftp_persistent: true, the default; without systemd, let the host's init run "
        "sh /etc/hostfw-conntrack/FTP/restore",
        applies=lambda case: case.converged and case.before.get("unit") is False,
    ),
)

# What is to be seen from a trial and what the rules have counted meanwhile. The first that applies is told, so what is
# certain stands before what is likely.
OF_TRIALS: tuple[Diagnosis, ...] = (
    Diagnosis(
        id="mode-is-active",
        symptom="Passive mode hangs after 227 Entering Passive Mode, active works",
        look="ftp_mode in the inventory",
        cause="ftp_mode is active, and passive mode does not pass",
        cure="set ftp_mode: both, or let the client use active mode",
        applies=lambda case: _data(case, "passive") and case.inputs.get("mode") == "active",
    ),
    Diagnosis(
        id="mode-is-passive",
        symptom="Active mode hangs or ends with 425, passive works",
        look="ftp_mode in the inventory",
        cause="ftp_mode is passive, and active mode does not pass",
        cure="set ftp_mode: both, or let the client use passive mode",
        applies=lambda case: _data(case, "active") and case.inputs.get("mode") == "passive",
    ),
    Diagnosis(
        id="not-at-the-host",
        symptom="ftp: connect: timed out, from some networks or from all",
        look='the counter of "FTP on eth0" in iptables-save -c does not move while one connects',
        cause="no packet of the control connection gets to the role's rules: something before the host drops it, such "
        "as a cloud's security group or another firewall, or it comes in by another interface or to another port",
        cure="open the control port and, for passive mode, the passive ports there; or set ftp_interface and "
        "ftp_control_ports to where the packets come in (tcpdump -ni any tcp)",
        applies=lambda case: (
            case.converged
            and case.stopped("connect")
            and case.counted(r"client opens$") == 0
            and not case.counted(r"gets the \w+ helper$")
            and not case.counted("^FTP( |$)")
        ),
    ),
    Diagnosis(
        id="address-not-allowed",
        symptom="ftp: connect: timed out, although the host answers other services",
        look='the counter of "client opens" does not move, that of "FTP on eth0" does',
        cause="the control connection gets to the role's chains and no rule there is for it: its address is not in "
        "ftp_allowed_addresses or, on a gateway, that of its server not in ftp_server_addresses",
        cure="add the address to ftp_allowed_addresses, or to ftp_server_addresses",
        applies=lambda case: case.converged and case.stopped("connect") and case.counted(r"client opens$") == 0,
    ),
    Diagnosis(
        id="server-silent",
        symptom="The login takes a minute or fails, although the connection is there",
        look='the counter of "server answers" moves with that of "client opens"',
        cause="the firewall lets the control connection through, and the server does not serve it",
        cure="look at the server's log and configuration; no firewall rule helps",
        applies=lambda case: (
            case.converged and case.stopped("greeting", "login") and case.counted("server answers$") > 0
        ),
    ),
    Diagnosis(
        id="tls-without-input",
        symptom="It works until TLS: after AUTH TLS the listing hangs",
        look="the client's log shows PROT P, then PASV or EPSV, then nothing",
        cause="the control connection is encrypted, so the kernel's FTP helper cannot read which port it announces",
        cure="set ftp_tls: true and ftp_passive_ports to the server's own passive range, or to auto",
        applies=lambda case: case.stopped("data connection") and not _plain(case) and not case.inputs.get("tls"),
    ),
    Diagnosis(
        id="mode-off-at-server",
        symptom="500 or 550 in answer to PASV, EPSV or PORT",
        look="the server's configuration: pasv_enable and port_enable of vsftpd",
        cause="the server does not do this mode",
        cure="switch it on at the server, or leave it out by ftp_mode",
        applies=lambda case: (
            case.stopped("data connection") and re.match(r"5[05]\d", case.probe.get("reply") or "") is not None
        ),
    ),
    Diagnosis(
        id="announced-elsewhere",
        symptom="It hangs after 227 Entering Passive Mode with an address that is not the server's public one",
        look="the address in the 227: 10.x, 172.16.x or 192.168.x behind NAT",
        cause="the server announces another address than the one that its clients call: clients that believe it "
        "cannot reach it, and clients that ignore it hang where the FTP helper of a firewall, which believes no other "
        "address, is to open the port",
        cure="set the public one at the server (pasv_address, MasqueradeAddress, ForcePassiveIP), and run the role on "
        "its host, which reads it (ftp_public_address: auto); on a gateway with plain FTP, ftp_nat: true translates "
        "it; on a client's host, ftp_tls: true with the server in ftp_allowed_addresses passes without the helper",
        applies=lambda case: bool(case.probe.get("announced_elsewhere")),
    ),
    Diagnosis(
        id="port-outside",
        symptom="It hangs after 227 Entering Passive Mode, now and then or always, with a port out of the usual",
        look="the port in the 227 (p1*256+p2) or 229, and ftp_passive_ports",
        cause="the server announced a port outside of ftp_passive_ports",
        cure="set ftp_passive_ports to the server's range, or to auto on the server",
        applies=lambda case: case.converged and _data(case, "passive") and _outside(case),
    ),
    Diagnosis(
        id="public-address-unknown",
        symptom="It hangs after 227 Entering Passive Mode with the public address of a cloud, and EPSV passes",
        look="the address in the 227 is none that ip address shows on the server's host",
        cause="the server announces an address that its host does not have, and the FTP helper there believes no "
        "address but that of the control connection",
        cure="set ftp_public_address to that address, and ftp_passive_ports to the server's range; auto reads both "
        "from the configuration of vsftpd, proftpd or pure-ftpd",
        applies=lambda case: case.converged and _plain(case) and _data(case, "passive") and _public(case),
    ),
    Diagnosis(
        id="answer-of-several-lines",
        symptom="It hangs after 227-, an answer of several lines",
        look="the client's log: a 227- or 229- before the line with the port",
        cause="the FTP helper reads one line at the beginning of a segment, so it does not find what such an answer "
        "announces",
        cure="let the server answer PASV and EPSV in one line; or set ftp_tls: true, and ftp_passive_ports to the "
        "server's range: data connections then pass without the helper",
        applies=lambda case: (
            case.converged
            and _plain(case)
            and _data(case, "passive")
            and re.match(r"22[79]-", case.probe.get("reply") or "") is not None
        ),
    ),
    Diagnosis(
        id="helper-not-assigned",
        symptom="It hangs after 227 Entering Passive Mode",
        look='the counter of "gets the ftp helper" in iptables-save -c -t raw does not move with a new session',
        cause="no rule gave the control connection the kernel's FTP helper, which since Linux 6.0 no connection gets "
        "by itself: it comes in by another interface or port than the role's",
        cure="set ftp_interface and ftp_control_ports to where the control connection comes in",
        applies=lambda case: (
            case.converged
            and _plain(case)
            and case.stopped("data connection")
            and case.counted(r"gets the \w+ helper$") == 0
        ),
    ),
    Diagnosis(
        id="data-port-differs",
        symptom="425 Can't open data connection, and the server is ProFTPD or runs without privileges",
        look="tcpdump shows the data connection leave from another port than 20",
        cause="the server opens active data connections from another port than ftp_data_port",
        cure="set ftp_data_port: any",
        applies=lambda case: (
            case.converged
            and _data(case, "active")
            and case.inputs.get("data_port") != "any"
            and case.counted("^data connections of") > 0
            and case.counted("^active data connection") == 0
        ),
    ),
    Diagnosis(
        id="data-connection-unanswered",
        symptom="425 Can't open data connection",
        look='the counter of "active data connection: server opens" moves, that of "client answers" does not',
        cause="the server's data connection leaves the host and is not answered: a firewall or NAT before the client "
        "drops it",
        cure="use passive mode, or let the client's firewall use the helper too (this role there, ftp_side: client)",
        applies=lambda case: case.converged and _data(case, "active") and case.counted("server opens$") > 0,
    ),
    Diagnosis(
        id="large-packets-lost",
        symptom="Listings pass, and downloads stall after some kilobytes",
        look="ping -M do -s 1472; tcpdump for ICMP fragmentation needed",
        cause="large packets are lost: a narrow link is on the way, and its ICMP errors are dropped",
        cure="let ICMP errors through on the way (the role does for FTP's), or lower the MTU or clamp the MSS",
        applies=lambda case: case.stopped("transfer") and not case.probe.get("reply", "").startswith(("4", "5")),
    ),
)

# What no trial shows, as it begins a session of its own.
OTHERS: tuple[Diagnosis, ...] = ()


def findings(cases: Iterable[Case]) -> list[Cause]:
    """Return what is the matter with a host, each once.

    :arg cases: one for each trial; one without a trial where none was made
    """
    found: dict[Cause, None] = {}
    for case in cases:
        of_trial = trial(case)
        of_host = [diagnosis for diagnosis in OF_HOSTS if diagnosis.applies(case)]
        for diagnosis in of_host:
            found[diagnosis.told()] = None
        error = case.plan.get("msg")
        if error and not of_host:
            found[Cause("role-stops", f"the role stops: {error}", "correct the input that it names")] = None
        if of_trial and not of_host:
            found[of_trial] = None
    return list(found)


def trial(case: Case) -> Cause | None:
    """Return what is the matter with a trial."""
    probe = case.probe
    if not probe or (probe["passed"] and not probe.get("announced_elsewhere")):
        return None
    if probe["expected"] == "block":
        words = f"{probe['mode']} mode passes, which ftp_mode does not allow"
        cure = "look for a foreign rule that accepts the data ports, or writes the connection mark"
        return Cause("mode-not-closed", words, cure)
    return _known(case) or Cause(probe["id"], probe["cause"], probe["cure"])


def closed(case: Case) -> Cause | None:
    """Return why a trial stopped that was to stop."""
    return _known(case) if case.probe and case.probe["expected"] == "block" and case.probe["passed"] else None


def _known(case: Case) -> Cause | None:
    known = next((diagnosis for diagnosis in OF_TRIALS if diagnosis.applies(case)), None)
    return known.told() if known else None
