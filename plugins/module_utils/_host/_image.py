# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image: a folder with a host that is to boot later, into which chroot(2) has led this process.

The kernel that runs is that of the host which makes the image, and so are its firewall, interfaces and modules. What
counts is what the image will load when it boots.
"""

from __future__ import annotations

import ctypes
import os
import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from ansible_collections.hostfw.conntrack.plugins.module_utils._host import _host

# CLONE_NEWNET in the kernel's sched.h.
NEW_NETWORK = 0x40000000
# What loads rules at boot, and only that.
LOADERS = (
    "netfilter-persistent.service",
    "iptables.service",
    "ip6tables.service",
    "nftables.service",
    "ufw.service",
)
UNITS = ("etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
SYSTEMD = ("usr/lib/systemd/systemd", "lib/systemd/systemd")


def is_image(root: str = "/") -> bool:
    """Tell whether this process is in an image.

    The root of a host that runs is where something is mounted, and its first process has the same root. A container
    that sees the processes of its host has other mounts than these. The fact V(ansible_is_chroot) is not asked: where
    it may not look at the first process, it guesses, and the rules of a container would not be loaded.
    """
    processes = Path(root, "proc")
    try:
        mounted = [line.split()[4] for line in (processes / "self/mountinfo").read_text(encoding="utf-8").splitlines()]
    except OSError:  # no /proc
        return True
    if "/" not in mounted:
        return True
    try:
        here, first = (Path(processes, which, "root").stat() for which in ("self", "1"))
        mounts = [Path(processes, which, "ns/mnt").readlink() for which in ("self", "1")]
    except OSError:
        return False
    return mounts[0] == mounts[1] and (here.st_dev, here.st_ino) != (first.st_dev, first.st_ino)


def leave_network() -> None:
    """Give this process a network namespace of its own, which has no rules and no interface but lo.

    :raises OSError: where that is forbidden
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_NETWORK):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def has_systemd(root: str = "/") -> bool:
    """Tell whether systemd will be in charge of the host."""
    return any(Path(root, path).exists() for path in SYSTEMD)


def enabled(unit: str, root: str = "/") -> bool:
    """Tell whether systemd will start a unit at boot."""
    return any(os.path.lexists(folder / unit) for folder in Path(root, UNITS[0]).glob("*.wants"))


def loaders(more: Iterable[str], root: str = "/") -> list[tuple[str, list[str]]]:
    """Return the commands by which rules will be loaded at boot, each with its unit.

    :arg more: further units that load rules; of these, as of those that are known, only C(Type=oneshot) counts
    """
    found = []
    for unit in dict.fromkeys([*LOADERS, *more]):
        path = next((path for folder in UNITS if (path := Path(root, folder, unit)).is_file()), None)
        if path is None or not enabled(unit, root):
            continue
        text = path.read_text(encoding="utf-8")
        if re.search(r"^Type\s*=\s*oneshot\s*$", text, re.MULTILINE):
            # Before the program may stand signs that say how it is run (systemd.service(5)).
            found += [
                (unit, shlex.split(line)) for line in re.findall(r"^ExecStart\s*=\s*[-@:+!|]*(.+)", text, re.MULTILINE)
            ]
    return found


def modules(names: Iterable[str], root: str = "/") -> tuple[list[str], list[str]]:
    """Return those kernel modules that the kernels of an image have as modules, and those that none of them has at all.

    An image without a kernel will get one, of which nothing is known: it counts as one that has them as modules.
    """
    releases = sorted(folder.name for folder in Path(root, "lib/modules").glob("*/"))
    loadable, missing = [], []
    for name in names:
        if not releases or any(_host.lacks(name, release, root) is None for release in releases):
            loadable.append(name)
        elif not any(_host.built_in(name, release, root) for release in releases):
            missing.append(name)
    return loadable, missing
