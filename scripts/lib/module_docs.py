"""Inputs and outputs of a Terraform module, from its code into its README.

usage: module_docs.py [--check] MODULE…    --check changes nothing and fails if a README differs
"""
import json
import pathlib
import re
import sys

import hcl2

MARK = "<!-- below: scripts/module-docs, from the code -->"


def blocks(path: pathlib.Path, kind: str) -> dict[str, dict]:
    """Name → attributes, in the file's order."""
    if not path.exists():
        return {}
    with path.open() as file:
        found = hcl2.load(file).get(kind, [])
    return {name.strip('"'): attributes for block in found for name, attributes in block.items()}


def plain(value) -> str:
    """A string without its quotes, an expression without ${}."""
    return re.sub(r'^(?:"|\$\{)(.*?)(?:"|\})$', r"\1", value, flags=re.S) if isinstance(value, str) else str(value)


def type_of(variable: dict) -> str:
    """An object by the names of its attributes, those that may be left out with a question mark."""
    text = plain(variable.get("type", "any"))
    if not text.startswith("object({"):
        return f"`{text}`"
    depth, names = 0, []
    for name, optional, bracket in re.findall(r"(\w+) = (optional\()?|([()\[\]{}])", text.removeprefix("object")):
        if name and depth == 2:
            names.append(name + ("?" if optional else ""))
        depth += optional.count("(") + (0 if not bracket else 1 if bracket in "([{" else -1)
    return "object: " + ", ".join(f"`{name}`" for name in names)


def default_of(variable: dict) -> str:
    if "default" not in variable:
        return "required"
    value = variable["default"]
    # As HCL writes it: a list's strings have their quotes already.
    text = "[" + ", ".join(map(str, value)) + "]" if isinstance(value, list) else value if isinstance(value, str) else json.dumps(value)
    return f"`{text}`"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows]]


def docs(module: pathlib.Path) -> str:
    inputs = [[f"`{name}`", type_of(it), default_of(it), plain(it["description"])] for name, it in blocks(module / "variables.tf", "variable").items()]
    outputs = [[f"`{name}`", plain(it["description"])] for name, it in blocks(module / "outputs.tf", "output").items()]
    lines = ["## Inputs", "", *table(["input", "type", "default", "what"], inputs), "", "## Outputs", "", *table(["output", "what"], outputs)]
    return "\n".join([MARK, *lines, ""])


def main(arguments: list[str]) -> int:
    check = "--check" in arguments
    stale = []
    for module in map(pathlib.Path, (argument for argument in arguments if argument != "--check")):
        readme = module / "README.md"
        text = readme.read_text()
        wanted = text.split(MARK)[0].rstrip("\n") + "\n\n" + docs(module)
        if text != wanted:
            stale.append(str(readme))
            if not check:
                readme.write_text(wanted)
    for path in stale:
        print(f"{path}: {'differs from the code: run scripts/module-docs' if check else 'written'}", file=sys.stderr)
    return 1 if check and stale else 0


sys.exit(main(sys.argv[1:]))
