"""IEEE 11073 SDC: waveforms, numerics and alert conditions of one device on the network.

The device is found by its endpoint reference (WS-Discovery) or by its address. With certificates
only TLS is spoken: the library's own way back to plain text when TLS fails is closed.
"""

import logging
import math
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge_agent.adapters.drivers.inbox import Inbox
from edge_agent.adapters.drivers.live import DeviceLostError
from edge_agent.adapters.drivers.nomenclature import Carried, carry
from edge_agent.adapters.drivers.stated import numeric
from edge_agent.adapters.drivers.threads import on_own_thread
from edge_agent.adapters.optional import import_driver
from edge_agent.core.arrivals import WaveformArrival
from edge_agent.core.ports import SourceEvent, SourceEventKind
from wardstream.contracts.errors import ConfigurationError, ContractError, UnknownSchemaError
from wardstream.contracts.timebase import NS_PER_S, TimestampNs

MDC_SYSTEM: Final = "urn:oid:1.2.840.10004.1.1.1.0.0.1"
"""ISO/IEEE 11073-10101; also what a code without a system belongs to (BICEPS, CodedValue)."""

TAKEN: Final = frozenset({"Vld", "Vldated", "Qst"})
"""Validities under which a value stands; a questionable one is left to our own quality index."""

DISCOVERY_S: Final = 3.0
LOOK_S: Final = 0.2
_LOGGERS: Final = "sdc"


@dataclass(frozen=True, slots=True, kw_only=True)
class SdcPlan:
    """Which device.

    Attributes
    ----------
    epr : str
        Endpoint reference to look for; "" where `address` is stated.
    address : str
        ``https://host:port/path``.
    interface : str
        Our address in the device's network, for discovery.
    certificate, key, authority : Path or None
        All or none; the device must be certified by the authority, and asks the same of us.
    """

    epr: str = ""
    address: str = ""
    interface: str = "127.0.0.1"
    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None


@dataclass(frozen=True, slots=True)
class _Metric:
    code_text: str
    unit_text: str
    carried: Carried
    rate_hz: float


