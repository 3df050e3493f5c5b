"""One set of servers, with four people signed in, for each module."""

import pytest

from lab.world import World


@pytest.fixture(scope="module")
async def world(request):
    async with World.on_free_ports(request.module.__name__) as world:
        await world.sign_everybody_up()
        yield world


@pytest.fixture(scope="module")
async def link(world):
    return await world.link_the_room()
