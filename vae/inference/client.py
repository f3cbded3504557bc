"""A pulled model with a typed method for each task, for those who have this package.

```
model = client.Pulled(mlflow.pyfunc.load_model("models:/digits@champion"))
images = model.generate(16, seed=1)
```

Shapes: N rows, L latent, T points of a path, D dimensions; `shape` is an example's. Rows are arrays [N,*shape] of images,
or data frames of a table; what a row may look like is said by `vae.serving.RegisteredVAE`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from vae.inference import Interpolation, Sampler
from vae.parts.directions import Method

Data = Any
"""Images [N,*shape], or a data frame."""
Condition = Sequence[str] | str
"""One entry for each row or one for all; see `vae.data.conditions`."""

OUTPUTS = {None: "auto", True: "sample", False: "mean"}
"""Values of the parameter `output` by whether examples are draws."""


class Predictor(Protocol):
    """A model that `mlflow.pyfunc.load_model` returned, or anything that answers like it."""

    def predict(self, data: Any, /, params: dict[str, Any] | None = None) -> Any:
        """Returns the answer to a task."""
        ...


class Code(NamedTuple):
    """Posterior of each row."""

    mean: NDArray[np.float32]
    """[N,L]"""
    std: NDArray[np.float32]
    """[N,L]"""


class Traversal(NamedTuple):
    """Effect of each dimension of the latent on images."""

    dimensions: NDArray[np.int64]
    """The most informative first, [D]"""
    kl: NDArray[np.float32]
    """KL divergence of each dimension in nats, [D]"""
    values: NDArray[np.float32]
    """[T]"""
    examples: NDArray[np.float32]
    """[N,D,T,*shape]"""


class Pulled:
    """A pulled model. Every method raises what `predict` raises: a ValueError that says what would work.

    Args:
        model: What MLflow loaded.
    """

    def __init__(self, model: Predictor) -> None:
        self.model = model

    def reconstruct(self, rows: Data, *, condition: Condition = (), beta: float = 1.0) -> Data:
        """Returns the decoder's answer at each posterior's mean."""
        return self._ask("reconstruct", rows, condition=condition, beta=beta)

    def encode(self, rows: Data, *, condition: Condition = (), beta: float = 1.0) -> Code:
        """Returns the mean and standard deviation of q(z|x)."""
        return Code(**self._ask("encode", rows, condition=condition, beta=beta))

    def decode(
        self,
        latents: NDArray[np.floating],
        *,
        condition: Condition = (),
        sample: bool | None = None,
        seed: int = 0,
        beta: float = 1.0,
    ) -> Data:
        """Returns rows at latents [N,L]: the likelihood's mean, or a draw from it; by default a draw of tables alone."""
        return self._ask("decode", latents, condition=condition, output=OUTPUTS[sample], seed=seed, beta=beta)

    def generate(
        self,
        n: int = 16,
        *,
        condition: Condition = (),
        seed: int = 0,
        temperature: float = 1.0,
        sampler: Sampler = "prior",
        sample: bool | None = None,
        where: str = "",
        beta: float = 1.0,
    ) -> Data:
        """Returns `n` new rows; the same seed gives the same bytes on machines of one kind.

        They are draws with `sample`, means of the likelihood without; by default draws of tables and means of images. Rows
        of a table can be asked to meet constraints, such as `where="sex=F,age>60"`.
        """
        drawn = {"temperature": temperature, "sampler": sampler, "output": OUTPUTS[sample], "where": where}
        return self._ask("generate", None, n=n, condition=condition, seed=seed, beta=beta, **drawn)

    def score(
        self, rows: Data, *, condition: Condition = (), num_samples: int = 100, seed: int = 0, beta: float = 1.0
    ) -> NDArray[np.float32]:
        """Returns log p(x) of each row's observed values in nats, [N]."""
        return self._ask("score", rows, condition=condition, num_samples=num_samples, seed=seed, beta=beta)

    def denoise(
        self, rows: Data, *, condition: Condition = (), num_samples: int = 100, seed: int = 0, std: bool = False
    ) -> Data:
        """Returns clean rows, or with `std` the standard deviation of each value."""
        output = "std" if std else "mean"
        return self._ask("denoise", rows, condition=condition, num_samples=num_samples, seed=seed, output=output)

    def impute(
        self, rows: Data, *, condition: Condition = (), num_samples: int = 1000, seed: int = 0, std: bool = False
    ) -> Data:
        """Returns rows with their gaps filled in; or with `std` the standard deviation of each value."""
        output = "std" if std else "mean"
        return self._ask("impute", rows, condition=condition, num_samples=num_samples, seed=seed, output=output)

    def impute_ess(
        self, rows: Data, *, condition: Condition = (), num_samples: int = 1000, seed: int = 0
    ) -> NDArray[np.float32]:
        """Returns the effective number of draws that `impute` rests on, [N]; below 10 a row's values are unreliable."""
        return self._ask("impute", rows, condition=condition, num_samples=num_samples, seed=seed, output="ess")

    def impute_many(
        self, rows: Data, n: int, *, condition: Condition = (), num_samples: int = 1000, seed: int = 0
    ) -> Data:
        """Returns `n` imputations of each row: images [N,n,*shape], or a data frame with the `n` of a row together."""
        return self._ask("impute", rows, n=n, condition=condition, num_samples=num_samples, seed=seed, output="sample")

    def interpolate(
        self, pairs: Data, n: int = 16, *, path: Interpolation = "linear", condition: Condition = ()
    ) -> Data:
        """Returns paths of `n` points between the rows of each pair.

        Images [N,2,*shape] become [N,n,*shape]; two successive rows of a table become `n`.
        """
        return self._ask("interpolate", pairs, n=n, path=path, condition=condition)

    def traverse(
        self,
        images: NDArray[Any],
        *,
        dimensions: Sequence[int] = (),
        extent: float = 3.0,
        n: int = 7,
        condition: Condition = (),
    ) -> Traversal:
        """Returns images with one dimension of their latent set to `n` values, the most informative dimension first."""
        asked = {"dimensions": list(dimensions), "extent": extent, "n": n, "condition": condition}
        return Traversal(**self._ask("traverse", images, **asked))

    def edit(
        self,
        rows: Data,
        attribute: str,
        strength: float = 1.0,
        *,
        method: Method = "means",
        condition: Condition = (),
        beta: float = 1.0,
    ) -> Data:
        """Returns rows with more of an attribute, or less of it where the strength is below 0."""
        asked = {"attribute": attribute, "strength": strength, "method": method}
        return self._ask("edit", rows, condition=condition, beta=beta, **asked)

    def transfer(self, rows: Data, target: Condition = (), *, condition: Condition = (), seed: int = 0) -> Data:
        """Returns rows under the target condition.

        Without a target, `rows` are pairs of a row and a reference whose condition it takes. The rows' own `condition` is
        inferred unless it is given.
        """
        return self._ask("transfer", rows, target=target, condition=condition, seed=seed)

    def _ask(self, task: str, rows: Any, **params: Any) -> Any:
        for name in ("condition", "target"):
            if isinstance(value := params.get(name), str):
                params[name] = [value]
        # MLflow checks lists against the signature, and takes no empty ones.
        given = {name: list(v) if isinstance(v, tuple) else v for name, v in params.items() if v not in ((), [])}
        return self.model.predict(rows, params={"task": task, **given})
