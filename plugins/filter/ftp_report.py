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
  earlier:
    description: C(data) of an earlier report, to say what has come and gone since.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Show it
  ansible.builtin.debug:
    msg: "{{ ({'ftp.example.org': {'plan': plan, 'before': firewall}} | hostfw.conntrack.ftp_report).table }}"
"""

RETURN = r"""
_value:
  description:
    - The lines of a table (C(table)), a page in HTML (C(page)), the same for programs (C(data)), and the hosts with
      findings (C(ill)).
    - C(data) has the number C(version), which is 1, C(time), and C(hosts) by their names. Of each, it tells whether it
      is C(well), C(findings) with C(id), C(cause) and C(cure), C(warnings), C(leftovers) as
      RV(hostfw.conntrack.ftp_info#module:leftovers), C(probes), C(rules), C(helper), C(kernel) and C(tools).
  type: dict
"""

from collections.abc import Mapping
from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.hostfw.conntrack.plugins.plugin_utils import _report


def ftp_report(
    hosts: Mapping[str, Mapping[str, Any]], time: str = "", earlier: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the report on hosts."""
    for name, value, of in (("hosts", hosts, "a mapping of hosts"), ("earlier", earlier or {}, "a mapping")):
        if not isinstance(value, Mapping):
            raise AnsibleFilterError(f"ftp_report: {name} must be {of}, got {type(value).__name__}")
    found = [_report.found(name, seen) for name, seen in hosts.items()]
    try:
        since = _report.changes(found, earlier) if earlier else []
    except ValueError as exc:
        raise AnsibleFilterError(f"ftp_report: earlier {exc}") from None
    return {
        "table": _report.table(found) + since,
        "page": _report.page(found, time, since),
        "data": _report.data(found, time),
        "ill": [host.name for host in found if not host.healthy],
    }


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by their names."""
        return {"ftp_report": ftp_report}
