"""Twilio's error codes in plain words: why, who can act, what to do. Data, and one look-up."""

from dataclasses import dataclass

DOCUMENTATION = "https://www.twilio.com/docs/api/errors/"


@dataclass(frozen=True, slots=True)
class Reason:
    """`short` fits into a list; `what` and `todo` are sentences for the message page."""

    short: str
    what: str
    todo: str


_CHECK = "Check the number with the recipient."
_ADMIN = "Your administrator can fix this in the Twilio Console."
_AGAIN = "Nothing was sent, so it is safe to send it again."

REASONS = {
    "20003": Reason(
        "Twilio login failed",
        "Twilio did not accept the account's credentials.",
        "Your administrator has to check TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN. "
        "Nothing was sent.",
    ),
    "20429": Reason(
        "Twilio was busy",
        "Too many requests came from this account at once, and Twilio turned this one away.",
        f"{_AGAIN} Wait a few seconds first.",
    ),
    "21211": Reason("Invalid number", "Twilio says that this is not a valid number.", _CHECK),
    "21408": Reason(
        "Country not enabled",
        "The account may not send to this country.",
        "Your administrator can allow it in the Twilio Console under Messaging geographic "
        "permissions.",
    ),
    "21602": Reason("Empty message", "The message had neither text nor picture.", _AGAIN),
    "21606": Reason(
        "Wrong sender",
        "The sender cannot send text messages, or does not belong to the account.",
        "Choose another sender, or ask your administrator to check TWILIO_PHONE_NUMBER.",
    ),
    "21608": Reason(
        "Trial account",
        "A trial account can only send to numbers that were verified with Twilio.",
        "Your administrator can verify the number or upgrade the account.",
    ),
    "21609": Reason(
        "Bad callback address",
        "Twilio cannot reach the address to which it should report.",
        "Your administrator has to check PUBLIC_BASE_URL.",
    ),
    "21610": Reason(
        "Recipient opted out",
        "The recipient answered STOP to this sender, so Twilio does not send to them.",
        "Only the recipient can change that, by sending START to this sender.",
    ),
    "21611": Reason(
        "Sender's queue is full",
        "Too many messages are waiting for this sender.",
        f"{_AGAIN} Wait until the queue is shorter, or choose another sender.",
    ),
    "21612": Reason(
        "No route",
        "There is no way from this sender to this number.",
        "Try another sender, for example one from the recipient's country.",
    ),
    "21614": Reason(
        "Not a mobile number",
        "This number cannot receive text messages.",
        "Ask the recipient for a mobile number.",
    ),
    "21617": Reason("Text too long", "The text has more than 1,600 characters.", "Shorten it."),
    "21620": Reason(
        "Picture unreadable",
        "Twilio cannot use one of the picture addresses.",
        "Open each address in a private window: it has to show the picture without a login.",
    ),
    "21623": Reason("Too many pictures", "A message holds ten pictures at most.", "Send fewer."),
    "30001": Reason(
        "Queue overflow",
        "The message waited too long behind others of this sender.",
        "Send it again later, more slowly.",
    ),
    "30002": Reason("Account suspended", "Twilio has suspended the account.", _ADMIN),
    "30003": Reason(
        "Phone unreachable",
        "The phone is switched off, out of reach, or cannot receive text messages.",
        "Try once more in a while. If that fails too, check the number with the recipient.",
    ),
    "30004": Reason(
        "Blocked",
        "The recipient or their network blocks messages from this sender.",
        "Reach the recipient in another way. Sending again does not help.",
    ),
    "30005": Reason(
        "Unknown number",
        "The network does not know this number, or the phone has been off for long.",
        _CHECK,
    ),
    "30006": Reason(
        "Landline",
        "This is a landline, or a network that text messages cannot reach.",
        "Ask the recipient for a mobile number. Sending again does not help.",
    ),
    "30007": Reason(
        "Filtered as spam",
        "Twilio or the recipient's network took the message for spam.",
        "Reword it (no short links, no shouting) and ask your administrator whether the sender "
        "is registered. Sending the same text again does not help.",
    ),
    "30008": Reason(
        "Network error",
        "The recipient's network gave no reason.",
        "Try once more. If that fails too, check the number with the recipient.",
    ),
    "30011": Reason(
        "No pictures there", "This network does not take pictures.", "Send the text alone."
    ),
    "30017": Reason("Network congested", "The network was overloaded.", "Send it again later."),
    "30018": Reason(
        "Sender not registered",
        "The recipient's country wants senders to be registered first. "
        "Some networks deliver the message all the same.",
        _ADMIN,
    ),
    "30019": Reason("Too large", "The network refused the size.", "Send a smaller picture."),
    "30022": Reason(
        "Sending too fast", "The sender went over its permitted rate.", "Send it again later."
    ),
    "30023": Reason(
        "Daily limit reached",
        "The sender has used up what the network lets it send in a day.",
        "Send it again tomorrow.",
    ),
    "30024": Reason("Sender not set up", "The network does not know this sender (yet).", _ADMIN),
    "30032": Reason("Sender not verified", "The toll-free number has not been verified.", _ADMIN),
    "30034": Reason(
        "Number not registered",
        "The sender has not been registered for business messages in the United States (10DLC).",
        "Your administrator has to register it with Twilio. Sending again does not help until "
        "then.",
    ),
    "30036": Reason(
        "Expired", "The message could not be delivered in time.", "Send it again if still useful."
    ),
    "30410": Reason(
        "Network timed out",
        "The network did not answer in time; the message may have arrived all the same.",
        "Ask the recipient before you send it again.",
    ),
    "30450": Reason(
        "Suspected fraud",
        "Twilio stopped messages to this number for a while because they looked like fraud.",
        "Try again in half an hour.",
    ),
}


def reason_for(code: str | None) -> Reason | None:
    """The reason for an error code; for a code that is not listed, one that says so."""
    if code is None:
        return None
    if code in REASONS:
        return REASONS[code]
    if code.startswith("HTTP "):
        return Reason(
            f"Refused ({code})",
            "The answer did not come from Twilio's messaging API: something in between, or a "
            "wrong address, refused the request.",
            "Your administrator has to check TWILIO_API_BASE_URL and the network. "
            "Nothing was sent.",
        )
    return Reason(
        f"Error {code}",
        f"Twilio gave error {code}, which has no plain words here yet.",
        "Twilio's own page on this code says more.",
    )


def documentation(code: str | None) -> str | None:
    """Twilio's page on an error code."""
    return DOCUMENTATION + code if code and code.isdecimal() else None
