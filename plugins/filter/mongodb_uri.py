# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter linda.ops.mongodb_uri."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_errors import MongodbError
from ansible_collections.linda.ops.plugins.module_utils._mongodb_uri import build_uri

DOCUMENTATION = r"""
name: mongodb_uri
short_description: Connection URI of an application for its MongoDB
version_added: 0.1.0
author:
  - The linda.ops authors (@linda-ops)
description:
  - Writes the URI with everything escaped that a password or a path may hold (RFC 3986), with TLS, and with a pool that has limits.
  - Wrong or contradicting input is refused by the name of the option; the message never holds a password.
  - Every option of a connection string that can be used safely is taken, in snake case. Those that switch the verification of
    certificates off are not.
options:
  _input:
    description:
      - The hosts, as text or as members of a replica set. Hidden members and arbiters are left out.
      - Names or addresses with an optional port; IPv6 in brackets when there is a port; an absolute path that ends with C(.sock).
      - With O(srv), the one name that has the SRV record.
    type: list
    elements: raw
    required: true
  user:
    description: The user. Given together with O(password), or alone with O(auth_mechanism=MONGODB-X509).
    type: str
  password:
    description: The user's password.
    type: str
  database:
    description: The database that the application uses when it names none.
    type: str
  srv:
    description: Write a C(mongodb+srv) URI.
    type: bool
    default: false
  replica_set:
    description: Name of the replica set.
    type: str
  auth_source:
    description: The database that holds the user. By default V(admin), with O(auth_mechanism=MONGODB-X509) V($external).
    type: str
  auth_mechanism:
    description: How to log in; by default client and server choose the strongest that both know.
    type: str
    choices: [SCRAM-SHA-256, SCRAM-SHA-1, MONGODB-X509]
  tls:
    description: Connect with TLS.
    type: bool
    default: true
  tls_ca_file:
    description: File with the authorities to trust, where the application runs.
    type: str
  tls_certificate_key_file:
    description: File with the client's certificate and key, where the application runs.
    type: str
  tls_certificate_key_file_password:
    description: Passphrase of that key.
    type: str
  min_pool_size:
    description: Connections that each process keeps open to each member.
    type: int
    default: 10
  max_pool_size:
    description: Connections that each process opens to a member at most.
    type: int
    default: 100
  connect_timeout_ms:
    description: Milliseconds to open a connection.
    type: int
    default: 30000
  server_selection_timeout_ms:
    description: Milliseconds to wait for a member that can serve, for instance during an election.
    type: int
    default: 30000
  socket_timeout_ms:
    description: Milliseconds to wait for an answer; 0 waits for ever.
    type: int
    default: 30000
  wait_queue_timeout_ms:
    description: Milliseconds to wait for a free connection of the pool.
    type: int
    default: 30000
  app_name:
    description: Name that the server's log and statistics show.
    type: str
  compressors:
    description: Compression to offer, some of V(snappy), V(zlib) and V(zstd).
    type: list
    elements: str
  direct_connection:
    description: Talk to the one host only, whatever its set.
    type: bool
  heartbeat_frequency_ms:
    description: Milliseconds between two looks at each member, at least 500.
    type: int
  journal:
    description: A write counts when it is in the journal.
    type: bool
  local_threshold_ms:
    description: Milliseconds that a member may be further away than the nearest one and still be read from.
    type: int
  max_connecting:
    description: Connections that are opened at the same time.
    type: int
  max_idle_time_ms:
    description: Milliseconds after which an idle connection is closed.
    type: int
  max_staleness_seconds:
    description: Seconds a secondary may be behind to be read from, at least 90.
    type: int
  read_concern_level:
    description: Which data is read.
    type: str
    choices: [available, linearizable, local, majority, snapshot]
  read_preference:
    description: Which members are read from.
    type: str
    choices: [primary, primaryPreferred, secondary, secondaryPreferred, nearest]
  retry_reads:
    description: Retry a read once after a lost connection.
    type: bool
  retry_writes:
    description: Retry a write once after a lost connection.
    type: bool
  srv_max_hosts:
    description: How many hosts of the SRV record to use at most.
    type: int
  srv_service_name:
    description: Service of the SRV record, C(mongodb) when not given.
    type: str
  timeout_ms:
    description: Milliseconds for one operation with everything in it; 0 means no end.
    type: int
  w:
    description: How many members acknowledge a write, or V(majority).
    type: raw
  w_timeout_ms:
    description: Milliseconds to wait for that acknowledgement; 0 waits for ever.
    type: int
seealso:
  - plugin: linda.ops.mongodb_members
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show the URI of an application
  ansible.builtin.debug:
    msg: >-
      {{ ['mongo1.example.net', 'mongo2.example.net'] | linda.ops.mongodb_uri(
           user='linda', password='p@ss/word', database='linda', replica_set='rs0', tls_ca_file='/etc/linda/certificates/host/ca.pem') }}
"""

RETURN = r"""
_value:
  description: The URI. It holds the password, so treat it as one.
  type: str
  sample: "mongodb://linda:p%40ss%2Fword@mongo1.example.net:27017/linda?replicaSet=rs0&authSource=admin&tls=true&minPoolSize=10&maxPoolSize=100"
"""


def mongodb_uri(hosts: object, **options: Any) -> str:
    """Return the URI; see RETURN."""
    try:
        return build_uri(hosts, options)
    except MongodbError as problem:
        raise AnsibleFilterError(f"mongodb_uri: {problem.message} ({problem.code})") from problem


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Return the filter by name."""
        return {"mongodb_uri": mongodb_uri}
