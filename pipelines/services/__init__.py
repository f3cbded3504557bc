"""The embedded services of one BETALINE_HOME: a Prefect server, an MLflow server and a Ray head on loopback.

`start` and `stop` are `betaline up` and `betaline down`; `connect` is what every other command uses.
"""

from pipelines.services.commands import MLFLOW_USER
from pipelines.services.embedded import SECRETS, Progress, Services, attach, local_home, read, start, stop
from pipelines.services.lease import connect, exported

__all__ = [
    "MLFLOW_USER",
    "SECRETS",
    "Progress",
    "Services",
    "attach",
    "connect",
    "exported",
    "local_home",
    "read",
    "start",
    "stop",
]
