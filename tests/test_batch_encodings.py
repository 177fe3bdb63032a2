"""The encoding of a file that does not name it, by names of people in many languages."""

import pytest

from smstracker.batches.encodings import guess_encoding

NAMES = [
    ("cp1252", "Nuñez"),
    ("cp1252", "Søren"),
    ("cp1252", "Åse"),
    ("cp1252", "Kjær"),
    ("cp1252", "12,50 €"),
    ("cp1252", "Muñoz;12,50 €"),
    ("cp1252", "Müller, José, Zoë, Søren, Sánchez, Åsa"),
    ("cp1252", "François Besançon, Noël, Cœur"),
    ("cp1252", "Nicolò, lunedì, perché, già"),
    ("cp1252", "João Simões Magalhães"),
    ("cp1252", "Þór Guðmundsson, Sigurður"),
    ("cp1252", "MÜLLER, ÅSA, NÚÑEZ"),
    ("cp1252", "O’Brien – “Zoë”"),
    ("cp1250", "Łukasz, Małgorzata Wiśniewska, Kamiński, Dąbrowski, Woźniak"),
    ("cp1250", "Dvořák, Jiří, Čapek, Černý, Novotný, Němec, Růžička"),
    ("cp1250", "Erdős Gábor, Kőrösi, Nagy Ernő, Szűcs"),
    ("cp1250", "Ştefan Ţăran, Vădulescu, Ionuţ, Băsescu"),
    ("cp1250", "Kovačić, Petrović, Đurđević"),
    ("cp1254", "Şahin Yılmaz, Ayşe Doğan, Kılıç, Işıl, Çağlar, İbrahim"),
    ("cp1251", "Екатерина Щербакова, Иван Петров, Юлия Жукова"),
    ("cp1253", "Γιώργος Παπαδόπουλος, Μαρία Νικολάου"),
    ("cp932", "山田太郎、東京都新宿区。佐藤花子さん、こんにちは。"),
    ("gb18030", "张伟，北京市朝阳区。王芳，上海市浦东新区。"),
    ("mac_roman", "Müller, José, Größner"),
    ("cp850", "Müller, José, Größner"),
]


@pytest.mark.parametrize(("encoding", "names"), NAMES)
def test_names_are_read_as_they_were_written(encoding: str, names: str) -> None:
    assert names.encode(encoding).decode(guess_encoding(names.encode(encoding))) == names


def test_windows_1252_is_taken_in_doubt() -> None:
    assert guess_encoding(b"\xa0") == "cp1252"
