"""Epochs until a training on changed data is as good as a fresh one, with and without a model to start from.

`python -m tests.benchmarks.warm_start`: a conditional model is trained on the digits 0 to 7, and then on all ten, once from
new weights and once from the first model, whose vocabulary of classes grows.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sklearn.datasets import load_digits

import vae
from tests.benchmarks.alternating import machine

EPOCHS, SEEDS = 100, (0, 1, 2)
CHANGES = {"model.condition": ["class"], "training.patience_epochs": None, "training.batch_size": 32}


def main() -> None:
    """Prints a row for each seed: the fresh model's bound, and the epochs until either reaches it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    epochs = parser.parse_args().epochs
    digits = load_digits()
    images, labels = np.rint(digits.images * 255 / 16).astype(np.uint8), digits.target
    few = labels < 8
    print("seed  bound of a fresh training (nats)  epochs fresh  epochs from the earlier model")
    for seed in SEEDS:
        changes = {**CHANGES, "training.seed": seed, "training.epochs": epochs}
        with TemporaryDirectory() as home:
            settings = {"preset": "vae", "changes": changes, "home": Path(home), "show": False}
            earlier = vae.fit((images[few], labels[few]), **settings)
            fresh = vae.fit((images, labels), **settings)
            warm = vae.fit((images, labels), start=earlier, **settings)
        goal = min(epoch.validation_negative_bound for epoch in fresh.history)
        print(f"{seed:4}  {goal:32.2f}  {reached(fresh, goal):>12}  {reached(warm, goal):>29}", flush=True)
    print(machine())


def reached(model: vae.Model, goal: float) -> str:
    """Returns the first epoch whose validation bound is as good as a goal; a dash if there is none."""
    found = (epoch.epoch for epoch in model.history if epoch.validation_negative_bound <= goal)
    return str(next(found, "–"))


if __name__ == "__main__":
    main()
