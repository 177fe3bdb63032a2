"""Sign-in by an e-mailed link or code, sign-out, and the demo mailbox."""
