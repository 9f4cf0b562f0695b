"""`--all-against-the-wheel`: not a selection of tests, but all that can run against compiled code."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all-against-the-wheel", action="store_true", help="Minutes instead of seconds.")


@pytest.fixture(scope="session")
def everything(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--all-against-the-wheel", default=False))
