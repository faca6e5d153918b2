"""The nodes' side of migrations: virt-handlers, launchers with KubeVirt's monitor, guests and links of the fluid model.

What they write is `simulation.kubevirt.agents`'; how long copying takes is `simulation.network`'s; how long libvirt takes to
resume an aborted guest was measured (libvirt 9.0, QEMU 7.2).
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from math import inf

from whimbrel.domain.quantities import bytes_of, bytes_per_second_of_mbps
from whimbrel.domain.records import Key
from whimbrel.domain.resources import INSTANCES, MIGRATIONS, NODES, PODS
from whimbrel.domain.samples import GuestReadings, MigrationSample
from whimbrel.simulation import fluid, launcher
from whimbrel.simulation.agenda import Agenda, Alarm
from whimbrel.simulation.data_centre import DataCentre, Pace
from whimbrel.simulation.fluid import Copy, Memory, Stage
from whimbrel.simulation.kubevirt import admission, agents, monitor, traits
from whimbrel.simulation.kubevirt.releases import release
from whimbrel.simulation.kubevirt.values import (
    JOB_UID_LABEL,
    deleting,
    final,
    labels,
    migration_state,
    phase,
    spec,
    status,
    uid,
)
from whimbrel.simulation.kubevirt.values import Object as JsonObject
from whimbrel.simulation.metrics import (
    DIRTY_RATE_SINCE,
    READ_S,
    SAMPLE_S,
    Courses,
    Measurements,
    RunningGuest,
    readings,
)
from whimbrel.simulation.network import Network
from whimbrel.simulation.topology import Topology
from whimbrel.simulation.world import Change, Object

HANDLER = admission.account("handler")
EVICTION = "node-controller"
RESUME_S = (1.2, 2.1)
DISCONNECTED_S = 5.0
EVICTION_S = 300.0
NO_RULES = monitor.Rules(0)
NO_WATCH = monitor.begin(NO_RULES)
UNKNOWN_GUEST = Memory(2 * 1024**3, 1024**3, 0, 0)


@dataclass(frozen=True, slots=True)
class Blackout:
    """For how long a guest stood still on account of one migration, and whether that was aborted."""

    instance: Key
    migration_uid: str
    ended_at: float
    seconds: float
    aborted: bool


@dataclass(slots=True)
class _Job:
    """A migration from the hand-off to its end."""

    instance: Key
    migration_uid: str
    instance_uid: str
    source: str
    target: str
    target_pod: str
    source_pod: str
    begun_at: float = inf
    rules: monitor.Rules = NO_RULES
    watch: monitor.Watch = NO_WATCH
    stopping: bool = False


class NodeAgents:
    """All virt-handlers and launchers. `fail_next` and `set_link` are for fault injection."""

    def __init__(self, centre: DataCentre, agenda: Agenda, pace: Pace, topology: Topology) -> None:
        self.blackouts: list[Blackout] = []
        self._centre, self._world, self._agenda, self._pace = centre, centre.world, agenda, pace
        self._network = Network({host.name: float(bytes_per_second_of_mbps(host.link_mbps)) for host in topology.hosts})
        self._memory = {guest.key: guest.memory for guest in topology.guests}
        self._dirty_rates = release(topology.version).minor >= DIRTY_RATE_SINCE
        self._courses = Courses()
        self._readings: Mapping[Key, GuestReadings] = {}
        self._read_at = -inf
        self._jobs: dict[str, _Job] = {}
        self._failures: dict[Key, str] = {}
        self._copying = Alarm(agenda, self._settle)

    def fail_next(self, instance: Key, reason: str) -> None:
        """The instance's next migration ends with this reason one second after its begin."""
        self._failures[instance] = reason

    def set_link(self, host: str, mbps: int) -> None:
        """Makes a link faster, slower, or dead (0)."""
        self._settle()
        self._network.set_link(host, bytes_per_second_of_mbps(mbps), self._agenda.seconds)
        self._arm()

    def metrics(self) -> Measurements:
        """What virt-handlers' metrics have told by now."""
        now = self._agenda.seconds
        if now - self._read_at >= READ_S:
            self._read_at = now
            self._readings = readings(self._running(), self._readings, self._world.now, dirty_rates=self._dirty_rates)
        there = self._world.objects(INSTANCES)
        if not self._readings.keys() <= there.keys():
            self._readings = {key: each for key, each in self._readings.items() if key in there}
        courses = self._courses.at(self._world.now)
        copying = {job.instance for job in self._jobs.values() if job.migration_uid in self._network}
        samples = {key: course[-1] for key, course in courses.items() if key in copying}
        return Measurements(samples, courses, self._readings)

    def _running(self) -> Iterable[RunningGuest]:
        migrating = {job.instance for job in self._jobs.values()}
        for key, body in self._world.objects(INSTANCES).items():
            if phase(body) == "Running":
                node = str(status(body).get("nodeName"))
                yield RunningGuest(key, node, self._memory.get(key, UNKNOWN_GUEST), key in migrating)

    def _sample(self, migration_uid: str) -> None:
        job = self._jobs.get(migration_uid)
        if job is None or migration_uid not in self._network:
            return
        self._agenda.after(SAMPLE_S, partial(self._sample, migration_uid))
        copy = self._network.copy(migration_uid, self._agenda.seconds)
        sample = MigrationSample(
            sampled_at=self._world.now,
            total_bytes=int(copy.memory.size_bytes),
            processed_bytes=int(copy.sent_bytes),
            remaining_bytes=int(copy.remaining_bytes),
            transfer_bytes_per_second=int(self._network.rate(migration_uid)),
            dirty_bytes_per_second=int(copy.dirty_bytes_per_second),
        )
        self._courses.add(job.instance, migration_uid, sample)

    def notice(self, change: Change) -> None:
        """A change that a virt-handler sees."""
        if change.resource == INSTANCES:
            self._notice_instance(change.key, change.after)
        elif change.resource == PODS and change.before is not None:
            gone = change.after is None or final(change.after)
            job = self._jobs.get(labels(change.before).get(JOB_UID_LABEL, ""))
            if gone and job is not None and job.target_pod == change.key.name:
                self._disconnect(job, "Lost connection to destination host")
        elif change.resource == NODES:
            self._notice_node(change.key.name)

    def _notice_node(self, node: str) -> None:
        if self._centre.node_ready(node):
            for key, body in list(self._world.objects(INSTANCES).items()):
                if migration_state(body).get("targetNode") == node:
                    self._notice_instance(key, body)
            return
        for job in list(self._jobs.values()):
            if job.target == node:
                why = f"unable to connect to server at '{node}:49152': Connection timed out"
                self._agenda.after(DISCONNECTED_S, partial(self._disconnect_if_down, job, why))
        self._agenda.after(EVICTION_S, partial(self._evict, node))

    def _disconnect_if_down(self, job: _Job, reason: str) -> None:
        if not self._centre.node_ready(job.target):
            self._disconnect(job, reason)

    def _evict(self, node: str) -> None:
        """Target pods are taken from a node that has been away for long."""
        if self._centre.node_ready(node):
            return
        unfinished = {uid(body) for body in self._world.objects(MIGRATIONS).values() if not final(body)}
        for key, pod in list(self._world.objects(PODS).items()):
            if spec(pod).get("nodeName") == node and labels(pod).get(JOB_UID_LABEL) in unfinished:
                self._world.delete(EVICTION, PODS, key, uid(pod))

    def _notice_instance(self, key: Key, body: Object | None) -> None:
        if body is None or final(body) or deleting(body):
            for running in [each for each in self._jobs.values() if each.instance == key]:
                self._forget(running)
            self._courses.forget(key)
            return
        if phase(body) == "Scheduled":
            self._agenda.after(self._pace.prepare_s, partial(self._boot, key, uid(body)))
        state = migration_state(body)
        migration_uid = str(state.get("migrationUid") or "")
        if not migration_uid or state.get("completed"):
            return
        job = self._jobs.get(migration_uid)
        if job is None:
            if not state.get("startTimestamp"):
                self._agenda.after(self._pace.prepare_s, partial(self._prepare, key, migration_uid))
        elif state.get("abortRequested") and not job.stopping:
            self._abort(job)

    def _write(self, key: Key, migration_uid: str, change: Callable[[Object], JsonObject]) -> bool:
        """Changes the instance as long as it is in that migration."""
        body = self._world.get(INSTANCES, key)
        if body is None or migration_state(body).get("migrationUid") != migration_uid:
            return False
        self._world.replace(HANDLER, INSTANCES, key, change(body))
        return True

    def _boot(self, key: Key, instance_uid: str) -> None:
        body = self._world.get(INSTANCES, key)
        if body is None or uid(body) != instance_uid or phase(body) != "Scheduled":
            return
        node = self._world.get(NODES, Key("", str(status(body).get("nodeName")))) or {}
        running = agents.guest_running(dict(body), node, self._world.now, kubevirt=self._centre.kubevirt, agent=True)
        self._world.replace(HANDLER, INSTANCES, key, running)

    def _prepare(self, key: Key, migration_uid: str) -> None:
        body = self._world.get(INSTANCES, key)
        state = migration_state(body or {})
        if body is None or state.get("migrationUid") != migration_uid or state.get("completed"):
            return
        target = str(state.get("targetNode"))
        if migration_uid in self._jobs or not self._centre.node_ready(target):
            return
        self._jobs[migration_uid] = _Job(
            instance=key,
            migration_uid=migration_uid,
            instance_uid=uid(body),
            source=str(state.get("sourceNode")),
            target=target,
            target_pod=str(state.get("targetPod")),
            source_pod=str(state.get("sourcePod") or ""),
        )
        self._write(
            key, migration_uid, lambda seen: agents.target_prepared(dict(seen), "10.0.1.1", (41001, 41002, 41003))
        )
        self._agenda.after(self._pace.prepare_s, partial(self._start, migration_uid))

    def _start(self, migration_uid: str) -> None:
        job = self._jobs.get(migration_uid)
        body = self._world.get(INSTANCES, job.instance) if job is not None else None
        if job is None or body is None or migration_state(body).get("completed"):
            return
        self._settle()
        configuration = migration_state(body)["migrationConfiguration"]
        job.begun_at = self._agenda.seconds
        self._courses.forget(job.instance)
        job.rules = monitor.rules(configuration, body, self._centre.kubevirt)
        job.watch = monitor.begin(job.rules)
        cap = bytes_of(configuration.get("bandwidthPerMigration"))
        memory = self._memory.get(job.instance, UNKNOWN_GUEST)
        compression = memory.zstd_ratio if traits.goes_compressed(configuration, body) else 1.0
        copy = fluid.begin(memory, cap, bool(configuration.get("allowAutoConverge")), compression)
        self._network.begin(migration_uid, job.source, job.target, copy, self._agenda.seconds)
        self._arm()
        now = self._world.now
        self._write(job.instance, migration_uid, lambda seen: agents.started(dict(seen), now))
        self._agenda.after(monitor.TICK_S, partial(self._monitor, migration_uid))
        self._agenda.after(SAMPLE_S, partial(self._sample, migration_uid))
        if (reason := self._failures.pop(job.instance, "")) != "":
            self._agenda.after(1.0, partial(self._disconnect, job, reason))

    def _monitor(self, migration_uid: str) -> None:
        job = self._jobs.get(migration_uid)
        if job is None or job.stopping or migration_uid not in self._network:
            return
        self._settle()
        if migration_uid not in self._network:
            return
        now, rate, mode = self._agenda.seconds, self._network.rate(migration_uid), job.watch.mode
        copy = self._network.copy(migration_uid, now)
        pause_s = monitor.pause_s(job.rules, fluid.round_left_s(copy, rate))
        self._agenda.after(pause_s, partial(self._monitor, migration_uid))
        job.watch, action = monitor.tick(job.rules, job.watch, launcher.look_at(copy, rate, now - job.begun_at))
        if (changed := launcher.done_to(copy, action, job.watch)) is not copy:
            self._network.replace(job.migration_uid, changed, now)
            self._arm()
        if job.watch.mode != mode:
            self._write(job.instance, job.migration_uid, lambda seen: agents.mode_changed(dict(seen), job.watch.mode))
        if action is monitor.Action.ABORT:
            self._abort(job)

    def _settle(self) -> None:
        for ended in self._network.advance_to(self._agenda.seconds):
            job = self._jobs[ended.name]
            job.stopping = True
            self._blackout(job, ended.copy.blackout_s, aborted=False)
            self._agenda.after(self._pace.finish_s, partial(self._take_over, job))
        self._arm()

    def _arm(self) -> None:
        if (at := self._network.next_change()) != inf:
            self._copying.at(at)

    def _take_over(self, job: _Job) -> None:
        now = self._world.now
        self._write(
            job.instance,
            job.migration_uid,
            lambda seen: agents.moved(agents.domain_seen(dict(seen), now), now, "10.0.0.3"),
        )
        self._agenda.after(self._pace.finish_s, partial(self._complete, job))

    def _complete(self, job: _Job) -> None:
        self._write(job.instance, job.migration_uid, lambda seen: agents.completed(dict(seen)))
        self._jobs.pop(job.migration_uid, None)
        self._agenda.after(self._pace.finish_s, partial(self._release, job))
        self._agenda.after(
            self._pace.pod_end_s, partial(self._centre.end_pod, job.instance.namespace, job.source_pod, "Succeeded")
        )

    def _release(self, job: _Job) -> None:
        self._write(job.instance, job.migration_uid, lambda seen: agents.released(dict(seen)))

    def _abort(self, job: _Job) -> None:
        """Libvirt ends the job and resumes the guest. Too late once the guest was stopped to move."""
        self._settle()
        if job.migration_uid not in self._network or job.stopping:
            return
        copy = self._network.copy(job.migration_uid, self._agenda.seconds)
        if copy.stage is Stage.POST_COPY:
            self._write(job.instance, job.migration_uid, lambda seen: agents.abort_progress(dict(seen), "Failed"))
        elif copy.stage is Stage.PRE_COPY:
            job.stopping = True
            self._write(job.instance, job.migration_uid, lambda seen: agents.abort_progress(dict(seen), "Aborting"))
            self._stop(job, copy, agents.ABORTED, aborted=True)

    def _disconnect(self, job: _Job, reason: str) -> None:
        """The copy fails by itself; before its begin virt-controller notices the lost pod."""
        self._settle()
        if job.stopping or self._jobs.get(job.migration_uid) is not job or job.migration_uid not in self._network:
            return
        copy = self._network.copy(job.migration_uid, self._agenda.seconds)
        if copy.stage is Stage.PRE_COPY:
            self._stop(job, copy, reason, aborted=False)

    def _stop(self, job: _Job, copy: Copy, reason: str, *, aborted: bool) -> None:
        job.stopping = True
        self._network.remove(job.migration_uid, self._agenda.seconds)
        self._arm()
        digest = hashlib.sha256(job.migration_uid.encode()).digest()
        resume_s = RESUME_S[0] + digest[0] / 255 * (RESUME_S[1] - RESUME_S[0])
        if copy.stands_still:
            self._blackout(job, copy.blackout_s + resume_s, aborted=True)
        self._agenda.after(resume_s, partial(self._report_failure, job, reason, aborted))

    def _report_failure(self, job: _Job, reason: str, aborted: bool) -> None:
        now = self._world.now
        self._write(
            job.instance, job.migration_uid, lambda seen: agents.failed(dict(seen), now, reason, aborted=aborted)
        )
        self._jobs.pop(job.migration_uid, None)
        self._agenda.after(self._pace.finish_s, partial(self._release, job))
        self._agenda.after(
            self._pace.pod_end_s, partial(self._centre.end_pod, job.instance.namespace, job.target_pod, "Failed")
        )

    def _forget(self, job: _Job) -> None:
        """The guest is gone, and its migration with it."""
        self._settle()
        self._jobs.pop(job.migration_uid, None)
        if job.migration_uid in self._network:
            self._network.remove(job.migration_uid, self._agenda.seconds)
            self._arm()

    def _blackout(self, job: _Job, seconds: float, *, aborted: bool) -> None:
        self.blackouts.append(Blackout(job.instance, job.migration_uid, self._agenda.seconds, seconds, aborted))
