"""An API server in the process: see `server.py`. Used by the lab and by the tests, never by the operator.

Refused or warned of loudly: server-side apply (415), rules in CEL (a Warning header at each write), streaming lists
(422), conversion webhooks. Absent without a word: schemas and immutable fields of built-in kinds, managedFields,
validation ratcheting, scale, exec and log subresources, TLS. Those are proved on a real API server.
"""

from whimbrel_lab.controlplane.admission import AdmissionRequest, Refusal
from whimbrel_lab.controlplane.counters import Counters, RequestKey, writes
from whimbrel_lab.controlplane.embedded.access import Authorizer, Question
from whimbrel_lab.controlplane.embedded.admission import Admission
from whimbrel_lab.controlplane.embedded.errors import ApiError, Object
from whimbrel_lab.controlplane.embedded.faults import Fault, Faults, Target
from whimbrel_lab.controlplane.embedded.rbac import rbac_authorizer
from whimbrel_lab.controlplane.embedded.server import EmbeddedControlPlane
from whimbrel_lab.controlplane.embedded.storage import Storage
from whimbrel_lab.controlplane.users import ADMINISTRATOR, User, service_account

__all__ = [
    "ADMINISTRATOR",
    "Admission",
    "AdmissionRequest",
    "ApiError",
    "Authorizer",
    "Counters",
    "EmbeddedControlPlane",
    "Fault",
    "Faults",
    "Object",
    "Question",
    "Refusal",
    "RequestKey",
    "Storage",
    "Target",
    "User",
    "rbac_authorizer",
    "service_account",
    "writes",
]
