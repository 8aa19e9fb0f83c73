"""A command for each call of a client group, made from the call's own signature.

What is in the path is a NAME, what is in the body or the query are options; what comes back says whether there is
something to wait for and how it is shown. The exceptions are named in the nouns' table.
"""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from inspect import Parameter
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, get_args

import msgspec
import typer

from arable.cli import fields, names, output, secrets, waiting
from arable.cli.faults import Misused, harmless
from arable.cli.fields import Field
from arable.cli.nouns import NOUNS, PAGE, RECENT, Noun, group_class, imported
from arable.cli.speaking import Cli, command

if TYPE_CHECKING:
    from collections.abc import Mapping

_VERBS = {"page": "list", "get": "show", "import_key": "import"}
_MORE = {
    "machine deploy": "One machine, or many alike, accepted all or none. The first one of an account in a zone makes "
    "its default network. If no host can take one, it is removed again, and why is said; the others stay.",
    "machine destroy": "It is switched off, and its name is free at once. For some time (the setting expunge_seconds) "
    "`arable machine recover` brings it back; then its disks are erased.",
    "machine recover": "Before its disks are erased. A name that is taken by now is changed with --name.",
    "machine expunge": "Its disks are erased now: nothing can be recovered.",
    "machine resize": "To another offering. Its disks stay as they are.",
    "machine reset-password": "Through the guest agent that its image must run; nothing is rebooted. A stopped machine gets it "
    "once it runs. Without --password-stdin or --ask-password one is generated, and shown this once.",
    "machine move": "For operators. To any host that can take it, or to that of --to. Its disks have to be shared.",
    "machine cancel-move": "For operators. Unless it has arrived by then.",
    "machine explain": "What it waits for, and why it was placed or refused: per rule, how many hosts fell to it.",
    "network create": "It has its own router, and a public address as its way out if there is one to spare.",
    "network restart": "Machines keep their addresses. Connections through the router end.",
    "nic attach": "Also while it runs: its guest sees a new network card, and asks DHCP if it is set up to.",
    "nic detach": "Also while it runs, if its guest lets go of it. Not the port of its way out, nor one to which rules lead.",
    "nic update": "A guest that runs hears of it when it asks DHCP again: after hours, or when it is rebooted.",
    "address associate": "The network's routing appliance answers for it from then on.",
    "address release": "Anybody can have it then. Its rules must be deleted before.",
    "vpn create": "Its router makes a key, and shows the public one: the peer has to know it. Without --peer-key nobody is "
    "there yet. From the other end nothing may begin but what --allow says: tcp,first_port=22, for example.",
    "remote-access create": "Clients are made by `arable vpn-client create`. They may reach all machines of the network, "
    "unless --allow says less: tcp,first_port=22, for example.",
    "vpn-client create": "Prints the file that its WireGuard takes, this once: `> laptop.conf`, then `wg-quick up`, or the "
    "app's import. With --public-key the private one stays where it is.",
    "vpn-client delete": "Cut off at once; what it has open ends.",
    "farm rotate-keys": "Of the VPNs that join its networks in several regions. Both ends go by the old and the new key meanwhile.",
    "vpn rotate": "The peer has to be told the new public key; until then the tunnel rests.",
    "volume create": "Of a snapshot it is a copy, where the snapshot's volume is; others are placed with their first machine.",
    "image create": "Without a version: `arable image upload` brings one. With --snapshot its first version is made of that: a disk "
    "with what the snapshot keeps, and the kernel beside it that the snapshot's machine boots, if that has one.",
    "image delete": "One that is being made of a snapshot is given up.",
    "image set-policy": "Regions are meant by --at NAME, or by --label WORD, which the grid's operators gave them. They bring what they "
    "lack by themselves, and new versions too, unless --no-follow is said.",
    "image drop-policy": "Copies stay there until they are let go as any others that nobody uses.",
    "image pin": "One that came from another region is else let go when nobody uses it and room is needed.",
    "region update": "At the grid manager. With --label, by which policies of images may mean the region.",
    "volume resize": "Whether a machine has it or not, and whether that runs or not. The guest then grows what is on it. It "
    "never shrinks.",
    "volume migrate": "Operators only. While nothing runs with it: detach it, or stop its machine, if it is that one's only disk. Or, from a "
    "pool of the kind nbd or iscsi to one of the kind nbd, while its machine runs: then all disks of that machine go along.",
    "volume limit": "To that of another disk offering, also while it is used. Only operators say figures, or limit root disks.",
    "snapshot create": "Whether a machine has the volume or not, and whether that runs or not. It is as if the machine had lost its "
    "power at that moment.",
    "snapshot restore": "What was written to its volume since is lost. Its machine has to be stopped. Other snapshots stay.",
    "snapshot delete": "Any of a volume's, in any order. One that is still being taken is given up.",
    "farm delete": "With all that it made: elements are drained and go, then the ways to them, networks, and the farm.",
    "tier update": "Its farm's document says the same from then on. FARM/TIER names one of several that are called alike.",
    "rollout pause": "No more elements are made anew; those that drain are taken back.",
    "rollout back": "All elements are made of the release before again. Its farm's document stays as it is: applied again, "
    "it begins anew.",
    "release list": "With --image or --blueprint: who is affected by a version of it; with --behind: who has not got it yet.",
    "element replace": "Nobody new is led to it, those who are there are waited for, then its machine is erased and another one made. "
    "Its name stays, and where its blueprint says so its addresses and volumes.",
    "join-token create": "Its text is shown this once: it goes to `arable agent join` on the host, on standard input.",
    "ssh-key create": "Its private key is shown this once: it goes into a file of yours, and is kept nowhere else.",
    "ssh-key import": "The private key stays with you. `--public-key @FILE` reads it from a file.",
    "key create": "Its text is shown this once. `arable login --key-stdin` keeps it in a profile.",
}
"""What is to be known besides, where the name and the options do not say it."""

