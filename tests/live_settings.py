"""The least that a real installation has set."""

LIVE = {
    "SECRET_KEY": "not-to-be-seen: 0123456789-qwertz",
    "PUBLIC_BASE_URL": "https://sms.example.org",
    "TWILIO_ACCOUNT_SID": "AC" + "1" * 32,
    "TWILIO_AUTH_TOKEN": "not-to-be-seen-either",
    "TWILIO_PHONE_NUMBER": "+15005550006",
}
