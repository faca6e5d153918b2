"""The operator's Prometheus metrics, in one registry of their own; every label is bounded.

Made once in `runtime.app` and handed to whoever counts.
"""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from whimbrel.domain.decision import ForecastScore, HostOutlook

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Telemetry:
    """All series that the shell counts. Names and labels are part of the documentation."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.api_requests = Counter(
            "whimbrel_api_requests", "Requests to the API server.", ("verb", "kind", "code"), registry=registry
        )
        self.api_seconds = Histogram(
            "whimbrel_api_request_seconds",
            "Time until the API server answered.",
            ("verb",),
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.watch_events = Counter("whimbrel_watch_events", "Events received.", ("kind", "type"), registry=registry)
        self.relists = Counter("whimbrel_relists", "Full lists taken.", ("kind", "why"), registry=registry)
        self.unreadable = Counter(
            "whimbrel_unreadable_objects", "Objects that could not be understood.", ("kind",), registry=registry
        )
        self.synced = Gauge("whimbrel_synced", "1: the kind is listed and watched.", ("kind",), registry=registry)
        self.records = Gauge("whimbrel_records", "Objects in the store.", ("kind",), registry=registry)
        self.leader = Gauge("whimbrel_leader", "1: this replica leads.", registry=registry)
        self.ticks = Counter("whimbrel_ticks", "Decisions taken.", ("result",), registry=registry)
        self.decide_seconds = Histogram(
            "whimbrel_decide_seconds", "Time to decide.", buckets=LATENCY_BUCKETS, registry=registry
        )
        self.writes = Counter(
            "whimbrel_writes",
            "Decided writes, by what became of them.",
            ("verb", "kind", "result"),
            registry=registry,
        )
        self.queue_age = Histogram(
            "whimbrel_queue_wait_seconds",
            "Time from the first unseen change to the snapshot.",
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.events = Counter(
            "whimbrel_events", "Kubernetes Events, by what became of them.", ("result",), registry=registry
        )
        self.guard_deletes = Counter(
            "whimbrel_stun_guard_deletes", "Migrations cut short by the stun guard.", registry=registry
        )
        self.stun_resume_seconds = Gauge(
            "whimbrel_stun_resume_seconds",
            "Time that the stun guard reckons with from its decision to the guest running again.",
            registry=registry,
        )
        self.guests_left_paused = Gauge(
            "whimbrel_guests_left_paused",
            "Guests that were not seen running again after their stun was ended.",
            registry=registry,
        )
        self.scrapes = Counter(
            "whimbrel_handler_scrapes", "Reads of virt-handlers' metrics.", ("result",), registry=registry
        )
        self.prometheus_reads = Counter(
            "whimbrel_prometheus_reads", "Readings of guests from the Prometheus that was named.", ("result",),
            registry=registry,
        )  # fmt: skip
        self.host_enabled = Gauge(
            "whimbrel_host_enabled",
            "1: the host's HostProfile enables it, so that plans may use it.",
            ("node",),
            registry=registry,
        )
        self.host_evacuable = Gauge(
            "whimbrel_host_evacuable",
            "1: all virtual machines on the host can leave it now.",
            ("node",),
            registry=registry,
        )
        self.host_evacuation_seconds = Gauge(
            "whimbrel_host_evacuation_seconds",
            "Least time until all virtual machines that can leave the host have left it.",
            ("node",),
            registry=registry,
        )
        self.host_blockers = Gauge(
            "whimbrel_host_blockers",
            "Virtual machines that keep the host from being emptied.",
            ("node",),
            registry=registry,
        )
        self.host_blockers_appeared = Counter(
            "whimbrel_host_blockers_appeared",
            "Virtual machines that began to keep a host which plans may use from being emptied.",
            ("node",),
            registry=registry,
        )
        self.forecast_moves = Gauge(
            "whimbrel_forecast_moves", "Newest finished moves that the score of the forecasts is of.", registry=registry
        )
        self.forecast_error = Gauge(
            "whimbrel_forecast_error_ratio",
            "Median error of the durations foretold: |forecast / fact - 1|.",
            registry=registry,
        )
        self.forecast_p90_held = Gauge(
            "whimbrel_forecast_p90_held_ratio",
            "Share of moves that took no longer than the 90th percentile foretold.",
            registry=registry,
        )
        self._counted: frozenset[str] = frozenset()
        self.loop_lag = Gauge("whimbrel_loop_lag_seconds", "How late the event loop woke last.", registry=registry)
        self.kopf_restarts = Counter(
            "whimbrel_kopf_restarts", "Times Kopf ended and was started again.", registry=registry
        )

    def show_score(self, score: ForecastScore) -> None:
        """How well the newest finished moves were foretold."""
        self.forecast_moves.set(score.moves)
        self.forecast_error.set(score.median_error)
        self.forecast_p90_held.set(score.p90_held)

    def show_hosts(self, hosts: Iterable[HostOutlook]) -> None:
        """What is known of emptying each host now; hosts that are not among these are shown no more.

        The counter starts at zero before anything is counted, or nobody would see it increase.
        """
        shown = {host.node: host for host in hosts}
        for gauge in (self.host_enabled, self.host_evacuable, self.host_evacuation_seconds, self.host_blockers):
            gauge.clear()
        for node in self._counted - shown.keys():
            self.host_blockers_appeared.remove(node)
        self._counted = frozenset(shown)
        for node, host in shown.items():
            self.host_enabled.labels(node).set(host.enabled)
            self.host_evacuable.labels(node).set(host.evacuable)
            self.host_evacuation_seconds.labels(node).set(host.seconds)
            self.host_blockers.labels(node).set(len(host.blockers))
            self.host_blockers_appeared.labels(node).inc(host.appeared)
