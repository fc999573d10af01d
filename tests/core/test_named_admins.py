"""Whoever the settings name is an admin as long as they do, however many processes start; whoever was made one otherwise stays one."""

import asyncio
from pathlib import Path

from core.app import open_app
from core.unit_of_work import UnitOfWork
from core.users.models import Identity, Role
from tests.fakes import FakeProvider
from tests.stage import settings_for


async def test_the_role_lasts_as_long_as_the_name_is_there(database_url: str, tmp_path: Path) -> None:
    people = ("ann", "bob", "cem")

    async def start(*named: str, at_once: int = 1) -> tuple[set[str], list[tuple[str, str]]]:
        """Processes that begin with those named; who is an admin then, and the log of it."""

        async def begin() -> tuple[set[str], list[tuple[str, str]]]:
            settings = settings_for(database_url, tmp_path, admins=",".join(f"telegram:{each}" for each in named))
            async with open_app(settings, {"stability": FakeProvider()}) as app, app.read() as work:
                admins = set(await work.users.admins())
                known = {each: await work.users.find("telegram", each) for each in people}
                acts = await work.acts.newest()
                assert all(each.by is None for each in acts)
                names = {f"user:{user.id}": name for name, user in known.items() if user}
                return {name for name, user in known.items() if user and user.id in admins}, [
                    (each.act, names[each.subject]) for each in acts
                ]

        return (await asyncio.gather(*(begin() for _ in range(at_once))))[-1]

    async def by_hand(give: bool, name: str) -> None:
        """`aetherflow admin role`."""

        async def change(work: UnitOfWork) -> None:
            user = await work.users.resolve(Identity("telegram", name, name, name))
            await (work.users.add_role if give else work.users.take_role)(user.id, Role.ADMIN)

        settings = settings_for(database_url, tmp_path, admins="telegram:ann,telegram:bob")
        async with open_app(settings, {"stability": FakeProvider()}) as app:
            await app.run(change)

    assert (await start("ann", "bob", at_once=2))[0] == {"ann", "bob"}
    for name in ("ann", "cem"):  # who was named, too, is one for good from now on
        await by_hand(True, name)
    assert (await start("ann", "bob"))[0] == {"ann", "bob", "cem"}
    admins, acts = await start("ann", at_once=2)
    assert admins == {"ann", "cem"}
    assert sorted(acts) == [("make_admin", "ann"), ("make_admin", "bob"), ("unmake_admin", "bob")], "each once"
    assert (await start())[0] == {"ann", "cem"}, "nobody is named"
    await by_hand(False, "cem")
    assert (await start("bob"))[0] == {"ann", "bob"}
    assert (await start("ann"))[0] == {"ann"}
