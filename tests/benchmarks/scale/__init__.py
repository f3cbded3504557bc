"""How training and data scale: workers, networks and rows. `python -m tests.benchmarks.scale --part NAME`."""
