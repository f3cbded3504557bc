"""What the registry says of versions and aliases."""

from __future__ import annotations

import pytest
from mlflow import MlflowClient

from pipelines.models import registry, tracking
from pipelines.services import Services
from vae.errors import RegistryError

pytestmark = pytest.mark.servers("services")


def test_unknown_alias_is_none(services: Services) -> None:
    """A model or an alias that does not exist is no error: there is no champion yet."""
    assert registry.find("no-such-model", "champion") is None


def test_rollback_gives_an_alias_back_step_by_step(services: Services) -> None:
    """To the version that had it before, and from there to the one before that; the first has nowhere to go."""
    client = MlflowClient()
    run = client.get_run(tracking.open_run("rolled", "rolled-1"))
    client.create_registered_model("rolled")
    for _ in range(3):
        client.create_model_version("rolled", f"{run.info.artifact_uri}/model", run.info.run_id)
    one, two, three = sorted(registry.versions("rolled"), key=lambda version: version.version)
    for version in (one, two, two, three):  # a retry of the gate moves it to where it is
        registry.move_alias(version, "champion", "for a test")
    was, now = registry.rollback("rolled", "champion")
    assert (was.version, now.version, now.aliases) == ("3", "2", ("champion",))
    assert registry.rollback("rolled", "champion")[1].version == "1"
    champion = registry.find("rolled", "champion")
    assert champion is not None
    assert champion.version == "1"
    with pytest.raises(RegistryError, match="version 1 of rolled is the first champion: there is none to go back to"):
        registry.rollback("rolled", "champion")
    with pytest.raises(RegistryError, match=r"'rolled@challenger'; there are rolled/3, rolled/2, rolled/1 @champion"):
        registry.rollback("rolled", "challenger")
