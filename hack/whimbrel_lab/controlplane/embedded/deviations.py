"""What the embedded API server does not do as a real one does: the whole list.

tests/conformance_api proves every line on both servers, and docs/reference/embedded-server.md is generated from it. All
else is the same on both, by the same suite.
"""

from dataclasses import dataclass
from typing import Literal

How = Literal["refused", "warned", "silent"]


@dataclass(frozen=True, slots=True)
class Deviation:
    """One thing: what the real server does, what this one does instead, and how loudly."""

    name: str
    real: str
    embedded: str
    how: How


DEVIATIONS = (
    Deviation(
        "server-side apply",
        "merges by field owner; 409 names the other owner",
        "415, which says so",
        "refused",
    ),
    Deviation(
        "rules in CEL",
        "evaluates `x-kubernetes-validations`; 422",
        "not evaluated: a Warning at each write, and a line in the log when the definition is served",
        "warned",
    ),
    Deviation(
        "streaming lists",
        "`sendInitialEvents` sends what is there, then a bookmark that says so",
        "422, as a server without the feature; clients then list",
        "refused",
    ),
    Deviation(
        "conversion webhooks",
        "converts between the versions of a kind by a webhook",
        "422 for the definition: only the strategy `None`",
        "refused",
    ),
    Deviation(
        "validation ratcheting",
        "an update may leave an invalid value that it does not touch",
        "422 until the value is mended",
        "refused",
    ),
    Deviation(
        "kinds that the lab does not need",
        "Jobs, Ingresses, webhook configurations, API services, …",
        "404, as for any unknown path",
        "refused",
    ),
    Deviation(
        "subresources that need a kubelet or a controller",
        "`scale`, `exec`, `log`, `portforward`, `resize`, …",
        "404, which says so",
        "refused",
    ),
    Deviation(
        "answers in YAML, protobuf or CBOR",
        "as the Accept header asks",
        "406 unless JSON is accepted too",
        "refused",
    ),
    Deviation(
        "bodies in protobuf",
        "of every built-in kind",
        "of those that kubectl sends so; 415 for the others",
        "refused",
    ),
    Deviation(
        "quotas and limit ranges",
        "admission enforces and fills in",
        "stored only: a Warning when one is created",
        "warned",
    ),
    Deviation(
        "schemas of built-in kinds",
        "typed fields: wrong values 422, unknown fields dropped with a warning, many defaults, `kubectl explain`",
        "checked are Leases, Events, and of other kinds what the lab uses; the rest is kept as sent, with a Warning",
        "warned",
    ),
    Deviation(
        "immutable fields of built-in kinds",
        "422, each by its own rule",
        "pods, role bindings and events have them; the rest may change, with a Warning",
        "warned",
    ),
    Deviation("managedFields", "kept for every writer", "absent", "silent"),
    Deviation(
        "columns of built-in kinds",
        "all of kubectl's",
        "the first few; wide output shows less",
        "silent",
    ),
    Deviation(
        "who asks without a token",
        "nobody: 403",
        "the administrator: it listens on loopback only and without TLS, over which kubectl sends no token",
        "silent",
    ),
    Deviation(
        "when a definition is served",
        "a moment after its create; `Established` tells",
        "when its create is answered",
        "silent",
    ),
    Deviation(
        "when a namespace is gone",
        "some five seconds after its contents",
        "with its contents",
        "silent",
    ),
    Deviation(
        "what controllers put into a new namespace",
        "the service account `default`",
        "nothing",
        "silent",
    ),
)