_COLUMNS = {
    "user roles": ("name", "permissions"),
    "grid instructions": (
        "id",
        "kind",
        "subject",
        "given_by",
        "regions.*.region/regions",
        "regions.*.state/states",
        "regions.*.told/told",
    ),
}
"""Of lists that are not the noun's own, where what counts is itself a list."""

_EMPTY = ("How to", "Which ", "A new ", "What to change", "What is said")
"""How the descriptions of bodies begin that say no more than the call's own."""

_OWN_UNLESS = ("limit", "credit")
"""Nouns of accounts: of one's own, if nobody says whose."""

_MEMBERS = {("balancer", "add_member"): "machine"}
"""Calls whose body says which part of their subject is meant, where others of the noun have it in the path: the field."""

_LIMIT = "limit_"
_PART, _PART_SAID = "within_", "within_said_"
_SHOWN = 100  # machines that are looked at again after they were deployed


def verbs(noun: Noun) -> dict[str, Callable[[], Callable[..., None]]]:
    """The verbs of a noun, each as what makes its function."""
    group = group_class(noun)
    made: dict[str, Callable[[], Callable[..., None]]] = {}
    for name, call in vars(group).items():
        if name.startswith("_") or name in ("all", "wait") or name in noun.instead:
            continue
        verb = Verb(noun, name, call)
        made[verb.name] = verb.command
    for name, where in noun.special.items():
        made[name] = lambda where=where: imported(where, "arable.cli")  # type: ignore[misc]
    return made


