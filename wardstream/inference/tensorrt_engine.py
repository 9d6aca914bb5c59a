"""TensorRT engines: built on the device from a Q/DQ graph, and kept for the next start.

Written against TensorRT 10 (8.6 and later work): explicit quantization, so INT8 is where the graph
says so and nowhere else, and FP16 is allowed for the rest. Nothing of NVIDIA's is imported until
an engine is asked for, so that this module tells everywhere why it cannot build one.
"""

import logging
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import msgspec

from wardstream.contracts.errors import ConfigurationError, TransientError
from wardstream.contracts.model_manifest import ModelManifest
from wardstream.inference.port import ModelRefusedError

logger = logging.getLogger(__name__)

MAX_BATCH: Final = 256
TYPICAL_BATCH: Final = 2

MAX_KEPT: Final = 8
"""Engines in the cache; the oldest beyond are deleted."""

WORKSPACE_BYTES: Final = 256 << 20
"""Scratch memory the builder may take; a rhythm graph needs a hundredth of it."""

_CUDA_MODULES: Final = ("cuda.bindings.runtime", "cuda.cudart")
"""Of cuda-python since 12.6, and before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKey:
    """All that an engine depends on: a plan runs on no other hardware and no other TensorRT.

    Attributes
    ----------
    artifact_sha256 : str
        Of the ONNX graph.
    device : str
        Name of the GPU.
    compute_capability : str
        For example ``8.7``.
    tensorrt_version : str
        For example ``10.3.0``.
    fp16 : bool
        Whether layers that are not INT8 may be FP16.
    """

    artifact_sha256: str
    device: str
    compute_capability: str
    tensorrt_version: str
    fp16: bool

    @property
    def hardware(self) -> str:
        """The part that graphs share, fit for a file name; timings are kept by it."""
        text = f"{self.device}-sm{self.compute_capability}-trt{self.tensorrt_version}"
        return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-").lower()

    @property
    def file_name(self) -> str:
        """Name of the plan."""
        precision = "int8-fp16" if self.fp16 else "int8"
        return f"{self.artifact_sha256[:16]}-{self.hardware}-{precision}.plan"


class PlanRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What lies beside a plan: of what it is, and its digest."""

    artifact_sha256: str
    device: str
    compute_capability: str
    tensorrt_version: str
    fp16: bool
    plan_sha256: str
    n_bytes: int
    build_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltEngine:
    """A plan, and where it is kept.

    Attributes
    ----------
    plan : bytes
        What TensorRT loads.
    path : Path
        The file.
    not_kept : str
        Why it could not be written there; empty if it was. It can be used all the same, and is
        built again at the next start.
    record : PlanRecord
        What is known of it.
    from_cache : bool
        Whether it was there already.
    """

    plan: bytes
    path: Path
    record: PlanRecord
    from_cache: bool
    not_kept: str = ""


def default_engine_dir() -> Path:
    """``$WARDSTREAM_CACHE_DIR/engines``, else ``wardstream/engines`` in the user's cache folder."""
    chosen = os.environ.get("WARDSTREAM_CACHE_DIR")
    if chosen:
        return Path(chosen) / "engines"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "wardstream" / "engines"


def tensorrt_module() -> Any:
    """NVIDIA's ``tensorrt``.

    Raises
    ------
    ConfigurationError
        It is not installed.
    """
    try:
        return import_module("tensorrt")
    except ImportError as error:
        raise ConfigurationError(
            [
                f"TensorRT is not installed here ({error}): install JetPack, or `pip install tensorrt`"
            ]
        ) from error


def cuda_module() -> Any:
    """The CUDA runtime of ``cuda-python``.

    Raises
    ------
    ConfigurationError
        It is not installed.
    """
    for name in _CUDA_MODULES:
        try:
            return import_module(name)
        except ImportError:
            continue
    raise ConfigurationError(
        ["cuda-python is not installed on this machine: TensorRT needs it to move windows"]
    )


def checked(result: tuple[Any, ...]) -> Any:
    """The value of a cuda-python call, which returns ``(status, value...)`` and raises nothing.

    Raises
    ------
    TransientError
        The status is an error.
    """
    status, *values = result
    if int(status) != 0:
        raise TransientError(f"CUDA: {status}")
    return values[0] if values else None


def engine_key(artifact_sha256: str, *, fp16: bool = True, device: int = 0) -> EngineKey:
    """The key of an engine for `artifact_sha256` on GPU `device` of this machine.

    Raises
    ------
    ConfigurationError
        TensorRT or cuda-python is missing.
    TransientError
        There is no such GPU, or it does not answer.
    """
    trt, cuda = tensorrt_module(), cuda_module()
    found = checked(cuda.cudaGetDeviceProperties(device))
    name = found.name.decode() if isinstance(found.name, bytes) else str(found.name)
    return EngineKey(
        artifact_sha256=artifact_sha256,
        device=name.rstrip("\x00"),
        compute_capability=f"{found.major}.{found.minor}",
        tensorrt_version=str(trt.__version__),
        fp16=fp16,
    )


