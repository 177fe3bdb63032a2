"""A captured callback whose names and values are cut anew tells nothing else."""

from collections.abc import Mapping
from itertools import accumulate, pairwise

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from werkzeug.datastructures import MultiDict

from smstracker.callback_requests import status_callback
from smstracker.callback_requests.status_callback import VerifiedCallback, read_callback
from smstracker.carrier.signatures import Signer, signed_fields
from smstracker.models.events import StatusUpdate
from tests.clients import Person
from tests.refused_callbacks import explained, refused_rows, stored_events
from tests.signing import (
    ACCOUNT_SID,
    STATUS_PATH,
    call_back,
    callback_path,
    fields,
    sid,
    signature,
)

SERVICE = "MG" + "ab" * 16
CAPTURED = fields(
    sid(1), "undelivered", "30003", RawDlrDoneDate="2611220836", MessagingServiceSid=SERVICE
)
SIGNED = "".join(name + value for name, value in sorted(CAPTURED.items()))


def read_form(form: Mapping[str, str]) -> StatusUpdate | None:
    callback = VerifiedCallback(MultiDict(form), Signer(ACCOUNT_SID, "primary"), "")
    return read_callback(callback, None)


def recut(client: FlaskClient, form: dict[str, str], path: str = STATUS_PATH) -> int:
    headers = {"X-Twilio-Signature": signature(STATUS_PATH, CAPTURED)}
    return client.post(path, data=form, headers=headers).status_code


@pytest.mark.parametrize(
    "cuts",
    [
        [("MessageSid", "MessageStatus")],
        [("SmsSid", "SmsStatus"), ("MessageSid", "MessageStatus")],
        [("ApiVersion", "ErrorCode")],
        [("From", "MessageSid")],
        [("AccountSid", "ApiVersion")],
        [("ErrorCode", "From")],
        [("SmsStatus", "To")],
    ],
)
def test_field_glued_to_another_value_is_refused(
    app: Flask, client: FlaskClient, cuts: list[tuple[str, str]]
) -> None:
    form = dict(CAPTURED)
    for into, glued in cuts:
        form[into] += glued + form.pop(glued)
    assert recut(client, form) == 400
    assert stored_events(app) == []
    assert explained(app).startswith("Its signature fits, but its fields are not those")
    assert not refused_rows(app)[0].is_proven


def test_captured_callback_moved_into_the_path_is_refused(app: Flask, client: FlaskClient) -> None:
    form = {name: value for name, value in CAPTURED.items() if name != "AccountSid"}
    path = f"{STATUS_PATH}/1"
    signed = {"X-Twilio-Signature": signature(path, CAPTURED)}
    moved = f"{path}AccountSid{ACCOUNT_SID}"
    assert client.post(moved, data=form, headers=signed).status_code == 400
    assert stored_events(app) == []


@pytest.mark.parametrize("name", ["Body", "ErrorMessage", "ChannelStatusMessage", "Unheard"])
@pytest.mark.parametrize(
    "text",
    [
        "Alarm: ErrorCode503 on web1",
        "Alarm: ErrorCode503",
        "ErrorCode30003 from carrier",
        "Error To+14155552671 unreachable",
        "From+4915123456789",
        "MessageStatusdelivered?",
        "ApiVersion2010-04-01",
        f"AccountSid{ACCOUNT_SID}",
        "RawDlrDoneDate2611",
        f"MessageSid{sid(1)}",
    ],
)
@pytest.mark.parametrize("code", [None, "30003"])
def test_words_in_a_text_keep_no_callback_out(text: str, name: str, code: str | None) -> None:
    update = read_form(fields(sid(1), "failed", code, **{name: text}))
    assert update is not None
    assert (update.twilio_sid, update.status, update.error_code) == (sid(1), "failed", code)


@pytest.mark.parametrize("left_out", ["Message", "Sms"])
def test_words_in_a_text_keep_no_callback_out_that_names_each_fact_once(left_out: str) -> None:
    form = fields(sid(1), "sent", Body=f"SmsStatusfailed MessageSid{sid(2)} MessageStatusread")
    update = read_form(
        {name: value for name, value in form.items() if not name.startswith(left_out)}
    )
    assert update is not None
    assert (update.twilio_sid, update.status) == (sid(1), "sent")


