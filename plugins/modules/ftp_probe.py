#!/usr/bin/python

# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ftp_probe
short_description: Probe FTP with real transfers, and tell where it stops and why
version_added: 1.0.0
author: hostfw.conntrack contributors (@hostfw)
description:
  - Opens FTP sessions from the host on which it runs, makes real transfers in active and in passive mode, over IPv4 and
    IPv6, and returns for each where it stopped, the most likely cause, and the cure.
  - Run it on a client of the server, with C(delegate_to), as a firewall does not filter what a host sends to itself.
  - Changes nothing on the server, but for the file of O(upload), which it deletes again.
requirements:
  - Python 3.9 or newer on the host
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: partial
    details: Where O(upload) is set, nothing is uploaded. All else is probed.
  diff_mode:
    support: none
  platform:
    platforms: posix
    support: full
options:
  host:
    description: The name or the address of the FTP server. An address is of one IP version, and probed over that.
    type: str
    required: true
  port:
    description: The port of the control connection.
    type: int
    default: 21
  user:
    description: The user who logs in.
    type: str
    default: anonymous
  password:
    description: The password. Without one, an anonymous user gives C(anonymous@), as is custom.
    type: str
  modes:
    description:
      - The modes that are to pass. In V(passive) mode the server announces a port, and this host opens the data
        connection; in V(active) mode this host announces a port, and the server opens it.
      - In the passive mode, C(PASV) is used over IPv4, as most clients do, and C(EPSV) over IPv6; in the active mode,
        C(PORT) and C(EPRT).
    type: list
    elements: str
    default: [passive, active]
    choices: [passive, active]
  blocked_modes:
    description:
      - The modes that must not get a data connection. They are probed, too, whether O(modes) has them or not.
      - Such a probe passes where it stops at the data connection or before. Where it stops before, the module warns, as
        that says nothing of data connections. A name that cannot be resolved is no pass.
    type: list
    elements: str
    default: []
    choices: [passive, active]
  ip_versions:
    description:
      - The IP versions to probe. The first address of each to which O(host) resolves is taken.
      - Where this is not set, both are probed, but for one of which the name has no address.
    type: list
    elements: str
    choices: [ipv4, ipv6]
  tls:
    description: Whether to probe explicit FTPS, C(AUTH TLS), for the control connection and the data connections.
    type: bool
    default: false
  validate_certs:
    description: Whether the server's certificate must be valid, and be for O(host).
    type: bool
    default: true
  ca_path:
    description: A file, or a folder made by C(openssl rehash), with the certificates of the authorities to trust, in
      place of the system's.
    type: path
  directory:
    description: The path that is listed. The default is the folder that the user is in after the login.
    type: str
  download:
    description:
      - The path of a file that is downloaded.
      - A file of some 100 kilobytes or more also shows whether large packets pass (path MTU), which a short listing
        does not.
    type: str
  upload:
    description:
      - A folder on the server in which a file of 64 KiB with a random name is stored, read back, compared and deleted.
      - A server that does not permit to read it back passes all the same; see RV(probes[].read_back). Where it does not
        delete the file, the module warns; see RV(probes[].left).
    type: str
  timeout:
    description:
      - How many seconds each step may take, such as a connection, a reply, or the wait for the next data.
      - A probe ends within six times that; to delete an uploaded file after a failure may take twice that more.
    type: float
    default: 10
seealso:
  - name: RFC 959
    description: FTP and its replies.
    link: https://www.rfc-editor.org/rfc/rfc959
  - name: RFC 4217
    description: FTPS.
    link: https://www.rfc-editor.org/rfc/rfc4217
"""

EXAMPLES = r"""
- name: Probe FTP to this server from a client
  hostfw.conntrack.ftp_probe:
    host: "{{ inventory_hostname }}"
    download: pub/file
  delegate_to: client.example.org

- name: Probe FTPS as a user, with an upload
  hostfw.conntrack.ftp_probe:
    host: ftp.example.org
    tls: true
    ca_path: /etc/ssl/certs/example.pem
    user: alice
    password: "{{ alice_password }}"
    upload: incoming
  delegate_to: client.example.org

- name: Check that passive mode passes, and active mode does not (ftp_mode passive)
  hostfw.conntrack.ftp_probe:
    host: 192.0.2.1
    modes: [passive]
    blocked_modes: [active]
    timeout: 3
  delegate_to: client.example.org
"""

RETURN = r"""
passed:
  description: Whether every probe did as expected.
  type: bool
  returned: always
  sample: false
