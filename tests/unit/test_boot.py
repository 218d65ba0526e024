"""The files that bring the rules back at boot: what they restore, and when they are written."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp import _desired, _options
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._desired import GUARD, Chains
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables import _rule, _ruleset
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan import _boot, _plan
from ansible_collections.hostfw.conntrack.tests.unit.test_options import DEFAULTS
from ansible_collections.hostfw.conntrack.tests.unit.test_plan import CASES, INTERFACES, inputs_of, rulesets

# Stands for iptables-restore --noflush: sends this process the rules to change, and waits for its exit code. To start
# Python here would cost a second a table.
RESTORE = """\
#!/bin/sh
{{ echo {file}; cat; }} >{root}/asked
exit "$(cat {root}/answer)"
"""


def printed(ruleset: _ruleset.Ruleset) -> str:
    """Return rules as iptables-save prints them."""
    lines = []
    for table, chains in ruleset.tables.items():
        lines += [f"*{table}", *(f":{name} {ruleset.policies.get((table, name), '-')} [0:0]" for name in chains)]
        lines += [line for rules in chains.values() for line in rules] + ["COMMIT"]
    return "".join(f"{line}\n" for line in lines)


def restore(file: str, text: str) -> None:
    """Do to the rules in a file what iptables-restore --noflush does to those of the kernel."""
    path = Path(file)
    ruleset = _ruleset.parse(path.read_text(encoding="utf-8"), _desired.TABLES)
    table = ""
    for line in text.splitlines():
        words = line.split(" ")
        chains = ruleset.tables.setdefault(table, {}) if table else {}
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":"):
            chains[words[0][1:]] = []
        elif words[0] == "-I":
            here = chains.setdefault(words[1], [])
            assert 1 <= int(words[2]) <= len(here) + 1, line
            here.insert(int(words[2]) - 1, " ".join(["-A", words[1], *words[3:]]))
        elif words[0] == "-A":
            assert not words[-1].startswith("FTP-") or words[-1] in chains, line
            chains.setdefault(words[1], []).append(line)
        elif words[0] == "-D":
            chains[words[1]].remove(line.replace("-D", "-A", 1))
        else:
            assert line == "COMMIT", line
    path.write_text(printed(ruleset), encoding="utf-8")


class Booted:
    """A host whose rules are in files, and the script that restores those of one instance."""

    def __init__(self, root: Path, case: str) -> None:
        self.root = root
        self.fresh = not any("hostfw" in str(ruleset) for ruleset in rulesets(case).values())
        self.options = _options.parse({**DEFAULTS, **inputs_of(case)}, INTERFACES, ["eth0"])
        self.desired = _desired.of(self.options)
        plan = _plan.plan(self.desired, rulesets(case), {}, together=True)
        self.conflicts = plan.conflicts
        self.after = plan.after
        files = _boot.files(self.desired, plan, ["nf_conntrack_ftp"], systemd=True, plugins=True)
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text.replace("PATH=/usr/sbin", f"PATH={root}:/usr/sbin"), encoding="utf-8")
        for program in _rule.PROGRAMS.values():
            self.program(f"{program}-save", f"#!/bin/sh\ncat {root}/{program}\n")
            self.program(f"{program}-restore", RESTORE.format(file=root / program, root=root))
        self.program("ipset", f"#!/bin/sh\necho $* >> {root}/ipset.calls; cat >> {root}/ipset.calls\n")
        for pipe in ("asked", "answer"):
            os.mkfifo(root / pipe)

    def serve(self) -> None:
        """Answer the programs that restore rules, until one asks nothing."""
        while asked := (self.root / "asked").read_text(encoding="utf-8"):
            answer = "1"
            try:
                restore(*asked.split("\n", 1))
                answer = "0"
            finally:
                (self.root / "answer").write_text(answer, encoding="utf-8")

    def program(self, name: str, text: str) -> None:
        """Write a program that the script calls."""
        (self.root / name).write_text(text, encoding="utf-8")
        (self.root / name).chmod(0o755)

    def load(self, ip_version: str, ruleset: _ruleset.Ruleset) -> None:
        """Set the rules of the host."""
        (self.root / _rule.PROGRAMS[ip_version]).write_text(printed(ruleset), encoding="utf-8")

    def rules(self, ip_version: str) -> str:
        """Return the rules of the host."""
        return (self.root / _rule.PROGRAMS[ip_version]).read_text(encoding="utf-8")

    def run(self, *words: str) -> None:
        """Run the script."""
        script = self.root / "etc/hostfw-conntrack" / self.options.prefix / "restore"
        subprocess.run(["sh", script, *words], check=True)


def without_ours(ruleset: _ruleset.Ruleset, prefix: str) -> _ruleset.Ruleset:
    """Return the rules that a host has before the script runs."""
    chains = Chains(prefix)
    tables = {
        table: {
            name: [line for line in lines if not _plan.ours(line, chains)]
            for name, lines in found.items()
            if (table, name) not in chains.all()
        }
        for table, found in ruleset.tables.items()
    }
    mangle = tables.get("mangle", {})
    alone = [name for name in GUARD.values() if len(mangle.get(name, ["one", "another"])) == 1]
    tables["mangle"] = {
        name: [line for line in lines if _rule.target_of(line) not in alone]
        for name, lines in mangle.items()
        if name not in alone
    }
    return _ruleset.Ruleset(tables, ruleset.policies)


def in_any_order(lines: list[str]) -> list[list[str]]:
    """Return a chain's rules; those of the role that follow one another count in any order, but for a drop."""
    found: list[list[str]] = [[]]
    for line in lines:
        ours = "hostfw.conntrack: " in line and not line.endswith("-j DROP")
        if not ours or not found[-1] or "hostfw.conntrack: " not in found[-1][0]:
            found.append([])
        found[-1] = sorted([*found[-1], line])
    return found


