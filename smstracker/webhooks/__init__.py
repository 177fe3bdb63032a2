"""Where Twilio posts its status callbacks."""
