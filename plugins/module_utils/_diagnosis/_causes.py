# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Why an FTP session stops where it does, and what to do: the most likely cause and its cure, one sentence each."""

from __future__ import annotations

import re
from dataclasses import dataclass

STAGES = ("resolve", "connect", "greeting", "tls", "login", "data connection", "transfer", "checksum")


@dataclass(frozen=True)
class Stop:
    """Where and how an FTP session stopped.

    - how: a word, or the code of the server's reply
    - command: the last command, such as V(PASV), or V(handshake) (of TLS), V(connect) (to a port announced by PASV)
    - error: what this host itself says of it
    - elsewhere: whether the server announced another address than that of its control connection
    - behind_nat: whether this host's address is private and the server's is not
    """

    stage: str
    how: str
    mode: str
    tls: bool
    host: str
    address: str
    port: int
    command: str
    reply: str
    error: str
    endpoint: str
    bytes: int
    elsewhere: bool
    behind_nat: bool


@dataclass(frozen=True)
class Cause:
    """Why FTP does not pass as asked, and what to do about it.

    - id: stable, so that others may act on it; docs/troubleshooting.md lists all
    """

    id: str
    cause: str
    cure: str

    def told(self, **facts: object) -> Cause:
        """Return it alone, with its words made of facts."""
        return Cause(self.id, self.cause.format(**facts), self.cure.format(**facts))


@dataclass(frozen=True)
class Row(Cause):
    """One cause; a condition that is None holds always, those of text are regular expressions."""

    stage: str
    how: str
    mode: str | None = None
    tls: bool | None = None
    elsewhere: bool | None = None
    behind_nat: bool | None = None
    command: str = ""
    words: str = ""

    def fits(self, stop: Stop) -> bool:
        """Tell whether this is the cause."""
        return (
            self.stage in ("", stop.stage)
            and re.fullmatch(self.how, stop.how) is not None
            and re.match(self.command, stop.command) is not None
            and re.search(self.words, stop.reply, re.IGNORECASE) is not None
            and all(
                wanted is None or wanted == seen
                for wanted, seen in (
                    (self.mode, stop.mode),
                    (self.tls, stop.tls),
                    (self.elsewhere, stop.elsewhere),
                    (self.behind_nat, stop.behind_nat),
                )
            )
        )


PATHS = "CWD|LIST|RETR|STOR"
TRANSFER = "LIST|RETR|STOR"
ON_SERVER = "On the server's host, run the role with"
CLIENT = "if this host drops what it sends or gets, run it here with ftp_side client"
GATEWAY = "on a gateway between them, with ftp_side gateway"

