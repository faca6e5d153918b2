"""The page of the operator's own metrics, from the registry that it serves at /metrics."""

from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase

from whimbrel.kube.telemetry import Telemetry


def page() -> str:
    """The page as Markdown."""
    telemetry = Telemetry()
    found = sorted(
        (value for value in vars(telemetry).values() if isinstance(value, MetricWrapperBase)),
        key=lambda metric: _family(metric).name,
    )
    lines = [
        "# Metrics",
        "",
        "What the operator serves at `/metrics` on its health port, in Prometheus' format.",
        "",
        "| Metric | Type | Labels | Meaning |",
        "| --- | --- | --- | --- |",
    ]
    for metric in found:
        family = _family(metric)
        labels = ", ".join(f"`{label}`" for label in metric._labelnames) or "–"
        name = f"{family.name}_total" if family.type == "counter" else family.name
        lines.append(f"| `{name}` | {family.type} | {labels} | {family.documentation} |")
    return "\n".join(lines) + "\n"


def _family(metric: MetricWrapperBase) -> Metric:
    return next(iter(metric.describe()))
