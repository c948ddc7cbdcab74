"""A server in between that loses the connection around COMMIT, as a network does."""

import shutil
import socket
import tempfile
import threading
from pathlib import Path
from typing import Literal

Cut = Literal["before", "after"]
_COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
_SOCKET = ".s.PGSQL.5432"


class CuttingProxy:
    """Passes everything on; at the next COMMIT, if so told, cuts before it or before its answer."""

    def __init__(self, behind: Path) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="grounds-cut-"))
        self.cut: Cut | None = None
        self._behind = behind / _SOCKET
        self._clients: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.directory / _SOCKET))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_all(self) -> None:
        """Lose every connection there is, as when a process dies."""
        clients, self._clients = self._clients, []
        for client in clients:
            _shut(client)

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._clients.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(str(self._behind))
            muted = threading.Event()
            back = threading.Thread(target=self._back, args=(server, client, muted))
            back.start()
            while content := _received(client):
                if self.cut is not None and content.endswith(_COMMIT):
                    cut, self.cut = self.cut, None
                    if cut == "after":
                        muted.set()
                        server.sendall(content)
                        back.join()  # until the server has answered, which nobody hears
                    break
                server.sendall(content)
            _shut(server)
            _shut(client)
            back.join()

    @staticmethod
    def _back(server: socket.socket, client: socket.socket, muted: threading.Event) -> None:
        while content := _received(server):
            if muted.is_set():
                return
            try:
                client.sendall(content)
            except OSError:
                return
        _shut(client)


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 16)
    except OSError:
        return b""


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
