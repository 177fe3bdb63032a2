"""Health of the connection to Twilio: report, summary, banner and page."""
