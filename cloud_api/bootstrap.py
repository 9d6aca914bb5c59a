"""The one place that knows both ports and adapters."""

import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from fastapi import FastAPI

from cloud_api.adapters.command_store import PostgresCommands
from cloud_api.adapters.database import KeptConnection, StorePool
from cloud_api.adapters.escalation_store import PostgresEscalations
from cloud_api.adapters.intake_store import PostgresIntakeStore
from cloud_api.adapters.journal import JournalBell, PostgresJournal
from cloud_api.adapters.model_repository import DiskModelRepository
from cloud_api.adapters.mqtt_link import BrokerAddress, MqttLink
from cloud_api.adapters.order_store import PostgresOrders
from cloud_api.adapters.passwords import Argon2Passwords
from cloud_api.adapters.read_store import PostgresReads
from cloud_api.adapters.signatures import OrderSigner
from cloud_api.adapters.staff_store import PostgresStaff
from cloud_api.adapters.tokens import SessionTokens
from cloud_api.adapters.ward_store import PostgresWard
from cloud_api.core.staff import Role
from cloud_api.http.app import create_app
from cloud_api.http.parts import ApiParts, Readiness
from cloud_api.services.alert_desk import AlertDesk
from cloud_api.services.bell import BellListener
from cloud_api.services.escalation import EscalationDesk
from cloud_api.services.fanout import FanOut, LinkHealth
from cloud_api.services.first_users import FirstUser, FirstUsers
from cloud_api.services.intake import AlertIntake
from cloud_api.services.metrics import ApiMetrics
from cloud_api.services.order_desk import OrderDesk
from cloud_api.services.sign_in import SignInDesk
from cloud_api.services.supervisor import Service
from cloud_api.services.ward_watch import WardWatch
from cloud_api.services.web_server import WebServer
from cloud_api.settings import CloudSettings
from wardstream.alerting.escalation import EscalationPolicy, Step
from wardstream.contracts.topics import ALERT, GAP, STATUS, STRIP

STATIC_DIR: Final = Path(__file__).parent / "web" / "static"

# Not a shared subscription: every replica takes in every alert, and whoever commits first wins.
# A shared one would leave a share of the alarms waiting in the session of a replica that has
# died, and retained statuses are never sent to one. Alerts are rare; doing it twice is cheap.
INTAKE_FILTERS: Final = (ALERT.filter(), STRIP.filter(), STATUS.filter(), GAP.filter())


@dataclass(frozen=True, slots=True)
class CloudApi:
    """A whole API process, not yet started.

    Attributes
    ----------
    resources : sequence of async context managers
        In the order they are acquired.
    services : sequence of Service
        What runs on them.
    app : FastAPI
        The application among them.
    """

    resources: Sequence[AbstractAsyncContextManager[Any]]
    services: Sequence[Service]
    app: FastAPI


def new_id() -> str:
    """A random UUID."""
    return str(uuid4())


def sign_in_desk(pool: StorePool, session_secret: str) -> SignInDesk:
    """The desk that knows users and sessions."""
    return SignInDesk(
        PostgresStaff(pool),
        Argon2Passwords(),
        SessionTokens(session_secret),
        clock=time.time_ns,
        new_id=new_id,
    )


def build(settings: CloudSettings) -> CloudApi:
    """Everything wired; nothing acquired."""
    clock = time.time_ns
    boot_id = new_id()  # in whose name this life of the cloud numbers its own alerts
    metrics = ApiMetrics()
    url = settings.database_url.get_secret_value()
    pool = StorePool(url)
    kept = {name: KeptConnection(url, name) for name in ("intake", "journal", "bell", "ward")}
    link = MqttLink(
        _broker(settings), f"wardstream-cloud-{settings.instance}", INTAKE_FILTERS, clock
    )
    fan_out = FanOut(
        PostgresJournal(kept["journal"], clock),
        PostgresJournal(pool, clock),
        clock=clock,
        health=lambda: LinkHealth(
            broker=link.is_connected, store=intake.store_is_up and ward.store_is_up
        ),
        metrics=metrics,
    )
    intake = AlertIntake(
        link,
        PostgresIntakeStore(kept["intake"]),
        link,
        clock=clock,
        ring=fan_out.ring,
        metrics=metrics,
    )
    ward = WardWatch(
        PostgresWard(kept["ward"]),
        fan_out,
        clock=clock,
        boot_id=boot_id,
        silence_s=settings.silence_s,
    )
    signer = None if settings.orders_key is None else OrderSigner(settings.orders_key)
    orders = OrderDesk(
        PostgresOrders(pool), link, signer, clock=clock, new_id=new_id, lease_s=settings.lease_s
    )
    escalations = EscalationDesk(
        PostgresEscalations(pool, boot_id), _policy(settings), clock=clock, ring=fan_out.ring
    )
    desk = AlertDesk(
        PostgresCommands(pool, boot_id),
        link,
        clock=clock,
        new_id=new_id,
        acknowledgement_s=settings.acknowledgement_s,
        ring=fan_out.ring,
        signer=signer,
    )
    people = sign_in_desk(pool, settings.session_secret.get_secret_value())
    first_users = FirstUsers(people, _first_users(settings))
    parts = ApiParts(
        reads=PostgresReads(pool),
        sign_in=people,
        alerts=desk,
        orders=orders,
        escalations=escalations,
        feed=fan_out,
        models=DiskModelRepository(settings.model_repository_dir),
        clock=clock,
        readiness=lambda: Readiness(
            broker=link.is_connected,
            store=intake.store_is_up and ward.store_is_up,
            journal=fan_out.is_following,
            users=first_users.are_there,
        ),
        metrics=metrics.exposition,
        static_dir=settings.static_dir or STATIC_DIR,
        secure_cookie=settings.cookie_is_secure,
    )
    app = create_app(parts)
    return CloudApi(
        resources=(pool, *kept.values(), link),
        services=(
            fan_out,
            BellListener(JournalBell(kept["bell"]), fan_out.ring),
            intake,
            desk,
            orders,
            escalations,
            ward,
            first_users,
            WebServer(app, settings.http_host, settings.http_port),
        ),
        app=app,
    )


def _policy(settings: CloudSettings) -> EscalationPolicy:
    roles = ("nurse", "second_nurse", "physician")
    return EscalationPolicy(
        steps=tuple(map(Step, roles, settings.escalate_after_s)),
        delivery_s=settings.escalation_delivery_s,
    )


def _broker(settings: CloudSettings) -> BrokerAddress:
    broker = settings.broker
    return BrokerAddress(
        host=broker.host,
        port=broker.port,
        username=broker.username,
        password=broker.password,
        tls=broker.tls,
    )


def _first_users(settings: CloudSettings) -> list[FirstUser]:
    users: list[FirstUser] = []
    if settings.admin_password is not None:
        password = settings.admin_password.get_secret_value()
        users.append(FirstUser("admin", password, frozenset({Role.ADMIN, Role.ML_OPS})))
    if settings.demo_nurse_password is not None:
        password = settings.demo_nurse_password.get_secret_value()
        users.append(FirstUser("nurse", password, frozenset({Role.NURSE})))
    return users
