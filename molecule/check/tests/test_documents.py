"""What the documents show, run as it stands there; ftp.example.org is the server, client1 the client."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from lab import PROJECT
from lab.ftp import address
from lab.hosts import ENVIRONMENT, VARIABLES, Host

DOCUMENTS = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md")), PROJECT / "roles/ftp/README.md"]


class Block(NamedTuple):
    """A block of code in a document."""

    document: str
    language: str
    text: str

    @property
    def file(self) -> str:
        """The name of the file that it says it is."""
        return (re.match(r"# (\S+)\n", self.text) or ["", ""])[1]


BLOCKS = [
    Block(path.name if path.parent != PROJECT / "roles/ftp" else "role", *found)
    for path in DOCUMENTS
    for found in re.findall(r"^```(\w+)\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
]
COMMANDS = [
    (block.document, line.partition("  #")[0].strip())
    for block in BLOCKS
    if block.language == "console"
    for line in block.text.splitlines()
    if line.startswith("ansible-p")
]
VALUES = [block for block in BLOCKS if block.language == "yaml" and block.text.partition("\n")[2].startswith("ftp_")]
LISTS = [block for block in VALUES if "ftp_instances__" in block.text]
INPUTS = [block for block in VALUES if block not in LISTS]


@pytest.fixture
def site(server: Host, client: Host, tmp_path: Path) -> Path:
    """A folder with the files of the README, and what it leaves to the reader: how the hosts are reached."""
    for block in BLOCKS:
        if block.document == "README.md" and block.file in ("site.yml", "group_vars/ftp_servers.yml", "hosts"):
            write(tmp_path, block)
    for name, host in (("ftp.example.org", server), ("client1", client)):
        path = tmp_path / f"host_vars/{name}.yml"
        path.parent.mkdir(exist_ok=True)
        found = {**VARIABLES, "ansible_docker_container": host.name, "ansible_host": host.name}
        path.write_text(json.dumps(found), encoding="utf-8")
    with (tmp_path / "hosts").open("a", encoding="utf-8") as hosts:
        hosts.write("\n[ftp_clients]\nclient1\n")
    for number in (4, 6):
        client.shell.check_output(f"echo '{address(server.shell, number)} {server.name}' >> /etc/hosts")
    return tmp_path


def write(folder: Path, block: Block) -> None:
    """Write a file of a document."""
    path = folder / block.file
    path.parent.mkdir(exist_ok=True)
    path.write_text(block.text, encoding="utf-8")


@contextmanager
def eth1(host: Host) -> Iterator[None]:
    """Give the host the other interfaces of the documents for a while."""
    host.shell.check_output("ip link add eth1 type veth peer name br-ftp")
    yield
    host.shell.check_output("ip link delete eth1")


def run(folder: Path, command: str) -> str:
    """Run a command, which must succeed; return what it prints."""
    environment = {**ENVIRONMENT, "HOME": os.environ["HOME"], "PWD": str(folder)}
    words = ["sh", "-c", command]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def changed(printed: str) -> dict[str, int]:
    """Return how many changes the recap has, by the host."""
    return {host: int(number) for host, number in re.findall(r"^(\S+) +: ok=\d+ +changed=(\d+)", printed, re.MULTILINE)}


def test_readme_from_top_to_bottom(site: Path, server: Host) -> None:
    check, apply, other, verdict = (command for document, command in COMMANDS if document == "README.md")
    before = server.rules()
    printed = run(site, check)
    assert changed(printed)["ftp.example.org"] > 0
    assert "+-A INPUT -i eth0" in printed
    assert server.rules() == before
    assert changed(run(site, apply))["ftp.example.org"] > 0
    assert changed(run(site, apply)) == {"ftp.example.org": 0}
    assert '"1 of 1 host is well."' in run(site, verdict)
    assert "ftp.example.org" in (site / "report.html").read_text(encoding="utf-8")
    after = server.rules()
    with eth1(server):
        printed = run(site, other)
    assert "+-A INPUT -i eth1" in printed
    assert server.rules() == after


@pytest.mark.parametrize("block", INPUTS, ids=lambda block: f"{block.document}: {block.text.splitlines()[0]}")
def test_inputs(server: Host, client: Host, block: Block) -> None:
    inputs: dict[str, Any] = yaml.safe_load(block.text)
    if "ftp_verify" in inputs:
        inputs["ftp_verify"]["from"] = client.name
        inputs["ftp_verify"]["to"] = address(server.shell, 4)
    with eth1(server):
        server.role(**inputs)
        assert server.role(**inputs).changed == 0


ALL_PLAYS = [block for block in BLOCKS if block.file == "site.yml" or block.text.startswith("- hosts:")]
(INSTANCES,) = (block for block in ALL_PLAYS if "tasks_from: instances" in block.text)
PLAYS = [block for block in ALL_PLAYS if block != INSTANCES]


@pytest.mark.parametrize("block", PLAYS, ids=lambda block: f"{block.document}: {' '.join(block.text.split()[4:8])}")
def test_play_on_a_fleet(site: Path, server: Host, client: Host, block: Block) -> None:
    (site / "site.yml").write_text(block.text, encoding="utf-8")
    with (site / "hosts").open("a", encoding="utf-8") as hosts:
        hosts.write("\n[ftp_servers:children]\nftp_clients\n")
    printed = run(site, "ansible-playbook --inventory hosts site.yml")
    assert set(changed(printed)) == {"ftp.example.org", "client1"}
    assert 0 not in changed(printed).values()
    assert printed.count("PLAY [ftp_servers]") == (2 if "serial" in block.text else 1)
    assert set(changed(run(site, "ansible-playbook --inventory hosts site.yml")).values()) == {0}
    assert "FTP-IN" in server.rules()
    assert "FTP-IN" in client.rules()


def test_groups_add_instances(site: Path, server: Host, client: Host) -> None:
    for block in (INSTANCES, *LISTS):
        write(site, block)
    with (site / "hosts").open("a", encoding="utf-8") as hosts:
        hosts.write("\n[servers]\nftp.example.org\n[gateways]\nftp.example.org\n")
    play = "ansible-playbook --inventory hosts site.yml"
    with eth1(server):
        assert changed(run(site, play))["ftp.example.org"] > 0
        assert set(changed(run(site, play)).values()) == {0}
    assert set(re.findall(r"^:([A-Z]+-IN) ", server.rules(), re.MULTILINE)) == {"GATE-IN", "SERVE-IN"}
    assert "-IN " not in client.rules()


def test_first_host_where_ftp_does_not_pass_stops_all(site: Path, server: Host, client: Host) -> None:
    fleets = [block for block in BLOCKS if block.document == "fleets.md"]
    write(site, next(block for block in fleets if "serial" in block.text))
    write(site, next(block for block in fleets if block.file == "group_vars/ftp_servers.yml"))
    with (site / "hosts").open("a", encoding="utf-8") as hosts:
        hosts.write("\n[ftp_servers:children]\nftp_clients\n")
    before = server.rules(), client.rules()
    with pytest.raises(AssertionError, match="FTP was tried and does not pass"):
        run(site, "ansible-playbook --inventory hosts site.yml -e ftp_allowed_addresses=203.0.113.9")
    assert (server.rules(), client.rules()) == before


def test_host_that_fetches_its_playbook(site: Path, server: Host) -> None:
    (command,) = (command for _document, command in COMMANDS if command.startswith("ansible-pull"))
    run(site, "git init -q && git add . && git -c user.name=site -c user.email=site@example.org commit -qm site")
    command = command.replace("https://git.example.org/site.git", f"file://{site}")
    (site / "home").mkdir()
    printed = run(site / "home", f"{command} --directory {site}/fetched")
    assert changed(printed[printed.rindex("PLAY RECAP") :])["ftp.example.org"] > 0
    assert "FTP-IN" in server.rules()


def test_every_command_of_ansible_is_run() -> None:
    tested = [command for document, command in COMMANDS if document in ("README.md", "fleets.md")]
    assert len(tested) == 4 + 2