def test_callback_with_words_in_its_text_moves_its_message(
    client: FlaskClient, alice: Person
) -> None:
    message = alice.has_message(twilio_sid=sid(1))
    form = fields(sid(1), "sent", Body="Alarm: ErrorCode503 on web1")
    assert call_back(client, form, callback_path(message)).status_code == 204
    assert alice.message().status == "sent"


def test_callback_that_was_refused_for_words_in_its_text_is_applied_by_a_replay(
    app: Flask, client: FlaskClient, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    from smstracker.refused.replay import replay

    message = alice.has_message(twilio_sid=sid(1))
    with monkeypatch.context() as former:
        former.setattr(status_callback, "is_recut", lambda *_: True)
        form = fields(sid(1), "sent", Body="From+4915123456789")
        assert call_back(client, form, callback_path(message)).status_code == 400
    with app.app_context():
        assert replay(None, "Alice").applied == 1
    assert alice.message().status == "sent"


def test_text_of_a_callback_is_not_kept(app: Flask, client: FlaskClient) -> None:
    call_back(client, fields(sid(1), "sent", Body="My secret diagnosis", Unheard="of"))
    [event] = stored_events(app)
    assert "Body" not in event.payload
    assert event.payload["Unheard"] == "of"


def test_text_that_its_sender_chose_cannot_move_another_message(client: FlaskClient) -> None:
    words = f"MessageSid{sid(2)}MessageStatusfailedSmsSid{sid(2)}SmsStatusfailedZ"
    capture = fields(sid(1), "delivered", Body=words)
    recut_form = {"AccountSid": ACCOUNT_SID, "ApiVersion": "2010-04-01", "Body": ""}
    recut_form |= {"MessageSid": sid(2), "MessageStatus": "failed"}
    recut_form |= {"SmsSid": sid(2), "SmsStatus": "failed"}
    rest = {name: value for name, value in capture.items() if name not in ("AccountSid", "Body")}
    del rest["ApiVersion"]
    recut_form["Z"] = "".join(name + value for name, value in sorted(rest.items()))
    signed = {"X-Twilio-Signature": signature(STATUS_PATH, capture)}
    assert signature(STATUS_PATH, recut_form) == signature(STATUS_PATH, capture)
    assert client.post(STATUS_PATH, data=recut_form, headers=signed).status_code == 400
    assert call_back(client, capture).status_code == 204


@pytest.mark.parametrize(
    "second",
    [
        ("AccountSid", "AC" + "5" * 32),
        ("ErrorCode", "30007"),
        ("MessageSid", sid(2)),
        ("SmsSid", sid(2)),
        ("MessageStatus", "sent"),
        ("SmsStatus", "sent"),
    ],
)
def test_callback_with_two_values_for_one_fact_is_refused(
    app: Flask, client: FlaskClient, second: tuple[str, str]
) -> None:
    form = MultiDict([*CAPTURED.items(), second])
    assert call_back(client, form).status_code == 400
    assert refused_rows(app)[0].reason == "recut"


def division(*names: str) -> dict[str, str]:
    """The signed text of `CAPTURED`, divided where these names stand, one after the other."""
    starts = [SIGNED.index(names[0])]
    for name in names[1:]:
        starts.append(SIGNED.index(name, starts[-1] + 1))
    pieces = [SIGNED[at:end] for at, end in pairwise([*starts, len(SIGNED)])]
    assert "".join(pieces) == SIGNED
    return {name: piece[len(name) :] for name, piece in zip(names, pieces, strict=True)}


MESSAGE = ("MessageSid", "MessageStatus", "MessagingServiceSid")
FIRST = ("AccountSid", "ApiVersion", "ErrorCode", "From")
LAST = ("RawDlrDoneDate", "SmsSid", "SmsStatus", "To")


@pytest.mark.parametrize(
    "names",
    [
        ("AccountSid", "ApiVersion", "Code", "From", *MESSAGE, *LAST),
        ("AccountSid", "Api", "From", *MESSAGE, *LAST),
        ("AccountSid", "ApiVersion2010", "From", *MESSAGE, *LAST),
        ("Account", "ErrorCode", "From", *MESSAGE, *LAST),
        ("AccountSid", "ApiVersion", "ErrorCode", "Fro", "SmsSid", "SmsStatus", "To"),
        ("AccountSid", "ApiVersion", "ErrorCode", "F", "SmsSid", "SmsStatus", "deliveredTo"),
        ("AccountSid", "C111", "SmsSid", "SmsStatus", "To"),
        ("AccountSid", "ApiVersion", "ErrorCode", "From", "MessageS", *LAST),
        (*FIRST, "MessageSid", "MessageStatus", "ivered"),
        (*FIRST, *MESSAGE, "abab"),
        (*FIRST, "MessageSid", "MessageStatus", "MessagingService", "SmsSid", "SmsStatus", "To"),
    ],
)
def test_captured_callback_that_is_divided_within_its_names_is_refused(
    app: Flask, client: FlaskClient, names: tuple[str, ...]
) -> None:
    assert recut(client, division(*names)) == 400
    assert refused_rows(app)[0].reason == "recut"


@pytest.mark.parametrize("sender", ["CLINIC", "12345", "whatsapp:+15005550006"])
def test_sender_that_is_glued_to_an_error_code_is_refused(client: FlaskClient, sender: str) -> None:
    form = fields(sid(1), "undelivered") | {"ErrorCode": f"30003From{sender}"}
    assert call_back(client, form).status_code == 400


def test_status_that_the_next_name_goes_on_with_is_refused(app: Flask, client: FlaskClient) -> None:
    capture = {name: CAPTURED[name] for name in ("AccountSid", "SmsSid", "SmsStatus", "To")}
    form = {"AccountSid": ACCOUNT_SID, "SmsSid": sid(1), "SmsStatus": "un"}
    signed = {"X-Twilio-Signature": signature(STATUS_PATH, capture)}
    for number, end in enumerate([{"deliveredTo": capture["To"]}, {"delivered": "To+15558675310"}]):
        answer = client.post(STATUS_PATH, data=form | end, headers=signed)
        assert answer.status_code == 400
        assert len(refused_rows(app)) == number + 1


def test_address_whose_end_was_moved_into_a_name_is_refused(client: FlaskClient) -> None:
    signed = {"X-Twilio-Signature": signature(f"{STATUS_PATH}/1", CAPTURED)}
    form = {name: value for name, value in CAPTURED.items() if name != "AccountSid"}
    form["1AccountSid"] = ACCOUNT_SID
    assert client.post(f"{STATUS_PATH}/", data=form, headers=signed).status_code == 400


@st.composite
def divisions(draw: st.DrawFn) -> MultiDict[str, str]:
    """The signed text of a capture in other fields: most of them as they are, some cut anywhere."""
    form: MultiDict[str, str] = MultiDict()
    ends = list(accumulate(len(name + value) for name, value in sorted(CAPTURED.items())))
    cuts = [end for end in ends if draw(st.integers(0, 3))]
    cuts += draw(st.lists(st.integers(1, len(SIGNED) - 1), max_size=2))
    usual = {
        end - len(name + CAPTURED[name]): name
        for end, name in zip(ends, sorted(CAPTURED), strict=True)
    }
    for start, end in pairwise(sorted({0, *cuts, len(SIGNED)})):
        name = usual.get(start, "")
        size = len(name) if name and draw(st.booleans()) else draw(st.integers(1, end - start))
        form.add(SIGNED[start : min(start + size, end)], SIGNED[min(start + size, end) : end])
    return form


@hypothesis_settings(
    max_examples=300,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
@given(divisions())
def test_no_division_of_a_captured_callback_tells_anything_else(
    form: MultiDict[str, str],
) -> None:
    """Of a capture without texts, as Twilio sends them."""
    if signed_fields(form) != SIGNED:
        return  # it does not verify
    update = read_form(form)
    if update is not None:
        assert (update.twilio_sid, update.error_code) == (sid(1), "30003")
        assert (update.status, update.carrier_done_at) == ("undelivered", "2611220836")
