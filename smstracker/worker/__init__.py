"""What never came is fetched: `flask worker` asks Twilio about messages that have fallen silent."""
