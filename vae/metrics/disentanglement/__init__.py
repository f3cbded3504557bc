"""Disentanglement: whether each dimension of a code stands for one factor of variation, and each factor for one dimension.

Shapes: N rows, L latent dimensions, F factors, K values of a factor, B bins, S draws, P rows of a draw, M models.

Codes [N,L] are an encoder's outputs for each row, usually posterior means; factors [N,F] are the true values of each
row, as integer codes. Every score is invariant to the order and the sign of the dimensions, and, apart from FactorVAE's
threshold, to their scale. Informations and entropies are in nats. Judge by the rank order over several seeds, never by
one run.

References:
    Locatello et al., Challenging Common Assumptions in the Unsupervised Learning of Disentangled Representations
    (2019): 10,000 points to train on and 5,000 to evaluate on, the defaults here. https://arxiv.org/abs/1811.12359
"""

from vae.metrics.disentanglement.information import mig, modularity
from vae.metrics.disentanglement.interventions import Accuracy, beta_vae_score, factor_vae_score
from vae.metrics.disentanglement.prediction import Dci, dci, sap
from vae.metrics.disentanglement.ranking import udr
from vae.metrics.disentanglement.suite import Disentanglement, disentanglement_suite

__all__ = [
    "Accuracy",
    "Dci",
    "Disentanglement",
    "beta_vae_score",
    "dci",
    "disentanglement_suite",
    "factor_vae_score",
    "mig",
    "modularity",
    "sap",
    "udr",
]