@dataclass(frozen=True)
class Verb:
    """One call of a group as a command."""

    noun: Noun
    call: str
    function: Callable[..., Any]

    @property
    def name(self) -> str:
        """As one types it."""
        return _VERBS.get(self.call, self.call.replace("_", "-"))

    @cached_property
    def _signature(self) -> inspect.Signature:
        return inspect.signature(self.function, eval_str=True)

    @cached_property
    def subject(self) -> str | None:
        """The name of the path's parameter."""
        return next(iter(self._path), None)

    @cached_property
    def within(self) -> str | None:
        """The noun of the path's second parameter, if it has one: what is meant of the subject."""
        return self._path[1].replace("_", "-") if len(self._path) > 1 else None

    @property
    def _member(self) -> str | None:
        """The field of the body that says what is meant of the subject."""
        return _MEMBERS.get((self.noun.name, self.call))

    @cached_property
    def _path(self) -> list[str]:
        given = list(self._signature.parameters.values())[1:]
        return [each.name for each in given if each.annotation is str]

    @cached_property
    def structs(self) -> dict[str, type[msgspec.Struct]]:
        """Body and query, by parameter."""
        found = {}
        for name in ("ask", "query"):
            if name in self._signature.parameters:
                kinds = self._signature.parameters[name].annotation
                every = get_args(kinds) or (kinds,)
                found[name] = next(each for each in every if each is not type(None))
        return found

    @property
    def writes(self) -> bool:
        """Whether it changes something."""
        return "how" in self._signature.parameters

    @property
    def waits(self) -> bool:
        """Whether something is on its way when it returns."""
        gives = self._signature.return_annotation
        return self.writes and (
            getattr(gives, "__name__", "")
            in ("OperationOut", "DeployOut", "PasswordResetOut", "VpnClientMadeOut", *_MADE)
            or self._perhaps_later
        )

    @property
    def _perhaps_later(self) -> bool:
        """Whether what it makes may have an operation, until which it is not there."""
        return (self.noun.name, self.call) in (("volume", "create"), ("image", "create"))

    @property
    def many(self) -> bool:
        """Whether it may be said of several things at once: it has no answer worth reading."""
        gives = self._signature.return_annotation
        name = getattr(gives, "__name__", "")
        return (
            self.writes
            and self.subject is not None
            and self.within is None
            and (gives is None or name == "OperationOut")
        )

    @cached_property
    def fields(self) -> dict[str, tuple[Field, ...]]:
        """The options' fields, by body and query."""
        lists = self.call == "page"
        return {
            name: fields.filters_of(struct) if lists else fields.fields_of(struct)
            for name, struct in self.structs.items()
            if (self.noun.name, self.call, name) != ("operation", "get", "query")
        }

    def command(self) -> Callable[..., None]:
        """The function, with its signature and its help."""
        made = command(
            self._list if self.call == "page" else self._run,
            list(self._parameters()),
            tries=self.writes,
            repeats=self.writes,
            expects=self.writes and self.subject is not None,
            waits=self.waits,
        )
        made.__name__ = self.name
        made.__doc__ = self._help()
        return made

    def _help(self) -> str:
        """The call's sentence, and what is to be known besides: said here, or by the body that it takes."""
        text = inspect.getdoc(self.function) or ""
        body = self.structs.get("ask")
        more = _MORE.get(f"{self.noun.name} {self.name}", "")
        if not more and body is not None and not (inspect.getdoc(body) or "").startswith(_EMPTY):
            more = inspect.getdoc(body) or ""
        return f"{text}\n\n{more}" if more else text

    def _parameters(self) -> Iterator[Parameter]:
        if self.subject is not None:
            yield self._subject_parameter()
        if (part := self.within or self._member) is not None:
            yield from self._within_parameters(NOUNS[part])
        for name, group in self.fields.items():
            for each in group:
                if not each.secret and each.path != (self._member,):
                    yield fields.parameter(
                        each, positional=name == "ask" and self._is_new_name(each)
                    )
        if any(each.secret for group in self.fields.values() for each in group):
            yield from _SECRET
        if self.call == "page":
            usual = f"the newest {RECENT}" if self.noun.recent else "all"
            option = typer.Option("--limit", help=f"How many at most. [default: {usual}]", min=1, metavar="NUMBER", show_default=False)  # fmt: skip
            yield Parameter(_LIMIT, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[int | None, option])  # fmt: skip

    def _subject_parameter(self) -> Parameter:
        noun = NOUNS[self.noun.own or self.noun.name]
        metavar = "NAME" if noun.named == "name" else (noun.named or "id").upper()
        known = ", ".join(filter(None, (noun.named, noun.other)))
        which = "ID" if not known else f"{known[0].upper()}{known[1:]} or id"
        text = f"{which} of the {noun.name.replace('-', ' ')}."
        default: Any = Parameter.empty
        kind: Any = list[str] if self.many else str
        if self.noun.name in _OWN_UNLESS and self.call == "get":
            default, kind = None, str | None
            text += " [default: one's own]"
        given = typer.Argument(metavar=metavar, help=text, show_default=False, autocompletion=names.completion(noun))  # fmt: skip
        return Parameter("subject_", Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, given])  # fmt: skip

    @staticmethod
    def _within_parameters(noun: Noun) -> Iterator[Parameter]:
        """As a word or as an option, whichever comes to mind."""
        text = f"{noun.named.capitalize()} or id of the {noun.name}"
        given = typer.Argument(metavar=f"[{noun.name.upper()}]", help=f"{text}.", show_default=False, autocompletion=names.completion(noun))  # fmt: skip
        yield Parameter(_PART, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, given])  # fmt: skip
        option = typer.Option(f"--{noun.name}", metavar=noun.name.upper(), help=f"{text}, instead of the word.", show_default=False, autocompletion=names.completion(noun))  # fmt: skip
        yield Parameter(_PART_SAID, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, option])  # fmt: skip

    def _part(self, given: "dict[str, Any]") -> str:
        """What is meant of the subject, said in one of the two ways."""
        word, option = given.pop(_PART), given.pop(_PART_SAID)
        noun = self.within or self._member
        if (word is None) is (option is None):
            raise Misused(f"say which {noun}" + (" once" if word else ""), field=f"--{noun}")
        return str(word or option)

    def _is_new_name(self, field: Field) -> bool:
        """The new thing's own name is the argument of what makes it."""
        return self.subject is None and field.path == ("name",) and field.required

    def _list(self, cli: Cli, **given: Any) -> None:
        wanted = given.pop(_LIMIT) or (RECENT if self.noun.recent else None)
        values = self._collected(cli, "query", given)
        values["limit"] = PAGE if wanted is None else min(wanted + 1, PAGE)
        query = fields.built(self.structs["query"], values, self.fields["query"])
        found = list(
            islice(getattr(cli.cloud, self.noun.group).all(query), (wanted or -1) + 1 or None)
        )
        if wanted is not None and len(found) > wanted:
            found = found[:wanted]
            cli.note(f"there are more than these {wanted}; --limit shows more")
        if cli.region == "all":
            self._everywhere(cli, found)
        else:
            cli.show(found, self.noun.columns)
        if not found and cli.form == "table":
            cli.note("none")

    def _everywhere(self, cli: Cli, found: list[Any]) -> None:
        """Of which region each is; and who could not be asked, never silently missing."""
        to = cli.cloud.connection
        items = [
            {"region": region, **msgspec.to_builtins(each)}
            for region, each in zip(to.whose, found, strict=False)
        ]
        if cli.form == "table":
            output.write(items, cli.form, ("region", *self.noun.columns))
        else:
            cli.show({"items": items, "regions": list(to.parts.values())})
        for part in to.parts.values():
            if part.told:
                cli.note(f"{part.region}: {part.told}")

    def _run(self, cli: Cli, **given: Any) -> None:
        part = self._part(given) if self.within or self._member else ""
        if self._member is not None:
            (field,) = (each for each in self.fields["ask"] if each.path == (self._member,))
            given[field.name] = part
        call = getattr(cli.cloud, self.noun.group)
        subjects = given.get("subject_")
        if self.subject is None:
            ids: list[tuple[str, ...]] = [()]
        elif subjects is None:
            ids = [(cli.cloud.users.whoami().account,)]
        else:
            noun = NOUNS[self.noun.own or self.noun.name]
            gone = self.call == "recover"
            texts = subjects if self.many else [subjects]
            ids = [(names.id_of(cli, noun, text, gone=gone),) for text in texts]
            if self.within is not None:
                other = names.id_of(cli, NOUNS[self.within], part)
                ids = [(*each, other) for each in ids]
        arguments = dict(self._arguments(cli, given, ids[0]))
        how = cli.how if self.writes else {}
        if cli.key is not None and len(ids) > 1:
            raise Misused("a key is for one request; say one thing", field="--idempotency-key")
        answers: list[Any] = []
        try:
            for id_ in ids:
                answers.append(getattr(call, self.call)(*id_, **arguments, **how))  # noqa: PERF401 - those before a refusal count
        except Exception:
            if answers:
                cli.note(f"done before that: {' '.join((subjects or ())[: len(answers)])}")
            raise
        self._answered(cli, answers, subjects if self.many else None)

    def _arguments(
        self, cli: Cli, given: "Mapping[str, Any]", about: tuple[str, ...]
    ) -> Iterator[tuple[str, Any]]:
        for name, group in self.fields.items():
            values = self._collected(cli, name, given)
            self._ask_secrets(group, values, given)
            optional = self._signature.parameters[name].default is not Parameter.empty
            if not values and optional:
                continue
            if not values and self.call == "update":
                options = ", ".join(each.option for each in group)
                raise Misused(f"say what to change: {options}")
            if self.call == "update":
                self._keep_the_rest(cli, values, group, about)
            yield name, fields.built(self.structs[name], values, group)

    def _keep_the_rest(
        self, cli: Cli, values: dict[str, Any], group: tuple[Field, ...], about: tuple[str, ...]
    ) -> None:
        """What consists of several options is replaced as a whole: those that nobody said stay as they are."""
        wholes = {each.path[0] for each in group if len(each.path) > 1} & values.keys()
        if not wholes:
            return
        found = getattr(cli.cloud, self.noun.group).get(*about)
        for whole in wholes:
            known = {each.path[1] for each in group if each.path[0] == whole}
            now = msgspec.to_builtins(getattr(found, whole, None)) or {}
            values[whole] = {k: v for k, v in now.items() if k in known} | values[whole]

    def _collected(self, cli: Cli, name: str, given: "Mapping[str, Any]") -> dict[str, Any]:
        return fields.collected(
            self.fields[name], given, lambda field, text: names.resolve(cli, field, text)
        )

    @staticmethod
    def _ask_secrets(
        group: tuple[Field, ...], values: dict[str, Any], given: "Mapping[str, Any]"
    ) -> None:
        stdin = given.get("password_stdin_", False)
        for each in group:
            if each.secret and (stdin or given.get("ask_password_")):
                place = values
                for step in each.path[:-1]:
                    place = place.setdefault(step, {})
                place[each.path[-1]] = secrets.asked("New password", stdin=stdin, confirm=True)

    def _answered(self, cli: Cli, answers: list[Any], subjects: list[str] | None) -> None:
        gives = getattr(self._signature.return_annotation, "__name__", "")
        waits = self.waits and cli.waits and not cli.dry_run
        ids = (
            [answer.id if gives == "OperationOut" else answer.operation for answer in answers]
            if self.waits
            else []
        )
        ids = [id_ for id_ in ids if id_ is not None]
        settled: list[Any] = []
        try:
            if waits and ids:
                settled = waiting.until_done(cli, ids, f"{self.noun.name} {self.name}")
        finally:
            if gives == "DeployOut":
                _deployed(cli, answers[0], waited=waits)
            elif gives == "PasswordResetOut":
                _password(cli, answers[0])
            elif gives == "VpnClientMadeOut":
                _client(cli, answers[0])
            elif gives in _MADE:
                made = getattr(answers[0], _MADE[gives])
                if settled and cli.form == "table":
                    made = getattr(cli.cloud, self.noun.group).get(made.id)
                cli.show(made if cli.form == "table" else answers[0])
        if gives in ("DeployOut", "PasswordResetOut", "VpnClientMadeOut") or gives in _MADE:
            return
        if self._signature.return_annotation is None:
            if cli.form == "table" and not cli.dry_run:
                cli.note(f"done: {self.noun.name} {self.name} {' '.join(subjects or ())}")
            return
        if gives == "OperationOut" and self.writes:
            shown = settled or answers
            cli.show(shown[0] if len(shown) == 1 and cli.form != "table" else shown, NOUNS["operation"].columns)  # fmt: skip
            return
        if self._perhaps_later and settled:
            answers = [getattr(cli.cloud, self.noun.group).get(answers[0].id)]
        self._show_one(cli, answers[0])

    def _show_one(self, cli: Cli, answer: Any) -> None:
        items = getattr(answer, "items", None)
        if isinstance(items, list) and cli.form == "table":
            cli.show(items, _COLUMNS.get(f"{self.noun.name} {self.name}", ()))
        elif cli.form == "table" and self.call == "explain":
            _explained(cli, answer)
        else:
            cli.show(answer)


