"""`python -m tests.examples`: make examples/analyse.py from the Python blocks of analysis/README.md.

Each block becomes a cell under its heading; what a notebook would show below a cell is printed.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE, SCRIPT = ROOT / "analysis" / "README.md", ROOT / "examples" / "analyse.py"
BLOCK = re.compile(r"^## (.*?)$|^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
HEAD = '''"""The examples of analysis/README.md, made from it by `python -m tests.examples`.

Run it from the top of the repository: `python examples/analyse.py`.
"""
'''


def script() -> str:
    """Return the text of the script."""
    parts, heading = [HEAD], ""
    for found in BLOCK.finditer(PAGE.read_text(encoding="utf-8")):
        if found[2] is None:
            heading = found[1]
        else:
            parts.append(f"# %% {heading}\n{printing(found[2])}")
    return "\n".join(parts)


def printing(block: str) -> str:
    """Return a block with its expressions printed, also those below an `if`."""
    lines = block.splitlines()
    for node in reversed([node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Expr)]):
        if not isinstance(node.value, ast.Constant) and not prints(node.value):  # constants are docstrings
            line, start, end = lines[node.lineno - 1], node.col_offset, node.end_col_offset
            lines[node.lineno - 1] = f"{line[:start]}print({line[start:end]}){line[end:]}"
    return "\n".join(lines) + "\n"


def prints(value: ast.expr) -> bool:
    """Return whether an expression is a call of print."""
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "print"


if __name__ == "__main__":
    SCRIPT.write_text(script(), encoding="utf-8")
