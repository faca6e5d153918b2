"""Events are stored once, in their core/v1 form, and shown in events.k8s.io/v1 under that group's names."""

from whimbrel_lab.controlplane.embedded.errors import FieldError, Object, invalid_value, required

_RENAMED = (
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("count", "deprecatedCount"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("source", "deprecatedSource"),
)
_TO_NEW = dict(_RENAMED)
_TO_CORE = {new: core for core, new in _RENAMED}


def to_events_group(event: Object) -> Object:
    """A core/v1 Event under its events.k8s.io/v1 names."""
    shown = {_TO_NEW.get(key, key): value for key, value in event.items()}
    shown["apiVersion"] = "events.k8s.io/v1"
    return shown


def to_core(event: Object) -> Object:
    """An events.k8s.io/v1 Event as it is stored."""
    stored = {_TO_CORE.get(key, key): value for key, value in event.items()}
    stored["apiVersion"] = "v1"
    return stored


def check_core(event: Object) -> list[FieldError]:
    """An event lives in its object's namespace; one about a cluster-scoped object in `default`."""
    return _check_place(event, event.get("involvedObject") or {}, "involvedObject.namespace")


def check_new(event: Object) -> list[FieldError]:
    """What events.k8s.io/v1 requires of a new event."""
    errors = _check_place(event, event.get("regarding") or {}, "involvedObject.namespace")
    if event.get("deprecatedSource") or event.get("deprecatedCount"):
        return errors
    errors += [
        required(field) for field in ("eventTime", "reportingController", "reportingInstance", "action", "reason")
        if not event.get(field)
    ]  # fmt: skip
    if event.get("type") not in ("Normal", "Warning"):
        errors.append(invalid_value("type", event.get("type") or "", "has invalid value: " + str(event.get("type"))))
    if len(str(event.get("note") or "")) > 1024:
        errors.append(invalid_value("message", "", "can have at most 1024 bytes"))
    return errors


def _check_place(event: Object, about: Object, field: str) -> list[FieldError]:
    namespace = event["metadata"].get("namespace")
    expected = about.get("namespace") or "default"
    if namespace == expected or (not about.get("namespace") and namespace == "kube-system"):
        return []
    return [invalid_value(field, about.get("namespace") or "", "does not match event.namespace")]
