"""The codes of Twilio's error dictionary that concern messages, and what the guide does with each.

Facts from copies of the dictionary (May 2023, February 2025, and its list of 2026 with the newer
pages). Codes of other products (voice, video, chat, Verify, Flex and the like) are not listed.
"""

from collections.abc import Iterator

# In the guide, by the class of its advice on sending the same message again.
EXPLAINED = {
    "later": """
        20429 21611 21702 21730 30001 30017 30022 30023 30027 30035 30036 30450 30453 30485 30610
        30615 35125 60005 63009 63010 63012 63017 63018 63038 63053
    """,
    "once": "30003 30008 30020 30021 30047 30103 30500 63029",
    # It may have arrived, so that sending it again may double it.
    "ask first": "20500 20503 20504 30046 30409 30410 63023",
    "no": """
        14107 21265 21268 21610 21614 21635 21733 30004-30006 30009 30010 30025 30026 30045 30630
        30640 63003 63014 63016 63024 63032 63033 63037 63039 63049 63050
    """,
    "after a fix": """
        10001 10002 11100 11200-11203 11205 11206 11210 11215-11217 11220 11235-11237 11251 11751
        12300 20001 20003-20006 20008 20010-20012 20403 20404 20410 20413 20422 20423 20426
        21211 21212 21266 21267 21408 21601-21609 21612 21616-21624 21627 21652-21667 21670 21671
        21701 21703-21705 21900-21902 21910 30002 30007 30011-30016 30018 30019 30024 30028-30034
        30037 30040-30044 30101 30102 30106 30107 30110 30111 30120 30134 30137 30139 30404 30454
        30620 30700 35111 35114 35115 35117 35118 35126 63001 63002 63005-63008 63011 63013 63015
        63019-63022 63025-63028 63030 63031 63034-63036 63040-63042 63051 63054-63056 63058 63059
        63062 90007 90010 90014 92005-92007 216602 572002 572005 572006
    """,
}

# Not in the guide, by the reason: no message of ours can carry them.
LEFT_OUT = {
    "an HTTP status, shown as such": "400 403 404 410 503",
    "a call to a web address of the customer, or its answer": """
        11240-11243 11300 11310 11320 11770 12100-12102 12200 12301 12400 97001
    """,
    "a message that came in, or its answer in TwiML": """
        11321 11322 13803 14101-14106 14108-14111 30038 30039
    """,
    "another request than to create a message": """
        20002 20007 20009 20020 20021 20023 20409 20412 30400 90001 90006 90009 90011
    """,
    "tokens for browsers and apps": "20101-20107 20151-20160 20162",
    "calls, or buying and setting up a number": """
        21210 21214 21215 21217-21219 21264 21401-21407 21409 21420-21422 21449-21458 21470-21481
        21501-21504 21613 21615 21626 21628-21634 21644-21651 21668
    """,
    "setting up a Messaging Service": "21669 21708-21715 30995",
    "registration of a brand, campaign or toll-free number": """
        21717-21729 21731 21732 21736-21741 30125 30126 30436-30449 30451 30452 30455-30484
        30486-30499 30501-30531 30544-30558 30701-30994
    """,
    "setting up message privacy, consent or countries": "23001-23006 30646-30649",
    "setting up shortened links, or somebody's click on one": """
        30100 30104 30105 30108 30109 30112-30119 30121-30124 30127-30133 30135 30136 30140
    """,
    "many messages in one request": """
        35127 35132-35134 36001-36009 90012 90028-90041
    """,
    "templates: their making and approval, or a form that is gone": """
        63043-63047 63052 63057 90013 90015-90027 92001-92004 92008-92010
    """,
    "setting up a sender of WhatsApp or RCS": "63100-63120",
    "identity of the person behind a number": "60001-60004 60006-60008",
    "no source found for what it means": "572001 572003 572004 63060 63061",
}


def read_codes(text: str) -> Iterator[str]:
    """The codes of a list, in which `21601-21609` means each of them."""
    for part in text.split():
        first, _, last = part.partition("-")
        yield from (str(code) for code in range(int(first), int(last or first) + 1))
