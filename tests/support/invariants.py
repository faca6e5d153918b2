"""What must never happen, in the checker's own words, judged at every revision of a simulated cluster's history.

It reads raw objects only and calls nothing of what it judges. Numbers refer to the house's list of safety invariants.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

from whimbrel.domain.records import Key
from whimbrel.domain.resources import (
    HOST_PROFILES,
    INSTANCES,
    KUBEVIRTS,
    MIGRATION_PLANS,
    MIGRATION_POLICIES,
    MIGRATIONS,
    NODES,
    PODS,
    VIRTUAL_MACHINE_MOVES,
    VIRTUAL_MACHINES,
)
from whimbrel.simulation.world import Change, Object, World

OPERATOR = "whimbrel"
USER = "user"
FINISHED_MOVE = frozenset({"Succeeded", "Failed", "Skipped", "Cancelled", "Unverified"})
PLAN_UID = "whimbrel.dev/plan-uid"
INSTANCE_UID = "whimbrel.dev/instance-uid"
MANAGED = "whimbrel.dev/managed"
RESERVED = "whimbrel.dev/"
_SUFFIX = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 10**3, "M": 10**6, "G": 10**9}


def at(document: Mapping[str, Any] | None, *path: str) -> Any:
    """The member at a path, or None."""
    for part in path:
        document = document.get(part) if isinstance(document, Mapping) else None
    return document


def number_of_bytes(quantity: object) -> int:
    """A memory quantity in bytes."""
    text = str(quantity or 0)
    for suffix, factor in _SUFFIX.items():
        if text.endswith(suffix):
            return int(Fraction(text.removesuffix(suffix)) * factor)
    return int(Fraction(text))


@dataclass
class Checker:
    """Watches a world. `grace_s`: for how long the operator may not have seen what others did.

    `broken` collects what was violated; a test asserts that it stays empty.
    """

    world: World
    grace_s: float = 1.0
    broken: list[str] = field(default_factory=list)
    writes: Counter[str] = field(default_factory=Counter)
    attempts: Counter[tuple[str, str]] = field(default_factory=Counter)
    guests: dict[str, Key] = field(default_factory=dict)
    excused: set[str] = field(default_factory=set)
    seen_last: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    plans: dict[str, list[tuple[datetime, Object]]] = field(default_factory=dict)
    consents: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def begin(self) -> None:
        """From now on: what is there now must stay."""
        self.guests = {
            body["metadata"]["uid"]: key
            for key, body in self.world.objects(INSTANCES).items()
            if at(body, "status", "phase") == "Running"
        }

    def observe(self, change: Change) -> None:
        """Judges one revision."""
        rules: tuple[Callable[[Change], Iterator[str]], ...] = (
            self._loses_no_guest,
            self._keeps_consent,
            self._respects_ownership,
            self._tells_the_truth,
            self._writes_what_is_served,
            self._lands_where_allowed,
        )
        self._remember(change)
        for rule in rules:
            self.broken += [
                f"{change.at:%H:%M:%S.%f} {change.resource.kind} {change.key}: {text}" for text in rule(change)
            ]
        if change.actor == OPERATOR and change.verb == "create" and change.resource == MIGRATIONS:
            self.broken += [f"{change.at:%H:%M:%S.%f} create {change.key}: {text}" for text in self._created(change)]

    # What is remembered

    def _remember(self, change: Change) -> None:
        if change.resource == MIGRATION_PLANS and change.after is not None:
            revisions = self.plans.setdefault(change.after["metadata"]["uid"], [])
            if not revisions or revisions[-1][1].get("spec") != change.after.get("spec") or _deleting(change.after):
                revisions.append((change.at, change.after))
        if change.resource == INSTANCES and change.before:
            uid, node = change.before["metadata"]["uid"], at(change.before, "status", "nodeName")
            self.seen_last[uid] = (str(node), change.at)
        if change.resource == INSTANCES and change.verb == "delete" and change.before:
            machine = self.world.get(VIRTUAL_MACHINES, change.key)
            if change.actor == USER or machine is None or _deleting(machine):
                self.excused.add(change.before["metadata"]["uid"])
        if change.actor == OPERATOR:
            self.writes[change.resource.kind] += 1

    def _plan_was(self, uid: str, moment: datetime) -> Iterator[Object]:
        """Every revision of a plan that the operator may have known at that moment."""
        revisions = self.plans.get(uid, [])
        earliest = moment - timedelta(seconds=self.grace_s)
        for index, (_since, revision) in enumerate(revisions):
            until = revisions[index + 1][0] if index + 1 < len(revisions) else None
            if until is None or until >= earliest:
                yield revision

    # 2: never lose a guest

    def _loses_no_guest(self, change: Change) -> Iterator[str]:
        if change.resource != INSTANCES or change.before is None:
            return
        uid = change.before["metadata"]["uid"]
        if uid not in self.guests or uid in self.excused:
            return
        if change.after is None or _deleting(change.after):
            yield f"invariant 2: the guest was lost ({change.verb} by {change.actor})"
        elif at(change.after, "status", "phase") != "Running":
            yield f"invariant 2: the guest is {at(change.after, 'status', 'phase')} (by {change.actor})"

    # 7, 12: consent; post-copy is never aborted

    def _keeps_consent(self, change: Change) -> Iterator[str]:
        if change.resource == INSTANCES and change.after is not None:
            state = at(change.after, "status", "migrationState") or {}
            consent = self.consents.get(str(state.get("migrationUid")))
            if consent is None:
                return
            if state.get("mode") == "PostCopy" and consent.get("postCopy", "Never") != "Allowed":
                yield "invariant 7: post-copy without consent"
            usual = (
                at(state, "migrationConfiguration", "maxDowntimeMs") == 300
            )  # stall detection tells of each last step
            if state.get("mode") == "Paused" and consent.get("stun", "Never") != "Allowed" and not usual:
                yield "invariant 7: the guest is suspended without consent"
        if change.resource == MIGRATIONS and change.actor == OPERATOR and change.verb == "delete" and change.before:
            if change.before["metadata"].get("deletionTimestamp"):
                return
            instance = self.world.get(INSTANCES, Key(change.key.namespace, change.before["spec"]["vmiName"]))
            state = at(instance, "status", "migrationState") or {}
            if state.get("migrationUid") == change.before["metadata"]["uid"] and state.get("mode") == "PostCopy":
                yield "invariant 12: a migration in post-copy was aborted"
        if change.resource == MIGRATION_POLICIES and change.actor == OPERATOR and change.after is not None:
            plans = self.world.objects(MIGRATION_PLANS).values()
            for field, consent_to in (("allowPostCopy", "postCopy"), ("allowAutoConverge", "throttle")):
                consents = {at(plan, "spec", "migration", "disruption", consent_to) for plan in plans}
                if at(change.after, "spec", field) and "Allowed" not in consents:
                    yield f"invariant 7: a policy of ours has {field}, to which no plan consents"

    # 11, 15: others' objects

    def _respects_ownership(self, change: Change) -> Iterator[str]:
        if change.actor != OPERATOR:
            return
        body = change.after or change.before or {}
        labels = at(body, "metadata", "labels") or {}
        kind = change.resource
        if kind == INSTANCES:
            before, after = dict(change.before or {}), dict(change.after or {})
            if change.verb != "patch" or _without_reserved_labels(before) != _without_reserved_labels(after):
                yield "invariant 11: more than our reserved labels of an instance was written"
        elif kind in (MIGRATIONS, MIGRATION_POLICIES):
            if MANAGED not in labels or change.verb not in ("create", "delete"):
                yield f"invariant 11: {change.verb} of somebody else's object, or more than a create or a delete"
        elif kind == MIGRATION_PLANS:
            if change.before is None or at(change.before, "spec") != at(change.after or change.before, "spec"):
                yield "invariant 11: the spec of a plan was written"
        elif kind == HOST_PROFILES:
            if change.verb != "status":
                yield "invariant 11: more than the status of a profile was written"
        elif kind != VIRTUAL_MACHINE_MOVES:
            yield f"invariant 11: a {kind.kind} was written"

    # 13: monotone truth; 8: landed where it was said

    def _tells_the_truth(self, change: Change) -> Iterator[str]:
        before, after = change.before, change.after
        if after is None:
            return
        if change.resource == MIGRATION_PLANS and before is not None:
            for member in ("observedGeneration", "percent"):
                was, now_is = at(before, "status", member) or 0, at(after, "status", member) or 0
                if now_is < was:
                    yield f"invariant 13: {member} fell from {was} to {now_is}"
            if at(before, "status", "finishedAt") and not at(after, "status", "finishedAt"):
                yield "invariant 13: a finished plan is not finished any more"
        if change.resource == VIRTUAL_MACHINE_MOVES:
            was, now_is = at(before, "status", "phase"), at(after, "status", "phase")
            if was in FINISHED_MOVE and now_is != was:
                yield f"invariant 13: {was} became {now_is}"
            if now_is == "Succeeded" and was != "Succeeded":
                yield from self._landed(after)
            if now_is in FINISHED_MOVE and now_is != "Succeeded" and not at(after, "status", "reason"):
                yield f"{now_is} without a reason"

    def _landed(self, move: Object) -> Iterator[str]:
        attempt = at(move, "status", "attempt") or at(move, "spec", "attempt") or {}
        reference = move["spec"]["instance"]
        instance = self.world.get(INSTANCES, Key(reference["namespace"], reference["name"]))
        if instance is None or instance["metadata"]["uid"] != reference["uid"]:
            node, left_at = self.seen_last.get(reference["uid"], ("", self.world.now))
            if node in (
                attempt.get("allowedNodes") or [attempt.get("targetNode")]
            ) and left_at >= self.world.now - timedelta(seconds=self.grace_s):
                return  # it was where it was said to be, and somebody deleted it since
            yield "invariant 8: Succeeded, but the guest is not there or another one"
        elif at(instance, "status", "nodeName") not in _landing(attempt):
            yield f"invariant 8: Succeeded on {at(instance, 'status', 'nodeName')}, not on {attempt.get('targetNode')}"

    # Nothing is written that this release of KubeVirt would drop; and 8: right target, chosen by whom it may be

    def _release(self) -> tuple[int, int]:
        kubevirt = next(iter(self.world.objects(KUBEVIRTS).values()))
        major, minor = str(at(kubevirt, "status", "observedKubeVirtVersion")).removeprefix("v").split(".")[:2]
        return int(major), int(minor)

    def _writes_what_is_served(self, change: Change) -> Iterator[str]:
        if change.actor != OPERATOR or change.verb != "create":
            return
        spec = at(change.after, "spec") or {}
        if change.resource == MIGRATIONS and self._release() < (1, 6) and "addedNodeSelector" in spec:
            yield "addedNodeSelector is written, which comes with KubeVirt 1.6"
        if change.resource == MIGRATION_POLICIES and self._release() < (1, 5) and "allowWorkloadDisruption" in spec:
            yield "allowWorkloadDisruption is written, which comes with KubeVirt 1.5"

    def _lands_where_allowed(self, change: Change) -> Iterator[str]:
        was, node = at(change.before, "status", "nodeName"), at(change.after, "status", "nodeName")
        migration = str(at(change.after, "status", "migrationState", "migrationUid"))
        if change.resource != INSTANCES or not was or was == node or migration not in self.consents:
            return
        if not any(node in _landing(attempt) for attempt in self._attempts(at(change.after, "metadata", "uid"))):
            yield f"invariant 8: it landed on {node}, which was not allowed"

    def _attempts(self, instance_uid: object) -> Iterator[Object]:
        """The present specification of each unfinished move of an instance."""
        for move in self.world.objects(VIRTUAL_MACHINE_MOVES).values():
            if at(move, "spec", "instance", "uid") == instance_uid and at(move, "status", "phase") not in FINISHED_MOVE:
                yield at(move, "status", "attempt") or at(move, "spec", "attempt") or {}

    # 1, 3, 4, 5, 8, 10, 14, 15: before a migration is created

    def _created(self, change: Change) -> Iterator[str]:
        body = change.after
        assert body is not None
        labels = body["metadata"]["labels"]
        plan_uid, instance_uid = labels[PLAN_UID], labels[INSTANCE_UID]
        key = Key(change.key.namespace, body["spec"]["vmiName"])
        instance = self.world.get(INSTANCES, key)
        if instance is None or instance["metadata"]["uid"] != instance_uid:
            yield "invariant 8: the instance is not the one that was planned"
            return
        others = [each for name, each in self.world.objects(MIGRATIONS).items() if name != change.key]
        live = [
            each
            for each in others
            if at(each, "status", "phase") not in ("Succeeded", "Failed") and not self._is_a_leftover(each)
        ]
        if any(each["spec"]["vmiName"] == key.name and each["metadata"]["namespace"] == key.namespace for each in live):
            yield "invariant 1: another migration of this instance is unfinished"
        launchers = [
            pod
            for pod in self.world.objects(PODS).values()
            if at(pod, "metadata", "labels", "kubevirt.io/created-by") == instance_uid
            and at(pod, "status", "phase") not in ("Succeeded", "Failed")
            and self._seen(pod, change.at)
        ]
        if len(launchers) > 1:
            yield "invariant 3: the instance has a second launcher"
        plans = list(self._plan_was(plan_uid, change.at))
        if not plans:
            yield "invariant 14: its plan is unknown"
            return
        said = [at(each, "spec", "migration", "disruption") or {} for each in plans]
        self.consents[body["metadata"]["uid"]] = {
            kind: "Allowed"
            for kind in ("throttle", "stun", "postCopy")
            if any(each.get(kind) == "Allowed" for each in said)
        }
        if all(_deleting(each) or at(each, "spec", "suspend") or at(each, "spec", "dryRun") for each in plans):
            yield "invariant 14: its plan is suspended, a dry run, or deleted"
        self.attempts[plan_uid, instance_uid] += 1
        most = max(int(at(each, "spec", "migration", "attempts") or 3) for each in plans)
        if self.attempts[plan_uid, instance_uid] > most:
            yield f"invariant 10: attempt {self.attempts[plan_uid, instance_uid]} of {most}"
        if not any(self._in_scope(each, change.key.namespace) for each in plans):
            yield "invariant 15: in a namespace that the plan does not name"
        yield from self._within_limits(change, body, instance, live)

    def _is_a_leftover(self, migration: Object) -> bool:
        """A deleted migration of an instance that is gone, without a pod: KubeVirt forgot its finalizer."""
        pods = self.world.objects(PODS).values()
        uid = migration["metadata"]["uid"]
        has_pod = any(at(pod, "metadata", "labels", "kubevirt.io/migrationJobUID") == uid for pod in pods)
        return _deleting(migration) and self._instance_of(migration) is None and not has_pod

    @staticmethod
    def _in_scope(plan: Object, namespace: str) -> bool:
        named = at(plan, "spec", "virtualMachines", "namespaces")
        return bool(named) or plan["metadata"]["namespace"] == namespace

    def _within_limits(self, change: Change, body: Object, instance: Object, live: list[Object]) -> Iterator[str]:
        known = [
            each for each in live if MANAGED in (at(each, "metadata", "labels") or {}) or self._seen(each, change.at)
        ]
        source = at(instance, "status", "nodeName")
        target = self._target(body)
        chosen_by_scheduler = any(each.get("allowedNodes") for each in self._attempts(instance["metadata"]["uid"]))
        if target is None and not chosen_by_scheduler:
            yield "invariant 8: it has no target"
            return
        if target == source:
            yield "invariant 8: its target is its source"
        kubevirt = next(iter(self.world.objects(KUBEVIRTS).values()))
        settings = at(kubevirt, "spec", "configuration", "migrations") or {}
        cluster = int(settings.get("parallelMigrationsPerCluster", 5))
        if len(known) + 1 > cluster:
            yield f"invariant 4: {len(known) + 1} in flight in the cluster, limit {cluster}"
        leaving = sum(1 for each in known if self._source(each) == source) + 1
        most_out = min(
            int(settings.get("parallelOutboundMigrationsPerNode", 2)), self._limit(source, "parallelOutbound")
        )
        if leaving > most_out:
            yield f"invariant 4: {leaving} leave {source}, limit {most_out}"
        if target is None:
            return
        arriving = sum(1 for each in known if self._target(each) == target) + 1
        if arriving > self._limit(target, "parallelInbound"):
            yield f"invariant 4: {arriving} arrive at {target}, limit {self._limit(target, 'parallelInbound')}"
        yield from self._capacity(change, instance, target, known)

    def _capacity(self, change: Change, instance: Object, target: str, live: list[Object]) -> Iterator[str]:
        node = self.world.get(NODES, Key("", target))
        pods = [
            pod
            for pod in self.world.objects(PODS).values()
            if at(pod, "status", "phase") not in ("Succeeded", "Failed")
        ]
        there = [pod for pod in pods if at(pod, "spec", "nodeName") == target and self._seen(pod, change.at)]
        bound = {at(pod, "metadata", "labels", "kubevirt.io/migrationJobUID") for pod in there}
        taken = sum(_requested(pod) for pod in there)
        for each in live:
            if each["metadata"]["uid"] not in bound and self._target(each) == target:
                taken += self._launcher_bytes(self._instance_of(each), pods)
        taken += self._launcher_bytes(instance, pods)
        offered = number_of_bytes(at(node, "status", "allocatable", "memory"))
        if taken > offered:
            yield f"invariant 5: {taken} bytes would be requested on {target}, which offers {offered}"

    def _launcher_bytes(self, instance: Object | None, pods: list[Object]) -> int:
        uid = at(instance, "metadata", "uid")
        mine = [pod for pod in pods if at(pod, "metadata", "labels", "kubevirt.io/created-by") == uid]
        return max((_requested(pod) for pod in mine), default=0)

    def _instance_of(self, migration: Object) -> Object | None:
        return self.world.get(INSTANCES, Key(migration["metadata"]["namespace"], migration["spec"]["vmiName"]))

    def _seen(self, body: Object, moment: datetime) -> bool:
        """Whether it is old enough for the operator to have had to count it."""
        created = datetime.fromisoformat(body["metadata"]["creationTimestamp"])
        # Creation times have whole seconds, cut off.
        return created + timedelta(seconds=1 + self.grace_s) <= moment

    def _source(self, migration: Object) -> Any:
        return at(self._instance_of(migration), "status", "nodeName")

    def _target(self, migration: Object) -> str | None:
        hostname = at(migration, "spec", "addedNodeSelector", "kubernetes.io/hostname")
        if hostname is not None:
            for key, node in self.world.objects(NODES).items():
                if at(node, "metadata", "labels", "kubernetes.io/hostname") == hostname:
                    return key.name
        for pod in self.world.objects(PODS).values():
            job = at(pod, "metadata", "labels", "kubevirt.io/migrationJobUID")
            if job == migration["metadata"]["uid"] and at(pod, "status", "phase") not in ("Succeeded", "Failed"):
                return at(pod, "spec", "nodeName") or None
        return None

    def _limit(self, node_name: Any, member: str) -> int:
        """The limit of the profile with the most matching pairs, then the first name."""
        labels = at(self.world.get(NODES, Key("", node_name)), "metadata", "labels") or {}
        best: tuple[int, str] | None = None
        limit = 0
        for key, profile in sorted(self.world.objects(HOST_PROFILES).items()):
            wanted = profile["spec"].get("nodeSelector") or {}
            if any(labels.get(name) != value for name, value in wanted.items()):
                continue
            if best is None or len(wanted) > best[0]:
                best = (len(wanted), key.name)
                enabled = at(profile, "spec", "migration", "enabled")
                limit = int(at(profile, "spec", "migration", "limits", member) or 2) if enabled else 0
        return limit


def _landing(attempt: Mapping[str, Any]) -> list[Any]:
    """Where an attempt may land: where the scheduler was left the choice, on any of several nodes."""
    return list(attempt.get("allowedNodes") or [attempt.get("targetNode")])


def _deleting(body: Object) -> bool:
    return bool(at(body, "metadata", "deletionTimestamp"))


def _requested(pod: Object) -> int:
    return sum(
        number_of_bytes(at(container, "resources", "requests", "memory"))
        for container in at(pod, "spec", "containers") or ()
    )


def _without_reserved_labels(body: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = dict(body.get("metadata") or {})
    metadata["labels"] = {k: v for k, v in (metadata.get("labels") or {}).items() if not k.startswith(RESERVED)}
    for of_the_server in ("resourceVersion", "managedFields"):
        metadata.pop(of_the_server, None)
    return {**body, "metadata": metadata}
