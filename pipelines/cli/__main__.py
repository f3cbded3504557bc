"""`python -m pipelines.cli`, which is `betaline`."""

from pipelines.cli import main

main()