def cached_engine(
    graph: bytes,
    manifest: ModelManifest,
    folder: Path,
    key: EngineKey,
    build: Callable[[bytes, ModelManifest, EngineKey, Path], bytes] | None = None,
) -> BuiltEngine:
    """The plan of `graph` for `key` in `folder`, built where it is not there or not whole.

    Parameters
    ----------
    graph : bytes
        The ONNX file of `manifest`.
    manifest : ModelManifest
        Names and shapes of its tensors.
    folder : Path
        Made if it is not there.
    key : EngineKey
        See `engine_key`.
    build : callable or None
        Makes the bytes of a plan; `build_plan` where None.

    Raises
    ------
    ModelRefusedError
        TensorRT cannot parse or build the graph.
    """
    path = folder / key.file_name
    kept = _whole(path, key)
    if kept is not None:
        plan, record = kept
        return BuiltEngine(plan=plan, path=path, record=record, from_cache=True)
    begun_s = time.perf_counter()
    plan = (build or build_plan)(graph, manifest, key, folder / f"{key.hardware}.timings")
    record = PlanRecord(
        artifact_sha256=key.artifact_sha256,
        device=key.device,
        compute_capability=key.compute_capability,
        tensorrt_version=key.tensorrt_version,
        fp16=key.fp16,
        plan_sha256=sha256(plan).hexdigest(),
        n_bytes=len(plan),
        build_s=round(time.perf_counter() - begun_s, 3),
    )
    not_kept = ""
    try:
        # The record comes last: a plan with one is whole.
        write_whole(path, plan)
        write_whole(path.with_suffix(".json"), msgspec.json.format(msgspec.json.encode(record)))
        _forget_oldest(folder)
    except TransientError as error:
        not_kept = str(error)
        logger.warning("the engine is used but not kept: %s", error)
    return BuiltEngine(plan=plan, path=path, record=record, from_cache=False, not_kept=not_kept)


def build_plan(graph: bytes, manifest: ModelManifest, key: EngineKey, timings: Path) -> bytes:
    """The bytes of an engine for batches of 1 to `MAX_BATCH`; takes up to a minute.

    What the builder learned of the speed of layers is kept in `timings` for the next build.

    Raises
    ------
    ModelRefusedError
        TensorRT cannot parse or build the graph.
    ConfigurationError
        TensorRT is missing.
    """
    trt = tensorrt_module()
    log = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(log)
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(graph):
        problems = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise ModelRefusedError(f"TensorRT cannot parse the graph: {problems}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    # Gone in TensorRT 11, where types are always those of the graph.
    for name in ("INT8", "FP16") if key.fp16 else ("INT8",):
        if hasattr(trt.BuilderFlag, name):
            config.set_flag(getattr(trt.BuilderFlag, name))
    profile = builder.create_optimization_profile()
    for spec in manifest.inputs:
        profile.set_shape(
            spec.name, (1, *spec.shape), (TYPICAL_BATCH, *spec.shape), (MAX_BATCH, *spec.shape)
        )
    config.add_optimization_profile(profile)
    known = timings.read_bytes() if timings.exists() else b""
    # None for a file that is damaged or of another TensorRT.
    cache = config.create_timing_cache(known) or config.create_timing_cache(b"")
    config.set_timing_cache(cache, ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ModelRefusedError(f"TensorRT cannot build the graph for {key.device}")
    learned = config.get_timing_cache()
    if learned is not None:
        with suppress(TransientError):  # only the next build would have been quicker
            write_whole(timings, bytes(learned.serialize()))
    return bytes(plan)


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path`, wholly or not at all, whenever the power goes.

    Raises
    ------
    TransientError
        The folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise TransientError(f"{path} cannot be written: {error.strerror}") from error


def _forget_oldest(folder: Path) -> None:
    # Models and drivers come and go; their engines would fill the disk.
    with suppress(OSError):
        plans = sorted(folder.glob("*.plan"), key=lambda path: path.stat().st_mtime_ns)
        for path in plans[:-MAX_KEPT]:
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def _whole(path: Path, key: EngineKey) -> tuple[bytes, PlanRecord] | None:
    try:
        record = msgspec.json.decode(path.with_suffix(".json").read_bytes(), type=PlanRecord)
        plan = path.read_bytes()
    except (OSError, msgspec.MsgspecError):
        return None
    same = all(getattr(record, name) == getattr(key, name) for name in EngineKey.__slots__)
    if not same or sha256(plan).hexdigest() != record.plan_sha256:
        logger.warning("%s is damaged or of another make; the engine is built anew", path)
        return None
    return plan, record


def _network_flags(trt: Any) -> int:
    # TensorRT 8 needs the flag, 10 ignores it, later ones have dropped it.
    flags = trt.NetworkDefinitionCreationFlag
    return 1 << int(flags.EXPLICIT_BATCH) if hasattr(flags, "EXPLICIT_BATCH") else 0
