"""Shapes of what Twilio sends: pattern texts of SIDs, phone numbers and error codes."""

_HEX = "[0-9a-fA-F]{32}"
ACCOUNT_SID = "AC" + _HEX
MESSAGE_SID = "(?:SM|MM)" + _HEX
MESSAGE_ID = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"  # ours: a UUID
SERVICE_SID = "MG" + _HEX
ERROR_CODE = "[1-9][0-9]{4,6}"
ERROR_CODE_LENGTH = 16  # that is stored; "HTTP 500" stands for a missing one
E164 = r"\+[1-9][0-9]{6,14}"
# E.164, a short code, or an alphanumeric sender with at least one letter. Twilio decides which
# other characters a country accepts; "+4915O1234" with a letter O is a typo.
SENDER = E164 + r"|[0-9]{3,8}|(?=.*[A-Za-z])(?!\+[0-9])[A-Za-z0-9 &+_-]{1,11}"
