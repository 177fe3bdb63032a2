"""The background worker: looks up silent messages at Twilio and runs the scheduled jobs."""
