"""Domains, accounts, users and limits: who sees, makes and changes which."""

import pytest

from arable.client import errors
from arable.wire.accounts import (
    AccountChange,
    AccountIn,
    AccountQuery,
    DomainIn,
    FirstUserIn,
    LimitsChange,
)
from arable.wire.users import PasswordIn, UserChange, UserIn
from serving import PASSWORD


@pytest.fixture
def acme(served):
    """An operator's cloud with a domain `acme`, its administrator, and a customer below it."""
    domain = served.operator.domains.create(DomainIn(name="acme"))
    admin = served.customer("boss", role="domain-admin", domain=domain.id)
    return served, domain, admin


def test_an_account_is_made_with_its_first_user_and_limits_at_once(served_both):
    made = served_both.operator.accounts.create(
        AccountIn(
            name="acme",
            limits=LimitsChange(machines=3, cpus=None),
            user=FirstUserIn(name="alice", password=PASSWORD),
        )
    )
    alice = served_both.client()
    alice.sign_in("alice", PASSWORD)
    assert alice.users.whoami().user == made.user
    limits = alice.limits.get(made.id)
    assert (limits.machines.limit, limits.cpus.limit, limits.machines.used) == (3, None, 0)
    assert limits.networks.limit == 20  # the cloud's default


def test_when_the_first_user_can_not_be_made_neither_is_the_account(served_both):
    with pytest.raises(errors.Conflict) as taken:
        served_both.operator.accounts.create(
            AccountIn(name="acme", user=FirstUserIn(name="operator", password=PASSWORD))
        )
    assert "user.name" in taken.value.fields
    assert [each.name for each in served_both.operator.accounts.all()] == ["operators"]


def test_names_are_unique_where_they_must_be(served_both):
    served_both.operator.accounts.create(AccountIn(name="acme"))
    with pytest.raises(errors.Conflict) as taken:
        served_both.operator.accounts.create(AccountIn(name="acme"))
    assert "name" in taken.value.fields
    served_both.operator.domains.create(DomainIn(name="acme"))
    with pytest.raises(errors.Conflict):
        served_both.operator.domains.create(DomainIn(name="acme"))


def test_a_domains_administrator_sees_their_domain_and_what_is_below_and_nothing_else(acme):
    served, domain, admin = acme
    labs = admin.domains.create(DomainIn(name="labs"))
    below = admin.accounts.create(AccountIn(name="below", domain=labs.id))
    other = served.operator.accounts.create(AccountIn(name="other"))
    lookalike = served.operator.domains.create(DomainIn(name="acme-too"))
    assert {each.path for each in admin.domains.all()} == {"root/acme", "root/acme/labs"}
    assert {each.name for each in admin.accounts.all()} == {"boss", "below"}
    assert admin.accounts.get(below.id).domain == labs.id
    for hidden in (
        lambda: admin.accounts.get(other.id),
        lambda: admin.domains.get(lookalike.id),
        lambda: admin.accounts.create(AccountIn(name="x", domain=lookalike.id)),
        lambda: admin.domains.create(DomainIn(name="x", parent=lookalike.id)),
        lambda: admin.limits.update(other.id, LimitsChange(machines=1)),
        lambda: admin.accounts.delete(other.id),
    ):
        with pytest.raises(errors.NotFound):
            hidden()
    assert domain.path == "root/acme"


def test_a_customer_sees_their_own_account_alone(served):
    alice, _bob = served.customer("alice"), served.customer("bob")
    assert [each.name for each in alice.accounts.all()] == ["alice"]
    assert [each.name for each in alice.users.all()] == ["alice"]
    assert [each.path for each in alice.domains.all()] == ["root"]
    with pytest.raises(errors.NotFound):
        alice.accounts.get(served.accounts["bob"])
    with pytest.raises(errors.Forbidden):
        alice.accounts.create(AccountIn(name="more"))


def test_nobody_gives_a_higher_rank_or_touches_a_user_of_one(acme):
    served, domain, admin = acme
    with pytest.raises(errors.Forbidden) as refused:
        admin.users.create(UserIn(name="mallory", role="operator", password=PASSWORD))
    assert "role" in refused.value.fields
    inside = served.operator.accounts.create(AccountIn(name="inside", domain=domain.id))
    root = served.operator.users.create(
        UserIn(name="second-root", role="operator", account=inside.id, password=PASSWORD)
    )
    for touch in (
        lambda: admin.users.change_password(root.id, PasswordIn(new="taken over now")),
        lambda: admin.users.update(root.id, UserChange(enabled=False)),
        lambda: admin.users.update(root.id, UserChange(role="customer")),
        lambda: admin.users.delete(root.id),
        lambda: admin.accounts.delete(inside.id),
        lambda: admin.accounts.update(inside.id, AccountChange(enabled=False)),
    ):
        with pytest.raises(errors.Forbidden):
            touch()
    client = served.client()
    client.sign_in("second-root", PASSWORD)


