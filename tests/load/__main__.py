"""Runs every test of load, and writes what was measured: `python -m tests.load [arguments of pytest]`."""

from tests.load.table import TABLE
from tests.tables import main

if __name__ == "__main__":
    main(TABLE, "load")
