"""The same model in Pythae 0.1.2 and its own trainer: `PYTHON pythae_loop.py ARGUMENTS_JSON`.

Pythae's default MLP is 784-512-16 and back. The clock runs from the begin of an epoch's training to its last step, by
Pythae's own callbacks: neither imports nor the saving of models count. Its progress bar is silenced, its data resident as
floats, as its `BaseDataset` has it. Prints the examples per second of each epoch as the last line, in JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time

import numpy as np
import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback


class Clock(TrainingCallback):
    """Times of the start and of the last step of each epoch's training."""

    def __init__(self) -> None:
        self.began: list[float] = []
        self.ended: list[float] = []

    def on_train_step_begin(self, training_config, **kwargs) -> None:
        """Notes the time; Pythae calls it once an epoch."""
        self.began.append(time.perf_counter())
        self.ended.append(0.0)

    def on_train_step_end(self, training_config, **kwargs) -> None:
        """Notes the time after each step, when the trainer has read the loss and a GPU has finished."""
        self.ended[-1] = time.perf_counter()


class QuietTrainer(BaseTrainer):
    """Pythae's trainer without its progress bar."""

    def _setup_callbacks(self) -> None:
        super()._setup_callbacks()
        self.callback_handler.callbacks = [c for c in self.callback_handler.callbacks if isinstance(c, Clock)]


@torch.no_grad()
def save(model: VAE, x: torch.Tensor, file: str) -> None:
    """Writes the weights, some rows, their posteriors' log variances and the decoded means."""
    x = x.to(next(model.parameters()).device)
    encoded = model.encoder(x)
    check = {
        "x": x,
        "log_var": encoded.log_covariance,
        "reconstruction": model.decoder(encoded.embedding)["reconstruction"],
    }
    np.savez(file, **{name: value.cpu().numpy() for name, value in {**model.state_dict(), **check}.items()})


def main(
    data: str,
    epochs: int,
    batch_size: int,
    threads: int,
    learning_rate: float,
    fused: bool,
    seed: int = 0,
    weights: str | None = None,
) -> None:
    """Trains and prints; `fused` replaces Pythae's default optimiser by the one that betaline uses."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    rows = torch.from_numpy(np.load(data)).float().div_(255).view(-1, 1, 28, 28)
    steps = len(rows) // batch_size
    rows = rows[: steps * batch_size]
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=epochs,
            seed=seed,
            per_device_train_batch_size=batch_size,
            learning_rate=learning_rate,
            optimizer_cls="AdamW" if fused else "Adam",
            optimizer_params={"weight_decay": 0.0, "fused": True} if fused else None,
        )
        model = VAE(VAEConfig(input_dim=(1, 28, 28), latent_dim=16, reconstruction_loss="bce"))
        QuietTrainer(model, BaseDataset(rows, torch.zeros(len(rows))), None, config, [clock]).train()
    if weights is not None:
        save(model.eval(), rows[:16], weights)
    print(json.dumps([len(rows) / (b - a) for a, b in zip(clock.began, clock.ended, strict=True)]))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
