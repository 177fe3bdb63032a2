"""Checks of `flask doctor`: settings, database, Twilio, callbacks, mail, machine."""
