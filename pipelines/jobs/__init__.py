"""What runs on the cluster: one JSON spec in, one JSON result out.

`python -m pipelines.jobs KIND --spec URI` is submitted by `pipelines/cluster/launch.py`. A module for each kind, with one
function `run`; a job imports no more than its own kind needs.
"""
