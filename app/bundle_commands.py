"""Commands about who vouches for a bundle: sign it, verify it, make a key."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from app.settings import Settings

out = Console(markup=False)
app = typer.Typer()

BundlePath = Annotated[Path, typer.Argument(help="The bundle's directory.")]


@app.command("key")
def key(
    directory: Annotated[Path, typer.Argument(help="Where to write NAME.key and NAME.pem.")],
    name: Annotated[str, typer.Option(help="Whose key it is.")],
) -> None:
    """Make a key pair for signing: the public NAME.pem is for those who trust it."""
    from models.signing import make_key

    private, public = make_key(directory, name)
    out.print(f"{private}: keep it secret", highlight=False, soft_wrap=True)
    out.print(f"{public}: give it to whoever checks your signatures", highlight=False, soft_wrap=True)


@app.command("sign")
def sign(
    path: BundlePath,
    key: Annotated[Path, typer.Option(help="The private key: PEM, curve P-256.")],
    certificate: Annotated[
        Path | None, typer.Option(help="The certificate of that key; without it, key mode.")
    ] = None,
    chain: Annotated[
        list[Path] | None, typer.Option(help="A certificate above it; may be repeated.")
    ] = None,
) -> None:
    """Sign a bundle in the format of OpenSSF model signing, as its supplier."""
    from models.signing import sign_bundle

    sign_bundle(path, key=key, certificate=certificate, chain=chain or ())
    out.print(f"{path} is signed", highlight=False, soft_wrap=True)


@app.command("verify")
def verify(
    path: BundlePath,
    suppliers: Annotated[
        Path | None,
        typer.Option(help="Default: GROUNDS_SUPPLIERS_DIR or var/suppliers."),
    ] = None,
) -> None:
    """Say which trusted supplier signed exactly these files, or why that cannot be said."""
    from models.bundle import read
    from models.signing import load_suppliers, verify_signature

    files = read(path)
    signer = verify_signature(files, load_suppliers(suppliers or Settings().suppliers_dir))
    out.print(
        f"{path} is signed by {signer.supplier} ({signer.mode} {signer.fingerprint[:16]}...): "
        f"{files.digest}",
        highlight=False,
        soft_wrap=True,
    )
