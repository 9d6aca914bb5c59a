"""A patient monitor that speaks SDC: the library's own provider, its description from a file."""

import time
import warnings
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

with warnings.catch_warnings():
    # The library warns of a module of its own whenever it is imported.
    warnings.simplefilter("ignore")
    from sdc11073.certloader import SSLContextContainer
    from sdc11073.definitions_sdc import SdcV1Definitions
    from sdc11073.mdib import ProviderMdib
    from sdc11073.provider import SdcProvider
    from sdc11073.wsdiscovery import WSDiscovery
    from sdc11073.xml_types import pm_types
    from sdc11073.xml_types.dpws_types import ThisDeviceType, ThisModelType

DESCRIPTION = Path(__file__).with_name("sdc_device.mdib.xml")


class NoDiscovery:
    """The device announces itself to nobody: the test knows its address."""

    active_address = "127.0.0.1"

    def publish_service(self, *_: Any, **__: Any) -> None:
        """Announce nothing."""

    def clear_service(self, *_: Any, **__: Any) -> None:
        """Withdraw nothing."""

    def start(self) -> None:
        """Listen to nobody."""


class SdcDevice:
    """ECG lead II and SpO2 as they should be; one metric of unknown code, one of wrong unit."""

    def __init__(
        self, contexts: SSLContextContainer | None = None, *, announced: bool = False
    ) -> None:
        self.mdib = ProviderMdib.from_string(
            DESCRIPTION.read_bytes(), protocol_definition=SdcV1Definitions
        )
        self._discovery = WSDiscovery("127.0.0.1") if announced else NoDiscovery()
        if announced:
            self._discovery.start()
        self._provider = SdcProvider(
            self._discovery,
            ThisModelType("maker", "http://maker", "monitor", "1", "http://maker/m", "p"),
            ThisDeviceType("monitor", "1", "serial"),
            self.mdib,
            epr=uuid4(),
            ssl_context_container=contexts,
        )
        self._provider.start_all(start_rtsample_loop=False)
        if announced:
            self._provider.publish()
        self.epr = str(self._provider.epr_urn)
        self.address = self._provider.get_xaddrs()[0]
        self._n_sent = 0
        self._start_s = time.time()

    def send_ecg(self, n: int = 10, value: Decimal | None = None, valid: str = "Vld") -> None:
        """The next `n` samples; sample k is k/1000, or `value`."""
        first, self._n_sent = self._n_sent, self._n_sent + n
        with self.mdib.rt_sample_state_transaction() as change:
            for handle in ("ecg", "odd"):
                state = change.get_state(handle)
                if state.MetricValue is None:
                    state.mk_metric_value()
                state.MetricValue.Samples = [
                    Decimal(k) / 1000 if value is None else value for k in range(first, first + n)
                ]
                state.MetricValue.DeterminationTime = self._start_s + first / 250
                state.MetricValue.MetricQuality.Validity = pm_types.MeasurementValidity(valid)

    def skip(self, n: int) -> None:
        """Take `n` samples that are never sent."""
        self._n_sent += n

    def send_numeric(self, handle: str, value: str) -> None:
        with self.mdib.metric_state_transaction() as change:
            state = change.get_state(handle)
            if state.MetricValue is None:
                state.mk_metric_value()
            state.MetricValue.Value = Decimal(value)
            state.MetricValue.MetricQuality.Validity = pm_types.MeasurementValidity("Vld")

    def send_alert(self, present: bool) -> None:
        with self.mdib.alert_state_transaction() as change:
            change.get_state("ac").Presence = present

    def stop(self) -> None:
        """Stop, and close the event loop that the library leaves to the garbage collector."""
        sender = self._provider._soap_client_pool.async_loop_subscr_mgr
        self._provider.stop_all()
        if isinstance(self._discovery, WSDiscovery):
            self._discovery.stop()
        sender.join(5)
        if not sender.is_alive():
            sender.loop.close()
