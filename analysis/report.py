"""Regenerate tables and figures from run folders and the bundled scores: `python -m analysis.report`."""

import json
import shutil
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.contract.exit_codes import DONE, FAILED, INTERRUPTED, WRONG_INPUT
from agent.contract.terminal import fit, print_anywhere
from agent.contract.words import ConfigError, typed_path
from analysis.data import load, scores
from analysis.data.last import parse_last
from analysis.findings import added, guard, tidy
from analysis.findings.inputs import Inputs, gather
from analysis.findings.results import Results, Settings, compute
from analysis.options import HELP, Options, parse
from analysis.output import comparison_tables, folder
from analysis.output.table import Table
from analysis.output.write import write_report


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 if aggregates were withheld, 2 for wrong input.

    With 2 nothing is written.
    """
    print_anywhere()
    words = list(sys.argv[1:] if argv is None else argv)
    if "--help" in words or "-h" in words:
        print(fit(HELP))
        return DONE
    try:
        return _run(parse(words))
    except (ConfigError, OSError) as error:
        if "--debug" in words:
            traceback.print_exc()
        text = f"{error.filename or 'report'}: {error.strerror or error}" if isinstance(error, OSError) else str(error)
        print(text, file=sys.stderr)
        return WRONG_INPUT if isinstance(error, ConfigError) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(options: Options) -> int:
    last, last_frames = parse_last(options.settings.get("last", "1"))
    settings = Settings(
        options.reference,
        options.whole("reps", Settings.reps, 100),
        seed=options.whole("bootstrap_seed", 0, 0),
        last=last,
        last_frames=last_frames,
        interval=options.interval,
    )
    out = typed_path("out", options.settings.get("out", "report"))
    folder.check_out(out)
    inputs = gather(options)
    blocking = [f for f in inputs.findings if f.blocking]
    withheld = ""
    if blocking and "force" not in options.flags:
        withheld = (
            "; ".join(f.text for f in blocking)
            + ". Mend it, compare what is paired (--paired), or show them all the same (--force)."
        )
    results = compute(inputs.scores, replace(settings, given=inputs.references), withheld)
    if withheld:
        results.without_means(_mixed(inputs))
    inputs.findings += [guard.Finding("remark", text) for text in results.remarks]
    literature = scores.literature() if "literature" in options.flags else []
    tables = comparison_tables.of_results(results, literature)
    caution = ("NOT COMPARABLE" if withheld else "FORCED") if blocking else ""
    if blocking:
        why = f"{caution}: {'; '.join(f.text for f in blocking)}."
        tables = [replace(table, title=f"{caution}: {table.title}", notes=[why, *table.notes]) for table in tables]
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.absolute().parent))
    try:
        write_report(temporary, out, inputs, results, tables, options.flags, caution)
        folder.replace(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _say(options, inputs, results, tables, out, blocking)
    return FAILED if withheld else DONE


def _mixed(inputs: Inputs) -> set[tuple[str, str]]:
    """Return (method, task) wherever the runs have no mean in common."""
    compared = {id(run) for run in inputs.scores}
    own = [run for run in inputs.selected if id(run.scores) in compared]
    return added.mixed(inputs.scores) | (guard.mixed(inputs.study, own) if inputs.study else set())


def _say(
    options: Options,
    inputs: Inputs,
    results: Results,
    tables: Sequence[Table],
    out: Path,
    blocking: Sequence[guard.Finding],
) -> None:
    if "json" in options.flags:
        print(json.dumps(as_json(inputs, results, out), indent=1, allow_nan=False))
    else:
        shown = [t for t in tables if t.name.startswith(("aggregates", "comparisons"))]
        print("\n\n".join(t.plain() for t in shown or tables))
        print(f"\n{out / 'index.html'}")
    for finding in inputs.findings:
        level = ("refused" if results.withheld else "forced") if finding.blocking else "note"
        print(f"{level}: {finding.text}" + "".join(f"\n  {d}" for d in finding.details[:6]), file=sys.stderr)
        if finding.command:
            print(f"  next: {finding.command}", file=sys.stderr)
    if inputs.problems:
        print(f"note: {len(inputs.problems)} damaged or odd places, listed in {out / 'problems.csv'}", file=sys.stderr)
    if blocking and results.withheld:
        print("no aggregates: --paired compares what is paired, --force shows them all the same", file=sys.stderr)


def as_json(inputs: Inputs, results: Results, out: Path) -> dict[str, Any]:
    """Return the numbers of the report as plain values."""
    return {
        "report": str(out),
        "study": inputs.name,
        "command": inputs.command,
        "added_files": inputs.files,
        "methods": results.methods,
        "tasks": results.tasks,
        "withheld": results.withheld,
        "aggregates": [
            {
                "scale": g.scale.name,
                "method": m,
                "metric": name,
                "estimate": i.estimate,
                "low": i.low,
                "high": i.high,
                "n_runs": i.n_runs,
                "n_tasks": i.n_tasks,
                "frames": g.frames[1],
            }
            for g in results.groups
            for m, a in g.aggregates.items()
            for name, i in a.items()
        ],
        "comparisons": tidy.records(tidy.comparisons(results)),
        "findings": [
            {"kind": f.kind, "text": f.text, "blocking": f.blocking, "command": f.command} for f in inputs.findings
        ],
        "problems": [{"path": p.path, "reason": p.reason} for p in inputs.problems],
        "states": {state: sum(r.state == state for r in inputs.selected) for state in load.STATES},
    }


if __name__ == "__main__":
    sys.exit(main())
