"""Suite of all scores that need factors. Shapes as in the package."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vae.metrics.disentanglement.codes import NUM_TEST, NUM_TRAIN, labelled_codes, split_rows
from vae.metrics.disentanglement.information import mig, modularity
from vae.metrics.disentanglement.interventions import beta_vae_score, factor_vae_score
from vae.metrics.disentanglement.prediction import dci, sap


@dataclass(frozen=True)
class Disentanglement:
    """Scores that need factors: 1 for a perfect code, 0 or chance for a code that does not depend on the factors."""

    beta_vae: float
    """Evaluation accuracy; chance is 1/F."""
    factor_vae: float
    """Evaluation accuracy; chance is about 1/F."""
    mig: float
    sap: float
    modularity: float
    dci_disentanglement: float
    dci_completeness: float
    dci_informativeness: float
    """Accuracy, mean over factors; chance is the share of each factor's commonest value."""
    num_train: int
    """Number of rows that trees were fitted to and informations counted on."""
    num_test: int
    """Number of rows that trees were scored on."""


def disentanglement_suite(
    codes_NL: ArrayLike,
    factors_NF: ArrayLike,
    rng: np.random.Generator,
    num_train: int = NUM_TRAIN,
    num_test: int = NUM_TEST,
) -> Disentanglement:
    """Returns all scores that need factors, by the protocol for dSprites: 10,000 rows to train on, 5,000 to evaluate on.

    Protocol: SAP and DCI are fitted to `num_train` rows and scored on `num_test` others; MIG and modularity are counted on
    `num_train` rows; a smaller dataset is divided in the same proportion. β-VAE and FactorVAE are fitted to `num_train`
    draws and scored on `num_test` draws from all rows, which are divided in that proportion too.

    Args:
        codes_NL: Finite codes of at least 2 dimensions.
        factors_NF: Integers, at least 2 factors of at least 2 values each.
        rng: Generator of every draw.
        num_train: Number of rows, and of draws, to train on.
        num_test: Number of rows, and of draws, to evaluate on.

    Raises:
        DataError: If codes or factors cannot be scored; states what is wrong, and where.
    """
    codes, factors = labelled_codes(codes_NL, factors_NF)
    train_rows, test_rows = split_rows(len(codes), num_train, num_test, rng)
    train_rows, test_rows = train_rows[:num_train], test_rows[:num_test]
    trees = dci(codes, factors, rng, num_train, num_test)
    return Disentanglement(
        beta_vae=beta_vae_score(codes, factors, rng, num_train, num_test).evaluation,
        factor_vae=factor_vae_score(codes, factors, rng, num_train, num_test).evaluation,
        mig=mig(codes[train_rows], factors[train_rows]),
        sap=sap(codes, factors, rng, num_train, num_test),
        modularity=modularity(codes[train_rows], factors[train_rows]),
        dci_disentanglement=trees.disentanglement,
        dci_completeness=trees.completeness,
        dci_informativeness=trees.informativeness,
        num_train=len(train_rows),
        num_test=len(test_rows),
    )
