"""Which broker the settings name, and as whom the device goes there."""

from edge_agent.adapters.mqtt_link import Broker
from edge_agent.settings import EdgeSettings, MqttSettings


def broker_of(settings: EdgeSettings, mqtt: MqttSettings) -> Broker:
    """Address, name and password of section `mqtt`."""
    host, port, tls = mqtt.address
    username, password = mqtt.credentials
    return Broker(
        host=host,
        port=port,
        client_id=f"wardstream-edge-{settings.device_id}",
        username=username,
        password=password,
        tls=tls,
    )
