"""What a batch may cost, by what Twilio has charged for the owner's earlier messages."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.engine import Connection

from smstracker.models.messages import Message
from smstracker.sms.numbering_plan import split_country_code

SAMPLE_SIZE = 2_000  # of the newest messages


@dataclass(frozen=True, slots=True)
class PriceForecast:
    """`amount` in `unit` for the countries with a known price, from `sample` messages; `unknown`
    are the country codes without one.
    """

    amount: Decimal
    unit: str
    sample: int
    unknown: tuple[str, ...]


def country_code(number: str) -> str:
    split = split_country_code(number[1:])
    return f"+{split.code}" if split else ""


def forecast_price(
    connection: Connection, owner_id: int, segments_by_country: Mapping[str, int]
) -> PriceForecast | None:
    """Return the price of that many segments; None if no message of the owner tells any."""
    columns = (Message.recipient, Message.segments, Message.price_micros, Message.price_unit)
    newest = select(*columns).where(Message.owner_id == owner_id)
    newest = newest.order_by(Message.created_at.desc(), Message.id.desc()).limit(SAMPLE_SIZE)
    micros: Counter[tuple[str, str]] = Counter()
    segments: Counter[tuple[str, str]] = Counter()
    samples: Counter[tuple[str, str]] = Counter()
    for row in connection.execute(newest):
        if row.price_micros is not None and row.segments and row.price_unit:
            key = (row.price_unit, country_code(row.recipient))
            micros[key] += abs(row.price_micros)
            segments[key] += row.segments
            samples[key] += 1
    if not samples:
        return None
    unit = Counter({key[0]: count for key, count in samples.items()}).most_common(1)[0][0]
    priced = [code for code in segments_by_country if segments[unit, code]]
    total = sum(
        Decimal(micros[unit, code]) * segments_by_country[code] / segments[unit, code]
        for code in priced
    )
    return PriceForecast(
        amount=(Decimal(total) / 1_000_000).quantize(Decimal("0.01")),
        unit=unit,
        sample=sum(samples[unit, code] for code in priced),
        unknown=tuple(sorted(set(segments_by_country).difference(priced))),
    )
