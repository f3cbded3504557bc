"""Runs every test of a fault, and writes the table: `python -m tests.faults [arguments of pytest]`."""

from tests.faults.table import TABLE
from tests.tables import main

if __name__ == "__main__":
    main(TABLE, "faults", "cluster")
