"""The WSGI entry point: `wsgi:app`."""

import logging
import sys

import click
from flask.cli import FlaskGroup

from config import ConfigError, load
from smstracker import create_app, logs
from smstracker.commands.demo_notice import describe_unexpected_demo

# A command prints for people; what it does in passing is no news to them. `flask run` serves.
context = click.get_current_context(silent=True)
is_command = context is not None and context.info_name != "run"
# In the context of the group, Flask makes the app to look up a command of ours: it needs no pages.
is_own_command = context is not None and isinstance(context.command, FlaskGroup)
logs.configure(logging.WARNING if is_command else logging.INFO)
try:
    app = create_app(load(), with_pages=not is_own_command)
except ConfigError as error:
    if is_command and {"doctor", "--json"} <= set(sys.argv):
        # Web processes and other commands need none of the checks.
        from smstracker.commands.doctor import format_settings_problems

        click.echo(format_settings_problems(error.problems))
    sys.exit(str(error))
notice = describe_unexpected_demo(app.config["SETTINGS"]) if is_command else None
if notice:
    click.echo(notice, err=True)
# Flask's server has none of the limits that protect an installation.
if context is not None and context.info_name == "run" and not app.config["SETTINGS"].demo:
    sys.exit("flask run serves only a demo. Use gunicorn -c python:smstracker.server wsgi:app")
