"""A hospital's interface engine: HL7 v2 over MLLP, one message after another."""

import socket
import ssl
from datetime import UTC, datetime

VT, END = b"\x0b", b"\x1c\x0d"
CR = "\r"


def hl7_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y%m%d%H%M%S+0000")


def adt(
    event: str, control_id: str, mrn: str, at: datetime, *, place: str = "ICU^1^BED01",
    visit: str = "V1", occurred: datetime | None = None, merge: str = "", name: str = "Doe^Jane",
    charset: str = "UNICODE UTF-8", extra: str = "",
) -> str:  # fmt: skip
    happened = "" if occurred is None and event.startswith("A1") else hl7_time(occurred or at)
    lines = [
        f"MSH|^~\\&|HIS|HOSP|WS|ICU|{hl7_time(at)}||ADT^{event}|{control_id}|P|2.5||||||{charset}",
        f"EVN|{event}|{hl7_time(at)}||||{happened}",
        f"PID|1||{mrn}^^^HOSP^MR||{name}||19600102|F",
    ]
    lines.append(f"MRG|{merge}^^^HOSP^MR" if merge else f"PV1|1|I|{place}|{'|' * 15}{visit}")
    return CR.join([*lines, *([extra] if extra else [])]) + CR


def oru(control_id: str, mrn: str, at: datetime, *obx: str, place: str = "ICU^1^BED01") -> str:
    lines = [
        f"MSH|^~\\&|MON|HOSP|WS|ICU|{hl7_time(at)}||ORU^R01^ORU_R01|{control_id}|P|2.6",
        f"PID|1||{mrn}^^^HOSP^MR" if mrn else "PID|1",
        f"PV1|1|I|{place}",
        f"OBR|1|||182777000^monitoring of patient^SCT|||{hl7_time(at)}",
    ]
    return CR.join([*lines, *obx]) + CR


HEART_RATE = "OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|1.1.1|82|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||F"


class Sender:
    """Sends and waits for the answer, as interface engines do."""

    def __init__(self, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        plain = socket.create_connection(("127.0.0.1", port), timeout=40)
        self._socket = plain if tls is None else tls.wrap_socket(plain, server_hostname="localhost")
        self._held = b""

    def __enter__(self) -> "Sender":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def raw(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(self) -> str:
        while END not in self._held:
            data = self._socket.recv(65_536)
            if not data:
                raise ConnectionError("hung up without an answer")
            self._held += data
        answer, self._held = self._held.split(END, 1)
        return answer.removeprefix(VT).decode()

    def send(self, message: str, charset: str = "utf-8") -> str:
        """MSA and ERR of the answer."""
        self.raw(VT + message.encode(charset) + END)
        return self.answer().partition("\rMSA|")[2]
