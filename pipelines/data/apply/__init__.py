"""One task of a registered model over a whole dataset: its plan, its units, and their files.

A unit is a row group of the input and becomes one file of the output, named after its place and written whole. A file that
is there and is what its record says is not made again. So a job may be killed at any moment and run again: it loses no row
and doubles none.
"""

from pipelines.data.apply.manifests import Columns, Provenance
from pipelines.data.apply.output import UnitRecord, claim, finished_units, publish
from pipelines.data.apply.params import check_task, read_params
from pipelines.data.apply.planning import ApplyPlan, Asked, plan
from pipelines.data.apply.work import Worker, pull

__all__ = [
    "ApplyPlan",
    "Asked",
    "Columns",
    "Provenance",
    "UnitRecord",
    "Worker",
    "check_task",
    "claim",
    "finished_units",
    "plan",
    "publish",
    "pull",
    "read_params",
]
