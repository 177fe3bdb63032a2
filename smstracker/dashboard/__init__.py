"""The send form, the message log and the page of one message."""
