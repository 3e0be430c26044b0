"""The command line: one file per verb, gathered here.

stdout is for what was asked for, stderr for progress and errors. Exit codes: 0 done, 1 failed, 2 a wrong option or a
configuration that cannot be used, 130 interrupted.
"""

from __future__ import annotations

import sys

import typer

from penstock.cli.agreement import agreement
from penstock.cli.answers import answers
from penstock.cli.audit import audit
from penstock.cli.bench import bench
from penstock.cli.canary import canary, rollback
from penstock.cli.chat import chat
from penstock.cli.compare import compare
from penstock.cli.doctor import doctor
from penstock.cli.explain import explain_config
from penstock.cli.faults import faults
from penstock.cli.guardrails import guardrails
from penstock.cli.keys import keys
from penstock.cli.models import models
from penstock.cli.reload import reload
from penstock.cli.replicas import replicas
from penstock.cli.screen import complain
from penstock.cli.serve import serve
from penstock.cli.state import state
from penstock.cli.up import up
from penstock.cli.usage import usage
from penstock.cli.version import version
from penstock.errors import ConfigError, PenstockError

FAILED = 1
UNUSABLE = 2
INTERRUPTED = 130

SERVE, ASK, MOVE, PERMIT, LOOK, MEASURE = "Serve", "Ask", "Move", "Permit", "Look", "Measure"

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root() -> None:
    """One endpoint that speaks OpenAI and Ollama in front of your own engines."""


app.command("up", rich_help_panel=SERVE)(up)
app.command("serve", rich_help_panel=SERVE)(serve)
app.command("chat", rich_help_panel=ASK)(chat)
app.command("models", rich_help_panel=ASK)(models)
app.add_typer(canary, name="canary", rich_help_panel=MOVE)
app.command("rollback", rich_help_panel=MOVE)(rollback)
app.command("reload", rich_help_panel=MOVE)(reload)
app.add_typer(replicas, name="replicas", rich_help_panel=MOVE)
app.add_typer(keys, name="keys", rich_help_panel=PERMIT)
app.command("usage", rich_help_panel=LOOK)(usage)
app.add_typer(state, name="state", rich_help_panel=LOOK)
app.command("explain-config", rich_help_panel=LOOK)(explain_config)
app.command("doctor", rich_help_panel=LOOK)(doctor)
app.add_typer(audit, name="audit", rich_help_panel=LOOK)
app.command("guardrails", rich_help_panel=LOOK)(guardrails)
app.command("version", rich_help_panel=LOOK)(version)
app.command("answers", rich_help_panel=MEASURE)(answers)
app.command("agreement", rich_help_panel=MEASURE)(agreement)
app.command("compare", rich_help_panel=MEASURE)(compare)
app.command("bench", rich_help_panel=MEASURE)(bench)
app.command("faults", rich_help_panel=MEASURE)(faults)


def main() -> None:
    """Entry point of the `penstock` script."""
    try:
        app()
    except PenstockError as error:
        complain(error)
        sys.exit(UNUSABLE if isinstance(error, ConfigError) else FAILED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
