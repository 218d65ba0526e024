# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ftp_report
short_description: Say whether FTP passes on hosts, and why not
version_added: 1.0.0
author: hostfw.conntrack contributors (@hostfw)
description:
  - Makes a report of what was found on hosts, as the playbook C(hostfw.conntrack.ftp_check) does.
options:
  _input:
    description:
      - What was found on each host, by its name.
      - RV(hostfw.conntrack.ftp_plan#module:converged) and the rest of that module's result in C(plan), what
        M(hostfw.conntrack.ftp_info) returned before and after the probes in C(before) and C(after), what
        M(hostfw.conntrack.ftp_probe) returned in C(probe), the role's inputs without C(ftp_) in C(inputs), and from
        which host the probes were in C(from). What is missing was not checked.
    type: dict
    required: true
  time:
    description: When that was, in words.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Show it
  ansible.builtin.debug:
    msg: "{{ ({'ftp.example.org': {'plan': plan, 'before': firewall}} | hostfw.conntrack.ftp_report).table }}"
"""

RETURN = r"""
_value:
  description:
    - The lines of a table (C(table)), a page in HTML (C(page)), and the hosts with findings (C(ill)).
  type: dict
"""

from collections.abc import Mapping
from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.hostfw.conntrack.plugins.plugin_utils import _report


def ftp_report(hosts: Mapping[str, Mapping[str, Any]], time: str = "") -> dict[str, Any]:
    """Return the report on hosts."""
    if not isinstance(hosts, Mapping):
        raise AnsibleFilterError(f"ftp_report: must be given a mapping of hosts, got {type(hosts).__name__}")
    found = [_report.found(name, seen) for name, seen in hosts.items()]
    return {
        "table": _report.table(found),
        "page": _report.page(found, time),
        "ill": [host.name for host in found if not host.healthy],
    }


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by their names."""
        return {"ftp_report": ftp_report}
