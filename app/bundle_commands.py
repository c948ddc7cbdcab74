"""Commands about who vouches for a bundle and what is asked of it: key, sign, verify, lint."""

from datetime import date
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from app.ids import utc_now
from app.settings import Settings
from app.terminal import say
from models.profile import ProfileName

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
    say(f"{private}: keep it secret")
    say(f"{public}: give it to whoever checks your signatures")


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
    say(f"{path} is signed")


@app.command("lint")
def lint(
    path: BundlePath,
    profile: Annotated[
        ProfileName | None, typer.Option(help="Default: GROUNDS_PROFILE or uk.")
    ] = None,
    on: Annotated[
        str | None, typer.Option(help="As if it were this day, 2026-11-24; default: today.")
    ] = None,
) -> None:
    """List what a country asks of a model, and what of it the bundle lacks."""
    from app.lint_report import lint_report
    from models.bundle import read
    from models.profile import load_profile

    chosen = profile or Settings().profile
    if chosen == "none":
        raise typer.BadParameter("want a country: uk, eu or ca", param_hint="--profile")
    try:
        day = utc_now().date() if on is None else date.fromisoformat(on)
    except ValueError as err:
        raise typer.BadParameter(str(err), param_hint="--on") from err
    report = lint_report(read(path), load_profile(chosen), on=day)
    found = report.coverage
    for item in found.items:
        name = f"{item.obligation.id}: {item.obligation.title} ({item.obligation.source})"
        if item.is_covered:
            say(f"covered  {name}")
        else:
            mark = "ESSENTIAL" if item.obligation.essential else "missing "
            say(f"{mark} {name}; want {', '.join(item.gaps)}")
    for obligation in found.not_yet:
        say(f"later    {obligation.id}: {obligation.title}, from {obligation.applies_from}")
    for warning in report.warnings:
        say(f"warning: {warning}")
    if not found.suffices:
        say(f"{path} cannot be activated: {found.refusal}")
        raise typer.Exit(1)
    say(f"{path} covers {found.share:.0%} of what {chosen} asks on {day}")


@app.command("accept")
def accept(
    path: BundlePath,
    policy: Annotated[Path, typer.Option(help="policy.yaml, as it would be used.")],
    key: Annotated[Path, typer.Option(help="Your private key, to sign the report with.")],
    evaluation: Annotated[
        Path | None,
        typer.Option(help="Your own evaluation set: .parquet or .csv, with protected attributes."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Where to write it; default: NAME-VERSION.acceptance.json.")
    ] = None,
) -> None:
    """Try a supplied bundle as its buyer, and write a signed report and one for reading."""
    from app.checking import read_evaluation
    from app.supplied.report import as_markdown, sign_report
    from app.supplied.suite import accept as run_suite
    from models.bundle import read

    try:
        private = key.read_bytes()
    except OSError as error:
        raise typer.BadParameter(str(error), param_hint="--key") from error
    rows = () if evaluation is None else read_evaluation(evaluation, read(path).card)
    progress = Console(stderr=True, markup=False)
    found = run_suite(
        path,
        policy=policy,
        settings=Settings(),
        clock=utc_now,
        evaluation=rows,
        step=lambda name: progress.print(f"{name} ...", highlight=False),
    )
    target = report or Path(f"{found.model}-{found.version}.acceptance.json")
    target.write_bytes(sign_report(found, private))
    target.with_suffix(".md").write_text(as_markdown(found), encoding="utf-8")
    for check in found.checks:
        say(f"{check.status.replace('_', ' '):9}{check.name}: {check.summary}")
    say(f"{'accepted' if found.is_accepted else 'NOT accepted'}: see {target}")
    if not found.is_accepted:
        raise typer.Exit(1)


@app.command("report")
def report(
    path: Annotated[Path, typer.Argument(help="A report of `grounds bundle accept`.")],
    key: Annotated[Path, typer.Option(help="The public key of whoever signed it.")],
) -> None:
    """Check the signature of an acceptance report and print it."""
    from app.supplied.report import as_markdown, verify_report

    try:
        envelope, public = path.read_bytes(), key.read_bytes()
    except OSError as error:
        raise typer.BadParameter(str(error)) from error
    say(as_markdown(verify_report(envelope, public)))


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
    say(
        f"{path} is signed by {signer.supplier} ({signer.mode} {signer.fingerprint[:16]}...): "
        f"{files.digest}"
    )
