"""What every test shares: checked array shapes, and skips that CI does not accept.

**Kinds.** Everyday tests carry no marker and finish within seconds. `slow` and `slurm` tests are left out unless asked
for (`pytest -m slow`, `pytest -m slurm`). `gpu`, `gl`, `chromium` and `demo` tests are always collected and skip
themselves, each with its reason, where the machine cannot run them or no demo has been run.

**Skips in CI.** `HARMONY_BENCH_REQUIRE=slurm,gl,chromium,…` names the kinds (KINDS) this machine must be able to run:
a test carrying one of these markers that skips is then reported as a failure. Skip inside the test or its fixture, by
`pytest.skip(reason)` or `@pytest.mark.skipif`; skipping a whole module that uses such a marker fails as well.

**Devices.** Tests compute on the CPU, where the golden numbers hold. `JAX_PLATFORMS=cuda,cpu pytest -m gpu` runs the
GPU tests; a GPU test skips where `jax.devices("gpu")` has none.

**Shapes.** The jaxtyping annotations of `agent` are checked by beartype as its modules are imported.
"""

import os
from collections.abc import Generator

import pytest
from jaxtyping import install_import_hook

KINDS = ("slow", "slurm", "gpu", "gl", "chromium", "latex", "demo", "cuda_compiler")
REQUIRED = tuple(kind for kind in os.environ.get("HARMONY_BENCH_REQUIRE", "").split(",") if kind)

os.environ.setdefault("JAX_PLATFORMS", "cpu")

os.umask(os.umask(0o022) | 0o022)  # what tests prepare is theirs alone, whatever the developer's own umask

install_import_hook("agent", "beartype.beartype")


def pytest_configure() -> None:
    unknown = [kind for kind in REQUIRED if kind not in KINDS]
    if unknown:
        raise pytest.UsageError(f"HARMONY_BENCH_REQUIRE: unknown kind {unknown[0]!r}; known: {', '.join(KINDS)}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    kinds = [kind for kind in REQUIRED if item.get_closest_marker(kind)]
    if report.skipped and kinds and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid}: {reason}; HARMONY_BENCH_REQUIRE={','.join(REQUIRED)} does not allow this skip"
        )
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped and isinstance(collector, pytest.Module):
        source = collector.path.read_text(encoding="utf-8")
        kinds = [kind for kind in REQUIRED if f"mark.{kind}" in source]
        if kinds:
            report.outcome = "failed"
            report.longrepr = f"{collector.nodeid}: module skipped, but HARMONY_BENCH_REQUIRE names {', '.join(kinds)}"
    return report
