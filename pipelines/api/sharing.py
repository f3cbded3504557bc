"""Models to and from the Hugging Face Hub, with their cards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pipelines.api.bar import drawn
from pipelines.models import hub
from vae.config.model import ModelConfig
from vae.data.transforms import transform_of
from vae.errors import DataError

if TYPE_CHECKING:
    from pipelines.api.model import Model

TAGS = ("variational-autoencoder", "vae", "pytorch")


def push(model: Model, uri: str, *, private: bool, show: bool) -> hub.Pushed:
    """Sends a model to the Hub; see `Model.push`."""
    address = hub.address_of(uri)
    with TemporaryDirectory(prefix="betaline-") as folder, drawn(model.name, show=show, call="push"):
        _without_places(model).save(folder)
        (Path(folder) / hub.CARD).write_text(card_of(model, address), encoding="utf-8")
        return hub.push(Path(folder), uri, private=private)


def _without_places(model: Model) -> Model:
    """Returns a model whose facts name no folder of this machine, which nobody else should see."""
    from pipelines.api.model import Model

    if model.fit is None:
        return model
    facts = {"dataset": _dataset_name(model.fit.dataset), "folder": ""}
    return Model(model.network, model.fit.model_copy(update=facts))


def _dataset_name(uri: str) -> str:
    """Returns the name of the dataset in a folder NAME/ID."""
    return Path(uri).parent.name or uri


@contextmanager
def pulled(uri: str) -> Iterator[str]:
    """Yields a temporary folder with the files of a model on the Hub.

    Raises:
        RegistryError: If it is absent, private, or no model of betaline, or the Hub cannot be reached.
    """
    with TemporaryDirectory(prefix="betaline-") as folder:
        hub.pull(uri, folder)
        yield folder


def card_of(model: Model, address: hub.Address) -> str:
    """Returns the model card in the Hub's format: front matter in YAML, and the card in markdown."""
    examples = model.network.examples
    facts: dict[str, Any] = {"tags": [*TAGS, examples.kind], "model_name": address.repo}
    if examples.kind == "image":
        facts["pipeline_tag"] = "unconditional-image-generation"
    return hub.front_matter(facts, _figures(model)) + _text(model, address)


def _figures(model: Model) -> list[dict[str, Any]]:
    """Returns the figures of the best epoch on the validation split; none for a model without its training."""
    if model.fit is None or not model.history:
        return []
    best = model.history[model.history[-1].best_epoch - 1]
    nats = {"distortion": best.validation_distortion, "rate": best.validation_rate}
    nats = {"negative_elbo": sum(nats.values()), **nats}
    return [
        {
            "task_type": "density-estimation",
            "dataset_type": "betaline",
            "dataset_name": _dataset_name(model.fit.dataset),
            "dataset_split": "validation",
            "dataset_revision": model.fit.dataset_id,
            "metric_type": name,
            "metric_name": f"{name.replace('_', ' ')} (nats per example, lower is better)",
            "metric_value": round(value, 4),
        }
        for name, value in nats.items()
    ]


def _text(model: Model, address: hub.Address) -> str:
    """Returns the card's text: that of a registered version where the training is known, else what the model is."""
    try:
        from pipelines.api.showing import evidence_of  # with matplotlib
        from pipelines.report.card import card

        return card(evidence_of(model), address.uri)
    except DataError:  # it was not trained by vae.fit, or its dataset is gone
        config: ModelConfig = model.network.config
        return (
            f"# {address.repo}\n\nA variational autoencoder of {transform_of(model.network.examples).summary}: encoder "
            f"{config.encoder.summary}; {config.latent_dim} latent dimensions; posterior: {config.posterior.summary}; "
            f"prior: {config.prior.summary}; likelihood: {config.likelihood.summary}.\n\n```python\nimport vae\n\n"
            f'model = vae.load("{address.uri}")\n```\n'
        )
