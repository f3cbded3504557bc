"""The Prefect flows, their requests, and what happens around a flow run."""