# The first that fits counts.
ROWS = (
    Row(
        "name-unknown",
        "The name {host} has no address of this IP version.",
        "Correct host, or the name in DNS or /etc/hosts, or leave this version out of ip_versions.",
        "resolve",
        "unknown",
    ),
    Row(
        "dns-silent",
        "No name server answers in time, most likely as this host's own firewall drops DNS.",
        "Let DNS (port 53, UDP and TCP) out, correct /etc/resolv.conf, or give an address as host.",
        "resolve",
        "timeout",
    ),
    Row(
        "control-port-dropped",
        "Nothing answers: most likely a firewall drops what goes to port {port}, on the server, on the way or on this "
        "host.",
        f"{ON_SERVER} {{port}} in ftp_control_ports, the interface to this host in ftp_interface and this host in "
        f"ftp_allowed_addresses (empty is everybody); {GATEWAY}; {CLIENT}.",
        "connect",
        "timeout|slow",
    ),
    Row(
        "control-port-refused",
        "The connection to port {port} is refused: most likely no FTP server listens there, or a firewall rejects it.",
        "Start the FTP server, correct port, or, where a rule rejects, let the role put its jumps before that "
        "rule (ftp_position) and have {port} in ftp_control_ports.",
        "connect",
        "refused",
    ),
    Row(
        "no-route",
        "No route leads to {address}, or a router or firewall on the way says that it cannot be reached.",
        "Correct the routes and addresses of both hosts; where a rule rejects, run the role on that host with {port} "
        "in ftp_control_ports.",
        "connect",
        "unreachable",
    ),
    Row(
        "connection-prohibited",
        "A firewall, most likely this host's own, prohibits the connection.",
        f"Find the rule with REJECT and let FTP pass before it; {CLIENT}.",
        "connect",
        "prohibited",
    ),
    Row(
        "implicit-ftps",
        "Port {port} speaks TLS from the first byte (implicit FTPS), which this module does not.",
        "Give the port of explicit FTPS, mostly 21, and set tls to true.",
        "greeting",
        "tls",
    ),
    Row(
        "ssh-not-ftp",
        "Port {port} is no FTP server's: it speaks SSH.",
        "Correct port; SFTP is part of SSH and needs no FTP helper.",
        "greeting",
        "nonsense",
        words=r"^SSH-",
    ),
    Row(
        "not-ftp",
        "Port {port} is no FTP server's: what answers there most likely speaks another protocol, such as HTTP.",
        "Correct port, or what a DNAT rule sends it on to.",
        "greeting",
        "nonsense",
    ),
    Row(
        "server-turns-away",
        "The server turns this host away, most likely as it has too many clients, or an access list refuses this one.",
        "Raise the server's limit of clients, or correct its access list (/etc/hosts.allow, /etc/hosts.deny).",
        "greeting",
        "421",
    ),
    Row(
        "server-closes-at-once",
        "The server closes the connection at once, most likely as an access list (TCP wrappers) refuses this host, or "
        "as it cannot start its session.",
        "Look at /etc/hosts.allow, /etc/hosts.deny and the server's log.",
        "greeting",
        "closed",
    ),
    Row(
        "no-banner",
        "The connection opens, but no banner comes in time: most likely the server waits for DNS or ident, or a proxy "
        "answers in its place.",
        "Switch off the server's reverse look-ups (vsftpd: reverse_lookup_enable, ProFTPD: UseReverseDNS), or let its "
        "host's DNS out, or raise timeout.",
        "greeting",
        "timeout|slow",
    ),
    Row(
        "tls-refused",
        "The server refuses FTPS: most likely TLS is switched off there, or not set up.",
        "Switch it on (vsftpd: ssl_enable, ProFTPD: TLSEngine, Pure-FTPd: TLS), or set tls to false.",
        "tls",
        r"[45]\d\d",
        command="AUTH",
    ),
    Row(
        "tls-of-data-refused",
        "The server refuses to encrypt data connections.",
        "Let it accept PROT P, or set tls to false.",
        "tls",
        r"[45]\d\d",
        command="PBSZ|PROT",
    ),
    Row(
        "certificate-expired",
        "The server's certificate is out of its time, or the clock of this host is wrong.",
        "Renew the certificate, or set the clock.",
        "tls",
        "expired",
    ),
    Row(
        "certificate-of-another-name",
        "The server's certificate is not for {host}.",
        "Give a name that the certificate has as host, or get one for that name; validate_certs: false goes without.",
        "tls",
        "name",
    ),
    Row(
        "certificate-untrusted",
        "No authority that this host trusts has signed the server's certificate, or the server does not send the "
        "intermediate ones.",
        "Name its authority by ca_path, or let the server send the whole chain; validate_certs: false goes without.",
        "tls",
        "untrusted",
    ),
    Row(
        "tls-handshake-fails",
        "The TLS handshake fails ({error}): most likely both ends have no TLS version or cipher in common, or the "
        "server's key and certificate do not fit.",
        "Look at the server's log, and let it speak TLS 1.2 or newer.",
        "tls",
        "handshake|closed",
        command="handshake",
    ),
    Row(
        "plain-after-tls",
        "Something came in plain after the server agreed to TLS: most likely somebody on the way injects commands, or "
        "the server is broken.",
        "Do not log in; look at what lies between, and update the server.",
        "tls",
        "unencrypted",
    ),
    Row(
        "tls-handshake-stalls",
        "The TLS handshake stands still: most likely a large packet, such as that with the certificate, is lost, as "
        "ICMP errors for path MTU discovery are dropped.",
        "Accept those ICMP errors on both hosts; the role does so for its connections.",
        "tls",
        "timeout|slow",
        command="handshake",
    ),
    Row(
        "login-wants-tls",
        "The server wants FTPS before a login.",
        "Set tls to true, and ftp_tls of the role on the server's host, or let the server take plain FTP.",
        "login",
        r"[45]\d\d",
        tls=False,
        words=r"encrypt|\bSSL\b|\bTLS\b|secure|cleartext",
    ),
    Row(
        "login-not-by-tls",
        "The server does not let this user log in by FTPS.",
        "Set tls to false, or another user, or let the server take this one by FTPS (vsftpd: allow_anon_ssl).",
        "login",
        r"[45]\d\d",
        tls=True,
        words=r"not use encryption",
    ),
    Row(
        "login-wants-more",
        "The server asks for ever more than user and password, such as an account or a second factor.",
        "Use a user who logs in by a password alone.",
        "login",
        r"3\d\d",
    ),
    Row(
        "session-ended-at-login",
        "The server ends the session, most likely as it has too many clients or cannot start a session for this user.",
        "Look at the server's log and its limits.",
        "login",
        "421",
    ),
    Row(
        "login-refused",
        "The server refuses the login: most likely user or password is wrong, or the user may not use FTP.",
        "Correct user and password, or the server's lists of users (vsftpd: anonymous_enable, userlist_file; "
        "/etc/ftpusers) and its PAM service.",
        "login",
        r"[45]\d\d",
    ),
    Row(
        "closed-at-login",
        "The server closes the connection during the login, most likely as it cannot start a session for this user, "
        "or as a ban, such as fail2ban's, has begun.",
        "Look at the server's log, and at the bans on its host.",
        "login",
        "closed",
    ),
    Row(
        "login-unanswered",
        "The server does not answer the login in time: most likely PAM or a look-up of names hangs, or a firewall now "
        "drops this connection.",
        "Look at the server's log, and see that the rules on its host accept ESTABLISHED on port {port} in both "
        "directions; raise timeout for a slow server.",
        "login",
        "timeout|slow",
    ),
    # Data connection: what the server says of it
    Row(
        "passive-mode-off",
        "The server has passive mode switched off, or does not know {command}.",
        "Switch it on (vsftpd: pasv_enable; ProFTPD: Limit PASV EPSV; Pure-FTPd: NATmode), or use the active mode only "
        "(modes, ftp_mode).",
        "data connection",
        r"5\d\d",
        command="PASV|EPSV",
    ),
    Row(
        "active-refused-behind-nat",
        "The server refuses to connect to {endpoint}: most likely it sees this host by another address, as NAT lies "
        "between them and does not translate what FTP announces.",
        "On the gateway, run the role with ftp_side gateway and ftp_nat true (for plain FTP), or use the passive mode.",
        "data connection",
        r"5\d\d",
        command="PORT|EPRT",
        behind_nat=True,
    ),
    Row(
        "active-mode-off",
        "The server refuses {command}: most likely it has active mode switched off, or sees this host by another "
        "address than {endpoint}.",
        "Switch it on (vsftpd: port_enable; ProFTPD: RootRevoke off, Limit PORT EPRT), or use the passive mode only "
        "(modes, ftp_mode); where NAT lies between, set ftp_nat on the gateway.",
        "data connection",
        r"5\d\d",
        command="PORT|EPRT",
    ),
    Row(
        "announcement-unusable",
        "The server's answer to {command} holds no address and port that can be used.",
        "Correct what the server announces (vsftpd: pasv_address, pasv_min_port; ProFTPD: MasqueradeAddress, "
        "PassivePorts), or the proxy that rewrites it.",
        "data connection",
        "nonsense",
        command="PASV|EPSV",
    ),
    Row(
        "passive-ports-in-use",
        "The server has no port for a passive data connection: most likely all of its passive ports are in use.",
        "Widen the server's passive ports, and ftp_passive_ports with them.",
        "data connection",
        r"4\d\d",
        command="PASV|EPSV",
    ),
    Row(
        "announcement-unanswered",
        "No answer comes to {command}: most likely a firewall on the way that reads FTP has dropped it, or the server "
        "hangs.",
        "See whether it comes to the server's log, and look for a proxy or FTP inspection on the way.",
        "data connection",
        "timeout|slow",
        command="PASV|EPSV|PORT|EPRT",
    ),
    Row(
        "tls-session-not-resumed",
        "The server wants the data connection to resume the control connection's TLS session, and it did not.",
        "Set require_ssl_reuse=NO in vsftpd.conf (ProFTPD: TLSOptions NoSessionReuseRequired), or keep the server from "
        "forgetting its sessions.",
        "data connection",
        r"[45]\d\d|closed|handshake",
        words=r"reuse",
    ),
    Row(
        "data-wants-tls",
        "The server wants data connections to be encrypted.",
        "Set tls to true, and ftp_tls of the role on the server's host, or let the server take plain ones.",
        "data connection",
        r"5\d\d",
        tls=False,
        command=TRANSFER,
        words=r"^52[0-2]|encrypt|\bSSL\b|\bTLS\b|\bPROT\b",
    ),
    Row(
        "data-tls-fails",
        "The data connection opens, but TLS does not begin on it: most likely the server wants the TLS session of the "
        "control connection resumed, or something other than the server answers.",
        "Look at the server's log (vsftpd: require_ssl_reuse=NO), and see that no NAT or proxy sends the passive ports "
        "elsewhere.",
        "data connection",
        r"(?!425)[45]\d\d|closed|handshake|untrusted|name|expired|nonsense",
        tls=True,
        command=TRANSFER,
    ),
    Row(
        "data-from-another-address",
        "The server does not take the data connection: most likely it sees it come from another address than the "
        "control connection.",
        "See that NAT gives both connections the same address; vsftpd: pasv_promiscuous.",
        "data connection",
        "425",
        mode="passive",
    ),
    Row(
        "server-cannot-reach-client",
        "The server cannot reach {endpoint}: most likely its own firewall does not let it open data connections, or "
        "this host's does not let them in.",
        f"{ON_SERVER} ftp_mode active or both, and ftp_data_port any where the server does not take port 20; "
        f"{CLIENT}; {GATEWAY}, and ftp_nat true where it does NAT.",
        "data connection",
        r"425|426",
        mode="active",
        tls=False,
    ),
    Row(
        "active-ftps-dropped",
        "No data connection comes from the server to {endpoint}: most likely a firewall drops it, as the FTP helper "
        "cannot read an encrypted control connection.",
        "Set ftp_tls to true in the role on the server's host, on this one and on a gateway between them, or use the "
        "passive mode with ftp_tls and ftp_passive_ports, which needs no connection from the server.",
        "data connection",
        r"425|426|timeout|slow|no connection",
        mode="active",
        tls=True,
    ),
    Row(
        "active-behind-nat",
        "No data connection comes from the server to {endpoint}: most likely this host's address is private, and the "
        "gateway does not translate what FTP announces.",
        "On the gateway, run the role with ftp_side gateway and ftp_nat true, or use the passive mode.",
        "data connection",
        "timeout|slow|no connection",
        mode="active",
        behind_nat=True,
    ),
    Row(
        "active-dropped",
        "No data connection comes from the server to {endpoint}: most likely a firewall drops its SYN, the server's "
        "own on the way out, or this host's on the way in.",
        f"{ON_SERVER} ftp_mode active or both, {{port}} in ftp_control_ports, and ftp_data_port any where the server "
        f"does not take port 20; {CLIENT} and ftp_mode active or both; {GATEWAY}.",
        "data connection",
        "timeout|slow|no connection",
        mode="active",
    ),
    Row(
        "data-from-a-stranger",
        "Another address than the server's, {address}, opened the data connection: most likely NAT or a proxy lies "
        "between, the server sends from another of its addresses, or a stranger was quicker.",
        "See that the server answers from the address that it is called by (ProFTPD: SocketBindTight; vsftpd: "
        "listen_address), and that NAT gives both connections the same one.",
        "data connection",
        "peer",
    ),
    # Data connection: what becomes of the connection to the announced port
    Row(
        "data-connection-intercepted",
        "The data connection to {endpoint} opens, but the server does not begin: most likely something between them, "
        "such as a proxy, took the connection in its place.",
        "See where NAT or a proxy sends the passive ports, and the server's log.",
        "data connection",
        "timeout|slow",
        mode="passive",
        command=TRANSFER,
    ),
    Row(
        "passive-ftps-dropped",
        "A firewall {drops} the data connection to {endpoint}: most likely as the FTP helper cannot read an "
        "encrypted control connection, and this port is not open without it.",
        "In the role on the server's host, set ftp_tls to true and ftp_passive_ports to the ports that the server "
        "announces (or auto); the same on a gateway between them, and on this host where it drops what it sends.",
        "data connection",
        "timeout|slow|unreachable|prohibited",
        mode="passive",
        tls=True,
    ),
    Row(
        "several-lines",
        "The server answers PASV in several lines, and the data connection to {endpoint} does not pass: most likely as "
        "the FTP helper, which reads one line at the beginning of a segment, does not find the port there.",
        "Let the server answer PASV and EPSV in one line; or, where the firewall is, run the role with ftp_tls true, "
        "which opens the ports of ftp_passive_ports without the helper.",
        "data connection",
        "timeout|slow|unreachable|refused|prohibited",
        mode="passive",
        tls=False,
        words=r"^22[79]-",
    ),
    Row(
        "announced-unreachable",
        "The server announces {endpoint}, its control connection is at {address}, and that port cannot be reached "
        "there: most likely NAT lies between them and does not translate what FTP announces, and the FTP helper of a "
        "firewall, such as this host's own, believes no other address than that of the control connection.",
        "Let the server announce the address that its clients call (vsftpd: pasv_address, ProFTPD: MasqueradeAddress, "
        "Pure-FTPd: ForcePassiveIP), send its passive ports on and run the role on its host (ftp_public_address), or, "
        "for plain FTP, run the role on the gateway with ftp_side gateway, ftp_nat true and every port that is sent on "
        "in ftp_control_ports; if this host drops what it sends, run it here with ftp_side client, ftp_tls true and "
        "the server in ftp_allowed_addresses.",
        "data connection",
        "timeout|slow|unreachable|refused|prohibited",
        mode="passive",
        elsewhere=True,
    ),
    Row(
        "passive-dropped",
        "A firewall {drops} the data connection to {endpoint}: most likely no rule gives the FTP helper to "
        "port {port}, none accepts what it announces (RELATED), or this port is outside of ftp_passive_ports.",
        f"{ON_SERVER} ftp_mode passive or both, {{port}} in ftp_control_ports, the announced port in ftp_passive_ports "
        f"and, where its host does not have the announced address, ftp_public_address; {GATEWAY}; {CLIENT}.",
        "data connection",
        "timeout|slow|prohibited|unreachable",
        mode="passive",
    ),
    Row(
        "passive-refused",
        "The data connection to {endpoint} is refused: most likely a firewall rejects it, or the server does not "
        "listen there, as NAT sends this port elsewhere.",
        f"{ON_SERVER} ftp_mode passive or both, {{port}} in ftp_control_ports and the announced port in "
        "ftp_passive_ports (with ftp_tls for FTPS), and see where NAT sends that port.",
        "data connection",
        "refused",
        mode="passive",
    ),
    # Transfer
    Row(
        "path-refused",
        "The server does not find the path of {option}, or this user may not {verb} it: that is a wrong option or a "
        "missing permission, not the firewall.",
        "Correct {option}, or the permissions on the server.",
        "transfer",
        "550|553|450|501",
        command=PATHS,
    ),
    Row(
        "transfer-never-begins",
        "The data connection opens and stands still before the first byte: most likely large packets are lost, as ICMP "
        "errors for path MTU discovery are dropped, or the server hangs.",
        "Accept those ICMP errors on both hosts and on gateways; the role does so for its connections.",
        "transfer",
        "timeout",
        words=r"^1",
    ),
    Row(
        "transfer-stalls",
        "The transfer stands still after {bytes} bytes: most likely large packets are lost, as ICMP errors for path "
        "MTU discovery are dropped, or a firewall forgot the connection.",
        "Accept those ICMP errors on both hosts and on gateways (the role does so for its connections), and see that "
        "the rules accept ESTABLISHED on data connections in both directions.",
        "transfer",
        "stalled",
    ),
    Row(
        "transfer-not-closed",
        "The server says that the transfer is complete, but does not close the data connection, or its FIN is lost.",
        "See that the rules on the way accept ESTABLISHED on data connections to the last packet, and look at the "
        "server's log.",
        "transfer",
        "unclosed",
    ),
    Row(
        "transfer-not-confirmed",
        "All data has come, but the server does not say so: most likely a firewall or NAT has forgotten the quiet "
        "control connection, or the server hangs.",
        "Raise the time that gateways keep idle connections (nf_conntrack_tcp_timeout_established), and see the "
        "server's log.",
        "transfer",
        "unfinished",
    ),
    Row(
        "listing-endless",
        "The listing has no end within {bytes} bytes.",
        "Name a smaller folder by directory, or see what the server lists.",
        "transfer",
        "endless",
    ),
    Row(
        "transfer-slow",
        "The transfer goes on, but too slowly for the time that a probe may take; {bytes} bytes had passed.",
        "Name a smaller file by download, raise timeout, or look for lost packets on the way.",
        "transfer",
        "slow",
    ),
    Row(
        "transfer-short",
        "The server says that the transfer is complete, but fewer bytes came than the file has ({bytes}): most likely "
        "something between them cut the data connection.",
        "Look for a proxy or gateway that closes connections, and at the server's log.",
        "transfer",
        "short",
    ),
    Row(
        "transfer-broken",
        "The data connection broke after {bytes} bytes: most likely a gateway or firewall reset it, or the server "
        "gave up.",
        "Look at the server's log, and for rules that reject with tcp-reset what is INVALID.",
        "transfer",
        "425|426|closed|handshake",
    ),
    Row(
        "server-storage",
        "The server could not read or write the file, such as on a full disk: that is not the firewall.",
        "Look at the server's log, its disk and its quotas.",
        "transfer",
        "451|452|551|552",
    ),
    Row(
        "content-changed",
        "What was stored differs from what was sent: most likely a proxy, or a server that converts line ends, changed "
        "it.",
        "Look for a proxy on the way, and at the server's settings of ASCII mode.",
        "checksum",
        "mismatch",
    ),
    # At any stage
    Row(
        "reply-endless",
        "The server's reply has no end within the limit.",
        "Shorten the server's banner and messages, or see what answers on port {port}.",
        "",
        "endless",
    ),
    Row(
        "reply-not-ftp",
        "What answers does not speak FTP.",
        "See what listens on port {port}, and whether a proxy lies between.",
        "",
        "nonsense",
    ),
    Row(
        "session-ended",
        "The server ended the session: most likely it crashed, was stopped, or timed out.",
        "Look at the server's log.",
        "",
        "closed|421",
    ),
    Row(
        "reply-late",
        "No answer comes in time: most likely the server hangs, or a firewall has begun to drop this connection.",
        "Look at the server's log, and see that the rules accept ESTABLISHED on port {port} in both directions.",
        "",
        "timeout|slow",
    ),
    Row(
        "command-refused",
        "The server refuses {command}.",
        "Look at its reply and at the server's log.",
        "",
        r"[1-5]\d\d",
    ),
    Row(
        "system-error",
        "This host could not go on: {error}.",
        "See what the system's message names.",
        "",
        "",
    ),
)

NOT_CLOSED = Cause(
    "mode-not-closed",
    "A data connection of the {mode} mode opened, and blocked_modes says that none may.",
    "Leave this mode out of ftp_mode of the role, see which foreign rules accept it, or take it out of blocked_modes.",
)

OPTIONS = {
    "CWD": ("directory", "enter"),
    "LIST": ("directory", "list"),
    "RETR": ("download", "read"),
    "STOR": ("upload", "write"),
}


def row(stop: Stop) -> Row:
    """Return the first cause that fits."""
    return next((row for row in ROWS if row.fits(stop)), ROWS[-1])


def explain(stop: Stop) -> Cause:
    """Return the most likely cause."""
    found = row(stop)
    option, verb = OPTIONS.get(stop.command, ("the path", "use"))
    facts = {
        "host": stop.host,
        "address": stop.address,
        "port": stop.port,
        "command": stop.command or "the connection",
        "error": stop.error,
        "endpoint": stop.endpoint,
        "bytes": stop.bytes,
        "drops": "drops" if stop.how in ("timeout", "slow") else "rejects",
        "option": option,
        "verb": verb,
    }
    return found.told(**facts)
