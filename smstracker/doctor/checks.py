"""Is everything set up so that messages leave and callbacks arrive? One finding for each check.

No finding holds a secret, an address or a whole phone number.
"""

import re
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlsplit

from sqlalchemy.exc import SQLAlchemyError

from config import is_loopback
from smstracker.carrier import (
    Account,
    CarrierQueryError,
    NotFoundAtCarrierError,
    SenderAbility,
    current_carrier,
)
from smstracker.clock import format_age, format_duration, utcnow
from smstracker.doctor.callback_probe import obstacle
from smstracker.doctor.check_result import CheckOutcome, CheckResult, ok, phrase, problem, warning
from smstracker.doctor.connection_checks import findings as connection_findings
from smstracker.doctor.machine_checks import durability, machine_findings
from smstracker.extensions import settings
from smstracker.mailer import MailError, current_mailer
from smstracker.models import MailHealth
from smstracker.network_errors import explain_mail_error
from smstracker.web.health import database_problem

CLOCK_WARNING, CLOCK_PROBLEM = timedelta(seconds=30), timedelta(minutes=5)


def examine() -> Iterator[CheckResult]:
    """Every check in turn. It changes nothing and sends nothing but questions."""
    yield _settings()
    database = _database()
    yield database
    yield from machine_findings()
    if database.verdict is CheckOutcome.OK:
        yield from durability()
    yield from _twilio()
    yield _public_address()
    yield _callbacks_arrive()
    yield _mail()
    if database.verdict is CheckOutcome.OK:
        yield from connection_findings()


def _settings() -> CheckResult:
    if settings().demo:
        return ok("settings", "demo mode: a simulated carrier, no SMS leaves this machine")
    account = settings().twilio_account_sid[-4:]
    return ok("settings", f"live, with the Twilio account that ends in {account}")


def _database() -> CheckResult:
    trouble = database_problem()
    if trouble is None:
        return ok("database", "reached and migrated")
    return problem("database", trouble.cause, trouble.fix)


def _twilio() -> Iterator[CheckResult]:
    try:
        account = current_carrier().fetch_account()
    except CarrierQueryError as error:
        reason, _, advice = phrase(error.reason).partition(": ")
        if settings().demo:
            advice = "start the demo with make run: the simulated carrier is part of it"
        elif isinstance(error, NotFoundAtCarrierError):
            advice = "check TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN"
        fix = advice or "check the network of this machine and TWILIO_API_BASE_URL"
        yield problem("credentials", reason, fix)
        yield warning("senders", "not checked, because Twilio could not be asked")
        yield warning("clock", "not compared, because Twilio could not be asked")
        return
    yield _account(account)
    yield from _senders()
    yield _clock(account.clock_ahead)


def _account(account: Account) -> CheckResult:
    if account.status != "active":
        fix = "see the Twilio Console: payment, or a review of the account"
        return problem("credentials", f"accepted, but the account is {account.status[:20]}", fix)
    trial = "; a trial, which sends to verified numbers only" if account.is_trial else ""
    return ok("credentials", f"accepted, the account is active{trial}")


def _senders() -> Iterator[CheckResult]:
    for sender in settings().twilio_phone_numbers:
        yield _sender(sender)
    service = settings().twilio_messaging_service_sid
    if service:
        yield _service(service)


def _sender(sender: str) -> CheckResult:
    check, name = "senders", f"the number that ends in {sender[-4:]}"
    if not re.fullmatch(r"\+[0-9]+", sender):
        kind = f"the short code {sender}" if sender.isdecimal() else f"the sender {sender!r}"
        return ok(check, f"{kind} cannot be checked this way; Twilio judges it when it sends")
    try:
        ability = current_carrier().fetch_sender_ability(sender)
    except CarrierQueryError as error:
        return _unchecked(name, error)
    if ability is SenderAbility.SENDS:
        return ok(check, f"{name} can send SMS")
    if ability is SenderAbility.NO_SMS:
        return problem(check, f"{name} cannot send SMS", "set TWILIO_PHONE_NUMBER to one that can")
    fix = "check TWILIO_PHONE_NUMBER: it has to be a number of TWILIO_ACCOUNT_SID"
    return problem(check, f"the account does not have {name}", fix)


