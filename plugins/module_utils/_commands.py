# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The programs of a host that modules run."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule

SBIN = ["/usr/sbin", "/sbin", "/usr/local/sbin"]


def nftables(module: AnsibleModule) -> str:
    """Return all rules of nftables in JSON; nothing where there is no nft."""
    path = module.get_bin_path("nft", opt_dirs=SBIN)
    if path is None:
        return ""
    code, out, err = module.run_command([path, "--json", "--terse", "list", "ruleset"])
    if code != 0:
        module.warn(f"native nftables rules, which may drop FTP, are not seen here, as nft failed: {err.strip()}")
        return ""
    return str(out)
