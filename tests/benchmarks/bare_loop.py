"""A plain PyTorch loop to compare betaline with, in a process of its own: `python bare_loop.py ARGUMENTS_JSON`.

784-512-16 and back in plain `nn.Sequential`s, written as one would write it for this one purpose and tuned as far as it
goes: data resident as uint8, fused AdamW, nothing computed that is not needed; on a GPU bfloat16 networks and the whole
step in one CUDA graph. Prints the examples per second of each epoch as JSON. Needs torch and NumPy alone.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


def make_step(batch_size: int, device: torch.device, learning_rate: float):
    """Returns the model's training step, and the sum of its losses."""
    encoder = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 32)).to(device)
    decoder = nn.Sequential(nn.Linear(16, 512), nn.ReLU(), nn.Linear(512, 784)).to(device)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    on_gpu = device.type == "cuda"
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0, fused=True, capturable=on_gpu)
    precision = torch.autocast("cuda", torch.bfloat16, cache_enabled=False) if on_gpu else nullcontext()
    total = torch.zeros((), device=device)

    def step(pixels: Tensor) -> None:
        x = pixels.float() / 255
        with precision:
            mean, log_std = encoder(x).float().chunk(2, dim=1)
            z = mean + log_std.exp() * torch.randn_like(mean)
            logits = decoder(z).float()
        distortion = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        rate = 0.5 * (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std).sum()
        loss = (distortion + rate) / batch_size
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total.add_(loss.detach())

    return step, total


def captured(step, batch_size: int, device: torch.device):
    """Returns the step as one CUDA graph over a buffer, and the buffer."""
    pixels = torch.zeros(batch_size, 784, dtype=torch.uint8, device=device)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step(pixels)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step(pixels)
    return graph, pixels


def main(data: str, epochs: int, batch_size: int, threads: int, learning_rate: float) -> None:
    """Trains and prints."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    on_gpu = device.type == "cuda"
    rows = torch.from_numpy(np.load(data)).to(device)
    step, total = make_step(batch_size, device, learning_rate)
    graph, buffer = captured(step, batch_size, device) if on_gpu else (None, None)
    steps = len(rows) // batch_size
    rates = []
    for _ in range(epochs):
        started = time.perf_counter()
        order = torch.randperm(len(rows), device=device)
        for number in range(steps):
            index = order[number * batch_size : (number + 1) * batch_size]
            if graph is not None and buffer is not None:
                torch.index_select(rows, 0, index, out=buffer)
                graph.replay()
            else:
                step(rows.index_select(0, index))
        if on_gpu:
            torch.cuda.synchronize()
        rates.append(steps * batch_size / (time.perf_counter() - started))
    assert torch.isfinite(total), "the loop diverged"
    print(json.dumps(rates))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
