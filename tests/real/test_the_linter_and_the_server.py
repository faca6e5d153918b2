"""What the linter says of rules and defaults is what a server says of the definition."""

from typing import Any

import pytest

from crdgen.lint import findings
from support.definitions import definitions
from whimbrel_lab.controlplane.client import RawClient
from whimbrel_lab.controlplane.real.server import Endpoint

pytestmark = pytest.mark.control_plane

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CONSENT = {"type": "string", "enum": ["Never", "Allowed"], "default": "Never", "description": "Consent."}


def with_rule(rule: str, **schema: Any) -> dict[str, Any]:
    rules = [{"rule": rule, "message": "No."}]
    return {
        "type": "object", "description": "It.", "properties": {"consent": CONSENT}, "x-kubernetes-validations": rules, **schema
    }  # fmt: skip


def nested(inner: dict[str, Any], **schema: Any) -> dict[str, Any]:
    return {"type": "object", "description": "It.", "properties": {"inner": inner}, **schema}


def a_definition(it: dict[str, Any]) -> dict[str, Any]:
    """HostProfile's definition as another kind, whose spec has one field."""
    definition = next(each for each in definitions() if each["spec"]["names"]["kind"] == "HostProfile")
    names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}
    spec = {"type": "object", "description": "The intent.", "properties": {"it": it}}
    schema = {"type": "object", "description": "A thing.", "properties": {"spec": spec}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        **definition,
        "metadata": {"name": "things.rules.whimbrel.dev"},
        "spec": {"group": "rules.whimbrel.dev", "names": names, "scope": "Cluster", "versions": [version]},
    }


READS = "self.consent == 'Never'"
ASKS = "!has(self.consent) || self.consent == 'Never'"


@pytest.mark.parametrize(
    ("it", "accepted"),
    [
        (with_rule(READS), True),
        (with_rule(READS, default={}), False),
        (with_rule(READS, default={"consent": "Never"}), True),
        (with_rule(ASKS, default={}), True),
        (nested(with_rule(READS), default={"inner": {}}), False),
        (nested(with_rule(READS), default={}), True),
        (nested(with_rule(ASKS, default={}), default={}), True),
        (with_rule("self.other == 'x'"), False),
    ],
)
async def test_the_linter_finds_what_the_server_refuses(
    it: dict[str, Any], accepted: bool, api_server: Endpoint
) -> None:
    document = a_definition(it)
    access = api_server.access()

    async with RawClient(access.url, access.token, tls=access.tls) as client:
        answer = await client.create(DEFINITIONS, document, dryRun="All")

    assert (answer.code == 201, findings(document) == []) == (accepted, accepted), answer.text
