"""Events are stored once, in their core/v1 form, and shown in events.k8s.io/v1 under that group's names."""

from whimbrel_lab.controlplane.embedded.errors import FieldError, Object, invalid_value, required
from whimbrel_lab.controlplane.embedded.names import qualified_problems
from whimbrel_lab.controlplane.embedded.typed import MICRO_TIME, check_types

_RENAMED = (
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("count", "deprecatedCount"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("source", "deprecatedSource"),
)
_REQUIRED = ("eventTime", "reportingController", "reportingInstance", "action", "reason")
_MAXIMA = {"reportingInstance": 128, "action": 128, "reason": 128, "note": 1024}
_DEPRECATED = ("deprecatedCount", "deprecatedFirstTimestamp", "deprecatedLastTimestamp", "deprecatedSource")
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
    check_types("Event", "Event.", event, {"eventTime": MICRO_TIME})
    involved, namespace = event.get("involvedObject") or {}, event["metadata"].get("namespace")
    if (stated := involved.get("namespace")) and stated != namespace:
        return [invalid_value("involvedObject.namespace", stated, "does not match event.namespace")]
    return _place_errors(event, involved)


def check_times(event: Object) -> list[FieldError]:
    """The times of an event of events.k8s.io/v1 have microseconds."""
    check_types("Event", "Event.", event, {"eventTime": MICRO_TIME})
    check_types("Event", "EventSeries.series.", event.get("series") or {}, {"lastObservedTime": MICRO_TIME})
    return []


def check_new(event: Object) -> list[FieldError]:
    """What events.k8s.io/v1 requires of a new event."""
    errors = _place_errors(event, event.get("regarding") or {})
    errors += [required(field) for field in _REQUIRED if not event.get(field)]
    for problem in qualified_problems(event.get("reportingController") or "x"):
        errors.append(invalid_value("reportingController", event["reportingController"], problem))
    errors += [
        invalid_value(_TO_CORE.get(field, field), "", f"can have at most {maximum} characters")
        for field, maximum in _MAXIMA.items()
        if len(str(event.get(field) or "")) > maximum
    ]
    if event.get("type") not in ("Normal", "Warning"):
        errors.append(invalid_value("type", "", "has invalid value: " + str(event.get("type") or "")))
    return errors + [
        invalid_value(_TO_CORE[field], "", "needs to be unset") for field in _DEPRECATED if event.get(field)
    ]


def check_update(new: Object, old: Object) -> list[FieldError]:
    """Under events.k8s.io only the series of an event may change."""
    return [
        invalid_value(_TO_CORE.get(field, field), new.get(field), "field is immutable")
        for field in sorted((new.keys() | old.keys()) - {"apiVersion", "kind", "metadata", "series"})
        if new.get(field) != old.get(field)
    ]


def _place_errors(event: Object, about: Object) -> list[FieldError]:
    if about.get("namespace") or event["metadata"].get("namespace") == "default":
        return []
    return [invalid_value("involvedObject.namespace", "", "does not match event.namespace")]
