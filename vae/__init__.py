"""Variational autoencoders, from Python.

```python
import vae

model = vae.fit(data, preset="beta_vae", epochs=30)
model.reconstruct(rows), model.encode(rows), model.generate(16, seed=1), model.impute(table)
model.save("my-model")
model = vae.load("my-model")
model = vae.load("models:/digits@champion")
model.register("digits")
```

The names in `__all__` are the public interface, under semantic versioning; all else is private. They are imported when they
are first used: a registered model carries this package alone, and needs none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.api import Model, connect, fit, load

__all__ = ["Model", "connect", "fit", "load"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("pipelines.api"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
