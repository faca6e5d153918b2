"""Discovery: `/api`, `/apis`, resource lists per version, and the same aggregated in one document for kubectl."""

from collections.abc import Iterator

from whimbrel_lab.controlplane.embedded.crds import version_rank
from whimbrel_lab.controlplane.embedded.errors import Object
from whimbrel_lab.controlplane.embedded.kinds import ALL_VERBS, Catalog, Kind

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
VERSION: Object = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.3+whimbrel-embedded",
    "gitCommit": "0000000000000000000000000000000000000000",
    "gitTreeState": "clean",
    "buildDate": "2026-01-01T00:00:00Z",
    "goVersion": "go1.26.0",
    "compiler": "cpython",
    "platform": "linux/amd64",
}


def _groups(catalog: Catalog) -> dict[str, dict[str, list[Kind]]]:
    """group → version → kinds, versions best first."""
    groups: dict[str, dict[str, list[Kind]]] = {}
    for group, version, kinds in catalog.versions():
        groups.setdefault(group, {})[version] = kinds
    return {
        group: {version: versions[version] for version in sorted(versions, key=version_rank)}
        for group, versions in groups.items()
    }


def core_versions(address: str) -> Object:
    """`/api`."""
    addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}


def group_list(catalog: Catalog) -> Object:
    """`/apis`."""
    groups = [_group(group, list(versions)) for group, versions in _groups(catalog).items() if group]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def one_group(catalog: Catalog, group: str) -> Object | None:
    """`/apis/<group>`."""
    versions = _groups(catalog).get(group)
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, list(versions))} if versions else None


def _group(group: str, versions: list[str]) -> Object:
    listed = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": listed, "preferredVersion": listed[0]}


def resource_list(catalog: Catalog, group: str, version: str) -> Object | None:
    """`/api/v1` or `/apis/<group>/<version>`."""
    kinds = _groups(catalog).get(group, {}).get(version)
    if not kinds:
        return None
    resources = [entry for kind in kinds for entry in _entries(kind)]
    group_version = f"{group}/{version}" if group else version
    return {
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources
    }  # fmt: skip


def _entries(kind: Kind) -> Iterator[Object]:
    entry: Object = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    if kind.verbs == ALL_VERBS:
        entry["storageVersionHash"] = f"{kind.resource}/{kind.version}"[-11:] + "="
    yield entry
    for name, response_kind, verbs in _subresources(kind):
        yield {
            "name": f"{kind.plural}/{name}", "singularName": "", "namespaced": kind.namespaced,
            "kind": response_kind, "verbs": verbs,
        }  # fmt: skip


def _subresources(kind: Kind) -> Iterator[tuple[str, str, list[str]]]:
    for name, response_kind in kind.other_subresources:
        yield name, response_kind, ["update"] if name == "finalize" else ["create"]
    if kind.status:
        yield "status", kind.kind, ["get", "patch", "update"]


def aggregated(catalog: Catalog, core: bool, version: str) -> Object:
    """`/api` or `/apis` as an APIGroupDiscoveryList."""
    items = []
    for group, versions in _groups(catalog).items():
        if bool(group) == core:
            continue
        item: Object = {
            "metadata": {"name": group, "creationTimestamp": None} if group else {"creationTimestamp": None},
            "versions": [
                {"version": each, "resources": [_aggregated_entry(kind) for kind in kinds], "freshness": "Current"}
                for each, kinds in versions.items()
            ],
        }
        items.append(item)
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }


def _aggregated_entry(kind: Kind) -> Object:
    entry: Object = {
        "resource": kind.plural,
        "responseKind": _reference(kind, kind.kind),
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    subresources = [
        {"subresource": name, "responseKind": _reference(kind, response_kind), "verbs": verbs}
        for name, response_kind, verbs in _subresources(kind)
    ]
    if subresources:
        entry["subresources"] = subresources
    return entry


def _reference(kind: Kind, name: str) -> Object:
    return {"group": kind.group, "version": kind.version, "kind": name}
