"""What commands print: stored text may come from strangers, and acts on no terminal."""

import click

from smstracker.sms.typed_text import escape_invisible


def echo(text: str, *, lines: bool = False, err: bool = False) -> None:
    """Print a line, or several with `lines`; control and invisible characters are escaped."""
    click.echo(escape_invisible(text, allowed="\n" if lines else ""), err=err)


def confirm(question: str) -> None:
    """Ask a question, and end the command if the answer is no."""
    click.confirm(escape_invisible(question), abort=True)
