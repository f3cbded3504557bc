"""Trains with the `vae` package of whichever checkout is first on the path: a row of `train_throughput.py`.

Prints the examples per second of each epoch as JSON. Takes one argument, JSON with `config` and `dataset`.
"""

from __future__ import annotations

import json
import sys

import torch

from vae.config import RunConfig, parse
from vae.data.parquet import Dataset
from vae.training.loop import Training, World

if __name__ == "__main__":
    values = json.loads(sys.argv[1])
    torch.set_num_threads(values["threads"])
    result = Training(parse(RunConfig, values["config"]), Dataset.open(values["dataset"]), World()).run()
    print(json.dumps([report.examples_per_second for report in result.history]))
