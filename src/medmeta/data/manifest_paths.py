"""Where the rows of a manifest find their files: in its folder, and nowhere else."""

from __future__ import annotations

import os
import stat
from pathlib import Path


class Locator:
    """Finds a row's file or folder in the manifest's folder, and nowhere else."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[Path, Path] = {}  # resolving is slow, and folders repeat

    def __call__(self, given: str) -> tuple[Path, int] | str:
        """The file's absolute path and its size in bytes, or what is wrong with it."""
        try:
            written = self._root / given
            if written.parent not in self._folders:
                self._folders[written.parent] = written.parent.resolve()
            path = self._folders[written.parent] / written.name
            if written.name == ".." or path.is_symlink():
                path = path.resolve()
            if not path.is_relative_to(self._root):
                return "its file lies outside the manifest's folder; move the manifest or the file."
            status = os.stat(path)
        except FileNotFoundError:
            return "there is no such file; paths start from the manifest's folder."
        except (OSError, ValueError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or error
            return f"its path cannot be used ({reason})."
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            return "its path is not that of a file."
        return path, status.st_size
