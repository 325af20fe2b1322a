"""``robustaug doctor``: what is here."""

import typer


def doctor() -> None:
    """Print versions, device, fast precision, and which data and weights are found; exits 1 if something is broken."""
    from robustaug.experiment.doctor import examine  # noqa: PLC0415 - torch loads only when a command needs it

    findings = examine()
    for finding in findings:
        typer.echo(f"{'ok ' if finding.ok else 'BAD'}  {finding.subject:<22} {finding.detail}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)
