"""`docs/lifecycle.md`: the states of an instance, from the tables that the code obeys.

python -m infra.lifecycle [--check]
"""

from __future__ import annotations

from infra import generated
from shared.domain.instance import ACTIONS, DEADLINE, NEXT, RESTING, State, mermaid

FILE = "docs/lifecycle.md"
MEANING = {
    State.PROVISIONING: "Machines race; the first that is really ready becomes the instance's.",
    State.RUNNING: "A machine serves it and is paid for.",
    State.HIBERNATING: "Its files are being saved; the machine goes once the snapshot is verified.",
    State.HIBERNATED: "Only the snapshot exists and costs money.",
    State.WAKING: "Machines race again; the winner restores the files.",
    State.FAILING_OVER: "Its machine was lost; the standby or another host takes over.",
    State.ON_STANDBY: "The CPU standby serves its files while a GPU is found.",
    State.DESTROYING: "Machines and snapshots are being removed.",
    State.DESTROYED: "Nothing is left but its history.",
    State.FAILED: "No machine could be had, or nothing was ever saved; the reason stands in `failure`.",
}


def text() -> str:
    lines = [
        "# The lifecycle of an instance",
        "",
        "Generated from `shared/domain/instance.py` by `make docs`; a check fails when it is stale.",
        "",
        "```mermaid",
        mermaid(),
        "```",
        "",
        "| state | kind | may last | what it means |",
        "|---|---|---|---|",
    ]
    for state in State:
        limit = DEADLINE.get(state)
        lasts = f"{limit.total_seconds() / 60:g} min" if limit else "-"
        kind = "resting" if state in RESTING else "passing"
        lines.append(f"| `{state}` | {kind} | {lasts} | {MEANING[state]} |")
    lines += ["", "| action | possible in |", "|---|---|"]
    for action, states in ACTIONS.items():
        lines.append(f"| `{action}` | {', '.join(f'`{s}`' for s in State if s in states)} |")
    lines += ["", "Anything else is refused with 409 `illegal_transition` and the reason.", ""]
    assert set(MEANING) == set(NEXT)
    return "\n".join(lines)


if __name__ == "__main__":
    generated.run({FILE: text}, "infra.lifecycle")
