"""The Prefect flow of each stage. Flows orchestrate and never compute: a stage's work is a job on the cluster."""
