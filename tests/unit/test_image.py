"""An image: how it is told from a host that runs, and what it will load when it boots."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp import _options
from ansible_collections.hostfw.conntrack.plugins.module_utils._host import _image
from ansible_collections.hostfw.conntrack.tests.unit.test_options import DEFAULTS

MOUNTS = "29 1 254:0 / / rw - ext4 /dev/vda rw\n30 29 0:5 / /dev rw - devtmpfs udev rw\n"


def processes(root: Path, first: str, mounts: dict[str, str], mountinfo: str = MOUNTS) -> str:
    """Make a /proc with two processes; return its root.

    :arg first: the folder that is the root of the first process
    :arg mounts: the mount namespaces of both
    """
    for name, folder in (("self", "."), ("1", first)):
        process = root / "proc" / name
        (process / "ns").mkdir(parents=True)
        (process / "ns/mnt").symlink_to(mounts[name])
        (root / folder).mkdir(exist_ok=True)
        (process / "root").symlink_to(root / folder)
    (root / "proc/self/mountinfo").write_text(mountinfo)
    return str(root)


SAME = {"self": "mnt:[1]", "1": "mnt:[1]"}
OTHER = {"self": "mnt:[1]", "1": "mnt:[2]"}


@pytest.mark.parametrize(
    ("first", "mounts", "expected"),
    [(".", SAME, False), ("host", SAME, True), ("host", OTHER, False)],
    ids=["host", "image on a disk of its own", "container that sees its host's processes"],
)
def test_image_has_another_root_than_the_first_process(
    tmp_path: Path, first: str, mounts: dict[str, str], expected: bool
) -> None:
    assert _image.is_image(processes(tmp_path, first, mounts)) is expected


def test_image_in_a_folder_has_nothing_mounted_at_its_root(tmp_path: Path) -> None:
    assert _image.is_image(processes(tmp_path, ".", SAME, "31 29 0:5 / /proc rw - proc proc rw\n"))


def test_image_may_have_no_proc(tmp_path: Path) -> None:
    assert _image.is_image(str(tmp_path))


def test_host_whose_first_process_is_hidden_is_no_image(tmp_path: Path) -> None:
    root = processes(tmp_path, "host", SAME)
    (tmp_path / "proc/1/root").unlink()
    assert not _image.is_image(root)


def test_this_host_is_no_image() -> None:
    assert not _image.is_image()


def unit(root: Path, name: str, text: str, *, enabled: bool) -> None:
    """Install a unit of systemd."""
    path = root / "usr/lib/systemd/system" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    wants = root / "etc/systemd/system/sysinit.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    if enabled:
        (wants / name).symlink_to(f"/usr/lib/systemd/system/{name}")


NFTABLES = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/sbin/nft -f /etc/nftables.conf\n"
SITE = "[Service]\nType = oneshot\nExecStart=-/bin/sh -c 'iptables-restore </etc/site rules'\nExecStart=/bin/true\n"


def test_units_that_are_enabled_load_rules_at_boot(tmp_path: Path) -> None:
    unit(tmp_path, "nftables.service", NFTABLES, enabled=True)
    unit(tmp_path, "ufw.service", NFTABLES, enabled=False)
    unit(tmp_path, "site.service", SITE, enabled=True)
    unit(tmp_path, "other.service", NFTABLES, enabled=True)
    assert _image.loaders(["site.service"], str(tmp_path)) == [
        ("nftables.service", ["/usr/sbin/nft", "-f", "/etc/nftables.conf"]),
        ("site.service", ["/bin/sh", "-c", "iptables-restore </etc/site rules"]),
        ("site.service", ["/bin/true"]),
    ]


def test_service_that_goes_on_running_is_not_started(tmp_path: Path) -> None:
    unit(tmp_path, "docker.service", "[Service]\nType=notify\nExecStart=/usr/bin/dockerd\n", enabled=True)
    assert _image.loaders(["docker.service", "absent.service"], str(tmp_path)) == []


def kernel(root: Path, release: str, *, modules: str = "", builtin: str = "") -> None:
    """Install a kernel."""
    folder = root / "lib/modules" / release
    folder.mkdir(parents=True)
    (folder / "modules.dep").write_text("".join(f"kernel/net/{name}.ko.xz:\n" for name in modules.split()))
    (folder / "modules.builtin").write_text("".join(f"kernel/net/{name}.ko\n" for name in builtin.split()))


def test_modules_of_an_image_are_those_of_its_kernels(tmp_path: Path) -> None:
    names = ["nf_conntrack_ftp", "nf_nat_ftp"]
    assert _image.modules(names, str(tmp_path)) == (names, [])
    kernel(tmp_path, "6.1", builtin="nf_conntrack_ftp")
    assert _image.modules(names, str(tmp_path)) == ([], ["nf_nat_ftp"])
    kernel(tmp_path, "6.12", modules="nf-nat-ftp")
    assert _image.modules(names, str(tmp_path)) == (["nf_nat_ftp"], [])


@pytest.mark.parametrize(
    ("inputs", "error"),
    [
        ({"interface": []}, "ftp_interface: must be set for an image"),
        ({"interface": ["eth0"], "persistent": False}, "ftp_persistent"),
    ],
)
def test_inputs_without_which_nothing_passes_at_boot(inputs: dict[str, object], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        _options.check_image({**DEFAULTS, **inputs})
    _options.check_image({**DEFAULTS, "interface": ["eth0"]})
