"""How long a bed has been silent."""

from edge_agent.core.bed import NUMERIC_KEPT_NS
from wardstream.alerting.engine import Finding
from wardstream.contracts.alert import Condition
from wardstream.contracts.timebase import NS_PER_S, TimestampNs


class SilenceWatch:
    """Finds that nothing comes from a bed.

    Parameters
    ----------
    after_s : float
        Silence from which it is told.
    """

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._first_tick_ns = TimestampNs(0)
        self._last_numeric_ns = 0

    def note_numeric(self, time_ns: TimestampNs) -> None:
        """A numeric was determined at `time_ns`."""
        self._last_numeric_ns = max(self._last_numeric_ns, time_ns)

    def finding(self, now_ns: TimestampNs, last_sample_ns: TimestampNs) -> Finding:
        """Whether it is silent at `now_ns`, the last curve having ended at `last_sample_ns`.

        That is 0 before the first curve.
        """
        since_ns = self._silent_since(now_ns, last_sample_ns)
        silence_s = (now_ns - since_ns) / NS_PER_S
        return Finding(
            condition=Condition.NO_DATA,
            present=silence_s >= self._after_s,
            time_ns=now_ns,
            since_ns=since_ns,
            evidence={"silence_s": max(silence_s, 0.0)},
        )

    def _silent_since(self, now_ns: TimestampNs, last_sample_ns: TimestampNs) -> TimestampNs:
        # When the last curve came; before the first, when a bed could have had one.
        if last_sample_ns:
            return last_sample_ns
        self._first_tick_ns = self._first_tick_ns or now_ns
        # A bed of numerics alone is silent when the last of them stands no longer.
        stood_ns = self._last_numeric_ns and self._last_numeric_ns + NUMERIC_KEPT_NS
        return TimestampNs(max(self._first_tick_ns, min(stood_ns, now_ns)))
