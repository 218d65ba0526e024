"""What FTP servers say of their data connections, from their packages' configuration and from what they did with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp import _servers
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._servers import Server

VSFTPD = "pasv_min_port and pasv_max_port"

# What Debian's packages and those of the Red Hat family install, comments shortened.
DEBIAN_VSFTPD = """\
# Example config file /etc/vsftpd.conf
listen=NO
listen_ipv6=YES
anonymous_enable=NO
local_enable=YES
# Make sure PORT transfer connections originate from port 20 (ftp-data).
connect_from_port_20=YES
pam_service_name=vsftpd
ssl_enable=NO
"""
DEBIAN_PROFTPD = """\
# Includes DSO modules
Include /etc/proftpd/modules.conf

UseIPv6 on
<IfModule mod_ident.c>
  IdentLookups off
</IfModule>
ServerName "Debian"
ServerType standalone
DefaultServer on
DenyFilter \\*.*/
Port 21
# PassivePorts 49152 65534
<IfModule mod_dynmasq.c>
# DynMasqRefresh 28800
</IfModule>
User proftpd
#Include /etc/proftpd/tls.conf
# <Anonymous ~ftp>
#   <Directory *>
#     <Limit WRITE>
#       DenyAll
#     </Limit>
#   </Directory>
# </Anonymous>
Include /etc/proftpd/conf.d/
"""
DEBIAN_PURE_FTPD = {
    "/usr/sbin/pure-ftpd": "",
    "/etc/pure-ftpd/pure-ftpd.conf": "ChrootEveryone yes\nPassivePortRange 30000 50000\nNATmode yes\n",
    "/etc/pure-ftpd/conf/MinUID": "1000\n",
    "/etc/pure-ftpd/conf/NoAnonymous": "yes\n",
}
UPSTREAM_PURE_FTPD = """\
# Restrict users to their home directory

