"""A user's torch module as an encoder or a decoder: see `vae.parts.custom`.

Shapes: B batch, K width of the condition, F features, L latent.
"""

from __future__ import annotations

import inspect
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

from vae.data.schema import DataKind, ExampleSpec
from vae.errors import ConfigError
from vae.parts.bodies.body import BodyPart, Context, ContextDims, EncoderBody, concatenated
from vae.parts.custom import imported
from vae.parts.part import CUSTOM

TRIED = 3
"""Examples that a module is tried on."""


class ModuleBody(BodyPart):
    """A torch module of a user's own as encoder or decoder."""

    has_mirror: ClassVar[bool] = False

    kind: Literal["custom"] = CUSTOM
    target: str
    """Address of the class, such as `mypackage.nets:Encoder`."""
    args: dict[str, Any] = Field(default={})
    """Arguments of the class by name."""

    @property
    def module(self) -> type[nn.Module]:
        """Class of the module."""
        return imported(self.target, "model")

    @property
    def data_kind(self) -> DataKind:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Kind of data that the module reads: its class attribute `data_kind`, or images."""
        return getattr(self.module, "data_kind", "image")

    @property
    def not_stackable(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Reason why the module cannot train as a lane: that it does not say `stackable = True`."""
        if getattr(self.module, "stackable", False):
            return None
        return f"model: {self.target} does not say that it can train as a lane of a stack: stackable = True"

    @property
    def summary(self) -> str:
        given = ", ".join(f"{name}={value}" for name, value in self.args.items())
        return f"{self.target}({given})"

    def encoder(self, examples: ExampleSpec, context: ContextDims) -> EncoderBody:
        self._check_context(context, "encoder")
        x = torch.zeros(TRIED, *examples.shape)
        module, features = self._tried("encoder", x, examples.shape)
        if features.ndim != 2:
            raise ConfigError(
                f"model.encoder: {self.target}: expected features of shape [{TRIED}, F] from examples of shape "
                f"{list(x.shape)}, got {list(features.shape)}"
            )
        return ModuleEncoder(module, features.shape[1] + context.beside)

    def decoder(self, latent_dim: int, outputs_shape: tuple[int, ...], context: ContextDims) -> nn.Module:
        self._check_context(context, "decoder")
        z = torch.zeros(TRIED, latent_dim + context.beside)
        module, outputs = self._tried("decoder", z, z.shape[1], outputs_shape)
        if outputs.shape[1:] != outputs_shape:
            raise ConfigError(
                f"model.decoder: {self.target}: expected parameters of the likelihood of shape "
                f"{[TRIED, *outputs_shape]} from latents of shape {list(z.shape)}, got {list(outputs.shape)}"
            )
        return ModuleDecoder(module)

    def _check_context(self, context: ContextDims, field: str) -> None:
        if context.film or context.log_beta:
            raise ConfigError(
                f"model.{field}: {self.target} is a torch module, which takes a condition beside its input alone; use "
                "model.condition_by concatenation, and no beta_gates, or subclass vae.parts.bodies.body:BodyPart"
            )

    def _tried(self, field: str, inputs: Tensor, *sizes: Any) -> tuple[nn.Module, Tensor]:
        """Returns the module and its answer to zeros, which also gives lazy layers their shapes."""
        where = f"model.{field}: {self.target}"
        # Memory is estimated with tensors that have no values. A stranger's code may look at values, and lazy layers do.
        with unset_fake_temporarily() as without_values:
            module, answer = self._tried_on_values(where, torch.zeros(inputs.shape), *sizes)
        if isinstance(without_values, FakeTensorMode):
            for layer in module.modules():
                for name, parameter in layer.named_parameters(recurse=False):
                    setattr(layer, name, nn.Parameter(without_values.from_tensor(parameter.data)))
                for name, buffer in layer.named_buffers(recurse=False):
                    setattr(layer, name, without_values.from_tensor(buffer))
        return module, answer

    def _tried_on_values(self, where: str, inputs: Tensor, *sizes: Any) -> tuple[nn.Module, Tensor]:
        try:
            module = self.module(*sizes, **self.args)
            with torch.no_grad():
                first, second = module(inputs), module(inputs)
        except (TypeError, ValueError, RuntimeError, IndexError) as error:
            raise ConfigError(
                f"{where} fails on inputs of shape {list(inputs.shape)}: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(first, Tensor) or len(first) != TRIED:
            found = list(first.shape) if isinstance(first, Tensor) else type(first).__name__
            raise ConfigError(f"{where}: expected a tensor with a row for each of {TRIED} examples, got {found}")
        for name, layer in module.named_modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                raise ConfigError(
                    f"{where}: {name} normalises over a batch, of which each worker sees a part, so results would "
                    "depend on their number; use nn.GroupNorm or nn.LayerNorm"
                )
        if not torch.equal(first, second):
            raise ConfigError(
                f"{where}: two calls on the same input differ, so it draws numbers (dropout, noise) that a resumed run "
                "could not repeat; leave them out, or use objective.corruption for noise on the input"
            )
        return module, first


class ModuleEncoder(EncoderBody):
    """A user's module, and the condition beside its features.

    Args:
        module: Examples [B,*shape] to features [B,F].
        num_features: Number of features with those of the condition.
    """

    def __init__(self, module: nn.Module, num_features: int) -> None:
        super().__init__()
        self.module, self.num_features = module, num_features
        self.takes_observed = "observed" in inspect.signature(module.forward).parameters

    def forward(self, x: Tensor, observed: Tensor | None, context: Context) -> Tensor:
        features_BF = self.module(x, observed=observed) if self.takes_observed else self.module(x)
        return concatenated(features_BF, context)


class ModuleDecoder(nn.Module):
    """A user's module on latents [B,L] with the condition beside them."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, z_BL: Tensor, context: Context) -> Tensor:
        return self.module(concatenated(z_BL, context))
