"""What each rank of the laws of three ranks runs: `python -m tests.laws.three_ranks RANK FOLDER`.

The same functions, without a process group and on the whole batch, are the oracle.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from tests.laws import parts
from tests.laws.parts import CONTROLLERS, LATENT, REGULARIZERS, Config, complete
from vae.config import ObjectiveConfig, parse
from vae.data.order import places_of
from vae.draws import RowDraws
from vae.model import VAE
from vae.parts.controllers.control import ControlVae
from vae.parts.controllers.controller import Controller
from vae.parts.controllers.geco import Geco
from vae.parts.ranks import sharing, weight_of
from vae.parts.regularizers.adversary import Adversary, Discriminator
from vae.parts.terms import Inputs
from vae.seeds import Stream
from vae.training.step import Step, StepInputs

RANKS, BATCH, EXAMPLES = 3, 64, 1000
"""The ranks' parts of the batch are of 21, 21 and 22 examples."""
CAPACITY = 0.725
"""In nats, between the rates of the parts of the batch, and above that of the whole, 0.721."""
WHOLE = slice(None)
OBJECTIVES: dict[str, Config] = {
    "elbo": {},
    "iwae": {"bound": {"kind": "iwae", "samples": 3}},
    **{name: {"regularizers": [part]} for name, part in REGULARIZERS.items()},
    "capacity": {"controller": CONTROLLERS["capacity"]},
    "free bits": {"controller": CONTROLLERS["free bits"]},
}
FEEDBACK = {
    "geco": ObjectiveConfig(controller=Geco(distortion=60.0)),
    "control": ObjectiveConfig(controller=ControlVae(rate=8.0)),
}
Found = dict[str, Tensor]


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def inputs_of(part: slice) -> Inputs:
    """A part of one batch of images."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(BATCH, *parts.IMAGES.shape, generator=generator).round()
    return Inputs(x[part], condition=torch.eye(3).repeat(BATCH, 1)[:BATCH][part])


def gradients(part: slice) -> Found:
    """Loss and gradient of each objective, the means over the ranks."""
    found = {}
    for name, config in OBJECTIVES.items():
        model, objective = parts.build(complete(condition="class")), parse(ObjectiveConfig, config)
        step: nn.Module = Step(model, objective, EXAMPLES, Discriminator(Adversary(hidden=(8,)), LATENT, seed=0))
        if distributed.is_initialized():
            step = DistributedDataParallel(step)
        noise, reference = normal(objective.bound.samples, BATCH, LATENT, seed=1), normal(BATCH, LATENT, seed=2)
        draws = StepInputs(inputs_of(part), noise[:, part], reference[part] if "mmd" in name else None)
        with sharing(BATCH):
            loss = weight_of(len(draws.inputs.x)) * step(draws, torch.tensor(2.0), torch.tensor(CAPACITY)).loss
        loss.backward()
        found[f"{name}: gradient"] = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        found[f"{name}: loss"] = _mean(loss.detach())
    return found


def codebook(part: slice) -> Found:
    """The codebook after three steps."""
    model = parts.build(parts.PAIRS["vector quantized, uniform codes"] | {"condition": "class"}).train()
    model.start_at(inputs_of(WHOLE))
    for _ in range(3):
        model(inputs_of(part), torch.zeros(1, 1, 0))
    return {f"codebook: {name}": value.clone() for name, value in _codebook(model).named_buffers()}


def _codebook(model: VAE) -> nn.Module:
    return model.posterior.codebook


def controllers(part: slice) -> Found:
    """State and β of the controllers with feedback, each rank having seen its own part of the examples."""
    distortion_SB, rate_SB = 60 + 10 * normal(20, BATCH, seed=3), 8 + 5 * normal(20, BATCH, seed=4)
    found = {}
    for name, config in FEEDBACK.items():
        controller = Controller(config, 100)
        for step, (distortion_B, rate_B) in enumerate(zip(distortion_SB, rate_SB, strict=True)):
            controller.prepare(step)
            with sharing(BATCH):
                weight = weight_of(len(rate_B[part]))
            controller.observe(weight * distortion_B[part].mean(), weight * rate_B[part].mean())
        found[f"{name}: state"], found[f"{name}: beta"] = controller.state, controller.beta
    return found


def discriminator(part: slice) -> Found:
    """Its weights after five steps, each on the rank's own draws."""
    config = Adversary(hidden=(8,), learning_rate=1e-2)
    made = Discriminator(config, LATENT, seed=0)
    for step in range(5):
        with sharing(BATCH):
            made.learn(normal(BATCH, LATENT, seed=step)[part], RowDraws(0, Stream.DISCRIMINATOR, step))
    return {"discriminator": nn.utils.parameters_to_vector(made.network.parameters()).detach()}


def everything(part: slice) -> Found:
    return gradients(part) | codebook(part) | controllers(part) | discriminator(part)


def _mean(value: Tensor) -> Tensor:
    if distributed.is_initialized():
        distributed.all_reduce(value)
        value /= distributed.get_world_size()
    return value


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=RANKS)
    own = places_of(rank, RANKS, BATCH)
    torch.save(everything(slice(own.start, own.stop)), folder / f"rank-{rank}.pt")
    distributed.barrier()
    os._exit(0)  # gloo's threads may outlive the interpreter, and then end it with an abort


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
