"""kubectl's columns for the built-in kinds that people look at most."""

from whimbrel_lab.controlplane.embedded.errors import Json, Object
from whimbrel_lab.controlplane.embedded.kinds import Column
from whimbrel_lab.controlplane.embedded.tables import AGE, CREATED_AT, NAME, age


def _text(name: str, *path: str, empty: str = "<none>", priority: int = 0) -> Column:
    def cell(document: Object, _: float) -> Json:
        value: Json = document
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return empty if value is None or value == "" else str(value)

    return Column(name, "string", cell, priority=priority)


def _pod_ready(pod: Object, _: float) -> str:
    containers = (pod.get("spec") or {}).get("containers") or []
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    ready = sum(bool(each.get("ready") and (each.get("state") or {}).get("running") is not None) for each in statuses)
    return f"{ready}/{len(containers)}"


def _pod_status(pod: Object, _: float) -> str:
    status = pod.get("status") or {}
    if pod["metadata"].get("deletionTimestamp"):
        return "Terminating"
    for each in status.get("containerStatuses") or ():
        state = each.get("state") or {}
        for phase in ("waiting", "terminated"):
            if reason := (state.get(phase) or {}).get("reason"):
                return str(reason)
    return str(status.get("reason") or status.get("phase") or "Pending")


def _pod_restarts(pod: Object, _: float) -> str:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return str(sum(int(each.get("restartCount") or 0) for each in statuses))


def _node_status(node: Object, _: float) -> str:
    conditions = (node.get("status") or {}).get("conditions") or []
    ready = next((each.get("status") for each in conditions if each.get("type") == "Ready"), None)
    text = {"True": "Ready", None: "Unknown"}.get(ready, "NotReady")
    return text + (",SchedulingDisabled" if (node.get("spec") or {}).get("unschedulable") else "")


def _node_roles(node: Object, _: float) -> str:
    prefix = "node-role.kubernetes.io/"
    labels = node["metadata"].get("labels") or {}
    return ",".join(sorted(key[len(prefix) :] for key in labels if key.startswith(prefix))) or "<none>"


def _node_address(kind: str) -> Column:
    def cell(node: Object, _: float) -> str:
        addresses = (node.get("status") or {}).get("addresses") or []
        return str(next((each["address"] for each in addresses if each.get("type") == kind), "<none>"))

    return Column(kind.replace("IP", "-IP"), "string", cell, priority=1)


def _event_last_seen(event: Object, now: float) -> str:
    series = event.get("series") or {}
    moment = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return age(moment or event["metadata"].get("creationTimestamp"), now)


def _event_object(event: Object, _: float) -> str:
    involved = event.get("involvedObject") or event.get("regarding") or {}
    return f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}"


def _event_message(event: Object, _: float) -> str:
    return str(event.get("message") or event.get("note") or "").strip()


def _count(field: str) -> Column:
    return Column("Data", "string", lambda document, _: len(document.get(field) or {}))


def _workload(name: str, *path: str) -> Column:
    return _text(name, *path, empty="0")


POD = (
    NAME,
    Column("Ready", "string", _pod_ready),
    Column("Status", "string", _pod_status),
    Column("Restarts", "string", _pod_restarts),
    AGE,
    _text("IP", "status", "podIP", priority=1),
    _text("Node", "spec", "nodeName", priority=1),
)
NODE = (
    NAME,
    Column("Status", "string", _node_status),
    Column("Roles", "string", _node_roles),
    AGE,
    _text("Version", "status", "nodeInfo", "kubeletVersion", empty=""),
    _node_address("InternalIP"),
)
NAMESPACE = (NAME, _text("Status", "status", "phase"), AGE)
EVENT = (
    Column("Last Seen", "string", _event_last_seen),
    _text("Type", "type", empty=""),
    _text("Reason", "reason", empty=""),
    Column("Object", "string", _event_object),
    Column("Message", "string", _event_message),
    Column("Name", "string", lambda event, _: event["metadata"]["name"], priority=1),
)
CONFIG_MAP = (NAME, _count("data"), AGE)
SECRET = (NAME, _text("Type", "type"), _count("data"), AGE)
SERVICE = (NAME, _text("Type", "spec", "type"), _text("Cluster-IP", "spec", "clusterIP"), AGE)
CLAIM = (
    NAME,
    _text("Status", "status", "phase"),
    _text("Volume", "spec", "volumeName", empty=""),
    _text("StorageClass", "spec", "storageClassName", empty=""),
    AGE,
)
VOLUME = (NAME, _text("Status", "status", "phase"), _text("StorageClass", "spec", "storageClassName", empty=""), AGE)
DEPLOYMENT = (
    NAME,
    _workload("Desired", "spec", "replicas"),
    _workload("Up-to-date", "status", "updatedReplicas"),
    _workload("Available", "status", "availableReplicas"),
    AGE,
)
DAEMON_SET = (
    NAME,
    _workload("Desired", "status", "desiredNumberScheduled"),
    _workload("Current", "status", "currentNumberScheduled"),
    _workload("Ready", "status", "numberReady"),
    AGE,
)
LEASE = (NAME, _text("Holder", "spec", "holderIdentity", empty=""), AGE)
BUDGET = (
    NAME,
    _text("Min Available", "spec", "minAvailable", empty="N/A"),
    _text("Max Unavailable", "spec", "maxUnavailable", empty="N/A"),
    _workload("Allowed Disruptions", "status", "disruptionsAllowed"),
    AGE,
)
ROLE = DEFINITION = (NAME, CREATED_AT)
