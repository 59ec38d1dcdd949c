# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The connection options that all MongoDB modules of this collection share; the names are those of community.mongodb."""

from __future__ import annotations


class ModuleDocFragment:
    """Holds the documentation that modules extend."""

    DOCUMENTATION = r"""
options:
  login_user:
    description:
      - The account to log in with. Given together with O(login_password).
      - While the cluster has no users, this is the account that C(linda.ops.mongodb_users) creates first.
    type: str
  login_password:
    description:
      - The password of O(login_user). It is sent to the server only as part of a SCRAM exchange.
    type: str
  login_database:
    description:
      - The database that holds O(login_user).
    type: str
    default: admin
  login_host:
    description:
      - The server to connect to first. The primary is found from there.
      - Until the cluster has its first user this has to be a loopback name or address, because the server opens itself to nobody else.
    type: str
    default: localhost
  login_addresses:
    description:
      - Addresses of members, each C(host) or C(host:port), tried in order instead of O(login_host); the first member that answers is the
        way in.
      - For a place where the names that the set itself uses do not resolve, such as a controller outside of the cluster's network. Each
        address is asked which member it is, and the primary is reached by the address that says so.
    type: list
    elements: str
    default: []
  login_port:
    description:
      - The port of O(login_host).
    type: int
    default: 27017
  ssl:
    description:
      - Connect with TLS.
      - The chain of the server's certificate is verified, and its name too, except on a loopback address, where the peer is
        this very machine whatever its certificate is called.
    type: bool
    default: false
    aliases: [tls]
  ssl_cert_reqs:
    description:
      - V(CERT_NONE) accepts any certificate, and so anybody between here and the server. For test benches only.
    type: str
    default: CERT_REQUIRED
    choices: [CERT_NONE, CERT_REQUIRED]
  ssl_ca_certs:
    description:
      - File with the certificates of the authorities to trust; the system's own when not given.
    type: path
    aliases: [tlsCAFile]
  ssl_crlfile:
    description:
      - File with a certificate revocation list.
    type: path
  ssl_certfile:
    description:
      - File with a client certificate and its key.
    type: path
    aliases: [tlsCertificateKeyFile]
  ssl_pem_passphrase:
    description:
      - Passphrase of the key in O(ssl_certfile).
    type: str
    aliases: [tlsCertificateKeyFilePassword]
  auth_mechanism:
    description:
      - How to log in. When not given, client and server choose the strongest that both know.
      - V(MONGODB-X509) logs in as the user of C($external) whose name is the subject of O(ssl_certfile); it needs O(ssl), and neither
        O(login_user) nor O(login_password).
    type: str
    choices: [SCRAM-SHA-256, SCRAM-SHA-1, MONGODB-X509]
  timeout:
    description:
      - Seconds to wait for an answer, for a primary, or for a change to reach the majority.
    type: int
    default: 60
requirements:
  - pymongo 3.11 or later (Debian's C(python3-pymongo)) where the module runs
  - MongoDB 5.0 or later
notes:
  - Run it once per cluster, not once per host.
  - In check mode no command that writes is sent. A server that does not run yet, or a missing driver, is then taken as something
    that an earlier task would have put right, and the plan is that of a new cluster.
"""
