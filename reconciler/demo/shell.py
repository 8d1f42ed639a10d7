"""How the commands are typed in another terminal of the same user."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from shlex import quote


def command() -> str:
    """The command as it was typed: with `make demo` it is not on the PATH."""
    if shutil.which("reconciler"):
        return "reconciler"
    typed = Path(sys.argv[0])
    return str(typed) if typed.name == "reconciler" else f"{sys.executable} -m reconciler"


def exports(**variables: str) -> list[str]:
    """The lines that set these variables, and the PATH if the command is not on it."""
    lines = [f"export {name}={quote(value)}" for name, value in variables.items()]
    if shutil.which("reconciler") is None:
        lines.append(f"export PATH={quote(str(Path(sys.executable).parent))}:$PATH")
    return lines
