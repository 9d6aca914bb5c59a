"""Prometheus metrics of the agent, read from its counters when they are asked for."""

from collections.abc import Callable, Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edge_agent.core.outbox_port import OutboxStats
from edge_agent.core.ports import JudgeReport, Measurements, percentile
from wardstream.contracts.device import ModelReport


class AgentCollector(Collector):
    """Metric families made from the agent's counters at scrape time."""

    def __init__(
        self,
        measurements: Measurements,
        outbox: Callable[[], OutboxStats],
        report: Callable[[], JudgeReport],
        connected: Callable[[], bool],
        model: Callable[[], ModelReport] | None = None,
    ) -> None:
        self._measurements = measurements
        self._outbox = outbox
        self._report = report
        self._connected = connected
        self._model = model

    def collect(self) -> Iterable[Metric]:
        """The metric families, labels free of patients."""
        m, stats, report = self._measurements, self._outbox(), self._report()
        counters = {
            "packets": m.n_packets,
            "alert_events": m.n_alert_events,
            "ring_chunks_lost": m.n_ring_chunks_lost,
            "ring_failures": m.n_ring_failures,
            "live_messages_sent": m.n_live_sent,
            "live_messages_left_out": m.n_live_left_out,
            "log_lines_dropped": m.n_log_lines_dropped,
            "hook_runs": m.n_hook_runs,
            "hooks_dropped": m.n_hooks_dropped,
            "messages_refused": m.n_refused_messages,
            "messages_resent": m.n_resent,
            "storage_failures": m.n_storage_failures,
            "gaps": stats.gaps,
            "windows_judged": report.n_windows_judged,
            "windows_unjudged": report.n_windows_unjudged,
        }
        for name, value in counters.items():
            yield CounterMetricFamily(
                f"wardstream_edge_{name}", name.replace("_", " "), value=value
            )
        happened = CounterMetricFamily(
            "wardstream_edge_source_events", "what happened to the source", labels=["kind"]
        )
        for kind, count in m.source_events.items():
            happened.add_metric([kind], count)
        yield happened
        for name, by_lane in (("rows", stats.rows), ("bytes", stats.n_bytes)):
            family = GaugeMetricFamily(
                f"wardstream_edge_outbox_{name}", f"{name} that wait", labels=["lane"]
            )
            for lane, value in by_lane.items():
                family.add_metric([lane], value)
            yield family
        for name, values in (("decision", m.decision_ms), ("lag", m.lag_ms)):
            family = GaugeMetricFamily(
                f"wardstream_edge_{name}_seconds", f"{name} of recent packets", labels=["quantile"]
            )
            for percent in (50, 99):
                found = percentile(values, percent)
                if found is not None:
                    family.add_metric([str(percent / 100)], found / 1000)
            yield family
        yield GaugeMetricFamily(
            "wardstream_edge_connected", "whether the broker answers", value=self._connected()
        )
        if self._model is not None:
            yield from _model_metrics(self._model())


def _model_metrics(model: ModelReport) -> Iterable[Metric]:
    labels = {"version": str(model.version), "backend": model.backend}
    gauges = {
        "model_running": ("whether a model was taken into use", float(bool(model.version))),
        "model_latency_p50_seconds": (
            "of a window, as measured when the back end was chosen",
            None if model.latency_p50_ms is None else model.latency_p50_ms / 1000,
        ),
        "model_golden_error": ("largest difference from the golden answers", model.golden_error),
    }
    for name, (text, value) in gauges.items():
        if value is None:
            continue
        family = GaugeMetricFamily(f"wardstream_edge_{name}", text, labels=list(labels))
        family.add_metric(list(labels.values()), value)
        yield family
    for name, count in (("lost", model.n_lost), ("recovered", model.n_recovered)):
        yield CounterMetricFamily(
            f"wardstream_edge_model_{name}", f"times the model was {name} in use", value=count
        )