_MADE = {
    "RolloutMadeOut": "rollout",
    "RuleMadeOut": "rule",
    "BalancerMadeOut": "balancer",
    "NicMadeOut": "nic",
    "VpnMadeOut": "vpn",
    "RemoteAccessMadeOut": "access",
    "SnapshotMadeOut": "snapshot",
    "TierMadeOut": "tier",
}
"""Answers that have what was made, beside the operation by which it comes into effect."""

_SECRET = (
    Parameter(
        "ask_password_",
        Parameter.KEYWORD_ONLY,
        default=False,
        annotation=Annotated[bool, typer.Option("--ask-password", help="Ask for a password at a prompt.")],
    ),
    Parameter(
        "password_stdin_",
        Parameter.KEYWORD_ONLY,
        default=False,
        annotation=Annotated[bool, typer.Option("--password-stdin", help="Read a password from standard input.")],
    ),
)  # fmt: skip


def _deployed(cli: Cli, answer: Any, *, waited: bool) -> None:
    """The machines as they are by now; generated passwords are told here and never again."""
    if cli.form != "table":
        cli.show(answer)
        return
    if waited and len(answer.machines) <= _SHOWN:
        ids = [each.id for each in answer.machines]
        rows = [row for row in (_still_there(cli, id_) for id_ in ids) if row is not None]
        cli.show(rows, NOUNS["machine"].columns)
    else:
        cli.show(answer.machines, ("name", "id"))
        if not cli.dry_run:
            cli.note(f"operation: {answer.operation}")
    called = {each.id: each.name for each in answer.machines}
    for id_, password in (answer.passwords or {}).items():
        cli.note(f"password of {called.get(id_, id_)}, told this once: {password}")


