"""What the command line refuses about money before it asks anybody, and says in plain words."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from cli.commands.usage import COLUMNS
from cli.main import group
from shared.wire.usage import LedgerRowView


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("budget set 0.001", "whole cents"),
        ("budget set 12.345", "whole cents"),
        ("budget set -5", "from 0"),
        ("budget set -- -0.01", "from 0"),
        ("budget set nan", "from 0"),
        ("budget set inf", "from 0"),
        ("budget set 1e300", "from 0"),
        ("budget set 10000000.01", "from 0"),
        ("budget set much", "is no amount"),
        ("budget set 1,50", "is no amount"),
        ("usage --last 0s", "more than nothing"),
        ("usage --last 401d", "at most 400d"),
        ("usage --last 99999999999999999999d", "at most 400d"),
        ("usage --last -3h", "is not a duration"),
        ("usage ledger --last 0", "more than nothing"),
        ("usage --last 1h --since 2026-01-01", "neither --since nor --until"),
    ],
)
def test_absurd_amounts_and_ranges_are_told(line: str, words: str) -> None:
    done = CliRunner().invoke(group, line.split())

    assert done.exit_code == 2 and words in done.output.replace("\n", " ")


def test_the_csv_has_a_column_for_everything_a_row_says() -> None:
    assert set(COLUMNS) == set(LedgerRowView.model_fields)
