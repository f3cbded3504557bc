"""The VAE: encoder + posterior + prior + decoder + likelihood, composed from a configuration.

Shapes: S samples, B batch, K width of the condition, L latent, A attributes; `shape` is an example's, (C,H,W) of an image
and (D,) of a table. Every density is per example, in nats; only an objective reduces.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vae.config.model import ModelConfig
from vae.data.conditions import annotation_values, encode_conditions
from vae.data.schema import Column, ExampleSpec, Experience
from vae.draws import RowDraws
from vae.errors import ConfigError, DataError
from vae.parts.aggregate import AggregateMixture
from vae.parts.bodies.body import Context, ContextDims
from vae.parts.directions import Directions
from vae.parts.likelihoods.preparing import prepare
from vae.parts.posteriors.posterior import Posterior
from vae.parts.priors.prior import Prior
from vae.parts.terms import Inputs, Terms

__all__ = ["VAE", "Column", "ExampleSpec", "Inputs", "Terms"]


class VAE(nn.Module):
    """A variational autoencoder over examples of one shape.

    Args:
        config: What it is made of.
        examples: Shape, classes, columns and attributes of the data.
        seed: Seed of the initial weights; the global generator is left as it was.

    Raises:
        ConfigError: If the parts do not fit the examples.
        DataError: If the model is conditional and the data has not what it depends on.

    References:
        Kingma & Welling, Auto-Encoding Variational Bayes (2014). https://arxiv.org/abs/1312.6114
    """

    def __init__(self, config: ModelConfig, examples: ExampleSpec, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.examples = examples
        self.conditions = _conditions(config.condition, examples)
        self.experience = Experience()
        self.aggregate: AggregateMixture | None = None
        self.directions: Directions | None = None
        beside, width = config.condition_by == "concatenation", self.condition_dim
        context = ContextDims(
            beside=width if beside else 0,
            film=0 if beside else width,
            channels_only=config.condition_by == "channel_film",
            log_beta=config.beta_gates,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.likelihood = config.likelihood.build(examples)
            self.encoder = config.encoder.encoder(examples, context)
            self.posterior = config.posterior.build(self.encoder.num_features, config.latent_dim, config.prior)
            self.prior = config.prior.build(config.latent_dim, config.posterior, self.condition_dim, examples)
            self.decoder = config.mirrored_decoder.decoder(
                config.latent_dim, self.likelihood.outputs_shape, context._replace(decodes=True)
            )

    # --- the condition -------------------------------------------------------------------------------------

    @property
    def condition_dim(self) -> int:
        """Width of the condition: 0 where the model has none."""
        return sum(len(column.categories) if column.categories else 1 for column in self.conditions)

    @property
    def num_classes(self) -> int:
        """Classes that the model is conditioned on: 0 where it is not."""
        return len(self.examples.classes or ()) if "class" in self.config.condition else 0

    def condition(self, labels_B: Tensor | None, attributes_BA: Tensor | None = None) -> Tensor | None:
        """Returns the condition [B,K] from class indices [B] and attributes [B,A]; None for a model without one.

        Categories become one-hot vectors, numbers are standardised.
        """
        values = annotation_values(self.examples, labels_B, attributes_BA)
        return encode_conditions(self.conditions, [values[column.name] for column in self.conditions])

    def untold(self, labels_B: Tensor | None, attributes_BA: Tensor | None) -> tuple[tuple[Column, ...], Tensor]:
        """Returns the labels and attributes that are not in the condition: their columns, and their values [B,columns]."""
        values = annotation_values(self.examples, labels_B, attributes_BA)
        known = [column for column in self.examples.annotations if column.name in values]
        columns = tuple(column for column in known if column.name not in self.config.condition)
        if not columns:
            return (), torch.empty(0, 0)
        return columns, torch.stack([values[column.name].float() for column in columns], dim=-1)

    def inputs(
        self,
        values: Tensor,
        labels_B: Tensor | None = None,
        attributes_BA: Tensor | None = None,
        observed: Tensor | None = None,
        *,
        draws: RowDraws,
    ) -> Inputs:
        """Returns a batch of the dataset as the model takes it.

        Args:
            values: Examples as the dataset has them, [B,*shape].
            labels_B: Indices of the classes; None without labels.
            attributes_BA: Attributes; None without them.
            observed: Whether each entry is observed, bool [B,*shape]; None for all.
            draws: Source of the pixels that a dynamic binarisation draws anew.
        """
        x, there = prepare(values, self.config.likelihood, self.examples, draws)
        return Inputs(x, observed if there is None else there, None, self.condition(labels_B, attributes_BA))

    def _context(self, inputs: Inputs) -> Context:
        return self._context_of(inputs.condition, inputs.log_beta, inputs.x.shape[0], inputs.x.device)

    def _context_of(
        self, condition_BK: Tensor | None, log_beta_B1: Tensor | None, batch: int, device: torch.device
    ) -> Context:
        if self.config.beta_gates and log_beta_B1 is None:
            log_beta_B1 = torch.zeros(batch, 1, device=device)
        if self.config.condition_by == "concatenation":
            return Context(condition_BK, None, log_beta_B1)
        return Context(None, condition_BK, log_beta_B1)

    # --- the parts, one after the other -----------------------------------------------------------------------------

    @property
    def has_codes(self) -> bool:
        """Whether the latent is made of codes."""
        return self.config.posterior.has_codes

    @property
    def noise_dim(self) -> int:
        """Standard normal numbers that one draw of the posterior takes."""
        return self.posterior.noise_dim

    def prior_of(self, condition_BK: Tensor | None = None) -> Prior:
        """Returns p(z), or p(z|y), of a batch."""
        return self.prior(condition_BK, self._pseudo_posterior)

    def _pseudo_posterior(self, x: Tensor, condition_NK: Tensor | None) -> Any:
        return self.encode(Inputs(x, condition=condition_NK))

    def encode(self, inputs: Inputs) -> Posterior:
        """Returns q(z|x) of a batch."""
        return self.posterior(self._features(inputs), lambda: self.prior_of(inputs.condition))

    def _features(self, inputs: Inputs) -> Tensor:
        """Returns the features of the observed entries, [B,features]."""
        seen = inputs.x if inputs.seen is None else inputs.seen
        if inputs.observed is not None:
            seen = seen.masked_fill(~inputs.observed, 0.0)
        return self.encoder(seen, inputs.observed, self._context(inputs))

    def decode(self, z_SBL: Tensor, condition_BK: Tensor | None = None, log_beta_B1: Tensor | None = None) -> Tensor:
        """Returns the likelihood's parameters [S,B,*outputs_shape] at latents [S,B,L]."""
        samples, batch = z_SBL.shape[:2]
        context = self._context_of(condition_BK, log_beta_B1, batch, z_SBL.device).repeat(samples)
        outputs = self.decoder(z_SBL.flatten(0, 1), context)
        return outputs.view(samples, batch, *outputs.shape[1:])

    def sample_prior(self, noise_BN: Tensor, condition_BK: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Latents [B,L] from the prior, out of standard normal noise [B,N]."""
        return self.posterior.latents_of(self.prior_of(condition_BK).sample(noise_BN, temperature))

    def terms(self, inputs: Inputs, posterior: Posterior, prior: Prior, noise_SBN: Tensor) -> Terms:
        """Returns the terms of draws from a posterior that has been inferred already."""
        draw = posterior.draw(noise_SBN, prior)
        outputs = self.decode(draw.z, inputs.condition, inputs.log_beta)
        return Terms(self.likelihood.log_prob(inputs.x, outputs, inputs.observed), outputs, draw, posterior, prior)

    def forward(self, inputs: Inputs, noise_SBN: Tensor) -> Terms:
        """Encodes, draws z from standard normal noise, decodes and scores.

        Args:
            inputs: A batch.
            noise_SBN: Standard normal; its first dimension is the number of draws per example.
        """
        return self.terms(inputs, self.encode(inputs), self.prior_of(inputs.condition), noise_SBN)

    def aggregate_posterior(self) -> AggregateMixture:
        """Returns the mixture that was fitted to draws of the posteriors, whatever their condition.

        Raises:
            ConfigError: If none was fitted, or the prior depends on the condition.
        """
        if self.prior.depends_on_condition:
            raise ConfigError(
                "the mixture fitted to the aggregate posterior knows no condition, and this model's conditional prior "
                "gives each its own latents; use the prior"
            )
        if self.aggregate is None:
            raise ConfigError(
                "this model has no mixture fitted to its aggregate posterior: it was trained without "
                "training.aggregate_components, or its latent is made of codes; use the prior"
            )
        return self.aggregate

    # --- parts that begin with data ---------------------------------------------------------------------------------

    @property
    def num_starting_examples(self) -> int:
        """Examples of the training split that `start_at` needs; 0 for a model that begins without data."""
        return max(self.prior.num_starting_examples, self.posterior.num_starting_examples)

    @torch.no_grad()
    def start_at(self, inputs: Inputs) -> None:
        """Initialises pseudo-inputs and codes with real examples, the same on every rank."""
        self.prior.start_at(inputs.x, inputs.condition)
        if self.posterior.num_starting_examples:
            self.posterior.start_at(self._features(inputs))


def _conditions(names: tuple[str, ...], examples: ExampleSpec) -> tuple[Column, ...]:
    """Returns the columns of a model's condition."""
    known = {column.name: column for column in examples.annotations}
    for name in names:
        if name == "class" and name not in known:
            raise DataError(
                "model.condition is `class`, but the dataset has no labels; ingest it with labels or set it to `none`"
            )
        if name not in known:
            there = ", ".join(known) or "nothing to depend on"
            raise DataError(f"model.condition names {name!r}, which the dataset does not have; it has {there}")
    return tuple(known[name] for name in names)
