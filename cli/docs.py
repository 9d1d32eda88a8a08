"""`docs/cli.md`: every command's own help.

python -m cli.docs [--check]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import click

from cli.main import group as dumont

FILE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"


def text() -> str:
    parts = ["# The command line", "", "Generated from the commands themselves by `make docs`.", ""]
    parts += _help(dumont, click.Context(dumont, info_name="dumont", terminal_width=100))
    return "\n".join(parts)


def _help(command: click.Command, context: click.Context) -> list[str]:
    lines = [f"## {context.command_path}", "", "```", command.get_help(context), "```", ""]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                lines += _help(child, click.Context(child, parent=context, info_name=name, terminal_width=100))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the file is stale")
    current, wanted = FILE.read_text() if FILE.exists() else "", text()
    if current == wanted:
        return
    if parser.parse_args().check:
        raise SystemExit("stale: docs/cli.md; run `make docs`")
    FILE.write_text(wanted)
    sys.stdout.write("wrote docs/cli.md\n")


if __name__ == "__main__":
    main()
