"""``grounds policy``: try a policy on a table of cases, or on what is in the log."""

from pathlib import Path
from typing import Annotated

import orjson
import typer

from app.policy import load_policy
from app.terminal import DataDir, ModelsDir, out, say, settings_in

FAULTS_FOUND = 1

app = typer.Typer(help="Try policies before they are in force.", no_args_is_help=True)


@app.command("test")
def run_test(
    cases: Annotated[Path, typer.Argument(help="The table of cases, YAML.")],
    policy: Annotated[Path, typer.Option(help="The policy.")],
    bundle: Annotated[Path, typer.Option(help="The bundle that it is for.")],
    *,
    cover: Annotated[
        bool, typer.Option(help="Fail also where a band or a rule is met by no case.")
    ] = False,
) -> None:
    """Run a table of cases through a policy, and compare with what each should come to."""
    from app.policy_cases import load_cases, try_cases  # runs models, which takes longer to load
    from app.served import highest_score, lowest_score
    from models.bundle import open_bundle, read

    opened = open_bundle(read(bundle))
    card = opened.card
    rules = load_policy(policy, lowest_score=lowest_score(card), highest_score=highest_score(card))
    trial = try_cases(rules, opened, load_cases(cases))
    for each in trial.failed:
        say(f"{each.name}: {'; '.join(each.differences)}")
    if trial.not_met:
        say(f"met by no case: {', '.join(trial.not_met)}")
    say(f"{len(trial.tried) - len(trial.failed)} of {len(trial.tried)} cases as expected")
    if trial.failed or (cover and trial.not_met):
        raise typer.Exit(FAULTS_FOUND)


@app.command("diff")
def diff(
    first: Annotated[Path, typer.Argument(help="The policy to compare with.")],
    second: Annotated[Path, typer.Argument(help="The policy to try.")],
    data_dir: DataDir = None,
    models_dir: ModelsDir = None,
    bundles: Annotated[
        list[Path] | None,
        typer.Option(help="Where to look for bundles besides; may be repeated."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the latest so many decisions.")
    ] = None,
    *,
    json_output: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Put the cases in the log through two policies, and say what the second would change."""
    from app.cli_replay import tell_impact
    from app.policy_diff import policy_diff  # runs models, which takes longer to load

    found = policy_diff(
        settings_in(data_dir, models_dir),
        first,
        second,
        directories=tuple(bundles or ()),
        limit=limit,
    )
    if json_output:
        body = {**found.impact.body(), "left_out": found.left_out}
        out.print_json(orjson.dumps(body).decode())
        return
    tell_impact(found.impact)
    if found.left_out:
        say(f"{found.left_out:,} decisions left out: erased, or without their bundle here")
