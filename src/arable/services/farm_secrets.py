"""What one may ask of farms' secrets, and how they get into what elements are told.

A text is sealed for its farm. On the way into a machine's data it is sealed anew, for that machine alone, and opened only
when its hosts are told; so nobody can have another's opened by putting it into data of their own, and a machine keeps the
text that there was when it was made.
"""

from collections.abc import Collection, Mapping, Sequence

from arable.domain.access import Permission
from arable.domain.errors import Conflict, Corrupt
from arable.domain.farm import Farm
from arable.domain.farm_secret import FarmSecret, SealedWord
from arable.domain.ids import AccountId, FarmId, MachineId, SecretId
from arable.runtime.sealed import seal, unseal
from arable.runtime.secret import Secret
from arable.services import farm_wishes
from arable.services.asks import check_expected, tell
from arable.services.belonging import check_home
from arable.services.call import Call, Surroundings
from arable.services.opened import word_of
from arable.services.pages import paged
from arable.store import elements, farm_secrets, farms, quotas, tiers
from arable.store.database import Tx
from arable.store.farm_secrets import SecretFilter
from arable.store.nudges import nudge
from arable.wire.common import Page
from arable.wire.farm_secrets import FarmSecretIn, RotateSecretIn, SecretOut, SecretQuery
from arable.wire.farms import FarmStepOut


def page(call: Call, query: SecretQuery) -> Page[SecretOut]:
    """Secrets in sight, by age; never what is in them."""
    call.caller.needs(Permission.FARM_READ)
    where = SecretFilter(
        account=AccountId(query.account) if query.account else None,
        farm=FarmId(query.farm) if query.farm else None,
        name=query.name,
    )
    scope = call.caller.scope
    found = farm_secrets.page(call.tx, scope, where, after=query.after, limit=query.limit + 1)
    return paged(found, query, _shape)


def get(call: Call, secret: SecretId) -> SecretOut:
    """One, without what is in it."""
    call.caller.needs(Permission.FARM_READ)
    return _shape(farm_secrets.get(call.tx, call.caller.scope, secret))


def rotate(call: Call, secret: SecretId, ask: RotateSecretIn) -> SecretOut:
    """Another text, for elements that are made from now on. Those that are there keep theirs."""
    call.caller.needs(Permission.FARM_WRITE)
    before = farm_secrets.get(call.tx, call.caller.scope, secret)
    check_home(call, before.farm)
    quotas.hold(
        call.tx, before.account
    )  # before all that is the farm's, as changes of its document do
    before = farm_secrets.get(call.tx, call.caller.scope, secret, lock=True)
    check_expected(call, before.generation, "secret")
    text = Secret(ask.contents or call.around.entropy.secret())
    now = before.changed(
        call.around.clock.now(),
        sealed=_sealed(call.around, before.farm, before.name, text),
        given=ask.contents is not None,
        number=before.number + 1,
    )
    farm_secrets.save(call.tx, now)
    farm_wishes.rotated(call.tx, now, now.changed_at)
    farm = farms.get(call.tx, call.caller.scope, before.farm)
    tell(
        call,
        now.account,
        "secret.rotated",
        now.id,
        f"{farm.name}: the secret {now.name} has another text, for elements made from now on",
    )
    if not before.number:
        _wake(call, before.farm)
    return _shape(now)


def lay_out(call: Call, farm: Farm, said: Sequence[str | FarmSecretIn]) -> list[FarmStepOut]:
    """The farm has the secrets that its document names, and no others. Whoever calls holds its document."""
    steps = []
    there = farm_secrets.of_farm(call.tx, farm.id)
    wanted = {each.name: each for each in map(_whole, said)}
    for name, secret in there.items():
        if name not in wanted:
            farm_secrets.remove(call.tx, secret.id)
            steps.append(_step("-", secret, "elements that have it keep it"))
    for name, each in wanted.items():
        if name in there:
            steps.append(_step("=", there[name], _about(there[name])))
            continue
        made = _made(call, farm, each)
        farm_secrets.add(call.tx, made)
        steps.append(_step("+", made, _about(made)))
    return steps


def names(said: Sequence[str | FarmSecretIn]) -> list[str]:
    """What a document calls its secrets, in its order."""
    return [_whole(each).name for each in said]


