"""Status callbacks from Twilio: verified, stored, answered."""
