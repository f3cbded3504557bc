"""The Ray cluster: its jobs, its resources, its runs."""
