"""Training on several processes and in bfloat16, as far as a CPU shows it."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from test_training_parts import small, task, waves

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.train

from models.training.augmentation import Augmenter, NoiseBank  # noqa: E402
from models.training.config import TrainingConfig  # noqa: E402
from models.training.devices import Placement, current_placement, process_group  # noqa: E402
from models.training.fit import FitResult, fit, logits_of  # noqa: E402

CPU = torch.device("cpu")


def trained(folder: Path, name: str, config: TrainingConfig, placement: Placement) -> FitResult:
    augmenter = Augmenter(config.augmentation, NoiseBank(()))
    return fit(task(waves(), folder / name, 2), config, augmenter, placement=placement)


def config_of_few_windows() -> TrainingConfig:
    config = small()
    return msgspec.structs.replace(
        config, fit=msgspec.structs.replace(config.fit, windows_per_epoch=128)
    )


def test_bfloat16_learns_nearly_the_same(tmp_path: Path) -> None:
    config = config_of_few_windows()
    plain = trained(tmp_path, "plain.pt", config, Placement(device=CPU))
    half = trained(tmp_path, "half.pt", config, Placement(device=CPU, half_precision=True))
    assert all(p.dtype == torch.float32 for p in half.network.parameters())
    everything = np.arange(80)
    answers = [logits_of(r.network, waves(), everything).softmax(1) for r in (plain, half)]
    assert float((answers[0] - answers[1]).abs().max()) < 0.1


def test_parts_of_a_batch_are_disjoint_and_equally_long() -> None:
    batch = np.arange(32, dtype=np.intp)
    parts = [Placement(device=CPU, rank=r, n_processes=4).share_of(batch) for r in range(4)]
    assert {len(part) for part in parts} == {8}
    assert np.sort(np.concatenate(parts)).tolist() == batch.tolist()


def test_without_torchrun_a_process_is_alone() -> None:
    with process_group() as placement:
        assert placement.is_first
        assert placement.n_processes == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_a_gpu_computes_in_bfloat16_with_a_compiled_step(tmp_path: Path) -> None:
    placement = current_placement()
    assert placement.compiled
    found = trained(tmp_path, "gpu.pt", config_of_few_windows(), placement)
    assert found.best_epoch > 0


_WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_training_devices import config_of_few_windows, trained
from models.training.devices import process_group
import torch
with process_group() as placement:
    found = trained(Path(sys.argv[1]), "shared.pt", config_of_few_windows(), placement)
    torch.save(found.network.state_dict(), f"{sys.argv[1]}/weights-{placement.rank}.pt")
"""


def test_two_processes_share_a_batch_and_end_with_the_same_weights(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    script = tmp_path / "worker.py"
    script.write_text(_WORKER)
    here = Path(__file__).resolve()
    environment = os.environ | {
        "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
        "PYTHONPATH": str(here.parents[3]), "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    with (tmp_path / "errors.txt").open("w+b") as errors:
        workers = [
            subprocess.Popen(
                [sys.executable, str(script), str(tmp_path), str(here.parent)],
                env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                stderr=errors,
            )
            for rank in range(2)
        ]
        try:
            codes = [worker.wait(timeout=240) for worker in workers]
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
    assert codes == [0, 0], (tmp_path / "errors.txt").read_text()[-2000:]
    first, second = (torch.load(tmp_path / f"weights-{r}.pt") for r in range(2))
    for name, value in first.items():
        if not name.endswith(("running_mean", "running_var")):
            torch.testing.assert_close(value, second[name], msg=name)
