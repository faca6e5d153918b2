"""The rules that the chart grants, bound in a lab's API server as the chart binds them, and an authorizer that obeys.

Only the operator is judged by them: the lab's own parts have roles of their own in a real cluster.
"""

from pathlib import Path
from typing import Any

import yaml

from support.lab_history import is_operator
from whimbrel_lab.controlplane.embedded import EmbeddedControlPlane
from whimbrel_lab.controlplane.embedded.access import Question
from whimbrel_lab.controlplane.embedded.rbac import rbac_authorizer
from whimbrel_lab.controlplane.real.audit import AuditLog
from whimbrel_lab.lab import Lab
from whimbrel_lab.topology import INSTALL_NAMESPACE

ACCOUNT, ACCOUNT_NAMESPACE = "whimbrel", "whimbrel-system"
FILES = Path(__file__).resolve().parents[2] / "charts" / "whimbrel" / "files"
OF_EVERYBODY = ("selfsubjectaccessreviews",)
"""What every cluster's role system:basic-user grants."""
RBAC = "rbac.authorization.k8s.io"


class Refusals:
    """From now on the operator may do only what the API server finds in roles that are bound to it: none yet.

    A real server does so by itself, and its audit log tells what it refused.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._refused: set[str] = set()
        if isinstance(lab.plane, EmbeddedControlPlane):
            self._obeys = rbac_authorizer(lab.storage)
            lab.plane.authorizer = self._authorize

    def _authorize(self, question: Question) -> bool:
        if not is_operator(question.user.name) or question.resource in OF_EVERYBODY or self._obeys(question):
            return True
        self._refused.add(f"{question.verb} {question.resource}.{question.group} {question.subresource}".strip())
        return False

    def asked(self) -> list[str]:
        """What the operator asked for and was refused."""
        log = self._lab.counters
        if isinstance(log, AuditLog):
            log.read()
            refused = [each for each in log.requests if each.code == 403 and is_operator(each.user)]
            self._refused |= {f"{each.verb} {each.resource} {each.subresource}".strip() for each in refused}
        return sorted(self._refused)


async def grant_chart_roles(lab: Lab) -> None:
    """What `helm install` grants."""
    if not isinstance(lab.plane, EmbeddedControlPlane):
        await lab.install_operator(ACCOUNT_NAMESPACE, ACCOUNT)
        return
    await lab.plane.load([*_granted("ClusterRole", "cluster-role-rules.yaml")])
    await lab.plane.load([*_granted("Role", "own-namespace-role-rules.yaml", ACCOUNT_NAMESPACE)])
    await lab.plane.load([*_granted("Role", "kubevirt-namespace-role-rules.yaml", INSTALL_NAMESPACE)])


def _granted(kind: str, file: str, namespace: str = "") -> list[dict[str, Any]]:
    metadata = {"name": "whimbrel", **({"namespace": namespace} if namespace else {})}
    role = {
        "apiVersion": f"{RBAC}/v1",
        "kind": kind,
        "metadata": metadata,
        "rules": yaml.safe_load((FILES / file).read_text()),
    }
    binding = {
        "apiVersion": f"{RBAC}/v1",
        "kind": f"{kind}Binding",
        "metadata": dict(metadata),
        "roleRef": {"apiGroup": RBAC, "kind": kind, "name": "whimbrel"},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": ACCOUNT_NAMESPACE}],
    }
    return [role, binding]
