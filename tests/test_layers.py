"""Imports flow one way. This table is the architecture; the rest is comment."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src" / "arable"

MAY_IMPORT = {
    "domain": "",
    "runtime": "domain",
    "placement": "domain",
    "cluster": "domain",
    "metering": "domain",
    "appliance": "domain",
    "wire": "domain",
    "store": "domain runtime",
    "services": "domain runtime store placement metering wire",
    "controllers": "domain runtime store placement cluster metering appliance wire client",
    "drivers": "domain runtime appliance",
    "client": "wire",
    "agent": "domain runtime wire client drivers",
    "api": "domain runtime services wire",
    "cli": "wire client",
    "console": "wire client",
    "lab": "* -processes",
    "sim": "* -processes",
    "processes": "*",
}


def allowed_for(layer: str) -> set[str]:
    words = MAY_IMPORT[layer].split()
    allowed = {layer, *words}
    if "*" in words:
        allowed |= set(MAY_IMPORT)
    return allowed - {word[1:] for word in words if word.startswith("-")}


def imports(module: Path) -> Iterator[str]:
    """The layers of ours that a module imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(module.read_text())):
        match node:
            case ast.ImportFrom(module=str(name), level=0):
                names = [f"{name}.{a.name}" if name == "arable" else name for a in node.names]
            case ast.ImportFrom():
                raise AssertionError(f"{module}: relative import")
            case ast.Import():
                names = [alias.name for alias in node.names]
            case _:
                continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "arable" and len(parts) > 1:
                yield parts[1]


@pytest.mark.parametrize(
    "layer", sorted(p.name for p in SRC.iterdir() if (p / "__init__.py").exists())
)
def test_a_layer_imports_only_what_is_below_it(layer: str) -> None:
    for module in (SRC / layer).rglob("*.py"):
        assert set(imports(module)) <= allowed_for(layer), module.relative_to(SRC)