tried:
  description:
    - Whether what RV(passed) says comes of sessions with the server. V(false) where it is V(false) for the only reason
      that the name of the server cannot be resolved here, which says nothing of any firewall.
  type: bool
  returned: always, unless the options are bad
  sample: true
  version_added: 1.1.0
probes:
  description: What came of each mode over each IP version.
  type: list
  elements: dict
  returned: always
  contains:
    mode:
      description: V(passive) or V(active).
      type: str
    ip_version:
      description: V(ipv4) or V(ipv6).
      type: str
    address:
      description: The server's address; none where its name could not be resolved.
      type: str
    expected:
      description: V(pass), or V(block) where O(blocked_modes) has the mode.
      type: str
    passed:
      description: Whether it did as expected.
      type: bool
    stage:
      description:
        - Where it stopped, V(resolve), V(connect), V(greeting), V(tls), V(login), V(data connection), V(transfer) or
          V(checksum).
        - None where it went through.
      type: str
    reply:
      description: The server's last reply, in one line of at most 200 characters, without the password.
      type: str
    seconds:
      description: How long it took.
      type: float
    bytes:
      description: How many bytes went over data connections.
      type: int
    endpoint:
      description: The address and port of the last data connection, as announced by C(227) or C(229) in the passive
        mode, by C(PORT) or C(EPRT) in the active mode.
      type: str
    announced_elsewhere:
      description:
        - Whether the server announced another address than that of its control connection, as behind NAT.
        - The data connection goes to the address of the control connection all the same. Some clients do so, others
          trust what is announced; so the module warns of it.
      type: bool
    connected:
      description: Whether a data connection opened.
      type: bool
    read_back:
      description: Whether the uploaded file was read back, and was the same.
      type: bool
    left:
      description: The path of the uploaded file where it may still be on the server.
      type: str
    id:
      description: The id of the most likely cause; docs/troubleshooting.md lists all.
      type: str
    cause:
      description: The most likely cause, in a sentence.
      type: str
    cure:
      description: What to do, in a sentence that names the inputs of the role P(hostfw.conntrack.ftp#role).
      type: str
  sample:
    - mode: passive
      ip_version: ipv4
      address: 192.0.2.1
      expected: pass
      passed: false
      stage: data connection
      reply: 227 Entering Passive Mode (192,0,2,1,195,81).
      seconds: 3.026
      bytes: 0
      endpoint: 192.0.2.1:50001
      announced_elsewhere: false
      connected: false
      read_back: false
      left:
      id: passive-ftps-dropped
      cause: >-
        A firewall drops the data connection to 192.0.2.1:50001: most likely as the FTP helper cannot read an encrypted
        control connection, and this port is not open without it.
      cure: >-
        In the role on the server's host, set ftp_tls to true and ftp_passive_ports to the ports that the server
        announces (or auto); the same on a gateway between them, and on this host where it drops what it sends.
"""

from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hostfw.conntrack.plugins.module_utils._probe import _probe


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str", "required": True},
            "port": {"type": "int", "default": 21},
            "user": {"type": "str", "default": "anonymous"},
            "password": {"type": "str", "no_log": True},
            "modes": {"type": "list", "elements": "str", "default": list(_probe.MODES), "choices": list(_probe.MODES)},
            "blocked_modes": {"type": "list", "elements": "str", "default": [], "choices": list(_probe.MODES)},
            "ip_versions": {"type": "list", "elements": "str", "choices": list(_probe.FAMILIES)},
            "tls": {"type": "bool", "default": False},
            "validate_certs": {"type": "bool", "default": True},
            "ca_path": {"type": "path"},
            "directory": {"type": "str"},
            "download": {"type": "str"},
            "upload": {"type": "str"},
            "timeout": {"type": "float", "default": 10},
        },
        supports_check_mode=True,
    )
    inputs = dict(module.params)
    if module.check_mode:
        inputs["upload"] = None
    try:
        trial = _probe.parse(inputs)
    except ValueError as exc:
        module.fail_json(msg=str(exc))
    probes = _probe.run(trial)
    for warning in _probe.warnings(trial, probes):
        module.warn(warning)
    message = _probe.message(trial, probes)
    results = {
        "changed": False,
        "passed": not message,
        "tried": _probe.tried(probes),
        "probes": [asdict(probe) for probe in probes],
    }
    if message:
        module.fail_json(msg=message, **results)
    module.exit_json(**results)


if __name__ == "__main__":
    main()
