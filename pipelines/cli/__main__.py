"""Entry point of `python -m pipelines.cli`, which does the same as `betaline`."""

from pipelines.cli import main

main()
