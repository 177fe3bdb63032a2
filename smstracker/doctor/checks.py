"""Checks of `flask doctor`: do messages leave and callbacks arrive? A result for each check.

No result holds a secret, an address or a whole phone number.
"""

import re
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlsplit

from sqlalchemy.exc import SQLAlchemyError

from smstracker.carrier import current_carrier
from smstracker.carrier.account_checks import Account, SenderAbility
from smstracker.carrier.errors import SIMULATOR_UNREACHED, CarrierQueryError, NotFoundAtCarrierError
from smstracker.clock import format_age, format_duration, utcnow
from smstracker.command_name import COMMAND
from smstracker.connection.summary import LOOK_FROM_OUTSIDE
from smstracker.doctor.alert_checks import check_alerts, check_heartbeat, check_open_alerts
from smstracker.doctor.backup_checks import check_backups
from smstracker.doctor.callback_probe import PASSABLE, find_obstacle
from smstracker.doctor.check_result import (
    CheckOutcome,
    CheckResult,
    ok,
    problem,
    strip_period,
    warning,
)
from smstracker.doctor.connection_checks import check_connection
from smstracker.doctor.machine_checks import check_durability, check_machine, check_wholeness
from smstracker.doctor.privacy_checks import check_privacy
from smstracker.extensions import settings
from smstracker.mailer import MailError, current_mailer
from smstracker.models import MailHealth
from smstracker.network_errors import explain_mail_error
from smstracker.settings.addresses import find_inner_address, is_loopback
from smstracker.web.health import database_problem

CLOCK_WARNING, CLOCK_PROBLEM = timedelta(seconds=30), timedelta(minutes=5)


def run_checks() -> Iterator[CheckResult]:
    """Run every check in turn. Changes nothing and sends no message."""
    yield _check_settings()
    database_error = database_problem()
    if database_error is None:
        yield ok("database", "reached and migrated")
    else:
        yield problem("database", database_error.cause, database_error.fix)
    yield from check_machine()
    if database_error is None:
        yield from check_wholeness()
        yield from check_durability()
    yield from _check_twilio()
    yield _check_public_address()
    callbacks = _check_callbacks()
    yield callbacks
    yield _check_mail()
    yield check_alerts()
    if database_error is None:
        yield from check_open_alerts()
        yield from check_heartbeat()
        yield from check_backups()
        yield from check_privacy()
        yield from check_connection(settings().demo, callbacks.verdict is not CheckOutcome.PROBLEM)


def _check_settings() -> CheckResult:
    if settings().demo:
        return ok("settings", "demo mode: a simulated carrier, no SMS leaves this machine")
    account = settings().twilio_account_sid[-4:]
    return ok("settings", f"live, with the Twilio account that ends in {account}")


def _check_twilio() -> Iterator[CheckResult]:
    try:
        account = current_carrier().fetch_account()
    except CarrierQueryError as error:
        sentence = SIMULATOR_UNREACHED if settings().demo else error.reason
        reason, _, advice = strip_period(sentence).partition(": ")
        if isinstance(error, NotFoundAtCarrierError):
            advice = "check TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN"
        fix = advice or "check the network of this machine and TWILIO_API_BASE_URL"
        yield problem("credentials", reason, fix)
        yield warning("senders", f"not checked: {reason}")
        yield warning("clock", f"not compared: {reason}")
        return
    yield _check_account(account)
    yield from map(_check_sender, settings().twilio_phone_numbers)
    if service := settings().twilio_messaging_service_sid:
        yield _check_service(service)
    yield _check_clock(account.clock_ahead)


def _check_account(account: Account) -> CheckResult:
    if account.status != "active":
        fix = "see the Twilio Console: payment, or a review of the account"
        return problem("credentials", f"accepted, but the account is {account.status[:20]}", fix)
    trial = "; a trial, which sends to verified numbers only" if account.is_trial else ""
    return ok("credentials", f"accepted, the account is active{trial}")


def _check_sender(sender: str) -> CheckResult:
    check, name = "senders", f"the number that ends in {sender[-4:]}"
    if not re.fullmatch(r"\+[0-9]+", sender):
        kind = f"the short code {sender}" if sender.isdecimal() else f"the sender {sender!r}"
        return ok(check, f"{kind} cannot be checked this way; Twilio judges it when it sends")
    try:
        ability = current_carrier().fetch_sender_ability(sender)
    except CarrierQueryError as error:
        return _not_checkable(name, error)
    if ability is SenderAbility.SENDS:
        return ok(check, f"{name} can send SMS")
    if ability is SenderAbility.NO_SMS:
        return problem(check, f"{name} cannot send SMS", "set TWILIO_PHONE_NUMBER to one that can")
    fix = "check TWILIO_PHONE_NUMBER: it has to be a number of TWILIO_ACCOUNT_SID"
    return problem(check, f"the account does not have {name}", fix)


