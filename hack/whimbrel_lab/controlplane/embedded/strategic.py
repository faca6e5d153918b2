"""Strategic merge patch for built-in kinds: lists merge by the key that Kubernetes' types declare.

Only kubectl and a few clients send it, and only for built-in kinds; custom resources answer 415.
"""

from whimbrel_lab.controlplane.embedded.errors import Json, Object, bad_request

_MERGE_KEYS = {
    "containers": "name", "initContainers": "name", "ephemeralContainers": "name", "volumes": "name",
    "env": "name", "volumeMounts": "mountPath", "volumeDevices": "devicePath", "conditions": "type",
    "addresses": "type", "ownerReferences": "uid", "imagePullSecrets": "name", "secrets": "name",
    "hostAliases": "ip", "podIPs": "ip", "hostIPs": "ip", "topologySpreadConstraints": "topologyKey",
    "resourceClaims": "name", "schedulingGates": "name",
}  # fmt: skip
_MERGED_PRIMITIVES = frozenset({"finalizers"})


def strategic_merge(target: Json, patch: Json) -> Json:
    """The target after the patch; the target is not changed."""
    if not isinstance(patch, dict):
        raise bad_request("a strategic merge patch must be an object")
    return _object(target if isinstance(target, dict) else {}, patch)


def _object(target: Object, patch: Object) -> Object:
    directive = patch.get("$patch")
    if directive == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    if directive == "delete":
        return {}
    merged = dict(target)
    if (retained := patch.get("$retainKeys")) is not None:
        merged = {key: value for key, value in merged.items() if key in retained}
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.partition("/")[2]
            merged[name] = [item for item in merged.get(name) or [] if item not in value]
        elif key.startswith("$"):
            continue
        elif value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            before = merged.get(key)
            merged[key] = _object(before if isinstance(before, dict) else {}, value)
        elif isinstance(value, list):
            merged[key] = _list(key, merged.get(key) or [], value)
        else:
            merged[key] = value
    for key, order in patch.items():
        if key.startswith("$setElementOrder/"):
            name = key.partition("/")[2]
            if isinstance(merged.get(name), list):
                merged[name] = _ordered(name, merged[name], order)
    return merged


def _merge_key(name: str, items: list[Json]) -> str | None:
    if name == "ports":
        inside_container = any(isinstance(item, dict) and "containerPort" in item for item in items)
        return "containerPort" if inside_container else "port"
    return _MERGE_KEYS.get(name)


def _list(name: str, target: list[Json], patch: list[Json]) -> list[Json]:
    if name in _MERGED_PRIMITIVES:
        return [*target, *(item for item in patch if item not in target)]
    if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if not (isinstance(item, dict) and "$patch" in item)]
    key = _merge_key(name, [*target, *patch])
    if key is None or not all(isinstance(item, dict) for item in [*target, *patch]):
        return patch
    merged: list[Json] = list(target)
    for item in patch:
        if key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        index = next((i for i, each in enumerate(merged) if each.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            merged = [each for each in merged if each.get(key) != item[key]]
        elif index is None:
            merged.append(_object({}, item))
        else:
            merged[index] = _object(merged[index], item)
    return merged


def _ordered(name: str, items: list[Json], order: list[Json]) -> list[Json]:
    """Items named in the order come in that order; the others keep their places behind them."""
    key = _merge_key(name, items)
    identities = [each.get(key) if isinstance(each, dict) and key else each for each in order]

    def rank(item: Json) -> int:
        identity = item.get(key) if isinstance(item, dict) and key else item
        return identities.index(identity) if identity in identities else len(identities)

    return sorted(items, key=rank)
