"""`python -m tests.architecture`: draw the rooms and their imports into ARCHITECTURE.md, from the code.

An arrow means that a room's modules import another's; one that a longer way of arrows says already is left out, and
so are those to the contract, which every room but agent/nn and agent/spec.py uses.
"""

from __future__ import annotations

import re
from itertools import permutations
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "ARCHITECTURE.md"
PACKAGES = ("harness", "agent", "analysis")
CONTRACT = "agent.contract"
COMMANDS = {"launch", "status", "resubmit", "cancel", "logs"}
BLOCK = re.compile(r"(?<=```mermaid\n).*?(?=```)", re.DOTALL)

Arrows = set[tuple[str, str]]


def room(module: str) -> str | None:
    """Return the room of a module: its folder, the five commands together, or what lies beside them by itself."""
    package, *rest = module.split(".")
    if not rest:
        return None  # an empty __init__
    return f"{package}.commands" if package == "harness" and rest[0] in COMMANDS else f"{package}.{rest[0]}"


def imports() -> Arrows:
    """Return which room imports which."""
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True)
    arrows: Arrows = set()
    for module in graph.modules:
        for other in graph.find_modules_directly_imported_by(module):
            ends = room(module), room(other)
            if ends[0] and ends[1] and ends[0] != ends[1]:
                arrows.add((ends[0], ends[1]))
    return arrows


def reduced(arrows: Arrows) -> Arrows:
    """Return the arrows that no longer way says; the rooms have no circles."""
    reach = set(arrows)
    names = sorted({name for arrow in arrows for name in arrow})
    for middle in names:
        reach |= {(a, b) for a, b in permutations(names, 2) if (a, middle) in reach and (middle, b) in reach}
    return {(a, b) for a, b in arrows if not any((a, middle) in arrows and (middle, b) in reach for middle in names)}


def picture() -> str:
    """Return the rooms as a mermaid graph."""
    arrows = imports()
    lines = ["graph TD"]
    for package in PACKAGES:
        lines.append(f"  subgraph {package}_[{package}/]")
        for name in sorted({name for arrow in arrows for name in arrow if name.startswith(f"{package}.")}):
            path = ROOT / name.replace(".", "/")
            lines.append(
                f"    {_id(name)}[{path.stem if path.is_dir() or path.stem == 'commands' else f'{path.stem}.py'}]"
            )
        lines.append("  end")
    drawn = reduced({arrow for arrow in arrows if arrow[1] != CONTRACT})
    lines += [f"  {_id(a)} --> {_id(b)}" for a, b in sorted(drawn)]
    users = [package for package in PACKAGES if any(a.startswith(f"{package}.") for a, b in arrows if b == CONTRACT)]
    lines += [f"  {package}_ -. run folder .-> {_id(CONTRACT)}" for package in users if package != "agent"]
    return "\n".join(lines) + "\n"


def _id(name: str) -> str:
    return name.replace(".", "_")


def main() -> None:
    """Replace the picture in ARCHITECTURE.md."""
    page = PAGE.read_text()
    drawn = BLOCK.sub(lambda _: picture(), page, count=1)
    PAGE.write_text(drawn)
    print(f"{PAGE.name}: {'as it was' if drawn == page else 'drawn anew'}")


if __name__ == "__main__":
    main()
