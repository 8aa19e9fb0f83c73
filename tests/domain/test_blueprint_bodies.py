"""What a blueprint may say, and the words that its user-data may hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arable.domain.balancer import Check
from arable.domain.blueprint import Body, DiskPart, Keeps, PortPart, Update, checked
from arable.domain.errors import BadInput
from arable.domain.ids import DiskOfferingId, ImageId, OfferingId
from arable.domain.template import filled, words

DATA = DiskPart(name="data", offering=DiskOfferingId("diskoffering-a"), mib=64)
ONE_LESS = Update(surge=0, unavailable=1)


def body(**said) -> Body:
    return Body(image=ImageId("image-a"), offering=OfferingId("offering-a"), **said)


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("user_data", {"user_data": "#!/bin/sh\necho {{farm.owner}}\n"}),
        ("user_data", {"user_data": "#" * 16_385}),
        ("disks.1.name", {"disks": (DATA, DATA)}),
        ("ports.1.port", {"ports": (PortPart(port=80), PortPart(port=80))}),
        ("keeps.volumes", {"keeps": Keeps(volumes=True), "update": ONE_LESS}),
        ("check.lowest_status", {"check": Check(lowest_status=400)}),
        ("update", {"update": Update(surge=0, unavailable=0)}),
        ("update.surge", {"disks": (DATA,), "keeps": Keeps(volumes=True)}),
    ],
)
def test_what_makes_no_sense_is_refused_and_named(field, said) -> None:
    with pytest.raises(BadInput) as refused:
        checked(body(**said))
    assert refused.value.field == field


def test_what_makes_sense_is_taken() -> None:
    database = body(
        user_data="#!/bin/sh\necho {{ tier.app.address }} {{secret.db}}\n",
        disks=(DATA,),
        ports=(PortPart(port=5432),),
        keeps=Keeps(volumes=True),
        update=ONE_LESS,
    )
    assert checked(database) is database


@given(st.text(), st.sampled_from(["farm.name", "element.number", "tier.app.port", "secret.db"]))
def test_words_are_filled_in_and_nothing_else_is_touched(value, word) -> None:
    plain = "# {a}\n{{" + word + "}}, {{  " + word + " }}\n"
    assert words(plain) == (word,)
    assert filled(plain, {word: value}) == f"# {{a}}\n{value}, {value}\n"


def test_a_word_that_the_farm_does_not_have_is_refused() -> None:
    with pytest.raises(BadInput, match=r"secret\.db"):
        filled("{{secret.db}}", {"secret.web": "x"})
