"""The clients: how each is made to transfer a file, and to open the data connection in a certain way."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from lab.ftp import WAYS, Way

UPLOADED = "/root/one-megabyte"


@dataclass(frozen=True)
class Client:
    """A client: its Debian package, its command for each operation, the words for each way, and what it lacks.

    In the commands stand {words}, {host}, {url} and {name}, the name to give to an upload. What they fetch goes to the
    file `out`. A client shows the FTP commands that it sends, wherever it prints them.
    """

    package: str
    commands: dict[str, str]
    ways: dict[str, str]
    lacks: str = ""

    def knows(self, way: Way, operation: str) -> bool:
        """Tell whether the client can do it at all."""
        return str(way) in self.ways and operation in self.commands

    def command(self, way: Way, operation: str, host: str, name: str) -> str:
        """Return the shell command of a transfer."""
        url = f"ftp://{f'[{host}]' if way.ip_version == 6 else host}"
        return self.commands[operation].format(words=self.ways[str(way)], host=host, url=url, name=name)


def tnftp(command: str) -> str:
    """Return the shell command that gives tnftp a command."""
    lines = ["open {host}", "user anonymous anonymous", "{words}", command, "bye"]
    return f'echo "{chr(10).join(lines)}" | tnftp -d -i -n -v'


def ftplib(statement: str) -> str:
    """Return the shell command that runs a statement of Python in an FTP session."""
    return "python3 -c " + shlex.quote(
        'import ftplib; ftp = ftplib.FTP("{host}", timeout=10); ftp.set_debuglevel(1); '
        f"ftp.login(); ftp.set_pasv({{words}}); {statement}; ftp.quit()"
    )


CURL = "curl --silent --show-error --verbose {words}"
LFTP = "lftp -d -c 'set net:max-retries 1; set net:timeout 10; {words}; open {url}; %s'"
WGET = "wget --debug --tries 1 --timeout 10 {words} --output-document out"
NCFTP = "-V -t 10 -d /dev/stderr {words}"

# A way to protect the connections (AUTH TLS) would be one more column of words beside `ways`.
CLIENTS = {
    "curl": Client(
        "curl",
        {
            "download": f"{CURL} --output out {{url}}/five-megabytes",
            "upload": f"{CURL} --upload-file {UPLOADED} {{url}}/upload/{{name}}",
            "listing": f"{CURL} --output out {{url}}/many/",
            "1 GiB": f"{CURL} {{url}}/one-gibibyte | sha256sum > out",
        },
        {str(way): " ".join(way.curl) for way in WAYS},
    ),
    "lftp": Client(
        "lftp",
        {
            "download": LFTP % "get five-megabytes -o out",
            "upload": LFTP % f"put {UPLOADED} -o upload/{{name}}",
            "listing": LFTP % "ls many > out",
            "200 files": LFTP % "mirror many out",
        },
        {
            "active-PORT-IPv4": "set ftp:passive-mode off",
            "active-EPRT-IPv6": "set ftp:passive-mode off",
            "passive-PASV-IPv4": "set ftp:prefer-epsv off",
            "passive-EPSV-IPv4": "set ftp:prefer-epsv on",
            "passive-EPSV-IPv6": "",
        },
        "sends EPRT over IPv6 only",
    ),
    "wget": Client(
        "wget",
        {"download": f"{WGET} {{url}}/five-megabytes", "listing": f"{WGET} {{url}}/many/"},
        {
            "active-PORT-IPv4": "--no-passive-ftp",
            "active-EPRT-IPv6": "--no-passive-ftp",
            "passive-PASV-IPv4": "",
            "passive-EPSV-IPv6": "",
        },
        "sends EPRT and EPSV over IPv6 only, and cannot upload",
    ),
    "tnftp": Client(
        "tnftp",
        {
            "download": tnftp("get five-megabytes out"),
            "upload": tnftp(f"put {UPLOADED} upload/{{name}}"),
            "listing": tnftp("ls many out"),
        },
        {
            "active-PORT-IPv4": "passive off\nepsv4 off",
            "active-EPRT-IPv4": "passive off\nepsv4 on",
            "active-EPRT-IPv6": "passive off",
            "passive-PASV-IPv4": "passive on\nepsv4 off",
            "passive-EPSV-IPv4": "passive on\nepsv4 on",
            "passive-EPSV-IPv6": "passive on",
        },
    ),
    "ncftp": Client(
        "ncftp",
        {
            "download": f"ncftpget {NCFTP} -C {{host}} five-megabytes out",
            "upload": f"ncftpput {NCFTP} -C {{host}} {UPLOADED} upload/{{name}}",
            "listing": "ncftpls -t 10 -d /dev/stderr {words} -l {url}/many/ > out",
        },
        {"active-PORT-IPv4": "-E", "passive-PASV-IPv4": "-F"},
        "has neither EPRT nor EPSV nor IPv6",
    ),
    "ftplib": Client(
        "python3",
        {
            "download": ftplib('ftp.retrbinary("RETR five-megabytes", open("out", "wb").write)'),
            "upload": ftplib(f'ftp.storbinary("STOR upload/{{name}}", open("{UPLOADED}", "rb"))'),
            "listing": ftplib('ftp.retrbinary("LIST many", open("out", "wb").write)'),
        },
        {
            "active-PORT-IPv4": "False",
            "active-EPRT-IPv6": "False",
            "passive-PASV-IPv4": "True",
            "passive-EPSV-IPv6": "True",
        },
        "sends EPRT and EPSV over IPv6 only",
    ),
}