def in_order(lines: list[str], chains: Chains) -> list[str]:
    """Return the rules of a chain of which the order counts: all, but where another instance has jumps of its own."""
    others = [line for line in lines if re.search("-j (FTP|OTHER|MIRROR)-", line) and not _plan.ours(line, chains)]
    shared = [line for line in lines if others and line.endswith(("-j HOSTFW-INPUT", "-j HOSTFW-OUTPUT"))]
    return [line for line in lines if line not in [*others, *shared]]


@pytest.fixture
def booted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Booted]:
    """A host with the rules of a golden folder."""
    host = Booted(tmp_path, request.param)
    with ThreadPoolExecutor(1) as pool:
        served = pool.submit(host.serve)
        yield host
        if not served.done():
            (tmp_path / "asked").write_text("", encoding="utf-8")
        served.result()


@pytest.mark.parametrize("booted", CASES, indirect=True)
def test_what_is_restored_is_what_the_plan_made(booted: Booted) -> None:
    if booted.conflicts or booted.options.state == "absent":
        assert booted.options.state == "present" or not list((booted.root).glob("etc"))
        return
    for ip_version, ruleset in booted.after.items():
        booted.load(ip_version, without_ours(ruleset, booted.options.prefix))
    booted.run()
    chains = Chains(booted.options.prefix)
    for ip_version, ruleset in booted.after.items():
        found = _ruleset.parse(booted.rules(ip_version), _desired.TABLES)
        for table in _desired.TABLES:
            for name, lines in ruleset.tables.get(table, {}).items():
                restored = found.chain(table, name)
                assert in_any_order(restored) == in_any_order(lines)
                # After changes, it may be another one.
                if booted.fresh:
                    assert in_order(restored, chains) == in_order(lines, chains)
    again = {ip_version: booted.rules(ip_version) for ip_version in booted.after}
    booted.run()
    assert {ip_version: booted.rules(ip_version) for ip_version in booted.after} == again


SSH = "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT"
BAN = "-A INPUT -s 192.0.2.1/32 -j DROP"


@pytest.mark.parametrize(
    ("booted", "rules", "place"),
    [
        # In this folder, the jump stands between these two.
        ("position-before-a-last-drop", [SSH, "-A INPUT -j DROP"], 1),
        ("position-before-a-last-drop", [BAN, "-A INPUT -j DROP", SSH], 1),
        ("position-before-a-last-drop", [BAN, SSH, "-A INPUT -j REJECT --reject-with icmp-port-unreachable"], 0),
        ("position-before-a-last-drop", [SSH, "-A INPUT -j LOGREJECT"], 0),
        ("position-before-a-last-drop", [], 0),
        # There, it stands behind the last rule, or has none beside it.
        ("guard-with-rules-of-others", [BAN, SSH], 0),
        ("fresh-both", [BAN, "-A INPUT -j DROP"], 0),
        ("position-last", [BAN, SSH], 2),
        ("position-first", [BAN, SSH], 0),
    ],
    indirect=["booted"],
)
def test_jump_comes_beside_the_rule_that_it_stood_beside(booted: Booted, rules: list[str], place: int) -> None:
    booted.load("ipv6", _ruleset.Ruleset())
    own = ["-A LOGREJECT -j LOG", "-A LOGREJECT -j REJECT --reject-with icmp-port-unreachable"]
    chains = {"INPUT": rules, "OUTPUT": [], "LOGREJECT": own}
    booted.load("ipv4", _ruleset.Ruleset({"filter": chains}, {("filter", "INPUT"): "DROP"}))
    booted.run()
    chain = _ruleset.parse(booted.rules("ipv4"), _desired.TABLES).chain("filter", "INPUT")
    assert chain[place].endswith("-j FTP-IN")
    assert chain[:place] + chain[place + 1 :] == rules


