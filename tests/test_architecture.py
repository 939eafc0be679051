"""What may import what: no module imports one of a higher layer, none imports itself in a circle, and help stays light.

For layers every import counts, those inside functions and under TYPE_CHECKING too; types alone make no circle.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

pytestmark = [pytest.mark.fast, pytest.mark.xdist_group("architecture")]  # one worker parses the package

PACKAGE = Path(__file__).resolve().parents[1] / "zsecli"
LAYERS = (
    *(
        "errors",
        "registry",
        "vocabulary",
        "arrays",
        "runtime",
        "workspace",
        "images",
        "data",
        "store",
        "model",
        "retrieval",
    ),
    *("retrieval", "evaluate", "explain", "train", "render", "serve", "stages", "cli", "__main__"),
)  # from the lowest to the highest
MOST_FOR_HELP, MOST_FOR_INSPECT = 34, 60  # modules


@cache
def find_modules() -> dict[str, Path]:
    """Every module of the package by its name."""
    modules = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        modules[".".join(parts)] = path
    return modules


@cache
def parse(module: str) -> ast.Module:
    return ast.parse(find_modules()[module].read_text("utf-8"))


@cache
def find_imports(module: str, inside_functions: bool = True, for_types: bool = True) -> frozenset[str]:
    """The modules of the package that `module` names in an import statement.

    inside_functions: imports that a call makes count as well. for_types: those that type checkers alone see, too.
    """
    names = set()
    for node in iterate_nodes(parse(module), inside_functions, for_types):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{module}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                names.add(full if full in find_modules() else node.module)
    return frozenset(names & find_modules().keys() - {module})


def iterate_nodes(node: ast.AST, inside_functions: bool, for_types: bool) -> Iterator[ast.AST]:
    """All nodes below `node` but those that are left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not inside_functions:
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING" and not for_types:
            continue
        yield child
        yield from iterate_nodes(child, inside_functions, for_types)


def find_room(module: str) -> str:
    """The package or the top module in which `module` is: "store" of zsecli.store.rows."""
    return module.split(".")[1]


def find_reached(module: str, inside_functions: bool) -> set[str]:
    """`module` and all modules that it imports, directly or by another; packages of a module too, as Python does.

    inside_functions: imports that a call makes count as well; then packages do not, as zsecli.cli calls everything.
    """
    reached: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        waiting += find_imports(name, inside_functions, for_types=False)
        if "." in name and not inside_functions:
            waiting.append(name.rpartition(".")[0])
    return reached


def test_every_module_has_a_layer() -> None:
    assert {find_room(module) for module in find_modules() if module != "zsecli"} <= set(LAYERS)


def test_no_module_imports_upwards() -> None:
    upwards = []
    for module in find_modules().keys() - {"zsecli"}:
        for other in find_imports(module) - {"zsecli"}:
            if LAYERS.index(find_room(other)) > LAYERS.index(find_room(module)):
                upwards.append(f"{module} -> {other}")
    assert not upwards


def test_no_import_circle() -> None:
    """Packages do not count as importing what lies in them: none of their __init__ does, but for zsecli.cli."""
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for other in sorted(find_imports(module, for_types=False)):
                visit(other, (*path, module))
            done.add(module)

    for module in find_modules():
        visit(module, ())


def test_help_imports_few_modules() -> None:
    reached = find_reached("zsecli.cli.app", inside_functions=False)
    assert len(reached) <= MOST_FOR_HELP, sorted(reached)


def test_inspect_reaches_few_modules() -> None:
    """As a reader walks, who follows imports inside functions as well."""
    reached = find_reached("zsecli.cli.inspect", inside_functions=True)
    assert len(reached) <= MOST_FOR_INSPECT, sorted(reached)


def test_the_command_line_library_is_used_in_cli_alone() -> None:
    users = {find_room(module) for module, path in find_modules().items() if "import typer" in path.read_text("utf-8")}
    assert users == {"cli"}


STAGES = ("prepare", "train", "embed", "match", "evaluate", "explain", "synthesize", "inspect", "draw")


@pytest.mark.parametrize("name", STAGES)
def test_each_command_is_a_stage(name: str) -> None:
    """It has a request, one public `run`, and a command with little beside options."""
    stage = ast.parse((PACKAGE / "stages" / f"{name}.py").read_text("utf-8"))
    classes = {node.name for node in stage.body if isinstance(node, ast.ClassDef)}
    functions = {node.name for node in stage.body if isinstance(node, ast.FunctionDef)}
    assert f"{name.capitalize()}Request" in classes and "run" in functions
    command = ast.parse((PACKAGE / "cli" / f"{name}.py").read_text("utf-8"))
    handler = next(node for node in command.body if isinstance(node, ast.FunctionDef) and node.name == name)
    assert handler.body[-1].end_lineno is not None
    assert handler.body[-1].end_lineno - handler.body[1].lineno < 70
