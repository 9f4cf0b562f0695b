"""Fleets shared by tests that leave them as they found them."""

from collections.abc import Iterator

import pytest

from tests.app.fleet import Fleet


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    """A healthy fleet of three regions; not to be harmed."""
    with Fleet("--seed", "1") as running:
        running.wait_fresh()
        yield running
