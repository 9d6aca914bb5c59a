"""Training: the loss of a set, the sampler, augmentation, and a run that was interrupted."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from models.datasets.labels import admissible_bits, everything_but
from models.datasets.windows import ROW, WindowTable
from models.training.config import CONFIG_DIR, TrainingConfig, load_config
from wardstream.contracts.errors import ConfigurationError
from wardstream.contracts.model_manifest import RHYTHM_CLASSES

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.train

from models.quantization.export import to_onnx  # noqa: E402
from models.quantization.static_int8 import calibration_indices, quantize  # noqa: E402
from models.registry.bundle import runtime_of_graph  # noqa: E402
from models.training.augmentation import Augmenter, NoiseBank  # noqa: E402
from models.training.fit import FitTask, fit, logits_of  # noqa: E402
from models.training.network import RhythmNetwork, set_loss  # noqa: E402
from models.training.sampling import sampling_probability  # noqa: E402

SMOKE = load_config(CONFIG_DIR / "smoke.yaml")


def waves(n_a_class: int = 40, seed: int = 0) -> WindowTable:
    """Windows of two easily told rhythms: slow sharp beats (sinus_like), fast sine (vf)."""
    generator = np.random.default_rng(seed)
    time_s = np.arange(1000) / 250
    rows = np.zeros(2 * n_a_class, dtype=ROW)
    rows["recording"] = np.arange(2 * n_a_class) % 10
    rows["end_sample"] = 1000 * (1 + np.arange(2 * n_a_class))
    rows["weight"] = 1
    samples = np.zeros((2 * n_a_class, 1000), np.float16)
    for i in range(2 * n_a_class):
        phase = generator.random()
        if i < n_a_class:
            samples[i] = np.exp(-((((time_s * 1.2 + phase) % 1) - 0.5) ** 2) / 0.0005)
        else:
            samples[i] = np.sin(2 * np.pi * (generator.uniform(4, 6) * time_s + phase))
        rows["admissible"][i] = admissible_bits(("sinus_like",) if i < n_a_class else ("vf",))
    names = tuple(f"p{i}" for i in range(10))
    return WindowTable(
        filtered_mv=samples,
        rows=rows,
        datasets=("vfdb",) * 10,
        records=names,
        patients=names,
        rhythms=("N",),
        digests={"vfdb": "0"},
    )


def small() -> TrainingConfig:
    return msgspec.structs.replace(
        SMOKE, fit=msgspec.structs.replace(SMOKE.fit, windows_per_epoch=256, batch_size=32)
    )


def task(table: WindowTable, checkpoint: Path, n_epochs: int) -> FitTask:
    return FitTask(
        table=table,
        train=np.arange(0, len(table), 2),
        validation=np.arange(1, len(table), 2),
        n_epochs=n_epochs,
        seed=1,
        checkpoint=checkpoint,
    )


def test_the_loss_of_one_admissible_class_is_cross_entropy() -> None:
    logits = torch.randn(8, 7)
    target = torch.arange(8) % 7
    mask = torch.nn.functional.one_hot(target, 7).bool()
    expected = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    assert torch.allclose(set_loss(logits, mask, 0.0), expected, atol=1e-6)


def test_the_loss_of_a_denied_alarm_only_falls_with_the_denied_probability() -> None:
    mask = torch.tensor([[name in everything_but("vt", "vf") for name in RHYTHM_CLASSES]])
    sure_of_vf = torch.zeros(1, 7)
    sure_of_vf[0, RHYTHM_CLASSES.index("vf")] = 9
    sinus, af = torch.zeros(1, 7), torch.zeros(1, 7)
    sinus[0, 0], af[0, 1] = 9, 9
    assert float(set_loss(sure_of_vf, mask, 0.0)) > 5
    assert float(set_loss(sinus, mask, 0.0)) == pytest.approx(
        float(set_loss(af, mask, 0.0)), abs=1e-5
    )


def test_a_long_recording_does_not_stand_for_its_class() -> None:
    table = waves()
    table.rows["recording"][:39] = 0
    probability = sampling_probability(table, np.arange(len(table)), SMOKE.fit)
    patient_one = probability[:39].sum() / probability[:40].sum()
    assert probability.sum() == pytest.approx(1)
    assert patient_one < 0.9  # it holds 97.5 % of the windows


def test_augmentation_is_repeatable_and_keeps_the_label_of_what_can_still_be_seen() -> None:
    table = waves()
    noise = NoiseBank((np.random.default_rng(0).standard_normal(5000).astype(np.float32),))
    config = load_config(CONFIG_DIR / "default.yaml").augmentation
    results = []
    for _ in range(2):
        windows = table.joined_mv(np.arange(len(table)), 2)
        admissible = table.admissible
        Augmenter(config, noise).vary(windows, admissible, np.random.default_rng(5))
        results.append((windows, admissible))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])
    changed = (results[0][1] != table.admissible).any(axis=1)
    assert all(row.sum() == 2 for row in results[0][1][changed])  # asystole or noise, unsure which


def test_a_run_that_was_interrupted_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    table, config = waves(), small()
    augmenter = Augmenter(config.augmentation, NoiseBank(()))

    class InterruptedRunError(Exception):
        pass

    def stop(epoch: int, *_: object) -> None:
        if epoch == 2:
            raise InterruptedRunError

    whole = fit(task(table, tmp_path / "whole.pt", 4), config, augmenter)
    with pytest.raises(InterruptedRunError):
        fit(task(table, tmp_path / "cut.pt", 4), config, augmenter, stop)
    seen: list[int] = []
    resumed = fit(
        task(table, tmp_path / "cut.pt", 4), config, augmenter, lambda epoch, *_: seen.append(epoch)
    )
    assert seen == [3, 4]
    for name, value in whole.network.state_dict().items():
        assert torch.allclose(value, resumed.network.state_dict()[name], atol=1e-6), name


def test_the_graph_answers_as_the_network_and_int8_nearly_so(tmp_path: Path) -> None:
    table, config = waves(), small()
    trained = fit(
        task(table, tmp_path / "c.pt", 3), config, Augmenter(config.augmentation, NoiseBank(()))
    )
    everything = np.arange(len(table))
    expected = logits_of(trained.network, table, everything).softmax(dim=1).numpy()
    graph = to_onnx(trained.network)
    windows = table.normalised(everything, 2)
    fp32 = runtime_of_graph(graph.SerializeToString()).infer(windows)
    np.testing.assert_allclose(fp32, expected, atol=1e-5)
    chosen = calibration_indices(table, everything, config.quantization, 0)
    int8 = runtime_of_graph(quantize(graph, table.normalised(chosen, 2))).infer(windows)
    assert np.abs(int8 - expected).max() < 0.1
    assert (int8.argmax(axis=1) == table.certain_class).mean() > 0.95


def test_the_answer_for_a_window_does_not_depend_on_its_batch(tmp_path: Path) -> None:
    table = waves()
    runtime = runtime_of_graph(to_onnx(RhythmNetwork(SMOKE.network)).SerializeToString())
    windows = table.normalised(np.arange(20))
    one_by_one = np.concatenate([runtime.infer(window[None]) for window in windows])
    np.testing.assert_allclose(runtime.infer(windows), one_by_one, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("seed: 7", "n_folds"),
        ("n_folds: 1", "n_folds is 1"),
        ("partial_share: 0.5", "add up"),
        ("colour: red", "colour"),
    ],
)
def test_a_wrong_configuration_says_what_is_wrong(tmp_path: Path, change: str, named: str) -> None:
    text = (CONFIG_DIR / "smoke.yaml").read_text()
    key = change.split(":")[0]
    lines = [line for line in text.splitlines() if not line.strip().startswith(f"{key}:")]
    if key == "seed":
        lines = [line for line in lines if not line.startswith("n_folds")]
    indent = "  " if key == "partial_share" else ""
    place = lines.index("fit:") + 1 if indent else 0
    lines.insert(place, indent + change)
    path = tmp_path / "c.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(ConfigurationError, match=named):
        load_config(path)
