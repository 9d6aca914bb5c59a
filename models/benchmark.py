"""What the model costs: one thread, beside the same network in FP32 and in torch."""

import os
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.evaluation.originals import read_original
from wardstream.inference.bundle import Bundle, read_bundle
from wardstream.inference.guard import GuardedRuntime
from wardstream.inference.onnxruntime_backend import OnnxRuntime, session_options
from wardstream.inference.port import ModelRefusedError
from wardstream.inference.registry import BACKENDS
from wardstream.inference.selection import choose_runtime

BATCHES: Final = (1, 16, 256)
_WINDOWS_TIMED: Final = 4_000
_FEWEST_RUNS: Final = 30

Infer = Callable[[NDArray[np.float32]], object]


def measure_model(bundle_dir: Path) -> dict[str, Any]:
    """Time and size of the model in `bundle_dir`, everything on one thread.

    Returns
    -------
    dict
        ``p50_ms`` of a single window and ``n_bytes`` of the artifact; ``batches``, by size, with
        ``p50_ms``, ``ms_per_window`` and ``windows_per_s``; ``guarded_p50_ms``, with the watchdog
        in between; ``backends``, what each does here or why it does not run; and ``peers``, the
        same network in FP32 on ONNX Runtime and in torch, as multiples of ours, for single windows
        and by batch. Peers that are not at hand are named in ``peers_missing``.

    Raises
    ------
    ModelRefusedError
        The bundle breaks its manifest.
    """
    bundle = read_bundle(bundle_dir)
    runtime = OnnxRuntime(bundle)
    ours = _batches(runtime.infer, bundle)
    guarded = GuardedRuntime(runtime, lambda: OnnxRuntime(bundle))
    guarded_ms = p50_ms(guarded.infer, _windows(bundle, 1))
    guarded.close()
    missing: dict[str, str] = {}
    peers = {
        name: {
            "seconds": taken[1]["p50_ms"] / 1000,
            "ratio": taken[1]["p50_ms"] / ours[1]["p50_ms"],
            "ratio_by_batch": {n: taken[n]["p50_ms"] / ours[n]["p50_ms"] for n in BATCHES},
        }
        for name, taken in _peers(bundle, bundle_dir, missing).items()
    }
    return {
        "model": f"{bundle.manifest.name}-{bundle.manifest.version}",
        "n_bytes": bundle.manifest.n_bytes,
        "p50_ms": ours[1]["p50_ms"],
        "guarded_p50_ms": guarded_ms,
        "batches": ours,
        "backends": [str(each) for each in choose_runtime(bundle, candidates=tuple(BACKENDS)).all],
        "peers": peers,
        "peers_missing": missing,
    }


def p50_ms(infer: Infer, windows: NDArray[np.float32]) -> float:
    """Median wall time of `infer` on `windows` in milliseconds."""
    for _ in range(5):
        infer(windows)
    taken: list[float] = []
    for _ in range(max(_WINDOWS_TIMED // len(windows), _FEWEST_RUNS)):
        begun_s = time.perf_counter()
        infer(windows)
        taken.append(time.perf_counter() - begun_s)
    return 1000 * float(np.median(taken))


def _batches(infer: Infer, bundle: Bundle) -> dict[int, dict[str, float]]:
    found: dict[int, dict[str, float]] = {}
    for n in BATCHES:
        taken_ms = p50_ms(infer, _windows(bundle, n))
        found[n] = {
            "p50_ms": taken_ms,
            "ms_per_window": taken_ms / n,
            "windows_per_s": 1000 * n / taken_ms,
        }
    return found


def _windows(bundle: Bundle, n: int) -> NDArray[np.float32]:
    return np.ascontiguousarray(
        np.resize(bundle.golden_inputs, (n, *bundle.golden_inputs.shape[1:]))
    )


def _peers(
    bundle: Bundle, bundle_dir: Path, missing: dict[str, str]
) -> dict[str, dict[int, dict[str, float]]]:
    try:
        original = read_original(bundle, bundle_dir)
    except ModelRefusedError as error:
        missing |= {"onnxruntime_fp32": str(error), "torch_fp32": str(error)}
        return {}
    spec = bundle.manifest.inputs[0]
    session = onnxruntime.InferenceSession(
        original, session_options(), providers=["CPUExecutionProvider"]
    )
    names = [bundle.manifest.outputs[0].name]

    def in_fp32(windows: NDArray[np.float32]) -> object:
        return session.run(names, {spec.name: windows})

    peers = {"onnxruntime_fp32": _batches(in_fp32, bundle)}
    if find_spec("torch") is None:
        missing["torch_fp32"] = "torch is not installed: `make setup-train`"
        return peers
    peers["torch_fp32"] = _batches(_in_torch(original), bundle)
    return peers


def _in_torch(original: bytes) -> Infer:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import onnx
    import torch

    from models.quantization.fake_quantization import FakeQuantizedGraph

    torch.set_num_threads(1)
    network = FakeQuantizedGraph(onnx.load_model_from_string(original)).eval()

    def infer(windows: NDArray[np.float32]) -> object:
        with torch.inference_mode():
            return network(torch.from_numpy(windows))

    return infer