def _check_service(service: str) -> CheckResult:
    name = f"the Messaging Service that ends in {service[-4:]}"
    try:
        current_carrier().require_messaging_service(service)
    except NotFoundAtCarrierError:
        fix = "check TWILIO_MESSAGING_SERVICE_SID"
        return problem("senders", f"the account does not have {name}", fix)
    except CarrierQueryError as error:
        return _not_checkable(name, error)
    return ok("senders", f"{name} exists")


def _not_checkable(name: str, error: CarrierQueryError) -> CheckResult:
    reason, _, advice = strip_period(error.reason).partition(": ")
    return problem("senders", f"{name} cannot be checked: {reason}", advice or None)


def _check_clock(ahead: timedelta | None) -> CheckResult:
    if ahead is None:
        return warning("clock", "not compared, because Twilio's answer had no date")
    if abs(ahead) <= CLOCK_WARNING:
        return ok("clock", "agrees with Twilio's")
    side = "ahead of" if ahead > timedelta(0) else "behind"
    result = problem if abs(ahead) > CLOCK_PROBLEM else warning
    detail = f"{format_duration(abs(ahead))} {side} Twilio's"
    return result("clock", detail, "let this machine keep its time by NTP")


def _check_public_address() -> CheckResult:
    check, base = "public address", settings().public_base_url
    host = urlsplit(base).hostname or ""
    api = urlsplit(settings().twilio_api_base_url).hostname or ""
    is_carrier_here = settings().demo or is_loopback(api)
    if not is_loopback(host):
        kind = None if is_carrier_here else find_inner_address(host)
        if kind is None:
            return ok(check, f"{base} uses https")
        detail = f"{base} leads to a {kind} address here, so doctor cannot try the way of Twilio"
        return warning(check, detail, LOOK_FROM_OUTSIDE)
    if is_carrier_here:
        return ok(check, f"{base} is this machine, and so is the carrier")
    fix = "set PUBLIC_BASE_URL to an https address that can be reached from outside"
    return problem(check, f"{base} is this machine: Twilio cannot reach it", fix)


def _check_callbacks() -> CheckResult:
    obstacle = find_obstacle()
    if obstacle:
        result = warning if obstacle.name in PASSABLE else problem
        detail = f"PUBLIC_BASE_URL ({settings().public_base_url}): {obstacle.description}"
        return result("callbacks", detail, obstacle.fix)
    detail = "a signed request through PUBLIC_BASE_URL arrives intact"
    if keys := len(settings().twilio_webhook_keys):
        detail += f", signed with the Auth Token and with {keys} shared key{'s' * (keys > 1)}"
    return ok("callbacks", detail)


def _check_mail() -> CheckResult:
    if not settings().mail.server:
        if settings().demo:
            return ok("mail", "stays in the demo mailbox")
        fix = f"set MAIL_SERVER; until then, {COMMAND} users sign-in-link lets people in"
        return warning("mail", "no server is set, so no sign-in mail leaves", fix)
    try:
        current_mailer().check()
    except MailError as error:
        reason, fix = explain_mail_error(str(error))
        mail = settings().mail
        credentials = {"MAIL_USERNAME": mail.username, "MAIL_PASSWORD": mail.password}
        for name, value in credentials.items():
            if name in fix and re.fullmatch(r"([\"']).*\1", value or ""):
                fix += f"; {name} has quotes around it, which are part of the value"
        return problem("mail", f"the server cannot be used: {reason}", fix)
    return _check_newest_mail() or ok("mail", "the server takes mail from here")


def _check_newest_mail() -> CheckResult | None:
    """Report what went wrong with the newest mail, although the server can be used now."""
    try:
        health = MailHealth.latest()
    except SQLAlchemyError:  # reported by the check of the database
        return None
    if health.refusal and health.refusal_at:
        age = format_age(health.refusal_at, utcnow())
        reason, sender_fix = explain_mail_error(health.refusal)
        detail = f"the server did not take the newest mail, {age} ({reason})"
        fix = "see the log of the mail server: the address may not exist, or mail to it is refused"
        result = warning if health.refusal == "SMTPRecipientsRefused" else problem
        return result("mail", detail, sender_fix if health.refusal == "SMTPSenderRefused" else fix)
    if health.server_problem and health.server_at:
        detail = f"the server takes mail now, but did not {format_age(health.server_at, utcnow())}"
        reason = explain_mail_error(health.server_problem).reason
        return warning("mail", f"{detail} ({reason})", "ask for a sign-in mail again")
    return None