def test_nobody_locks_themselves_out(served):
    me = served.operator.users.whoami()
    for touch in (
        lambda: served.operator.users.update(me.user, UserChange(enabled=False)),
        lambda: served.operator.users.delete(me.user),
        lambda: served.operator.accounts.delete(me.account),
        lambda: served.operator.accounts.update(me.account, AccountChange(enabled=False)),
        lambda: served.operator.domains.delete(me.domain),
    ):
        with pytest.raises(errors.Conflict):
            touch()


def test_a_domains_administrator_gives_no_more_than_their_own_account_has(acme):
    served, domain, admin = acme
    own = served.accounts["boss"]
    served.operator.limits.update(own, LimitsChange(machines=5))
    with pytest.raises(errors.Forbidden) as refused:
        admin.accounts.create(AccountIn(name="big", limits=LimitsChange(machines=6)))
    assert "machines" in refused.value.fields
    with pytest.raises(errors.Forbidden):
        admin.accounts.create(AccountIn(name="endless", limits=LimitsChange(machines=None)))
    small = admin.accounts.create(AccountIn(name="small"))
    assert admin.limits.get(small.id).machines.limit == 5
    with pytest.raises(errors.Forbidden):
        admin.limits.update(own, LimitsChange(machines=500))
    with pytest.raises(errors.Forbidden):
        admin.limits.update(small.id, LimitsChange(machines=6))
    assert admin.limits.update(small.id, LimitsChange(machines=4)).machines.limit == 4
    assert domain.name == "acme"


def test_an_account_that_owns_something_is_not_deleted_and_an_empty_one_is(served_both):
    operator = served_both.operator
    alice = served_both.customer("alice")
    account = served_both.accounts["alice"]
    from arable.wire.images import ImageIn

    alice.images.create(ImageIn(name="mine"))
    with pytest.raises(errors.Conflict) as holds:
        operator.accounts.delete(account)
    assert "images" in str(holds.value)
    assert alice.users.whoami().name == "alice"
    (image,) = alice.images.all()
    alice.images.delete(image.id)
    operator.accounts.delete(account)
    with pytest.raises(errors.Unauthenticated):
        alice.users.whoami()
    with pytest.raises(errors.NotFound):
        operator.accounts.get(account)


def test_a_domain_goes_when_it_is_empty(served_both):
    operator = served_both.operator
    acme = operator.domains.create(DomainIn(name="acme"))
    labs = operator.domains.create(DomainIn(name="labs", parent=acme.id))
    with pytest.raises(errors.Conflict):
        operator.domains.delete(acme.id)
    operator.domains.delete(labs.id)
    account = operator.accounts.create(AccountIn(name="in-it", domain=acme.id))
    with pytest.raises(errors.Conflict):
        operator.domains.delete(acme.id)
    operator.accounts.delete(account.id)
    operator.domains.delete(acme.id)
    assert [each.path for each in operator.domains.all()] == ["root"]


def test_domains_stand_only_so_deep(served):
    parent = None
    for depth in range(7):
        parent = served.operator.domains.create(DomainIn(name=f"d{depth}", parent=parent)).id
    with pytest.raises(errors.BadInput) as refused:
        served.operator.domains.create(DomainIn(name="too-deep", parent=parent))
    assert "parent" in refused.value.fields


def test_pages_follow_each_other_without_gap_or_repetition(served_both):
    operator = served_both.operator
    made = [operator.accounts.create(AccountIn(name=f"a{n}")).id for n in range(7)]
    first = operator.accounts.page(AccountQuery(limit=3))
    assert len(first.items) == 3
    assert first.next
    found = [each.id for each in operator.accounts.all(AccountQuery(limit=3))]
    assert found[1:] == made  # the operators' own stands first
    assert operator.accounts.page(AccountQuery(limit=8)).next is None


def test_a_role_that_is_none_is_a_field_error(served):
    with pytest.raises(errors.BadInput) as refused:
        served.operator.users.create(UserIn(name="x1", role="king", password=PASSWORD))
    assert "role" in refused.value.fields
    with pytest.raises(errors.BadInput) as refused:
        served.operator.accounts.create(
            AccountIn(name="x2", user=FirstUserIn(name="x2", role="king"))
        )
    assert "user.role" in refused.value.fields