def _password(cli: Cli, answer: Any) -> None:
    if cli.form != "table":
        cli.show(answer)
        return
    cli.note(f"operation: {answer.operation}")
    if answer.password:
        cli.note(f"password, told this once: {answer.password}")


def _client(cli: Cli, answer: Any) -> None:
    """Its configuration is all that is printed, so that it can be led into a file; it is not told again."""
    if cli.form != "table":
        cli.show(answer)
        return
    if not answer.configuration:
        cli.note(
            f"{answer.client.name} is {answer.client.id}; its configuration was told before, and is not kept:"
            " delete it and make another"
        )
        raise typer.Exit(1)
    typer.echo(harmless(answer.configuration), nl=False)
    cli.note(
        f"{answer.client.name} is {answer.client.id}; this is its configuration, told this once"
    )


def _still_there(cli: Cli, id_: str) -> Any:
    """What could not be placed is not there any more."""
    from arable.client.errors import NotFound

    try:
        return cli.cloud.machines.get(id_)
    except NotFound:
        return None


def _explained(cli: Cli, answer: Any) -> None:
    """In sentences; the facts that they were made of are in the other formats."""
    cli.note(f"{answer.name}:")
    for says in answer.says:
        typer.echo(f"- {harmless(says)}")
    if answer.operation is not None:
        cli.show({"operation": msgspec.to_builtins(answer.operation)})
