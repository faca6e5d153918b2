"""Random small clusters for the scheduler as oracle: raw objects of one seed, that get in no other seed's way.

Nodes of a case carry its label and topology keys of its own, and its pods select that label; so many cases fit into one
real cluster at a time.
"""

from dataclasses import dataclass, field
from random import Random
from typing import Any

from support.foreign import node_labels

Object = dict[str, Any]

CASE = "oracle.whimbrel.dev/case"
HOSTNAME = "kubernetes.io/hostname"
GPU = "vendor.example/gpu"
HUGE = "hugepages-2Mi"
PRIORITY_CLASS = "oracle-ordinary"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
EFFECTS = ("NoSchedule", "NoExecute", "PreferNoSchedule")


@dataclass
class Case:
    """One cluster, and a guest in it that wants to move."""

    seed: int
    named: bool
    """Whether its migration names a target; else the scheduler chooses."""
    nodes: list[Object] = field(default_factory=list)
    namespaces: list[Object] = field(default_factory=list)
    pods: list[Object] = field(default_factory=list)
    ended: set[str] = field(default_factory=set)
    leaving: set[str] = field(default_factory=set)
    """Names of pods that are deleted and held by a finalizer."""
    quotas: list[Object] = field(default_factory=list)
    limits: list[Object] = field(default_factory=list)
    volumes: list[Object] = field(default_factory=list)
    claims: list[Object] = field(default_factory=list)
    csi_nodes: list[Object] = field(default_factory=list)
    attachments: list[Object] = field(default_factory=list)
    guest_claims: tuple[str, ...] = ()
    node_selector: dict[str, str] = field(default_factory=dict)
    """The virtual machine's own."""
    source: str = ""
    target: Object = field(default_factory=dict)
    """The target launcher, but for the name of its node."""

    @property
    def namespace(self) -> str:
        """Where the guest is."""
        return f"o{self.seed}-main"

    @property
    def uid(self) -> str:
        """The guest's UID."""
        return f"guest-{self.seed}"


def case_of(seed: int) -> Case:
    """The case of a seed; always the same."""
    return _Maker(seed).make()


def one_of_a_pair(seed: int, *, awaited: bool) -> Case:
    """A guest that must be near one like it, of which one is on the same host; `awaited`: and one more on the second host."""
    maker = _Maker(seed)
    maker.likes.clear()
    case = maker.case = Case(seed, named=True, node_selector={CASE: str(seed)})
    case.namespaces = [maker._named(maker.main), maker._named(maker.other)]
    case.nodes = [maker._node(number) for number in range(3)]
    case.source = case.nodes[0]["metadata"]["name"]
    pair = {"app": "pair"}
    near = {"podAffinity": {REQUIRED: [{"topologyKey": HOSTNAME, "labelSelector": {"matchLabels": pair}}]}}
    spec: Object = {
        "containers": [{"name": "compute", "image": "none"}],
        "affinity": near,
        "nodeSelector": dict(case.node_selector),
        "terminationGracePeriodSeconds": 0,
    }
    own = {**pair, "kubevirt.io": "virt-launcher", "kubevirt.io/created-by": case.uid}
    homes = [("virt-launcher-guest-0", own, 0), ("partner", pair, 0), *([("awaited", pair, 1)] if awaited else [])]
    for name, labels, node in homes:
        where = case.nodes[node]["metadata"]["name"]
        case.pods.append({**maker._named(name, maker.main, labels), "spec": {**spec, "nodeName": where}})
    case.target = {**maker._named("virt-launcher-guest-1", maker.main, own), "spec": spec}
    return case


