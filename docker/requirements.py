"""Requirements out of pyproject.toml, one a line, so that an image has them in a layer below the code that changes."""

from __future__ import annotations

import sys
import tomllib


def main(*names: str) -> None:
    """Print those of the named extras; `.` stands for the package's own."""
    with open("pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    groups = {".": project["dependencies"], **project["optional-dependencies"]}
    for name in names:
        print("\n".join(groups[name]))


if __name__ == "__main__":
    main(*sys.argv[1:])
