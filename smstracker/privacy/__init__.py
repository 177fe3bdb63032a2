"""Deletion of texts and messages: by age, by person, and at Twilio; no view commits here."""