class _Maker:
    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.seed = seed
        self.case = Case(seed, named=self.random.random() < 0.75, node_selector={CASE: str(seed)})
        self.zone, self.rack = f"zone.o{seed}/name", f"rack.o{seed}/name"
        self.main, self.other = f"o{seed}-main", f"o{seed}-other"
        self.likes: set[str] = set()
        """What this case is about, so that rules meet often enough."""
        for feature, share in (
            ("taints", 0.3), ("node affinity", 0.3), ("apart", 0.35), ("near", 0.25), ("spread", 0.35),
            ("resources", 0.35), ("namespace", 0.25), ("volumes", 0.2),
        ):  # fmt: skip
            if self.chance(share):
                self.likes.add(feature)

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def make(self) -> Case:
        case = self.case
        case.namespaces = [
            self._named(name, labels={"team": self.random.choice(("red", "blue"))}) for name in (self.main, self.other)
        ]
        case.nodes = [self._node(number) for number in range(self.random.randint(3, 6))]
        case.source = case.nodes[0]["metadata"]["name"]
        if "volumes" in self.likes:
            self._volumes()
        for number in range(self.random.randint(0, 9)):
            self._pod(number)
        self._launchers()
        if "namespace" in self.likes:
            self._namespace_rules()
        return case

    def _named(self, name: str, namespace: str = "", labels: Object | None = None) -> Object:
        where = {"namespace": namespace} if namespace else {}
        return {"metadata": {"name": name, **where, "labels": {CASE: str(self.seed), **(labels or {})}}}

    def _node(self, number: int) -> Object:
        name = f"o{self.seed}-n{number}"
        labels = {
            **node_labels(name),
            "disk": self.random.choice(("ssd", "hdd")),
            "cores": str(self.random.choice((4, 8))),
        }
        if self.chance(0.1):
            labels[HOSTNAME] = f"host-{name}"
        if self.chance(0.9):
            labels[self.zone] = self.random.choice("ab" if self.chance(0.7) else "abc")
        if self.chance(0.85):
            labels[self.rack] = self.random.choice("12345")
        tight = "resources" in self.likes
        offered = {
            "cpu": str(self.random.choice((1, 2, 4) if tight else (8,))),
            "memory": f"{self.random.choice((2, 3, 4) if tight else (16,))}Gi",
            "pods": str(self.random.choice((2, 3, 20) if tight else (20,))),
            "ephemeral-storage": f"{self.random.choice((1, 2, 10) if tight else (20,))}Gi",
        }
        if self.chance(0.7):
            offered[GPU] = str(self.random.choice((0, 1, 2)))
        if self.chance(0.7):
            offered[HUGE] = f"{self.random.choice((0, 256, 1024))}Mi"
        taints = []
        if "taints" in self.likes:
            for key in self.random.sample(("dedicated", "slow", "old"), self.random.randint(0, 2)):
                effect = self.random.choice(EFFECTS)
                taints.append({"key": key, "value": self.random.choice(("", "vms", "db")), "effect": effect})
        return {
            **self._named(name, labels=labels),
            "spec": {"taints": taints},
            "status": {
                "allocatable": offered,
                "capacity": offered,
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }

    def _volumes(self) -> None:
        driver = f"csi{self.seed}.example"
        for number in range(self.random.randint(1, 4)):
            name = f"o{self.seed}-v{number}"
            source = {"driver": driver, "volumeHandle": name}
            common = {"accessModes": ["ReadWriteMany"], "storageClassName": "none"}
            claim = {"kind": "PersistentVolumeClaim", "namespace": self.main, "name": name, "apiVersion": "v1"}
            spec = {**common, "capacity": {"storage": "1Gi"}, "csi": source, "claimRef": claim}
            self.case.volumes.append({**self._named(name), "spec": spec})
            bound = self._named(name, self.main)
            bound["metadata"]["annotations"] = {"pv.kubernetes.io/bind-completed": "yes"}
            resources = {"requests": {"storage": "1Gi"}}
            self.case.claims.append({**bound, "spec": {**common, "volumeName": name, "resources": resources}})
        for node in self.case.nodes:
            name = node["metadata"]["name"]
            stated: Object = {"name": driver, "nodeID": name}
            if self.chance(0.8):
                stated["allocatable"] = {"count": self.random.randint(1, 3)}
            self.case.csi_nodes.append({**self._named(name), "spec": {"drivers": [stated]}})
            for volume in self.case.volumes:
                if self.chance(0.15):
                    volume_name = volume["metadata"]["name"]
                    spec = {"attacher": driver, "nodeName": name, "source": {"persistentVolumeName": volume_name}}
                    self.case.attachments.append({**self._named(f"{name}-{volume_name}"), "spec": spec})

    def _claims(self, most: int) -> tuple[str, ...]:
        names = [claim["metadata"]["name"] for claim in self.case.claims]
        return tuple(self.random.sample(names, self.random.randint(0, min(most, len(names)))))

    def _pod(self, number: int) -> None:
        name = f"p{number}"
        namespace = self.main if self.chance(0.75) else self.other
        spec = self._spec(claims=self._claims(2) if namespace == self.main else ())
        if "apart" in self.likes and self.chance(0.3):
            spec["affinity"] = {"podAntiAffinity": {REQUIRED: [self._term(far=True)]}}
        spec["nodeName"] = self.random.choice(self.case.nodes)["metadata"]["name"]
        pod = {**self._named(name, namespace, self._labels()), "spec": spec}
        if self.chance(0.1):
            self.case.ended.add(name)
        elif self.chance(0.1):
            pod["metadata"]["finalizers"] = ["oracle.whimbrel.dev/hold"]
            self.case.leaving.add(name)
        self.case.pods.append(pod)

    def _labels(self) -> Object:
        labels = {"app": self.random.choice("ab" if self.chance(0.8) else "abc")}
        if self.chance(0.5):
            labels["tier"] = self.random.choice("xy")
        if self.chance(0.7):
            labels["rev"] = self.random.choice("12")
        return labels

    def _spec(self, claims: tuple[str, ...] = (), *, bare: bool = False) -> Object:
        requests: Object = {}
        limits: Object = {}
        if not bare or self.chance(0.9):
            requests = {
                "memory": f"{self.random.choice((64, 256, 1024))}Mi",
                "cpu": f"{self.random.choice((50, 500, 900))}m",
            }
        if "resources" in self.likes:
            if self.chance(0.4):
                requests["ephemeral-storage"] = f"{self.random.choice((100, 600))}Mi"
            for name, amounts in ((GPU, ("1",)), (HUGE, ("128Mi", "512Mi"))):
                if requests and self.chance(0.3):
                    requests[name] = limits[name] = self.random.choice(amounts)
        if self.chance(0.3):
            limits["memory"] = "2Gi"
        if self.chance(0.2):
            limits["cpu"] = "1"
        containers = [{"name": "compute", "image": "none", "resources": {"requests": requests, "limits": limits}}]
        if self.chance(0.3):
            small = {
                "requests": {"memory": "10Mi", "cpu": "10m"},
                "limits": {"memory": "20Mi"} if self.chance(0.5) else {},
            }
            containers.append({"name": "log", "image": "none", "resources": small})
        spec: Object = {"containers": containers, "terminationGracePeriodSeconds": 0}
        if self.chance(0.2):
            first = {"requests": {"memory": "1200Mi"}} if self.chance(0.3) else {}
            spec["initContainers"] = [{"name": "first", "image": "none", "resources": first}]
        if claims:
            spec["volumes"] = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims]
        if "namespace" in self.likes:
            if self.chance(0.3):
                spec["priorityClassName"] = PRIORITY_CLASS
            if self.chance(0.2):
                spec["activeDeadlineSeconds"] = 100_000
        return spec

    def _selector(self) -> Object:
        key, values = self.random.choice((("app", ["a", "b", "c"]), ("tier", ["x", "y"])))
        match self.random.randint(0, 7):
            case 0 | 1 | 2:
                return {"matchLabels": {key: self.random.choice(values)}}
            case 3:
                return {"matchExpressions": [{"key": key, "operator": "In", "values": self.random.sample(values, 2)}]}
            case 4:
                some = [self.random.choice(values)]
                return {"matchExpressions": [{"key": key, "operator": "NotIn", "values": some}]}
            case 5:
                return {"matchExpressions": [{"key": key, "operator": self.random.choice(("Exists", "DoesNotExist"))}]}
            case 6:
                return {"matchLabels": {"app": "a", "tier": "x"}}
            case _:
                return {} if self.chance(0.5) else {"matchLabels": {"vm.kubevirt.io/name": "guest"}}

    def _term(self, *, far: bool) -> Object:
        key = self.random.choice((self.zone, self.zone, self.rack, HOSTNAME))
        term: Object = {"topologyKey": key, "labelSelector": self._selector()}
        if self.chance(0.05):
            del term["labelSelector"]
        match self.random.randint(0, 7):
            case 0:
                term["namespaces"] = [self.other]
            case 1:
                term["namespaceSelector"] = {"matchLabels": {CASE: str(self.seed), "team": "red"}}
            case 2:
                term["namespaceSelector"] = {"matchLabels": {CASE: str(self.seed)}}
            case 3 if far and key != HOSTNAME:
                term["namespaceSelector"] = {}
        if "labelSelector" in term and self.chance(0.15):
            term[self.random.choice(("matchLabelKeys", "mismatchLabelKeys"))] = ["rev"]
        return term

    def _node_affinity(self) -> Object:
        def expression() -> Object:
            match self.random.randint(0, 5):
                case 0 | 1:
                    return {"key": "disk", "operator": "In", "values": [self.random.choice(("ssd", "hdd"))]}
                case 2:
                    return {"key": self.zone, "operator": "NotIn", "values": ["a"]}
                case 3:
                    return {"key": self.rack, "operator": self.random.choice(("Exists", "DoesNotExist"))}
                case _:
                    operator = self.random.choice(("Gt", "Lt"))
                    return {"key": "cores", "operator": operator, "values": [self.random.choice(("4", "6"))]}

        def term() -> Object:
            found: Object = {"matchExpressions": [expression() for _ in range(self.random.randint(1, 2))]}
            if self.chance(0.2):
                names = [self.random.choice(self.case.nodes)["metadata"]["name"]]
                operator = self.random.choice(("In", "NotIn"))
                found["matchFields"] = [{"key": "metadata.name", "operator": operator, "values": names}]
            return found

        return {REQUIRED: {"nodeSelectorTerms": [term() for _ in range(self.random.randint(1, 2))]}}

    def _spread(self) -> list[Object]:
        found = []
        for key in self.random.sample((self.zone, self.rack, HOSTNAME), self.random.randint(1, 2)):
            each: Object = {
                "topologyKey": key,
                "maxSkew": self.random.randint(1, 2),
                "whenUnsatisfiable": "DoNotSchedule" if self.chance(0.9) else "ScheduleAnyway",
                "labelSelector": self._selector(),
            }
            if each["whenUnsatisfiable"] == "DoNotSchedule" and self.chance(0.5):
                each["minDomains"] = self.random.randint(1, 4)
            if key != HOSTNAME and self.chance(0.5):
                each["nodeAffinityPolicy"] = self.random.choice(("Ignore", "Ignore", "Honor"))
            if self.chance(0.4):
                each["nodeTaintsPolicy"] = self.random.choice(("Honor", "Ignore"))
            if each["labelSelector"] and self.chance(0.15):
                each["matchLabelKeys"] = ["rev"]
            found.append(each)
        return found

    def _tolerations(self) -> list[Object]:
        found: list[Object] = []
        for _ in range(self.random.randint(0, 3)):
            each: Object = {"key": self.random.choice(("dedicated", "slow", "old"))}
            if self.chance(0.5):
                each["operator"] = "Exists"
            else:
                each |= {"operator": "Equal", "value": self.random.choice(("", "vms", "db"))}
            if self.chance(0.5):
                each["effect"] = self.random.choice(EFFECTS)
            found.append(each)
        if self.chance(0.1):
            found.append({"operator": "Exists", "effect": self.random.choice(EFFECTS)})
        return found

    def _launchers(self) -> None:
        """The launcher that the guest runs in, and the one that a migration would make."""
        case = self.case
        case.guest_claims = self._claims(3)
        own = self._spec(claims=case.guest_claims, bare=True)
        affinity: Object = {}
        if "node affinity" in self.likes:
            affinity["nodeAffinity"] = self._node_affinity()
        if "near" in self.likes:
            affinity["podAffinity"] = {REQUIRED: [self._term(far=False) for _ in range(self.random.randint(1, 2))]}
        apart = [self._term(far=True) for _ in range(self.random.randint(1, 2))] if "apart" in self.likes else []
        if "spread" in self.likes:
            own["topologySpreadConstraints"] = self._spread()
        if "taints" in self.likes:
            own["tolerations"] = self._tolerations()
        if self.chance(0.2):
            case.node_selector["disk"] = self.random.choice(("ssd", "hdd"))
        own["nodeSelector"] = dict(case.node_selector)
        labels = {
            **self._labels(),
            "kubevirt.io": "virt-launcher",
            "kubevirt.io/created-by": case.uid,
            "vm.kubevirt.io/name": "guest",
            "vmi.kubevirt.io/id": "guest",
            "kubevirt.io/nodeName": case.source,
        }
        created_by = {"matchLabels": {"kubevirt.io/created-by": case.uid}}
        never_here = [*apart, {"topologyKey": HOSTNAME, "labelSelector": created_by}]
        before, after = (dict(affinity), dict(affinity))
        if apart:
            before["podAntiAffinity"] = {REQUIRED: apart}
        after["podAntiAffinity"] = {REQUIRED: never_here}
        source = {**self._named("virt-launcher-guest-0", self.main, labels), "spec": {**own, "affinity": before}}
        if self.chance(0.3):  # it has moved before
            hostname = case.nodes[0]["metadata"]["labels"][HOSTNAME]
            source["metadata"]["labels"]["kubevirt.io/migrationJobUID"] = "an-earlier-one"
            source["spec"] = {**own, "affinity": after, "nodeSelector": {**case.node_selector, HOSTNAME: hostname}}
            if not case.named:  # then no migration could name it
                source["spec"]["nodeSelector"] = dict(case.node_selector)
        source["spec"] = {**source["spec"], "nodeName": case.source}
        case.pods.append(source)
        coming = {**labels, "kubevirt.io/migrationJobUID": "this-one"}
        case.target = {**self._named("virt-launcher-guest-1", self.main, coming), "spec": {**own, "affinity": after}}
        owner = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "name": "guest", "uid": case.uid}
        for launcher in (source, case.target):
            launcher["metadata"]["ownerReferences"] = [{**owner, "controller": True}]

    def _namespace_rules(self) -> None:
        amounts = {
            "pods": lambda: str(self.random.randint(1, 8)),
            "count/pods": lambda: str(self.random.randint(1, 9)),
            "requests.cpu": lambda: f"{self.random.choice((500, 1000, 2000, 5000))}m",
            "cpu": lambda: f"{self.random.choice((1, 2, 4))}",
            "requests.memory": lambda: f"{self.random.choice((500, 1500, 4000))}Mi",
            "memory": lambda: f"{self.random.choice((1, 4))}Gi",
            "limits.memory": lambda: f"{self.random.choice((2, 4, 8))}Gi",
            "limits.cpu": lambda: f"{self.random.choice((1, 2, 4))}",
            "requests.ephemeral-storage": lambda: f"{self.random.choice((200, 1000))}Mi",
            f"requests.{GPU}": lambda: str(self.random.randint(0, 2)),
            HUGE: lambda: "512Mi",
        }
        for number in range(self.random.randint(0, 2)):
            names = self.random.sample(list(amounts), self.random.randint(1, 2))
            spec: Object = {"hard": {name: amounts[name]() for name in names}}
            match self.random.randint(0, 7):
                case 0:
                    spec = {"hard": {"pods": "1"}, "scopes": ["BestEffort"]}
                case 1:
                    spec = {"hard": {"pods": amounts["pods"]()}, "scopes": ["NotBestEffort"]}
                case 2:
                    scope = self.random.choice(("Terminating", "NotTerminating"))
                    spec = {"hard": {"pods": str(self.random.randint(0, 3))}, "scopes": [scope]}
                case 3:
                    rule: Object = {
                        "scopeName": "PriorityClass",
                        "operator": self.random.choice(("Exists", "DoesNotExist")),
                    }
                    if self.chance(0.5):
                        operator = self.random.choice(("In", "NotIn"))
                        rule = {"scopeName": "PriorityClass", "operator": operator, "values": [PRIORITY_CLASS]}
                    hard = {"pods": str(self.random.randint(0, 3))}
                    spec = {"hard": hard, "scopeSelector": {"matchExpressions": [rule]}}
            self.case.quotas.append({**self._named(f"q{number}", self.main), "spec": spec})
        if self.chance(0.6):
            self.case.limits.append({**self._named("l", self.main), "spec": {"limits": [self._limit()]}})

    def _limit(self) -> Object:
        limit: Object = {"type": self.random.choice(("Container", "Container", "Pod"))}
        if self.chance(0.6):
            limit["max"] = {"memory": self.random.choice(("512Mi", "2Gi", "3Gi"))}
        if self.chance(0.4):
            limit["min"] = {"memory": self.random.choice(("5Mi", "50Mi", "100Mi"))}
        if self.chance(0.3):
            limit["max"] = {**limit.get("max", {}), "cpu": self.random.choice(("1", "2"))}
        if self.chance(0.2):
            limit["maxLimitRequestRatio"] = {"memory": self.random.choice(("2", "8", "1500m"))}
        return limit
