"""An API server in the process: see `server.py`. Used by the lab and by the tests, never by the operator.

What it does otherwise than a real one is in `deviations.py`, all of it; tests/conformance_api holds both to the same.
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
