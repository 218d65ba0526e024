# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the controller does to run the module ftp_plan."""

from __future__ import annotations

import gc
from typing import Any

from ansible.plugins.action.normal import ActionModule as Normal


class ActionModule(Normal):  # type: ignore[misc]
    """Run the module as any other, but without looking for garbage meanwhile.

    Ansible parses all that the module imports, and each time that the collector runs, it goes through all of it. The
    process is the task's own and ends with it.
    """

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the module returns."""
        collects = gc.isenabled()
        gc.disable()
        try:
            return dict(super().run(tmp, task_vars))
        finally:
            if collects:
                gc.enable()
