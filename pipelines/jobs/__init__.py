"""Work on the cluster: one JSON specification in, one JSON result out.

`pipelines/cluster/launch.py` submits `python -m pipelines.jobs KIND --spec URI`. Each kind is a module with `Request`, the
type of its request, and one function `run`; a job imports no more than its own kind needs.
"""
