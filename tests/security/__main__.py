"""Runs every test of security, and writes the table: `python -m tests.security [arguments of pytest]`."""

from tests.security.table import TABLE
from tests.tables import main

if __name__ == "__main__":
    main(TABLE, "security")