ChrootEveryone               yes
MaxClientsNumber             50
LimitRecursion               10000 8
# PassivePortRange             30000 50000
Umask                        133:022
"""

BOTH_DENIED = "<Limit PASV EPSV>\nDenyAll\n</Limit>\n"
VIRTUAL_HOST = "<VirtualHost 192.0.2.1>\nPort 2122\n{}</VirtualHost>\n"
GLOBAL = "<Global>\nPassivePorts {} {}\n</Global>\n"


def read(root: Path, files: dict[str, str]) -> list[Server]:
    """Make a host with these files, and return its servers."""
    for path, text in files.items():
        file = root / path[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8", newline="")
    return _servers.installed(str(root))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, []),
        ({"/etc/vsftpd.conf": DEBIAN_VSFTPD}, []),
        ({"/usr/sbin/vsftpd": ""}, []),
        (
            {"/usr/sbin/vsftpd": "", "/etc/vsftpd.conf": DEBIAN_VSFTPD},
            [Server("vsftpd", "/etc/vsftpd.conf", None, VSFTPD, passive=True, active=True)],
        ),
        (
            {
                "/usr/sbin/vsftpd": "",
                "/etc/vsftpd/vsftpd.conf": "pasv_min_port=50000\npasv_max_port=50999\n",
                "/etc/vsftpd/second.conf": "pasv_min_port=40000\npasv_max_port=40999\n",
            },
            [Server("vsftpd", "/etc/vsftpd/vsftpd.conf", "50000:50999", VSFTPD, passive=True, active=True)],
        ),
        (
            {"/usr/sbin/proftpd": "", "/etc/proftpd/proftpd.conf": DEBIAN_PROFTPD, "/etc/proftpd/modules.conf": ""},
            [Server("proftpd", "/etc/proftpd/proftpd.conf", None, "PassivePorts", passive=True, active=True)],
        ),
        (
            {"/usr/sbin/proftpd": "", "/etc/proftpd.conf": "PassivePorts 50000 50999\n"},
            [Server("proftpd", "/etc/proftpd.conf", "50000:50999", "PassivePorts", passive=True, active=True)],
        ),
        (
            # Debian's wrapper does not read pure-ftpd.conf.
            DEBIAN_PURE_FTPD,
            [Server("pure-ftpd", "/etc/pure-ftpd/conf", None, "PassivePortRange", passive=True, active=True)],
        ),
        (
            {"/usr/sbin/pure-ftpd-mysql": "", "/etc/pure-ftpd/conf/PassivePortRange": "50000 50999\n"},
            [Server("pure-ftpd", "/etc/pure-ftpd/conf", "50000:50999", "PassivePortRange", passive=True, active=True)],
        ),
        (
            {"/usr/sbin/pure-ftpd-wrapper": "", "/etc/pure-ftpd/conf/PassivePortRange": "50000 50999\n"},
            [],
        ),
        (
            {"/usr/sbin/pure-ftpd": "", "/etc/pure-ftpd/pure-ftpd.conf": UPSTREAM_PURE_FTPD},
            [Server("pure-ftpd", "/etc/pure-ftpd/pure-ftpd.conf", None, "PassivePortRange", passive=True, active=True)],
        ),
    ],
)
def test_servers_and_where_their_configuration_is(
    tmp_path: Path, files: dict[str, str], expected: list[Server]
) -> None:
    assert read(tmp_path, files) == expected


def test_every_server_that_is_installed(tmp_path: Path) -> None:
    servers = read(
        tmp_path,
        {
            "/usr/sbin/vsftpd": "",
            "/etc/vsftpd.conf": DEBIAN_VSFTPD,
            "/usr/sbin/proftpd": "",
            "/etc/proftpd.conf": "",
            "/usr/sbin/pure-ftpd": "",
            "/etc/pure-ftpd.conf": UPSTREAM_PURE_FTPD,
        },
    )
    assert [server.name for server in servers] == ["vsftpd", "proftpd", "pure-ftpd"]


# Beside each stands what vsftpd 3.0.3 was seen to do with it.
@pytest.mark.parametrize(
    ("text", "ports", "passive", "active"),
    [
        ("pasv_min_port=50000\npasv_max_port=50999\n", "50000:50999", True, True),
        ("pasv_min_port=50000\npasv_max_port=50000\n", "50000", True, True),
        ("pasv_min_port=50000\n", "50000:65535", True, True),
        ("pasv_max_port=50000\n", "5001:50000", True, True),
        ("pasv_min_port=0\npasv_max_port=50000\n", "1024:50000", True, True),
        ("pasv_min_port=0\npasv_max_port=0\n", None, True, True),
        ("pasv_max_port=0\n", None, True, True),
        ("pasv_min_port=100\npasv_max_port=2000\n", "1024:2000", True, True),
        ("pasv_min_port=40000\npasv_max_port=50999\npasv_min_port=50900\n", "50900:50999", True, True),
        ("  pasv_min_port=50000\npasv_max_port= 50999 \n", "50000:50999", True, True),
        ("pasv_min_port=50000\r\npasv_max_port=50999\r\n", "50000:50999", True, True),
        ("pasv_min_port=50000 # low\npasv_max_port=50999#x\n", "50000:50999", True, True),
        ("pasv_min_port=050000\npasv_max_port=50999\n", "20480:50999", True, True),
        ("#pasv_min_port=50000\n", None, True, True),
        ("pasv_enable=NO\n", None, False, True),
        ("pasv_enable=no\nport_enable=False\n", None, False, False),
        ("port_enable=0\n", None, True, False),
        ("pasv_enable=NO\npasv_enable=YES\n", None, True, True),
    ],
)
def test_vsftpd(tmp_path: Path, text: str, ports: str | None, passive: bool, active: bool) -> None:
    [server] = read(tmp_path, {"/usr/sbin/vsftpd": "", "/etc/vsftpd.conf": text})
    assert (server.passive_ports, server.passive, server.active) == (ports, passive, active)


# Each was seen with ProFTPD 1.3.8.
@pytest.mark.parametrize(
    ("text", "ports", "passive", "active"),
    [
        ("passiveports 50000 50999 # narrow\n", "50000:50999", True, True),
        ('\tPassivePorts "50000"  "50999"\r\n', "50000:50999", True, True),
        ("PassivePorts 50000 \\\n 50999\n", "50000:50999", True, True),
        ("# a comment \\\nPassivePorts 50000 50999\n", "50000:50999", True, True),
        ("PassivePorts 50000 50999\nPassivePorts 40000 40999\n", "50000:50999", True, True),
        ("<IfModule mod_core.c>\nPassivePorts 50000 50999\n</IfModule>\n", "50000:50999", True, True),
        # Global and VirtualHost
        (GLOBAL.format(50000, 50999) + "PassivePorts 40000 40999\n", "40000:40999", True, True),
        (GLOBAL.format(50000, 50999) + GLOBAL.format(30000, 30999), "30000:30999", True, True),
        ("PassivePorts 40000 40999\n" + VIRTUAL_HOST.format(""), None, True, True),
        (
            "PassivePorts 40000 40999\n" + VIRTUAL_HOST.format("") + GLOBAL.format(30000, 30999),
            "30000:40999",
            True,
            True,
        ),
        ("Port 0\n" + VIRTUAL_HOST.format("PassivePorts 40000 40999\n"), "40000:40999", True, True),
        ("PassivePorts 40000 40999\n" + VIRTUAL_HOST.format("SFTPEngine on\n"), "40000:40999", True, True),
        # Limit
        (BOTH_DENIED, None, False, True),
        (
            "<limit pasv,epsv>\nOrder deny,allow\n<IfModule mod_core.c>\ndenyall\n</IfModule>\n</limit>\n",
            None,
            False,
            True,
        ),
        ("<Limit PASV>\nDenyAll\n</Limit>\n<Limit EPSV>\nDenyAll\n</Limit>\n", None, False, True),
        ("<Limit EPSV>\nDenyAll\n</Limit>\n", None, True, True),
        ("<Limit PORT EPRT>\nDenyAll\n</Limit>\n", None, True, False),
        ("<Limit PASV EPSV>\nAllowUser u\nDenyAll\n</Limit>\n", None, True, True),
        (BOTH_DENIED + "<Limit PASV>\nAllowAll\n</Limit>\n", None, True, True),
        ("<Limit ALL>\nDenyAll\n</Limit>\n", None, True, True),
        (f"<Global>\n{BOTH_DENIED}</Global>\n{VIRTUAL_HOST.format('')}", None, False, True),
        (f"<Limit PASV EPSV>\nAllowAll\n</Limit>\n<Global>\n{BOTH_DENIED}</Global>\n", None, True, True),
        (BOTH_DENIED + VIRTUAL_HOST.format(""), None, True, True),
        ("<Limit PORT EPRT>\nDenyAll\n</Limit>\n" + VIRTUAL_HOST.format(""), None, True, True),
        (f"<Anonymous /srv/ftp>\n{BOTH_DENIED}</Anonymous>\nPassivePorts 50000 50999\n", "50000:50999", True, True),
        # RootRevoke
        ("RootRevoke On\n", None, True, False),
        ("<Global>\nRootRevoke on\n</Global>\n", None, True, False),
        ("Port 2121\nRootRevoke on\n", None, True, True),
        ("RootRevoke UseNonCompliantActiveTransfer\n", None, True, True),
        # What it refuses does not stop us.
        ("</Global>\nPassivePorts 50000 50999\nPort\n", "50000:50999", True, True),
    ],
)
def test_proftpd(tmp_path: Path, text: str, ports: str | None, passive: bool, active: bool) -> None:
    [server] = read(tmp_path, {"/usr/sbin/proftpd": "", "/etc/proftpd.conf": text})
    assert (server.passive_ports, server.passive, server.active) == (ports, passive, active)


@pytest.mark.parametrize(
    ("include", "ports"),
    [
        ("/etc/proftpd/conf.d/20.conf", "40000:40999"),
        ("/etc/proftpd/conf.d", "20000:20999"),
        ("/etc/proftpd/conf.d/", "20000:20999"),
        ("/etc/proftpd/conf.d/*.conf", "50000:50999"),
        ("/etc/proftp*/conf.d/2?.conf", "40000:40999"),
        ('"/etc/proftpd/conf.d/20.conf" # quoted', "40000:40999"),
        ("/etc/proftpd/missing.conf", "60000:60999"),
        ("/etc/proftpd/missing/*.conf", "60000:60999"),
    ],
)
def test_proftpd_reads_what_is_included_where_it_is_included(tmp_path: Path, include: str, ports: str) -> None:
    folder = "/etc/proftpd/conf.d"
    [server] = read(
        tmp_path,
        {
            "/usr/sbin/proftpd": "",
            "/etc/proftpd/proftpd.conf": f"include {include}\nPassivePorts 60000 60999\n",
            f"{folder}/.hidden.conf": "PassivePorts 20000 20999\n",
            f"{folder}/20.conf": "PassivePorts 40000 40999\n",
            f"{folder}/10.conf": "PassivePorts 50000 50999\n",
            f"{folder}/folder/00.conf": "PassivePorts 30000 30999\n",
        },
    )
    assert server.passive_ports == ports


# Each was seen with Pure-FTPd 1.0.50.
@pytest.mark.parametrize(
    ("text", "ports", "passive"),
    [
        ("PassivePortRange 50000 50999\n", "50000:50999", True),
        ("  passiveportrange = 50000 50999\n", "50000:50999", True),
        ("PassivePortRange: 50000   50999  \n", "50000:50999", True),
        ("PassivePortRange 50000 50999\nPassivePortRange 40000 40999\n", "40000:40999", True),
        ("PassivePortRange 50000 50999\nInclude /etc/more.conf\n", "30000:30999", True),
        ("Include /etc/more.conf\nPassivePortRange 50000 50999\nInclude /missing\n", "50000:50999", True),
        ("NATmode yes\nNATmode no\n", None, False),
        ("NATmode True\n", None, False),
        ("NATmode no\n", None, True),
    ],
)
def test_pure_ftpd(tmp_path: Path, text: str, ports: str | None, passive: bool) -> None:
    files = {"/usr/sbin/pure-ftpd": "", "/etc/pure-ftpd.conf": text, "/etc/more.conf": "PassivePortRange 30000 30999\n"}
    [server] = read(tmp_path, files)
    assert (server.passive_ports, server.passive, server.active) == (ports, passive, True)


@pytest.mark.parametrize(
    ("name", "text", "ports", "passive"),
    [
        ("PassivePortRange", "# c\n\n  50000\t50999  \n40000 40999\n", "50000:50999", True),
        ("PassivePortRange", "50000 50000\n", "50000", True),
        ("NATmode", "Yes\n", None, False),
        ("NATmode", "no\nyes\n", None, False),
        ("NATmode", "off\n", None, True),
    ],
)
def test_pure_ftpd_of_debian(tmp_path: Path, name: str, text: str, ports: str | None, passive: bool) -> None:
    [server] = read(tmp_path, {**DEBIAN_PURE_FTPD, f"/etc/pure-ftpd/conf/{name}": text})
    assert (server.passive_ports, server.passive, server.active) == (ports, passive, True)


RANGE = "must be a port or a range first:last, ports from 1 to 65535, got"


@pytest.mark.parametrize(
    ("program", "path", "text", "message"),
    [
        ("vsftpd", "/etc/vsftpd.conf", "pasv_min_port=many\n", f"{VSFTPD}: {RANGE} 'many:65535'"),
        ("vsftpd", "/etc/vsftpd.conf", "pasv_max_port=70000\n", f"{VSFTPD}: {RANGE} '5001:70000'"),
        ("vsftpd", "/etc/vsftpd.conf", "pasv_max_port=3000\n", f"{VSFTPD}: first port 5001 is above last port 3000"),
        (
            "vsftpd",
            "/etc/vsftpd.conf",
            "pasv_min_port=50000\npasv_max_port=40000\n",
            f"{VSFTPD}: first port 50000 is above last port 40000",
        ),
        (
            "proftpd",
            "/etc/proftpd.conf",
            "PassivePorts 50999 50000\n",
            "PassivePorts: first port 50999 is above last port 50000",
        ),
        ("proftpd", "/etc/proftpd.conf", "PassivePorts 50000\n", "PassivePorts: must be two ports, got '50000'"),
        (
            "proftpd",
            "/etc/proftpd.conf",
            "PassivePorts %{env:LOW} 50999\n",
            f"PassivePorts: {RANGE} '%{{env:LOW}}:50999'",
        ),
        ("proftpd", "/etc/proftpd.conf", "Include /etc/*.conf\n", "Include: goes deeper than 16 files"),
        (
            "pure-ftpd",
            "/etc/pure-ftpd.conf",
            "PassivePortRange 0 50999\n",
            f"PassivePortRange: {RANGE} '0:50999'",
        ),
        (
            "pure-ftpd",
            "/etc/pure-ftpd/conf/PassivePortRange",
            "50000:50999\n",
            "PassivePortRange: must be two ports, got '50000:50999'",
        ),
    ],
)
def test_errors_name_the_file_and_the_setting(tmp_path: Path, program: str, path: str, text: str, message: str) -> None:
    with pytest.raises(ValueError) as failure:
        read(tmp_path, {f"/usr/sbin/{program}": "", path: text})
    assert str(failure.value) == f"{path}: {message}"


def test_error_of_an_included_file_names_that_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as failure:
        read(
            tmp_path,
            {
                "/usr/sbin/proftpd": "",
                "/etc/proftpd.conf": "Include /etc/ports.conf\n",
                "/etc/ports.conf": "PassivePorts x y\n",
            },
        )
    assert str(failure.value) == f"/etc/ports.conf: PassivePorts: {RANGE} 'x:y'"


VS = Server("vsftpd", "/etc/vsftpd.conf", "50000:50999", VSFTPD, passive=True, active=True)
PRO = Server("proftpd", "/etc/proftpd/proftpd.conf", "50000:50999", "PassivePorts", passive=True, active=True)
PURE = Server("pure-ftpd", "/etc/pure-ftpd/conf", None, "PassivePortRange", passive=True, active=True)
ANY_VS = replace(VS, passive_ports=None)
IN_VS = f"{VSFTPD} of vsftpd in /etc/vsftpd.conf"
IN_PRO = "PassivePorts of proftpd in /etc/proftpd/proftpd.conf"
NO_RANGE = "the default, as no passive range is set for "


@pytest.mark.parametrize(
    ("inputs", "servers", "ports", "source"),
    [
        ({"passive_ports": "40000"}, [VS], "40000", "ftp_passive_ports"),
        ({}, [VS], "50000:50999", IN_VS),
        ({}, [VS, PRO], "50000:50999", f"{IN_VS} and {IN_PRO}"),
        ({}, [ANY_VS], "1024:65535", f"{NO_RANGE}vsftpd in /etc/vsftpd.conf"),
        ({}, [VS, PURE], "1024:65535", f"{NO_RANGE}pure-ftpd in /etc/pure-ftpd/conf"),
        ({}, [VS, replace(PURE, passive=False)], "50000:50999", IN_VS),
        ({}, [VS, replace(PRO, passive_ports="40000", passive=False)], "50000:50999", IN_VS),
        ({}, [replace(VS, passive=False)], "50000:50999", IN_VS),
        ({}, [], "1024:65535", f"{NO_RANGE}vsftpd, proftpd or pure-ftpd"),
        (
            {"mode": "active"},
            [VS, replace(PRO, passive_ports="40000")],
            "1024:65535",
            "the default, as ftp_mode is active",
        ),
        ({"side": "client"}, [], "1024:65535", "the default, as the server is elsewhere"),
        ({"side": "gateway"}, [], "1024:65535", "the default, as the server is elsewhere"),
    ],
)
def test_passive_ports_and_where_they_come_from(
    inputs: dict[str, str], servers: list[Server], ports: str, source: str
) -> None:
    given = {"passive_ports": "auto", "side": "server", "mode": "both", **inputs}
    assert _servers.passive_ports(given, servers) == (ports, source)


def test_servers_with_different_ranges() -> None:
    given = {"passive_ports": "auto", "side": "server", "mode": "both"}
    with pytest.raises(ValueError) as failure:
        _servers.passive_ports(given, [VS, replace(PRO, passive_ports="40000:40999"), PURE])
    assert str(failure.value) == (
        f"ftp_passive_ports: auto found 50000:50999 ({VSFTPD} in /etc/vsftpd.conf) and 40000:40999 (PassivePorts in "
        "/etc/proftpd/proftpd.conf); set it to that of the server that runs"
    )


@pytest.mark.parametrize(
    ("servers", "reason"),
    [
        (
            [ANY_VS],
            (
                "vsftpd has no passive range in /etc/vsftpd.conf; set pasv_min_port=50000 and pasv_max_port=50999, "
                "say, in /etc/vsftpd.conf, restart it and run the role again"
            ),
        ),
        (
            [replace(PRO, passive_ports=None), VS],
            (
                "proftpd has no passive range in /etc/proftpd/proftpd.conf; set PassivePorts 50000 50999, say, in "
                "/etc/proftpd/proftpd.conf, outside of and in each VirtualHost, restart it and run the role again"
            ),
        ),
        (
            [PURE],
            (
                "pure-ftpd has no passive range in /etc/pure-ftpd/conf; write 50000 50999, say, to "
                "/etc/pure-ftpd/conf/PassivePortRange, restart it and run the role again"
            ),
        ),
        (
            [replace(PURE, path="/etc/pure-ftpd.conf")],
            (
                "pure-ftpd has no passive range in /etc/pure-ftpd.conf; set PassivePortRange 50000 50999, say, in "
                "/etc/pure-ftpd.conf, restart it and run the role again"
            ),
        ),
        (
            [],
            (
                "neither vsftpd, proftpd nor pure-ftpd with its configuration is found on this host; set "
                "ftp_passive_ports to the server's own range"
            ),
        ),
        ([VS, PRO], None),
        ([replace(ANY_VS, passive=False)], None),
    ],
)
def test_passive_ports_without_bounds_are_warned_of(servers: list[Server], reason: str | None) -> None:
    expected = [f"ftp_passive_ports: auto opens 1024:65535, as {reason}"] if reason else []
    assert _servers.unbounded(servers) == expected


def test_configuration_in_another_encoding(tmp_path: Path) -> None:
    read(tmp_path, {"/usr/sbin/vsftpd": ""})
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/vsftpd.conf").write_bytes(b"ftpd_banner=caf\xe9\npasv_min_port=50000\n")
    assert [server.passive_ports for server in _servers.installed(str(tmp_path))] == ["50000:65535"]


def test_configuration_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "etc/vsftpd.conf").mkdir(parents=True)
    with pytest.raises(ValueError) as failure:
        read(tmp_path, {"/usr/sbin/vsftpd": ""})
    assert str(failure.value) == "/etc/vsftpd.conf: cannot be read: Is a directory"


IP = "203.0.113.7"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"/usr/sbin/vsftpd": "", "/etc/vsftpd.conf": DEBIAN_VSFTPD}, ()),
        ({"/usr/sbin/vsftpd": "", "/etc/vsftpd.conf": "pasv_address=192.0.2.1\npasv_address=203.0.113.7 \n"}, (IP,)),
        ({"/usr/sbin/vsftpd": "", "/etc/vsftpd.conf": "#pasv_address=203.0.113.7\npasv_address=\n"}, ()),
        ({"/usr/sbin/vsftpd": "", "/etc/vsftpd.conf": "pasv_address=ftp.example.org\n"}, ("ftp.example.org",)),
        ({"/usr/sbin/proftpd": "", "/etc/proftpd.conf": DEBIAN_PROFTPD.replace("Include", "#")}, ()),
        ({"/usr/sbin/proftpd": "", "/etc/proftpd.conf": "MasqueradeAddress 203.0.113.7 # public\n"}, (IP,)),
        ({"/usr/sbin/proftpd": "", "/etc/proftpd.conf": "<Global>\nmasqueradeaddress 203.0.113.7\n</Global>\n"}, (IP,)),
        (
            {
                "/usr/sbin/proftpd": "",
                "/etc/proftpd.conf": "MasqueradeAddress 203.0.113.7\n"
                + VIRTUAL_HOST.format("MasqueradeAddress 203.0.113.8\n"),
            },
            (IP, "203.0.113.8"),
        ),
        ({"/usr/sbin/proftpd": "", "/etc/proftpd.conf": VIRTUAL_HOST.format(f"MasqueradeAddress {IP}\n")}, (IP,)),
        (
            {
                "/usr/sbin/proftpd": "",
                "/etc/proftpd.conf": VIRTUAL_HOST.format("SFTPEngine on\nMasqueradeAddress 203.0.113.7\n"),
            },
            (),
        ),
        (DEBIAN_PURE_FTPD, ()),
        ({**DEBIAN_PURE_FTPD, "/etc/pure-ftpd/conf/ForcePassiveIP": "203.0.113.7\n192.0.2.1\n"}, (IP,)),
        ({**DEBIAN_PURE_FTPD, "/etc/pure-ftpd/pure-ftpd.conf": "ForcePassiveIP 203.0.113.7\n"}, ()),
        ({"/usr/sbin/pure-ftpd": "", "/etc/pure-ftpd.conf": "ForcePassiveIP   203.0.113.7\n"}, (IP,)),
        ({"/usr/sbin/pure-ftpd": "", "/etc/pure-ftpd.conf": "# ForcePassiveIP 203.0.113.7\n"}, ()),
    ],
)
def test_address_that_a_server_announces(tmp_path: Path, files: dict[str, str], expected: tuple[str, ...]) -> None:
    [server] = read(tmp_path, files)
    assert server.announces == expected


OWN = ["127.0.0.1", "10.0.0.5", "lo", "eth0.100"]


@pytest.mark.parametrize(
    ("inputs", "servers", "expected"),
    [
        ({}, [], "none"),
        ({}, [VS], "none"),
        ({}, [replace(VS, announces=(IP,))], IP),
        ({}, [replace(VS, announces=("ftp.example.org",))], "ftp.example.org"),
        ({}, [replace(VS, announces=("10.0.0.5",))], "none"),
        ({}, [replace(PRO, announces=("10.0.0.5", IP))], IP),
        ({}, [replace(PRO, announces=("eth0.100",))], "none"),
        ({}, [replace(PRO, announces=("2001:db8::1", "localhost"))], "none"),
        ({}, [VS, replace(PRO, announces=(IP,))], IP),
        ({}, [replace(VS, announces=(IP,), passive=False)], "none"),
        ({"side": "client"}, [replace(VS, announces=(IP,))], "none"),
        ({"public_address": "none"}, [replace(VS, announces=(IP,))], "none"),
        ({"public_address": "203.0.113.8"}, [replace(VS, announces=(IP,))], "203.0.113.8"),
        ({"public_address": "10.0.0.5"}, [], "none"),
        ({"public_address": "wrong"}, [], "wrong"),
    ],
)
def test_public_address(inputs: dict[str, str], servers: list[Server], expected: str) -> None:
    assert _servers.public_address({"public_address": "auto", "side": "server", **inputs}, servers, OWN) == expected


@pytest.mark.parametrize(
    ("asked", "servers", "expected"),
    [
        ("auto", [ANY_VS], "set pasv_min_port=50000 and pasv_max_port=50099, say, in /etc/vsftpd.conf"),
        (
            "auto",
            [replace(PRO, passive_ports=None)],
            "set PassivePorts 50000 50099, say, in /etc/proftpd/proftpd.conf, outside of and in each VirtualHost",
        ),
        ("auto", [PURE], "write 50000 50099, say, to /etc/pure-ftpd/conf/PassivePortRange"),
        ("auto", [replace(VS, passive=False)], None),
        ("auto", [], None),
        ("1024:65535", [ANY_VS], None),
    ],
)
def test_what_narrows_the_passive_ports(asked: str, servers: list[Server], expected: str | None) -> None:
    by_hand = "set ftp_passive_ports to the server's range"
    words = f"{expected}, restart it and run the role again, or {by_hand}" if expected else by_hand
    assert _servers.narrow({"passive_ports": asked}, servers) == words
