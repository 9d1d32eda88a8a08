"""Documents say what the code does: each error, command, word and generated file."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from openapi_spec_validator import validate

from cli.main import COMMANDS, EXIT, HINT
from infra import indexes, manifest, openapi
from infra.manifest import ROOT
from shared.settings import Settings
from shared.store.base import Shape
from shared.store.shapes import SHAPES
from shared.web.errors import status_of
from tests.unit.test_web import classes

GENERATORS = ["infra.openapi", "infra.indexes", "infra.lifecycle", "infra.env_example", "cli.docs"]


@pytest.mark.parametrize("module", GENERATORS)
def test_generated_files_are_current(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--check"], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


def test_every_error_has_its_row_with_its_status() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", (ROOT / "docs" / "errors.md").read_text(), re.M))
    expected = {cls.code: str(int(status_of(cls.__new__(cls)))) for cls in classes()}

    assert rows == {**expected, "internal_error": "500"}


def test_the_command_line_knows_the_codes_it_speaks_of() -> None:
    codes = {cls.code for cls in classes()} | {"unreachable"}

    assert set(EXIT) <= codes
    assert set(HINT) <= codes


def test_every_command_is_documented() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()

    for command in COMMANDS:
        assert f"## dumont {command}\n" in text


def test_the_openapi_document_is_valid_and_has_every_route() -> None:
    document = json.loads((ROOT / "docs" / "openapi.json").read_text())
    routes = [r for f in manifest.load().values() for r in f.routes]

    validate(document)

    assert document["openapi"].startswith("3.1")
    operations = [o["operationId"] for path in document["paths"].values() for o in path.values()]
    assert sorted(operations) == sorted(r.id for r in routes)
    assert openapi.document() == document


def test_every_query_has_the_index_it_needs_and_no_index_is_unused() -> None:
    written = json.loads((ROOT / "infra" / "firestore.indexes.json").read_text())
    needed = [index for shape in SHAPES if (index := indexes.needed(shape))]

    assert all(index in written["indexes"] for index in needed)
    assert all(index in needed for index in written["indexes"])
    assert indexes.needed(Shape("x", "c", ("a",), "at", descending=True)) == {
        "collectionGroup": "c",
        "queryScope": "COLLECTION",
        "fields": [{"fieldPath": "a", "order": "ASCENDING"}, {"fieldPath": "at", "order": "DESCENDING"}],
    }
    assert indexes.needed(Shape("x", "c", ("a", "b"))) is None


def test_no_field_that_is_queried_is_left_out_of_indexes() -> None:
    queried = {(s.collection, name) for s in SHAPES for name in (*s.equal, s.order_by)}

    for override in indexes.document()["fieldOverrides"]:
        if not override["indexes"]:
            assert (override["collectionGroup"], override["fieldPath"]) not in queried


def test_every_query_shape_is_used() -> None:
    code = "\n".join(p.read_text() for p in (ROOT / "shared").rglob("*.py") if p.name != "shapes.py")
    shapes_file = (ROOT / "shared" / "store" / "shapes.py").read_text()

    for name in re.findall(r"^([A-Z_]+) = Shape\(", shapes_file, re.M):
        assert re.search(rf"\b{name}\b", code), name


def test_every_setting_is_used() -> None:
    code = "\n".join(p.read_text() for p in [*(ROOT / "shared").rglob("*.py"), *(ROOT / "functions").rglob("*.py")])

    for name in Settings.model_fields:
        assert re.search(rf"settings\.{name}\b|self\.{name}\b|\"{name}\"", code), name


def test_every_link_in_the_documents_leads_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "agent").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readme_shows_every_folder() -> None:
    text = (ROOT / "README.md").read_text()

    for folder in ("functions", "shared", "agent", "cli", "local", "infra", "bench", "docs"):
        assert f"{folder}/" in text or f"`{folder}" in text
