"""A trained model at hand: its uses, its verdict, its report, its files."""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pipelines.stages.fields import Result
from vae.config import RunConfig
from vae.data.parquet import Dataset
from vae.data.transforms import transform_of
from vae.errors import DataError
from vae.inference.answering import answer
from vae.inference.client import Pulled
from vae.model import VAE
from vae.storage import locate, write_whole
from vae.training.hooks import EpochReport
from vae.training.state import load_model, save_model
from vae.training.verdict import Finding, words

if TYPE_CHECKING:
    from pipelines.exporting import Exported, Format, Pixels, Precision
    from pipelines.models.hub import Pushed
    from pipelines.stages.promote import PromoteResult

FIT = "fit.json"
"""Name of the file with the facts of a fit, beside the model's."""


class Fit(Result):
    """The facts of a training in this process."""

    name: str
    """Name of the model."""
    config: RunConfig
    """Configuration that was trained."""
    dataset: str
    """URI of the dataset's folder."""
    dataset_id: str
    """Content address of the dataset."""
    history: tuple[EpochReport, ...]
    """Figures of each epoch."""
    findings: tuple[Finding, ...] = ()
    """Findings of the verdict."""
    seconds: float = Field(ge=0)
    """Seconds of the training, in the call that ended it."""
    is_over: bool = True
    """False for a training that was interrupted."""
    folder: str
    """URI of the run's folder, with its checkpoints."""


