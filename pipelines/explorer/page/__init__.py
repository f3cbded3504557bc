"""The explorer in a browser. The only place that imports nicegui."""

from pipelines.explorer.page.server import application, serve

__all__ = ["application", "serve"]
