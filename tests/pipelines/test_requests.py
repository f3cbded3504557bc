"""What a flow is asked."""

from __future__ import annotations

from pipelines.examples import digits
from vae.config import DataConfig, MissingCompletelyAtRandom, TrainingConfig, override


def test_final_training_keeps_all_but_how_it_is_trained() -> None:
    """Data, model and objective of the search's base go on; training and scaling are those of the request."""
    base = override(digits().search.base, {"data.missing": {"kind": "mcar", "share": 0.1}, "objective.beta": 2.0})
    search = digits().search.model_copy(update={"base": base})
    request = digits().model_copy(update={"search": search, "training": TrainingConfig(epochs=7)})
    final = request.final
    assert final.data == DataConfig(missing=MissingCompletelyAtRandom(share=0.1))
    assert (final.model, final.objective) == (base.model, base.objective)
    assert (final.training.epochs, final.scaling) == (7, request.scaling)
    assert request.model_copy(update={"training": None}).final.training == base.training