def _service(service: str) -> CheckResult:
    name = f"the Messaging Service that ends in {service[-4:]}"
    try:
        current_carrier().require_messaging_service(service)
    except NotFoundAtCarrierError:
        fix = "check TWILIO_MESSAGING_SERVICE_SID"
        return problem("senders", f"the account does not have {name}", fix)
    except CarrierQueryError as error:
        return _unchecked(name, error)
    return ok("senders", f"{name} exists")


def _unchecked(name: str, error: CarrierQueryError) -> CheckResult:
    reason, _, advice = phrase(error.reason).partition(": ")
    return problem("senders", f"{name} cannot be checked: {reason}", advice or None)


def _clock(ahead: timedelta | None) -> CheckResult:
    if ahead is None:
        return warning("clock", "not compared, because Twilio's answer had no date")
    off = abs(ahead)
    if off <= CLOCK_WARNING:
        return ok("clock", "agrees with Twilio's")
    found = f"{format_duration(off)} {'ahead of' if ahead > timedelta(0) else 'behind'} Twilio's"
    verdict = CheckOutcome.PROBLEM if off > CLOCK_PROBLEM else CheckOutcome.WARNING
    return CheckResult("clock", verdict, found, "let this machine keep its time by NTP")


def _public_address() -> CheckResult:
    check, base = "public address", settings().public_base_url
    if not is_loopback(urlsplit(base).hostname or ""):
        return ok(check, f"{base} uses https")
    api = urlsplit(settings().twilio_api_base_url).hostname or ""
    if settings().demo or is_loopback(api):
        return ok(check, f"{base} is this machine, and so is the carrier")
    fix = "set PUBLIC_BASE_URL to an https address that is reached from outside"
    return problem(check, f"{base} is this machine: Twilio cannot reach it", fix)


def _callbacks_arrive() -> CheckResult:
    found = obstacle()
    if found is None:
        keys = len(settings().twilio_webhook_keys)
        how = f", signed with the Auth Token and with {keys} shared key{'s' * (keys > 1)}"
        arrives = "a signed request through PUBLIC_BASE_URL arrives intact"
        return ok("callbacks", arrives + (how if keys else ""))
    where = f"PUBLIC_BASE_URL ({settings().public_base_url})"
    return problem("callbacks", f"{where}: {found.found}", found.fix)


def _mail() -> CheckResult:
    server = settings().mail.server
    if not server and settings().demo:
        return ok("mail", "stays in the demo mailbox")
    if not server:
        fix = "set MAIL_SERVER; until then, flask users sign-in-link lets people in"
        return warning("mail", "no server is set, so no sign-in mail leaves", fix)
    try:
        current_mailer().check()
    except MailError as error:
        reason, fix = explain_mail_error(str(error))
        return problem("mail", f"the server cannot be used: {reason}", fix)
    return _sent_mail() or ok("mail", "the server takes mail from here")


def _sent_mail() -> CheckResult | None:
    """What went wrong with the newest mail, although the server can be used now."""
    try:
        health = MailHealth.latest()
    except SQLAlchemyError:  # said by the check of the database
        return None
    if health.refusal and health.refusal_at:
        what = f"the server did not take the newest mail, {format_age(health.refusal_at, utcnow())}"
        fix = "see the log of the mail server: the address may not exist, or mail to it is refused"
        if health.refusal == "SMTPSenderRefused":
            fix = explain_mail_error(health.refusal).fix
        is_about_address = health.refusal == "SMTPRecipientsRefused"
        judge = warning if is_about_address else problem
        return judge("mail", f"{what} ({explain_mail_error(health.refusal).reason})", fix)
    if health.server_problem and health.server_at:
        what = f"the server takes mail now, but did not {format_age(health.server_at, utcnow())}"
        reason = explain_mail_error(health.server_problem).reason
        return warning("mail", f"{what} ({reason})", "ask for a sign-in mail again")
    return None