@pytest.mark.parametrize("booted", ["fresh-both"], indirect=True)
def test_an_old_copy_of_the_rules_is_put_right(booted: Booted) -> None:
    for ip_version, ruleset in booted.after.items():
        ruleset.tables["filter"]["INPUT"].append('-A INPUT -i eth1 -m comment --comment "hostfw.conntrack: " -j FTP-IN')
        ruleset.tables["filter"]["INPUT"].append('-A INPUT -m comment --comment "of others" -j FTP-IN')
        ruleset.tables["filter"]["FTP-IN"].append("-A FTP-IN -p tcp -m tcp --dport 2121 -j ACCEPT")
        ruleset.tables["filter"]["FTP-DATA-OUT"].pop()
        booted.load(ip_version, ruleset)
    booted.run()
    found = _ruleset.parse(booted.rules("ipv4"), _desired.TABLES)
    assert [line for line in found.chain("filter", "INPUT") if "-i eth1" in line] == []
    assert [line for line in found.chain("filter", "INPUT") if "of others" in line] != []
    wanted = booted.desired.rules["ipv4"].inside
    for chain in ("FTP-IN", "FTP-DATA-OUT"):
        assert found.chain("filter", chain) == [
            rule.line() for rule in wanted if (rule.table, rule.chain) == ("filter", chain)
        ]


@pytest.mark.parametrize("booted", ["fresh-both"], indirect=True)
def test_rules_that_the_kernel_refuses_are_named(booted: Booted, capfd: pytest.CaptureFixture[str]) -> None:
    for ip_version in booted.after:
        booted.load(ip_version, _ruleset.Ruleset())
    booted.program("iptables-restore", "#!/bin/sh\necho refused >&2; exit 1\n")
    booted.program("sleep", "#!/bin/sh\n")
    with pytest.raises(subprocess.CalledProcessError):
        booted.run()
    assert "not in order after 10 tries; missing:\n*raw\n:FTP-HELPER" in capfd.readouterr().err


@pytest.mark.parametrize("booted", ["fresh-both"], indirect=True)
def test_rules_that_cannot_be_read_are_an_error(booted: Booted) -> None:
    booted.program("iptables-save", "#!/bin/sh\nexit 1\n")
    with pytest.raises(subprocess.CalledProcessError):
        booted.run()


@pytest.mark.parametrize("booted", ["fresh-tls"], indirect=True)
def test_sets_are_there_before_any_rule(booted: Booted) -> None:
    booted.run("sets")
    assert (booted.root / "ipset.calls").read_text(encoding="utf-8") == (
        "-exist restore\ncreate FTP-LIVE-IPV4 hash:ip family inet hashsize 32768 maxelem 65536 timeout 60\n"
    )


WANTED = {
    "etc/hostfw-conntrack/FTP/iptables": "rules\n",
    "etc/systemd/system/hostfw-conntrack-FTP.service": "unit\n",
}


def write(root: Path, files: dict[str, str], enabled: str = "") -> None:
    """Write files as the role does."""
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
        (root / path).chmod(0o600 if "hostfw-conntrack/" in path else 0o644)
    if enabled:
        link = root / "etc/systemd/system/multi-user.target.wants" / enabled
        link.parent.mkdir()
        link.symlink_to("/nowhere")


UNIT = "hostfw-conntrack-FTP.service"


def test_files_are_written_once(tmp_path: Path) -> None:
    changes = _boot.changes("FTP", WANTED, systemd=True, root=str(tmp_path))
    assert changes == _boot.Changes(
        disable=[],
        remove=[],
        write=[
            {"dest": "/etc/hostfw-conntrack/FTP/iptables", "content": "rules\n", "mode": "0600"},
            {"dest": "/etc/systemd/system/hostfw-conntrack-FTP.service", "content": "unit\n", "mode": "0644"},
        ],
        enable=[UNIT],
    )
    write(tmp_path, WANTED, UNIT)
    assert not _boot.changes("FTP", WANTED, systemd=True, root=str(tmp_path)).changed


