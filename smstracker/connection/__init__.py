"""Is the connection to Twilio healthy: the numbers, one sentence, and the page of both."""