class Model(Pulled):
    """A trained model, in this process.

    Its methods take and return arrays and data frames: images [N,*shape], or rows of a table. What rows may look like is
    said by `vae.serving.RegisteredVAE`.

    Args:
        network: The model itself, a torch module in evaluation mode.
        fit: Facts of its training; None for a model that was not trained by `vae.fit`.
        name: Name of the model where there are no facts.
    """

    def __init__(self, network: VAE, fit: Fit | None = None, name: str = "model") -> None:
        super().__init__(_Answering(network))
        self.network = network
        self.fit = fit
        self.name = fit.name if fit else name

    @property
    def verdict(self) -> str:
        """`sound`, or the names of the findings; `interrupted` for a training that did not end, `unknown` without one."""
        if self.fit is None:
            return "unknown"
        return words(self.fit.findings) if self.fit.is_over else "interrupted"

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Findings of the verdict, each with its figure and the advice that mends it."""
        return self.fit.findings if self.fit else ()

    @property
    def history(self) -> Sequence[EpochReport]:
        """Figures of each epoch of the training, in nats per example; empty without one."""
        return self.fit.history if self.fit else ()

    def save(self, folder: str | Path) -> None:
        """Writes the model to a folder, a path or URI, for `vae.load`: safetensors and JSON, no pickle."""
        uri = str(folder)
        save_model(self.network, uri)
        if self.fit is not None:
            content = self.fit.model_dump_json(indent=1)
            write_whole(locate(uri) / FIT, content.encode())

    def report(self, folder: str | Path | None = None, *, show: bool = True) -> Path:
        """Writes the report of the training, and opens it in a browser.

        Args:
            folder: Folder of the page and its figures; None makes a temporary one.
            show: Whether to open the page.

        Returns:
            Path of the page, one HTML file that loads nothing from elsewhere.

        Raises:
            DataError: If the model was not trained by `vae.fit`, or its dataset is gone.
        """
        from pipelines import report  # with matplotlib
        from pipelines.api.showing import evidence_of

        page = report.write(evidence_of(self), Path(folder or mkdtemp(prefix="betaline-report-")))["report.html"]
        if show:
            webbrowser.open(page.absolute().as_uri())
        return page

    def register(
        self, name: str | None = None, *, alias: str = "champion", show: bool = True, **options: Any
    ) -> PromoteResult:
        """Registers the model in MLflow, and gives it the alias if it is better than the version that has it.

        The gate is that of `betaline promote`, with the services of the home, which are started if none run.

        Args:
            name: Registered model that gets a new version; None takes the model's own name.
            alias: Alias that the version may take.
            show: Whether to show progress.
            options: Further options of `betaline promote`, such as `num_samples=500`.

        Returns:
            The version, its score, and the decision with its reason.

        Raises:
            RegistryError: If the model did not come to the end of a `vae.fit`.
            ServiceError: If a service does not start.
        """
        from pipelines.api.registry import register

        return register(self, name or self.name, alias, show, **options)

    def export(
        self,
        out: str | Path,
        *,
        format: Format = "onnx",
        precision: Precision = "float32",
        pixels: Pixels = "float32",
        tasks: Sequence[str] = (),
        show: bool = True,
    ) -> Exported:
        """Writes the model for other runtimes: graphs of encode, decode, reconstruct and generate, for any number of rows.

        Each file is compared with the model before it is published, on rows of the dataset or, where that is not known, on
        samples of the model. See docs/export.md.

        Args:
            out: Folder of the files, a path or URI.
            format: Format of the files; `onnx` needs the extra `export`.
            precision: Precision of the networks' weights; inputs and outputs stay float32.
            pixels: Type of the pixels that graphs take: `float32` in [0, 1] with NaN where missing, or `uint8`.
            tasks: Tasks to export; none stands for all that can be.
            show: Whether to show progress.

        Returns:
            The files, their inputs and outputs, the differences, and why other tasks are not among them.

        Raises:
            ConfigError: If a library is missing, or a setting or a task does not fit the model.
            ExportError: If a file does not answer as the model does.
        """
        from pipelines.api.bar import drawn
        from pipelines.exporting import export

        try:
            dataset = self.dataset()
        except DataError:
            dataset = None
        with drawn(self.name, show=show, call="export"):
            return export(self.network, str(out), self.name, dataset, format, precision, pixels, tasks)

    def push(self, address: str, *, private: bool = False, show: bool = True) -> Pushed:
        """Sends the model to the Hugging Face Hub: safetensors, JSON and a card, no pickle.

        The repository is made if it does not exist. Its license is left for you to set on its page.

        Args:
            address: Address of the model, `hf://USER/NAME`.
            private: Whether a new repository is private.
            show: Whether to show progress.

        Returns:
            Address of the model's page, and the commit.

        Raises:
            RegistryError: If nobody is logged in, the login may not write, or the Hub cannot be reached.
        """
        from pipelines.api.sharing import push

        return push(self, address, private=private, show=show)

    def dataset(self) -> Dataset:
        """Returns the dataset that the model was trained on.

        Raises:
            DataError: If the model was not trained by `vae.fit`, or its dataset is gone.
        """
        if self.fit is None:
            raise DataError(f"{self.name} was not trained by vae.fit, so its dataset is not known")
        return Dataset.open(self.fit.dataset)

    def __repr__(self) -> str:
        config, described = self.network.config, transform_of(self.network.examples).described
        made = f"{described}, {config.latent_dim} latents, {config.encoder.summary}"
        return f"<vae.Model {self.name}: {made}; {self.verdict}>"

    def _repr_html_(self) -> str:
        from pipelines.api.showing import html_of

        return html_of(self)


class _Answering:
    """Answers in this process, as the registered model does behind MLflow."""

    def __init__(self, network: VAE) -> None:
        self.network = network

    def predict(self, data: Any, /, params: dict[str, Any] | None = None) -> Any:
        """Returns the answer to a task."""
        return answer(self.network, data, params or {})


def opened(uri: str, name: str | None = None, *, trust_code: bool = False) -> Model:
    """Returns the model in a folder, a path or URI, with the facts of its training if they are there.

    Args:
        uri: The folder.
        name: Name of the model where there are no facts; None takes the folder's name.
        trust_code: Whether parts of its maker's own may run from the source that came with it.

    Raises:
        CheckpointError: If the folder does not hold a model of this version.
    """
    network, facts = load_model(uri, trust_code=trust_code), locate(uri) / FIT
    fit = Fit.model_validate_json(facts.read()) if facts.exists() else None
    return Model(network, fit, name or Path(uri).name)
