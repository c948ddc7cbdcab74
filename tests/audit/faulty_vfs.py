"""A SQLite file layer that fails where a test says: what a full or dying disk does."""

import apsw

NAME = "faulty"


class FaultyDisk:
    """Fails the operations named in ``failing``; everything else works.

    They are ``write`` and ``sync`` of the write-ahead log, ``data-write`` and ``data-sync`` of the
    database's own file, into which the log is copied now and then.
    """

    def __init__(self) -> None:
        self.failing: dict[str, type[apsw.Error]] = {}
        self.calls: list[str] = []
        self._vfs = _Vfs(self)

    def meet(self, operation: str) -> None:
        """Note an operation, and fail it when the test says so."""
        self.calls.append(operation)
        error = self.failing.get(operation)
        if error is not None:
            raise error(f"{operation} failed on purpose")

    def remove(self) -> None:
        """Take the layer out again."""
        self._vfs.unregister()


class _Vfs(apsw.VFS):
    def __init__(self, disk: FaultyDisk) -> None:
        super().__init__(NAME, "")
        self._disk = disk

    def xOpen(  # noqa: N802 - SQLite's name
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> apsw.VFSFile:
        if flags[0] & apsw.SQLITE_OPEN_WAL:
            return _File(name, flags, self._disk, "")
        if flags[0] & apsw.SQLITE_OPEN_MAIN_DB:
            return _File(name, flags, self._disk, "data-")
        return super().xOpen(name, flags)


class _File(apsw.VFSFile):
    def __init__(
        self,
        name: str | apsw.URIFilename | None,
        flags: list[int],
        disk: FaultyDisk,
        kind: str,
    ) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        self._kind = kind

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.meet(f"{self._kind}write")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._disk.meet(f"{self._kind}sync")
        super().xSync(flags)
