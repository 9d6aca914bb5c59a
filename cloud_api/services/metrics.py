"""Figures for operations; no patient, no device: sums only."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class ApiMetrics:
    """Counters of this process, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._batches = Counter("cloud_batches", "Committed batches", registry=self._registry)
        self._events = Counter("cloud_alert_events", "New alert events", registry=self._registry)
        self._letters = Counter("cloud_dead_letters", "New dead letters", registry=self._registry)
        self._readers = Gauge("cloud_stream_readers", "Open event streams", registry=self._registry)
        self._sent_away = Counter(
            "cloud_stream_readers_sent_away", "Readers too slow", registry=self._registry
        )
        self._fan_out = Histogram(
            "cloud_store_to_fan_out_seconds",
            "Commit to hand-over to the readers",
            buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0),
            registry=self._registry,
        )

    def committed(self, n_new_events: int, n_new_letters: int) -> None:
        """Count one committed batch."""
        self._batches.inc()
        self._events.inc(n_new_events)
        self._letters.inc(n_new_letters)

    def readers(self, n_readers: int) -> None:
        """Note how many event streams are open."""
        self._readers.set(n_readers)

    def sent_away(self) -> None:
        """Count a reader that could not keep up."""
        self._sent_away.inc()

    def fanned_out(self, seconds: float) -> None:
        """Note how long entries took from the ring to the readers' queues."""
        self._fan_out.observe(seconds)

    def exposition(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self._registry)
