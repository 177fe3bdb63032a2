"""What developers get wrong about status callbacks, and the test here that would catch each."""

import importlib

import pytest

MISTAKES = {
    "the signature is checked over the address that a proxy passes on": (
        "test_webhook_guard",
        "test_signature_is_checked_against_the_configured_address_not_the_host",
    ),
    "a query string breaks the signature": (
        "test_webhook_guard",
        "test_signature_covers_the_query_as_it_was_sent",
    ),
    "empty fields are dropped": (
        "test_webhook_guard",
        "test_dropping_an_empty_field_breaks_the_signature",
    ),
    "values are trimmed": ("test_webhook_guard", "test_signature_covers_every_field_as_it_is"),
    "verification dies after a rotation of the token": (
        "test_webhook_guard",
        "test_callback_signed_with_the_secondary_token_is_stored",
    ),
    "what was refused after a rotation is gone": (
        "test_replay",
        "test_replay_after_a_setting_is_mended_moves_the_message_and_keeps_the_order",
    ),
    "callbacks of subaccounts are refused": (
        "test_replay",
        "test_replay_after_a_setting_is_mended_moves_the_message_and_keeps_the_order",
    ),
    "delivered is overwritten by sent": (
        "test_callbacks",
        "test_any_order_ends_in_the_same_state",
    ),
    "delivered is overwritten by sent, both at once": (
        "test_properties",
        "test_eight_threads_at_once_end_as_the_ordered_one",
    ),
    "the callback comes before the row exists": (
        "test_callbacks",
        "test_callback_before_our_create_call_returned_sets_the_sid",
    ),
    "a callback that is lost leaves the message stuck in sent": (
        "test_lookup",
        "test_lost_receipt_is_fetched_with_its_source_price_and_segments",
    ),
    "the reconciler skips sent or drops the error code": (
        "test_lookup",
        "test_sent_message_is_asked_about_too_and_a_failure_keeps_its_code",
    ),
    "a doubled callback counts twice": (
        "test_callbacks",
        "test_repeated_callback_is_kept_and_changes_nothing",
    ),
    "later statuses are dropped as duplicates of the same SID": (
        "test_callbacks",
        "test_any_order_ends_in_the_same_state",
    ),
    "the answer is 200 although nothing was stored": (
        "test_webhook_guard",
        "test_callback_that_cannot_be_stored_is_a_503",
    ),
    "a slow handler times out": (
        "test_database",
        "test_callback_costs_two_reads_an_insert_an_update_and_a_tally",
    ),
    "there is no error text": ("test_message_log", "test_message_page_speaks_plainly"),
    "there is no timestamp": (
        "test_callbacks",
        "test_callback_moves_its_message_and_is_kept_whole",
    ),
    "the client sends again when the answer is lost": (
        "test_sending",
        "test_unknown_outcome_is_kept_as_unknown_and_never_repeated",
    ),
    "test credentials never call back": (
        "test_simulator_api",
        "test_message_ends_as_its_scenario_says",
    ),
    "an API key is taken for the token that verifies": (
        "test_config",
        "test_api_key_is_no_account",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_has_a_test_that_would_catch_it(mistake: str) -> None:
    module, name = MISTAKES[mistake]
    assert callable(getattr(importlib.import_module(f"tests.{module}"), name, None)), name