class SdcDriver:
    """Consumer of one SDC provider; the library's threads deliver into the inbox."""

    def __init__(self, plan: SdcPlan, inbox: Inbox) -> None:
        self._consumer: Any = import_driver("sdc11073.consumer.consumerimpl")
        self._mdib: Any = import_driver("sdc11073.mdib.consumermdib")
        self._definitions: Any = import_driver("sdc11073.definitions_sdc")
        self._properties: Any = import_driver("sdc11073.observableproperties")
        self._plan = plan
        self._inbox = inbox
        self._tls = self._contexts()
        self._metrics: dict[str, _Metric] = {}
        self._conditions: dict[str, str] = {}
        self._changed = threading.Event()

    @property
    def name(self) -> str:
        """``sdc`` and the device."""
        return f"sdc:{self._plan.epr or self._plan.address}"

    async def converse(self) -> None:
        """Receive until the device is lost.

        Raises
        ------
        DeviceLostError
            It cannot be found, refuses, changed its description, or does not answer.
        """
        await on_own_thread(self.name, self._receive)

    # ---- on the connecting thread ---------------------------------------------------------------

    def _receive(self, stop: threading.Event) -> None:
        listener = _RefusedByLibrary(self._inbox)
        library_log = logging.getLogger(_LOGGERS)
        library_log.addHandler(listener)
        consumer: Any = None
        try:
            consumer = self._consumer.SdcConsumer(
                self._plan.address or self._discover(),
                self._definitions.SdcV1Definitions,
                self._tls,
                force_ssl_connect=self._tls is not None,
            )
            consumer.start_all()
            self._watch(consumer)
            self._inbox.connected(self.name, True)
            while not stop.wait(LOOK_S):
                if self._changed.is_set():
                    raise DeviceLostError("it described itself anew")
                if not consumer.is_connected:
                    raise DeviceLostError("its subscription ended")
        except DeviceLostError:
            raise
        except Exception as error:
            raise DeviceLostError(f"{type(error).__name__}: {error}") from error
        finally:
            library_log.removeHandler(listener)
            if consumer is not None:
                with suppress(Exception):
                    consumer.stop_all(unsubscribe=bool(consumer.is_connected))

    def _discover(self) -> str:
        discovery: Any = import_driver("sdc11073.wsdiscovery").WSDiscovery(self._plan.interface)
        discovery.start()
        try:
            for service in discovery.search_services(timeout=DISCOVERY_S):
                if service.epr == self._plan.epr and service.x_addrs:
                    return str(service.x_addrs[0])
        finally:
            discovery.stop()
        raise DeviceLostError("no device with that endpoint reference answers")

    def _contexts(self) -> Any:
        plan = self._plan
        if plan.certificate is None or plan.key is None or plan.authority is None:
            return None
        loader: Any = import_driver("sdc11073.certloader")
        try:
            return loader.mk_ssl_contexts(plan.key, plan.certificate, plan.authority)
        except (OSError, ValueError) as error:
            raise ConfigurationError([f"certificates of {self.name}: {error}"]) from error

    def _watch(self, consumer: Any) -> None:
        mdib = self._mdib.ConsumerMdib(consumer)
        mdib.init_mdib()
        self._changed.clear()
        self._describe(mdib)
        self._properties.bind(
            mdib,
            waveform_by_handle=self._on_waveforms,
            metrics_by_handle=self._on_metrics,
            alert_by_handle=self._on_alerts,
            description_modifications=self._on_change,
            sequence_or_instance_id_changed_event=self._on_change,
        )
        self._on_metrics({state.DescriptorHandle: state for state in mdib.states.objects})

    # ---- what the device says of itself ---------------------------------------------------------

    def _describe(self, mdib: Any) -> None:
        self._metrics, self._conditions = {}, {}
        taken: dict[str, str] = {}
        for descriptor in mdib.descriptions.objects:
            if descriptor.is_alert_condition_descriptor:
                code = getattr(descriptor.Type, "Code", "?")
                self._conditions[descriptor.Handle] = f"{descriptor.Priority} {code}"
            if not (
                descriptor.is_realtime_sample_array_metric_descriptor
                or type(descriptor).__name__ == "NumericMetricDescriptorContainer"
            ):
                continue
            try:
                metric = _metric(descriptor)
                if metric.carried.code in taken:
                    raise UnknownSchemaError(
                        f"{metric.carried.code} is {taken[metric.carried.code]} already"
                    )
            except ContractError as error:
                self._inbox.refuse(f"metric {descriptor.Handle}", str(error))
                continue
            taken[metric.carried.code] = descriptor.Handle
            self._metrics[descriptor.Handle] = metric

    # ---- on the library's threads -----------------------------------------------------------------

    def _on_change(self, _: Any) -> None:
        self._changed.set()

    def _on_waveforms(self, states: dict[str, Any]) -> None:
        now_ns = self._inbox.now_ns()
        for handle, state in states.items():
            metric = self._metrics.get(handle)
            value = state.MetricValue
            if metric is None or value is None or not value.Samples:
                continue
            self._inbox.deliver(
                f"metric {handle}",
                lambda handle=handle, metric=metric, value=value: self._waveform(
                    handle, metric, value, now_ns
                ),
            )

    def _waveform(self, handle: str, metric: _Metric, value: Any, now_ns: int) -> WaveformArrival:
        with np.errstate(over="ignore"):
            samples = np.array([float(sample) for sample in value.Samples], dtype=np.float64)
            carried = (samples * metric.carried.scale + metric.carried.offset).astype(np.float32)
        if not _stands(value):
            carried[:] = np.nan
        return WaveformArrival(
            stream=f"{self.name} {handle}",
            codes=(metric.carried.code,),
            unit=metric.carried.unit,
            sampling_rate_hz=metric.rate_hz,
            samples=carried[np.newaxis],
            arrived_ns=now_ns,
            device_time_ns=_device_ns(value),
        )

    def _on_metrics(self, states: dict[str, Any]) -> None:
        now_ns = self._inbox.now_ns()
        for handle, state in states.items():
            metric = self._metrics.get(handle)
            value = getattr(state, "MetricValue", None)
            if metric is None or metric.rate_hz or value is None:
                continue
            stated = value.Value if _stands(value) else None
            self._inbox.deliver(
                f"metric {handle}",
                lambda metric=metric, value=value, stated=stated: numeric(
                    metric.code_text,
                    metric.unit_text,
                    math.nan if stated is None else float(stated),
                    now_ns,
                    _device_ns(value),
                ),
            )

    def _on_alerts(self, states: dict[str, Any]) -> None:
        for handle, state in states.items():
            presence = getattr(state, "Presence", None)
            if handle not in self._conditions or presence is None:
                continue
            self._inbox.put(
                SourceEvent(
                    kind=SourceEventKind.DEVICE_ALERT,
                    channel=f"{self.name} {handle}",
                    text=f"{self._conditions[handle]} {'present' if presence else 'over'}",
                    time_ns=TimestampNs(self._inbox.now_ns()),
                    amount=float(bool(presence)),
                )
            )


class _RefusedByLibrary(logging.Handler):
    """What the library warns of is a message that it could not take: it is quarantined."""

    def __init__(self, inbox: Inbox) -> None:
        super().__init__(logging.WARNING)
        self._inbox = inbox

    def emit(self, record: logging.LogRecord) -> None:
        """Refuse; the text is left out, for it may quote the message."""
        self._inbox.refuse("sdc", f"the SDC library could not take a message ({record.name})")


def _metric(descriptor: Any) -> _Metric:
    for coded, what in ((descriptor.Type, "type"), (descriptor.Unit, "unit")):
        if coded is None:
            raise UnknownSchemaError(f"it states no {what}")
        if coded.CodingSystem not in (None, MDC_SYSTEM):
            raise UnknownSchemaError(f"its {what} is not coded in ISO/IEEE 11073-10101")
    code_text, unit_text = str(descriptor.Type.Code), str(descriptor.Unit.Code)
    rate_hz = 0.0
    if descriptor.is_realtime_sample_array_metric_descriptor:
        period_s = float(descriptor.SamplePeriod or 0)
        if not period_s > 0:
            raise UnknownSchemaError("it states no sample period")
        rate_hz = round(1 / period_s, 6)
    return _Metric(code_text, unit_text, carry(code_text, unit_text), rate_hz)


def _stands(value: Any) -> bool:
    validity = value.MetricQuality.Validity
    return getattr(validity, "value", str(validity)) in TAKEN


def _device_ns(value: Any) -> int | None:
    at_s = value.DeterminationTime
    return None if at_s is None else round(float(at_s) * NS_PER_S)
