"""The matches and targets that are missing, from what iptables --help printed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp import _desired, _options
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables import _extensions
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._extensions import Extension
from ansible_collections.hostfw.conntrack.tests.unit.test_options import DEFAULTS

HELPER, IPVS, CT, SET = (
    Extension("match", "helper"),
    Extension("match", "ipvs"),
    Extension("target", "CT"),
    Extension("target", "SET"),
)
HELP = "Usage: iptables -[ACD] chain rule-specification [options]\n"


class Iptables:
    """What iptables --help prints where some matches and targets are missing.

    - modules: those that the kernel has not
    - libraries: those that iptables has not
    - old: whether it is iptables 1.8.7 or older
    """

    def __init__(self, modules: Sequence[str] = (), libraries: Sequence[str] = (), *, old: bool = False) -> None:
        self.modules = modules
        self.libraries = libraries
        self.old = old
        self.calls: list[str] = []

    def __call__(self, argv: Sequence[str]) -> tuple[int, str, str]:
        """Run it."""
        self.calls.append(" ".join(argv))
        out, err = HELP, ""
        for option, name in zip(argv, argv[1:]):
            gone = name in self.libraries or (self.old and name in self.modules)
            if option == "-m" and gone:
                return 2, "", f"iptables v1.8.9 (nf_tables): Couldn't load match `{name}':No such file or directory\n"
            if option in ("-m", "-j") and name in self.modules and not gone:
                err += f"Warning: Extension {name} revision 0 not supported, missing kernel module?\n"
            if option == "-j" and not gone:
                out += f"{name} target options:\n"
        return 0, out, err


@pytest.mark.parametrize(
    ("iptables", "expected"),
    [
        (Iptables(), []),
        (Iptables(["ipvs"]), [(IPVS, True)]),
        (Iptables(["ipvs", "CT"]), [(IPVS, True), (CT, True)]),
        (Iptables(["SET"]), [(SET, True)]),
        (Iptables(["ipvs"], old=True), [(IPVS, True)]),
        (Iptables(["CT"], old=True), [(CT, True)]),
        (Iptables(libraries=["helper"]), [(HELPER, False)]),
        (Iptables(libraries=["helper", "SET"]), [(HELPER, False), (SET, False)]),
        (Iptables(libraries=["CT"]), [(CT, False)]),
    ],
)
def test_what_is_missing(tmp_path: Path, iptables: Iptables, expected: list[tuple[Extension, bool]]) -> None:
    folder = tmp_path / "usr/lib/x86_64-linux-gnu/xtables"
    folder.mkdir(parents=True)
    wanted = [HELPER, IPVS, CT, SET]
    for each in wanted:
        if each.name not in iptables.libraries:
            (folder / each.library).touch()
    assert _extensions.missing("iptables", wanted, iptables, str(tmp_path)) == expected
    assert expected or iptables.calls == ["iptables -m helper -m ipvs -j CT --help", "iptables -j SET --help"]


@pytest.mark.parametrize(
    ("inputs", "more"),
    [({}, set()), ({"tls": True, "passive_ports": "50000:50099"}, {"set", "SET", "multiport"})],
)
def test_what_the_rules_need(inputs: dict[str, object], more: set[str]) -> None:
    options = _options.parse({**DEFAULTS, **inputs}, ["lo", "eth0"], [])
    names = {each.name for each in _extensions.needed(_desired.of(options).rules["ipv4"].all)}
    assert names == {"addrtype", "comment", "connmark", "conntrack", "helper", "tcp", "CT", "CONNMARK"} | more


@pytest.mark.parametrize(
    ("system", "package"),
    [
        ('ID="almalinux"\nID_LIKE="rhel centos fedora"\n', "the package kernel-modules-extra-6.12.0"),
        ("ID=fedora\n", "the package kernel-modules-extra-6.12.0"),
        ("ID=ubuntu\nID_LIKE=debian\n", "the package linux-modules-extra-6.12.0"),
        ("ID=debian\n", "the package with all modules of the running kernel"),
        (None, "the package with all modules of the running kernel"),
    ],
)
def test_error_names_what_is_missing_and_what_provides_it(tmp_path: Path, system: str | None, package: str) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/modules").touch()
    modules = tmp_path / "lib/modules/6.12.0/modules.dep"
    modules.parent.mkdir(parents=True)
    modules.write_text("kernel/net/netfilter/xt_CT.ko.xz:\n", encoding="utf-8")
    if system is not None:
        (tmp_path / "etc/os-release").write_text(system, encoding="utf-8")
    assert _extensions.error([(HELPER, True), (SET, False)], "6.12.0", str(tmp_path)) == (
        "the kernel lacks what the rules need of iptables, match helper (module xt_helper), and cannot load it here: "
        "/lib/modules/6.12.0 does not have it. In a container, run modprobe -a xt_helper on the container's host; "
        f"elsewhere, install {package}, or reboot into the kernel that is installed; "
        "iptables lacks what the rules need, target SET (libxt_SET.so); install the whole package of iptables again"
    )
