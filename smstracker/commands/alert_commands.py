"""flask alerts: what is wrong, and whether anybody would be told."""

import secrets

import click
from flask.cli import AppGroup

from smstracker.alerts import channels
from smstracker.alerts.alert_page import read_alert_page
from smstracker.alerts.channels import ChannelError
from smstracker.alerts.notice import (
    Notice,
    compose_test,
    describe_end,
    describe_gone,
    format_moment,
)
from smstracker.alerts.rules import RULES
from smstracker.clock import utcnow
from smstracker.commands.database_errors import CommandWithPlainErrors
from smstracker.commands.output import echo
from smstracker.extensions import settings
from smstracker.models import Alert
from smstracker.models.alerts import WEBHOOK

alerts = AppGroup("alerts", help="Show alerts, and try the ways by which they are told.")
NOWHERE = "Alerts go nowhere: set ALERT_EMAIL, ALERT_WEBHOOK_URL or HEARTBEAT_URL."


@alerts.command("list", cls=CommandWithPlainErrors)
def list_alerts() -> None:
    """Open alerts, and those of the past 30 days, newest first."""
    now = utcnow()
    alert_page = read_alert_page(now)
    if not alert_page.is_current(now):
        echo("No worker has looked in the last five minutes.")
    for alert in (*alert_page.open, *alert_page.past):
        state = "ended" if alert.ended_at else "muted" if alert.is_muted(now) else "open"
        rule = RULES[alert.rule]
        sentence = rule.describe(alert.subject, alert.counts)
        since = format_moment(alert.began_at)
        echo(f"{state}  since {since}  {rule.title(alert.subject)}: {sentence}")
        if not alert.ended_at and alert.is_gone(alert_page.evaluated_at):
            echo(f"       {describe_gone(alert)}")
        echo(f"       {_second_line(alert)}")
    if not alert_page.open:
        echo("No alert is open.")


def _second_line(alert: Alert) -> str:
    if alert.ended_at:
        return describe_end(alert)
    return f"What to do: {RULES[alert.rule].full_advice(alert.subject)}"


@alerts.command("test", cls=CommandWithPlainErrors)
@click.pass_context
def test(context: click.Context) -> None:
    """Send a test by each channel, and say what became of it. Ends with 1 if one failed."""
    notice = compose_test(f"test_{secrets.token_hex(8)}")
    outcomes = [_try(channel, notice) for channel in channels.configured_channels()]
    if settings().heartbeat_url:
        outcomes.append(_try_heartbeat())
    if not outcomes:
        echo(NOWHERE)
    if not all(outcomes) or not outcomes:
        context.exit(1)


def _try(channel: str, notice: Notice) -> bool:
    name = "ALERT_WEBHOOK_URL" if channel == WEBHOOK else channel
    try:
        channels.send(channel, notice)
    except ChannelError as error:
        echo(f"failed   {name}: {error}")
        return False
    echo(f"sent     {name}")
    return True


def _try_heartbeat() -> bool:
    try:
        channels.fetch_heartbeat()
    except ChannelError as error:
        echo(f"failed   HEARTBEAT_URL: {error}")
        return False
    echo("fetched  HEARTBEAT_URL")
    return True
