"""The stack as the tests see it: resolved for prod, and for local."""

import pytest

from stack_model import PROD, Stack


@pytest.fixture(scope="session")
def prod() -> Stack:
    return Stack(**PROD)


@pytest.fixture(scope="session")
def local() -> Stack:
    return Stack(Stage="local")
