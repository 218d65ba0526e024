"""What the standing rules of an instance say of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.hostfw.conntrack.plugins.module_utils import _instances

SAVES = sorted((Path(__file__).parent / "saves").glob("*.ipv?"))


@pytest.mark.parametrize("path", SAVES, ids=lambda path: path.name)
def test_interfaces_of_real_hosts(path: Path) -> None:
    saved = path.read_text(encoding="utf-8")
    assert {prefix: _instances.interfaces(prefix, [saved]) for prefix in ("FTP", "OUT", "GATE", "NONE")} == {
        "FTP": ["eth0", "wlan+"],
        "OUT": ["eth0"],
        "GATE": ["eth0", "tun+", "wlan+"],
        "NONE": [],
    }


def test_rules_of_others_name_no_interface_of_ours() -> None:
    lines = [
        "-A INPUT -i ppp0 -j FTP-IN",
        '-A INPUT -i ppp1 -m comment --comment "hostfw.conntrack: FTP on ppp1" -j OTHER-IN',
        '-A INPUT -i ppp2 -m comment --comment "half a quote -j FTP-IN',
        '-A INPUT -i ppp3 -m comment --comment "hostfw.conntrack: FTP on ppp3" -j FTP-IN',
    ]
    assert _instances.interfaces("FTP", ["\n".join(lines)]) == ["ppp3"]
