"""Make pip install again what an interrupted installation left incomplete.

pip takes a package as installed as soon as its ``.dist-info`` folder has metadata, though the list
of its files (``RECORD``) is written last. Where that list is missing, or names a file that is
missing or has another size, the folder is removed: pip then installs the package anew over it.
"""

from __future__ import annotations

import csv
import shutil
import sysconfig
from pathlib import Path


def is_whole(info: Path) -> bool:
    """Whether all files that one ``.dist-info`` folder records are there with their sizes."""
    record = info / "RECORD"
    if not record.is_file() or not (info / "METADATA").is_file():
        return False
    with record.open(encoding="utf-8", newline="") as lines:
        for name, _, size in csv.reader(lines):
            file = info.parent / name
            if name.endswith(".pyc"):
                continue
            if not file.is_file() or (size and file.stat().st_size != int(size)):
                return False
    return True


def main() -> None:
    """Remove the records of damaged packages from the environment that runs this."""
    packages = Path(sysconfig.get_path("purelib"))
    for left in packages.glob("~*"):  # where pip had moved a package that it was replacing
        shutil.rmtree(left, ignore_errors=True)
    for info in sorted(packages.glob("*.dist-info")):
        if not is_whole(info):
            print(
                f"setup: {info.name.removesuffix('.dist-info')} is incomplete; installing it anew"
            )
            shutil.rmtree(info)


if __name__ == "__main__":
    main()
