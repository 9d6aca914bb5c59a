"""The board the agent runs on: what it may be asked for, and what it does when it is hot."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from edge_agent.settings.sources import Section

Celsius = Annotated[float, Field(ge=40, le=110)]

Board = Literal[
    "generic",
    "jetson-orin-nano",
    "jetson-orin-nx",
    "jetson-agx-orin",
    "jetson-xavier-nx",
    "jetson-nano",
    "raspberry-pi-5",
    "x86-gateway",
]


class PowerSettings(Section):
    """What ``firmware_configs/power`` sets before the agent starts; the agent only states it."""

    nvpmodel: Annotated[int, Field(ge=0, le=15)] | None = Field(
        default=None, description="power mode id of a Jetson (`nvpmodel -q`)"
    )
    jetson_clocks: bool = Field(default=False, description="lock the clocks at their highest")
    cpu_governor: Literal["schedutil", "ondemand", "performance", "powersave"] = "schedutil"


class ThermalSettings(Section):
    """At how many °C of the hottest zone what is shed; None: never. Alarms cannot be."""

    live_view_celsius: Celsius | None = 80.0
    strips_celsius: Celsius | None = 85.0
    trends_celsius: Celsius | None = 88.0
    model_hop_celsius: Celsius | None = 92.0

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        stated = [at for at in self.model_dump().values() if at is not None]
        if stated != sorted(stated):
            raise ValueError("live_view <= strips <= trends <= model_hop: the model goes last")
        return self


class PlatformSettings(Section):
    """The board, and how much of it the agent may use."""

    board: Board = "generic"
    beds: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="beds this board is meant for, one agent each"
    )
    max_channels: Annotated[int, Field(ge=1, le=64)] = 16
    max_rate_hz: Annotated[float, Field(ge=25, le=4000)] = 1000.0
    threads: Annotated[int, Field(ge=1, le=16)] = Field(
        default=1, description="threads of numerical libraries (OMP_NUM_THREADS of the unit)"
    )
    memory_max_mb: Annotated[int, Field(ge=128, le=65_536)] = Field(
        default=400, description="MemoryMax of the unit"
    )
    watchdog_s: Annotated[int, Field(ge=2, le=60)] = Field(
        default=10, description="WatchdogSec of the unit: a hung agent is killed and restarted"
    )
    power: PowerSettings = PowerSettings()
    thermal: ThermalSettings = ThermalSettings()
