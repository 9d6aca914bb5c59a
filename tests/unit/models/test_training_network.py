"""The network of several leads: what is missing, the order of leads, what it may be trained on."""

from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from models.datasets.windows import ROW, WindowTable
from models.training.config import CONFIG_DIR, load_config
from wardstream.contracts.model_manifest import RHYTHM_CLASSES
from wardstream.kernels.repetition import repetition

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.train

from models.quantization.export import to_onnx  # noqa: E402
from models.registry.bundle import runtime_of_graph  # noqa: E402
from models.training.augmentation import Augmenter, NoiseBank  # noqa: E402
from models.training.network import RhythmNetwork, quality_loss, shockable_loss  # noqa: E402

SMOKE, DEFAULT = (load_config(CONFIG_DIR / f"{name}.yaml") for name in ("smoke", "default"))


def two_leads(n: int = 6) -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal((n, 2, 1000)).astype(np.float32)


@pytest.fixture(scope="module")
def network() -> RhythmNetwork:
    torch.manual_seed(3)
    return RhythmNetwork(DEFAULT.network).eval()


def test_a_missing_lead_leaves_the_answer_to_the_other(network: RhythmNetwork) -> None:
    windows = torch.from_numpy(two_leads())
    alone = network(windows[:, :1])
    windows[:, 1] = 0
    beside_nothing = network(windows)
    torch.testing.assert_close(beside_nothing.logits, alone.logits, atol=1e-4, rtol=1e-4)
    assert (beside_nothing.quality[:, 1] == 0).all()


def test_the_order_of_leads_does_not_matter(network: RhythmNetwork) -> None:
    windows = torch.from_numpy(two_leads())
    there, back = network(windows), network(windows.flip(1))
    torch.testing.assert_close(there.logits, back.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(there.quality, back.quality.flip(1), atol=1e-5, rtol=1e-4)


def test_missing_leads_change_neither_training_statistics_nor_the_step() -> None:
    torch.manual_seed(0)
    one, two = RhythmNetwork(SMOKE.network), RhythmNetwork(SMOKE.network)
    two.load_state_dict(one.state_dict())
    windows = torch.from_numpy(two_leads())
    windows[:, 1] = 0
    alone, padded = one.train()(windows[:, :1]), two.train()(windows)
    torch.testing.assert_close(alone.logits, padded.logits, atol=1e-4, rtol=1e-4)
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, two.state_dict()[name], msg=name)


def test_the_graph_gives_all_three_answers_of_the_network(network: RhythmNetwork) -> None:
    windows = two_leads()
    windows[::2, 1] = 0
    found = runtime_of_graph(to_onnx(network).SerializeToString()).describe(windows)
    with torch.inference_mode():
        expected = network(torch.from_numpy(windows))
    assert found.quality is not None
    assert found.embedding is not None
    np.testing.assert_allclose(found.probability, expected.logits.softmax(1).numpy(), atol=1e-5)
    np.testing.assert_allclose(found.quality, expected.quality.numpy(), atol=1e-5)
    np.testing.assert_allclose(found.embedding, expected.embedding.numpy(), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found.embedding, axis=1), 1.0, atol=1e-4)


def test_a_graph_of_two_leads_is_asked_about_one(network: RhythmNetwork) -> None:
    graph = to_onnx(network).SerializeToString()
    windows = two_leads()[:, :1]
    padded = np.concatenate([windows, np.zeros_like(windows)], axis=1)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (expected,) = session.run(["probability"], {"window": padded})
    np.testing.assert_allclose(runtime_of_graph(graph).infer(windows), expected, atol=1e-6)


def test_companions_are_the_other_leads_of_the_same_seconds() -> None:
    rows = np.zeros(5, dtype=ROW)
    rows["recording"] = [0, 0, 0, 0, 1]
    rows["end_sample"] = [1000, 2000, 1000, 2000, 1000]
    rows["lead"] = [0, 0, 1, 1, 0]
    table = WindowTable(
        filtered_mv=np.arange(5, dtype=np.float16)[:, None] * np.ones((1, 1000), np.float16),
        rows=rows, datasets=("a", "b"), records=("a", "b"), patients=("a", "b"),
        rhythms=("N",), digests={},
    )  # fmt: skip
    assert table.companions.tolist() == [[0, 2], [1, 3], [2, 0], [3, 1], [4, -1]]
    joined = table.joined_mv(np.array([2, 4]), 2)
    assert joined[0, :, 0].tolist() == [2.0, 0.0]
    assert np.isnan(joined[1, 1]).all()


def test_shockable_is_one_question_and_denied_alarms_answer_it() -> None:
    names = [("vt", "vf"), ("sinus_like",), ("sinus_like", "vt")]
    admissible = torch.tensor([[c in some for c in RHYTHM_CLASSES] for some in names])
    loss = shockable_loss(torch.zeros(3, len(RHYTHM_CLASSES)), admissible)
    expected = torch.tensor([-np.log(2 / 7), -np.log(5 / 7), 0.0], dtype=torch.float32)
    torch.testing.assert_close(loss, expected)


def test_an_unknown_quality_teaches_nothing() -> None:
    logits = torch.tensor([[2.0, -7.0]], requires_grad=True)
    quality_loss(logits, torch.tensor([[1.0, float("nan")]])).backward()
    assert logits.grad is not None
    assert logits.grad[0, 0] < 0
    assert logits.grad[0, 1] == 0


def test_a_slowed_tachycardia_has_a_pulse() -> None:
    time_s = np.arange(1000) / 250
    windows = np.sin(2 * np.pi * 200 / 60 * time_s).astype(np.float32)[None, None].repeat(8, 0)
    admissible = np.tile(np.isin(RHYTHM_CLASSES, ("vt",)), (8, 1))
    still = ("gain_octaves", "noise_probability", "wander_probability", "lead_off_probability")
    quiet = dict.fromkeys((*still, "stretch_probability"), 0.0)
    config = msgspec.structs.replace(DEFAULT.augmentation, slowed_probability=1.0, **quiet)
    Augmenter(config, NoiseBank(())).vary(windows, admissible, np.random.default_rng(0))
    for window, classes in zip(windows[:, 0], admissible, strict=True):
        assert repetition(window)[0] < 140
        assert {n for n, c in zip(RHYTHM_CLASSES, classes, strict=True) if c} == {
            "sinus_like",
            "paced",
        }


def test_noise_lowers_the_quality_that_is_taught() -> None:
    noise = NoiseBank((np.random.default_rng(0).standard_normal(5000).astype(np.float32),))
    config = msgspec.structs.replace(
        DEFAULT.augmentation, noise_probability=1.0, noise_snr_db=(0.0, 0.0),
        lead_off_probability=0.0,
    )  # fmt: skip
    windows = two_leads()
    windows[:, 1] = np.nan
    admissible = np.tile(np.isin(RHYTHM_CLASSES, ("sinus_like",)), (6, 1))
    quality = Augmenter(config, noise).vary(windows, admissible, np.random.default_rng(0))
    np.testing.assert_allclose(quality[:, 0], 0.5, atol=1e-6)
    assert np.isnan(quality[:, 1]).all()


def test_the_default_network_is_small_enough_for_the_gate(tmp_path: Path) -> None:
    assert RhythmNetwork(DEFAULT.network).n_parameters < 80_000