def texts(tx: Tx, around: Surroundings, farm: FarmId, of: Collection[str]) -> dict[str, Secret]:
    """The texts of a farm's secrets; raises `Conflict` for one that is not there, or not yet."""
    there = farm_secrets.of_farm(tx, farm, of)
    found = {}
    for name in of:
        secret = there.get(name)
        if secret is None:
            raise Conflict(f"the farm has no secret {name}")
        if not secret.sealed:
            raise Conflict(
                f"the secret {name} was not given yet (`arable secret rotate {name} --contents @FILE`)"
            )
        found[name] = unseal(around.authority, secret.sealed, _of_farm(farm, name))
    return found


def keep(call: Call, farm: Farm, said: Mapping[str, str], numbers: Mapping[str, int]) -> None:
    """The texts that the home of this part says of its secrets, sealed for the part. Elements that waited for one go on."""
    around = call.around
    waited = False
    for name, secret in farm_secrets.of_farm(call.tx, farm.id, said).items():
        text = Secret(said[name])
        if secret.number == numbers.get(name) and _is(around, secret, text):
            continue
        kept = secret.changed(
            around.clock.now(),
            sealed=_sealed(around, farm.id, name, text),
            number=numbers.get(name, 1),
        )
        farm_secrets.save(call.tx, kept)
        waited = waited or not secret.sealed
        told = f"{farm.name}: the secret {name} has another text, for elements made from now on"
        tell(call, farm.account, "secret.rotated", kept.id, told)
    if waited:
        _wake(call, farm.id)


def _is(around: Surroundings, secret: FarmSecret, text: Secret) -> bool:
    """Whether it has this text by now; one that was sealed by another authority has none."""
    try:
        found = unseal(around.authority, secret.sealed, _of_farm(secret.farm, secret.name))
    except Corrupt:
        return False
    return found.reveal() == text.reveal()


def for_machine(
    around: Surroundings, machine: MachineId, of: Mapping[str, Secret]
) -> tuple[SealedWord, ...]:
    """These texts as they stand beside a machine's data: sealed for it alone."""
    return tuple(
        SealedWord(
            name=name,
            sealed=seal(around.authority, around.entropy, text, word_of(machine, name)),
        )
        for name, text in of.items()
    )


def _made(call: Call, farm: Farm, ask: FarmSecretIn) -> FarmSecret:
    around, now = call.around, call.around.clock.now()
    sealed = (
        "" if ask.given else _sealed(around, farm.id, ask.name, Secret(around.entropy.secret()))
    )
    return FarmSecret(
        id=SecretId(around.ids.new("secret")),
        farm=farm.id,
        account=farm.account,
        name=ask.name,
        sealed=sealed,
        given=ask.given,
        number=1 if sealed else 0,
        created_at=now,
        changed_at=now,
    )


def _wake(call: Call, farm: FarmId) -> None:
    """Elements that waited for the text are tried again at once."""
    for tier in tiers.of_farms(call.tx, [farm]).get(farm, []):
        if tier.told:
            elements.put_note(
                call.tx, tier.id, attention=True, again_at=None, tries=0, told=tier.told
            )
    nudge(call.tx, tiers.TOPIC)


def _whole(said: str | FarmSecretIn) -> FarmSecretIn:
    return FarmSecretIn(name=said) if isinstance(said, str) else said


def _sealed(around: Surroundings, farm: FarmId, name: str, text: Secret) -> str:
    return seal(around.authority, around.entropy, text, _of_farm(farm, name))


def _of_farm(farm: FarmId, name: str) -> str:
    return f"{farm} secret {name}"


def _about(secret: FarmSecret) -> str:
    if not secret.number:
        return "waits to be given by its owner"
    return "given by its owner" if secret.given else "drawn"


def _step(sign: str, secret: FarmSecret, about: str) -> FarmStepOut:
    return FarmStepOut(sign=sign, what="secret", name=secret.name, about=about, id=secret.id)  # type: ignore[arg-type]


def _shape(secret: FarmSecret) -> SecretOut:
    return SecretOut(
        id=secret.id,
        account=secret.account,
        farm=secret.farm,
        name=secret.name,
        given=secret.given,
        number=secret.number,
        generation=secret.generation,
        created_at=secret.created_at,
        changed_at=secret.changed_at,
    )
