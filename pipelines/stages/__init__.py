"""One file per stage: what the stage is asked (its request) and what it returns (its typed result).

A request is the form that Prefect shows and the specification of the stage's job. A result is the job's `result.json`, what
the flow returns, and what `betaline … --json` prints. Neither imports Prefect or Ray: a command refuses a request before
it starts any server, and a job starts without loading Prefect. `pipelines/flows` holds the Prefect flow of each stage,
`pipelines/jobs` the work that it does on the cluster.
"""