def test_one_command_writes_all_files(tmp_path: Path) -> None:
    # As foreign rules may have it in a comment.
    wanted = {**WANTED, "etc/hostfw-conntrack/FTP/gates": "$HOME `id`\n'\nEND OF FILE\nexit 1\n"}
    changes = _boot.changes("FTP", wanted, systemd=True, root=str(tmp_path))
    (command,) = changes.store
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    text = command["stdin"].replace(" /etc/", f" {tmp_path}/etc/")
    subprocess.run(command["argv"], input=text, text=True, check=True)
    left = {
        str(path.relative_to(tmp_path)): (path.read_text(encoding="utf-8"), f"{path.stat().st_mode & 0o7777:04o}")
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    assert left == {item["dest"][1:]: (item["content"], item["mode"]) for item in changes.write}
    assert (tmp_path / "etc/hostfw-conntrack").stat().st_mode & 0o7777 == 0o755
    assert _boot.Changes([], [], [], []).store == []


def test_files_that_others_have_changed_are_written_anew(tmp_path: Path) -> None:
    write(tmp_path, WANTED, UNIT)
    (tmp_path / "etc/hostfw-conntrack/FTP/iptables").chmod(0o666)
    (tmp_path / "etc/systemd/system/hostfw-conntrack-FTP.service").write_text("other\n", encoding="utf-8")
    changes = _boot.changes("FTP", WANTED, systemd=True, root=str(tmp_path))
    assert [item["dest"] for item in changes.write] == [f"/{path}" for path in WANTED]
    assert changes.enable == [UNIT]


def test_unit_that_is_not_enabled_is(tmp_path: Path) -> None:
    write(tmp_path, WANTED)
    assert _boot.changes("FTP", WANTED, systemd=True, root=str(tmp_path)).enable == [UNIT]
    assert not _boot.changes("FTP", WANTED, systemd=False, root=str(tmp_path)).changed


@pytest.mark.parametrize(("other", "folder"), [(False, "/etc/hostfw-conntrack"), (True, "/etc/hostfw-conntrack/FTP")])
def test_all_files_go(tmp_path: Path, other: bool, folder: str) -> None:
    write(tmp_path, WANTED, UNIT)
    if other:
        write(tmp_path, {"etc/hostfw-conntrack/BACKUP/iptables": "rules\n"})
    changes = _boot.changes("FTP", {}, systemd=True, root=str(tmp_path))
    assert (changes.disable, changes.write, changes.enable) == ([UNIT], [], [])
    assert sorted(changes.remove) == sorted([*(f"/{path}" for path in WANTED), folder])


@pytest.mark.parametrize("booted", ["fresh-both"], indirect=True)
@pytest.mark.parametrize(("word", "there"), [("start", True), ("reload", True), ("save", False), ("flush", False)])
def test_netfilter_persistent_brings_them_back(booted: Booted, word: str, there: bool) -> None:
    for ip_version in booted.after:
        booted.load(ip_version, _ruleset.Ruleset())
    plugin = booted.root / "usr/share/netfilter-persistent/plugins.d/90-hostfw-conntrack-FTP"
    text = plugin.read_text(encoding="utf-8").replace(" /etc", f" {booted.root}/etc")
    subprocess.run(["sh", "-c", text, "plugin", word], check=True)
    assert ("FTP-IN" in booted.rules("ipv4")) is there
    (booted.root / "etc/hostfw-conntrack/FTP/restore").unlink()
    subprocess.run(["sh", "-c", text, "plugin", word], check=True)


@pytest.mark.parametrize("booted", ["fresh-tls"], indirect=True)
@pytest.mark.parametrize(("word", "there"), [("start", True), ("reload", True), ("save", False)])
def test_sets_are_there_before_netfilter_persistent_loads_rules(booted: Booted, word: str, there: bool) -> None:
    names = sorted(path.name for path in (booted.root / _boot.PLUGINS).iterdir())
    assert min([*names, "10-ipset", "15-ip4tables"]) == names[0] == "05-hostfw-conntrack-FTP"
    text = (booted.root / _boot.PLUGINS / names[0]).read_text(encoding="utf-8").replace(" /etc", f" {booted.root}/etc")
    subprocess.run(["sh", "-c", text, "plugin", word], check=True)
    assert (booted.root / "ipset.calls").exists() is there


SETS = ["etc/hostfw-conntrack/FTP/ipset", "etc/hostfw-conntrack/FTP/restore"]


@pytest.mark.parametrize(
    ("systemd", "plugins", "more"),
    [
        (True, False, ["etc/systemd/system/hostfw-conntrack-FTP.sets.service"]),
        (False, True, ["usr/share/netfilter-persistent/plugins.d/05-hostfw-conntrack-FTP"]),
        (False, False, []),
    ],
)
def test_sets_that_are_kept_have_their_files_alone(systemd: bool, plugins: bool, more: list[str]) -> None:
    options = _options.parse({**DEFAULTS, "state": "absent"}, INTERFACES, ["eth0"])
    files = _boot.files(
        _desired.of(options), _plan.Plan(), [], systemd=systemd, plugins=plugins, kept=["FTP-LIVE-IPV6"]
    )
    assert list(files) == ([*SETS, *more] if more else [])
    assert (
        not more
        or files[SETS[0]] == "create FTP-LIVE-IPV6 hash:ip family inet6 hashsize 32768 maxelem 65536 timeout 60\n"
    )
    assert set(files) <= set(_boot.paths("FTP"))


def test_without_systemd_there_are_rules_only() -> None:
    options = _options.parse(DEFAULTS, INTERFACES, ["eth0"])
    plan = _plan.plan(_desired.of(options), rulesets("fresh-both"), {}, together=True)
    assert list(_boot.files(_desired.of(options), plan, ["nf_conntrack_ftp"], systemd=False, plugins=False)) == [
        "etc/hostfw-conntrack/FTP/iptables",
        "etc/hostfw-conntrack/FTP/ip6tables",
        "etc/hostfw-conntrack/FTP/restore",
    ]
    assert (
        _boot.files(_desired.of(dataclasses.replace(options, persistent=False)), plan, [], systemd=True, plugins=True)
        == {}
    )


KNOWN = (
    "netfilter-persistent.service iptables.service ip6tables.service nftables.service ufw.service firewalld.service "
    "docker.service ferm.service shorewall.service shorewall6.service csf.service lfd.service firewall.service"
)


def unit_files(**inputs: object) -> dict[str, str]:
    """Return the units of FTPS with some inputs."""
    asked = {"tls": True, "mode": "passive", "passive_ports": "50000:50099", **inputs}
    options = _options.parse({**DEFAULTS, **asked}, INTERFACES, ["eth0"])
    files = _boot.files(_desired.of(options), _plan.Plan(), [], systemd=True, plugins=False)
    return {path.rpartition("/")[2]: text for path, text in files.items() if path.startswith(_boot.UNITS)}


def test_units_follow_all_services_that_flush_rules() -> None:
    restoring = unit_files(restore_after=["site-firewall.service"])[UNIT].splitlines()
    others = f"{KNOWN} site-firewall.service"
    assert f"After={others} network-pre.target" in restoring
    assert f"PartOf={others}" in restoring
    assert f"ReloadPropagatedFrom={others}" in restoring
    assert f"WantedBy=multi-user.target {others}" in restoring
    sets = unit_files(restore_after=["site-firewall.service"])["hostfw-conntrack-FTP.sets.service"].splitlines()
    assert f"Before={others} network-pre.target shutdown.target" in sets
    assert f"WantedBy=multi-user.target {KNOWN}" in unit_files()[UNIT].splitlines()


@pytest.mark.parametrize(
    ("linked", "again"),
    [
        (["multi-user.target", "a.service"], False),
        (["multi-user.target"], True),
        (["multi-user.target", "b.service"], True),
    ],
)
def test_unit_that_follows_others_now_is_enabled_anew(tmp_path: Path, linked: list[str], again: bool) -> None:
    wanted = {f"etc/systemd/system/{UNIT}": "[Install]\nWantedBy=multi-user.target a.service\n"}
    write(tmp_path, wanted)
    for name in linked:
        link = tmp_path / "etc/systemd/system" / f"{name}.wants" / UNIT
        link.parent.mkdir()
        link.symlink_to("/nowhere")
    changes = _boot.changes("FTP", wanted, systemd=True, root=str(tmp_path))
    assert (changes.disable, changes.enable) == (([UNIT], [UNIT]) if again else ([], []))
