"""The stand-in for training and its grid, as the harness's own tests have them."""

from tests.harness.conftest import grid, tree

__all__ = ["grid", "tree"]
