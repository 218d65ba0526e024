# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The programs of a host that modules run."""

from __future__ import annotations

import re

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hostfw.conntrack.plugins.module_utils._diagnosis._findings import Finding

# In JSON: a named verdict map, or a match of ports, of an interface or the like with a named set.
DECIDED_BY_NAME = re.compile(r'"data": "@|"(?:field": "[sd]port|key": "\w+)"}}, "right": "@')
SBIN = ["/usr/sbin", "/sbin", "/usr/local/sbin"]


def nftables(module: AnsibleModule) -> tuple[str, list[Finding]]:
    """Return all rules of nftables in JSON, nothing where there is no nft; and warnings."""
    path = module.get_bin_path("nft", opt_dirs=SBIN)
    if path is None:
        return "", []
    code, out, err = module.run_command([path, "--json", "--terse", "list", "ruleset"])
    # What is in sets and maps may be long, and is of use only where it decides on interfaces and ports.
    if code == 0 and DECIDED_BY_NAME.search(out):
        code, out, err = module.run_command([path, "--json", "list", "ruleset"])
    if code != 0:
        return "", [Finding("unseen-nftables", error=err.strip())]
    return out, []
