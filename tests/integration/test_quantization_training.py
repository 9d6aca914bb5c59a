"""Where rounding alone loses too much, training through the Q/DQ graph recovers it."""

import numpy as np
import onnx
import pytest
from fakes.small_network import judged_by, network

pytest.importorskip("torch")
pytestmark = pytest.mark.train

from models.evaluation.originals import METHOD  # noqa: E402
from models.quantization.accepted_by_tensorrt import tensorrt_problems  # noqa: E402
from models.quantization.aware_training import AwareConfig  # noqa: E402
from models.quantization.choice import AWARE, STATIC, quantize_within_gate  # noqa: E402
from models.training.config import CONFIG_DIR, load_config  # noqa: E402
from wardstream.contracts.model_manifest import RHYTHM_CLASSES  # noqa: E402

CONFIG = load_config(CONFIG_DIR / "smoke.yaml").quantization


@pytest.mark.timeout(300)
def test_training_begins_where_rounding_loses_too_much() -> None:
    model = network(scaled_by=100.0)
    table = judged_by(model, 2000)
    specificities = {
        name: 0.8
        for i, name in enumerate(RHYTHM_CLASSES)
        if (table.certain_class == i).sum() >= 200
    }
    assert len(specificities) >= 3
    found = quantize_within_gate(
        model,
        table,
        np.arange(len(table)),
        CONFIG,
        specificities,
        seed=0,
        aware=AwareConfig(n_steps=400, batch_size=32, learning_rate=5e-3, scale_learning_rate=5e-2),
    )
    report = found.to_report()
    lost = {name: max(points.values()) for name, points in report["se_loss_points"].items()}
    assert report["method"] == found.method == AWARE
    assert lost[STATIC] > 10  # one range cannot serve both magnitudes
    assert lost[AWARE] < lost[STATIC] / 2
    int8 = onnx.load_model_from_string(found.int8)
    assert tensorrt_problems(int8) == []
    assert {p.key: p.value for p in int8.metadata_props}[METHOD] == AWARE
