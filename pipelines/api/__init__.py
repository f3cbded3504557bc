"""Python's way in: what `import vae` offers, in this process, without Ray, servers or a command line."""

from pipelines.api.fitting import fit
from pipelines.api.loading import load
from pipelines.api.model import Model
from pipelines.api.registry import connect

__all__ = ["Model", "connect", "fit", "load"]
