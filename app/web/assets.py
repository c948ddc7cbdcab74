"""The pages' styles and scripts: compiled at set-up, named by their content, kept by browsers for good."""

import json
from dataclasses import dataclass
from http import HTTPStatus
from mimetypes import guess_type
from pathlib import Path

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

DIRECTORY = Path(__file__).parent / "assets"
ADDRESS = "/static"
FOR_GOOD = "public, max-age=31536000, immutable"


class AssetsError(Exception):
    """The pages' files are not there."""


@dataclass(frozen=True, slots=True)
class Assets:
    """The address of each file by its plain name, such as ``grounds.css``."""

    addresses: dict[str, str]

    def __getitem__(self, name: str) -> str:
        """Return the address of a file. Raises KeyError."""
        return self.addresses[name]


def load_assets(directory: Path = DIRECTORY) -> Assets:
    """Return the compiled files' addresses. Raises AssetsError when they were never compiled."""
    try:
        manifest = json.loads((directory / "manifest.json").read_bytes())
    except FileNotFoundError as err:
        raise AssetsError(
            f"the pages' styles and scripts are not in {directory}: run `make assets`"
        ) from err
    return Assets({name: f"{ADDRESS}/{file}" for name, file in manifest.items()})


class AssetFiles(StaticFiles):
    """The compiled files as an application: compressed where that is taken, and kept for good."""

    def __init__(self) -> None:
        super().__init__(directory=DIRECTORY, check_dir=False)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return one file."""
        if path.endswith((".gz", ".json")):
            raise HTTPException(HTTPStatus.NOT_FOUND)
        is_compressed = "gzip" in Headers(scope=scope).get("accept-encoding", "")
        response = await super().get_response(f"{path}.gz" if is_compressed else path, scope)
        response.headers["Cache-Control"] = FOR_GOOD
        response.headers["Vary"] = "Accept-Encoding"
        if is_compressed and response.status_code == HTTPStatus.OK:
            response.headers["Content-Encoding"] = "gzip"
            response.headers["Content-Type"] = content_type(path)
        return response


def content_type(path: str) -> str:
    """Return what a file is by its name, as Starlette says it of an uncompressed one."""
    kind = guess_type(path)[0] or "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
