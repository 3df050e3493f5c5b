"""One gateway, three processes: one of them dies, all are restarted, one is asleep for too long."""

import asyncio

from .trio import COLOURS, Trio, freeze, thaw


async def talk(trio: Trio, numbers: range):
    for n in numbers:
        trio.everybody_says(n)
        await asyncio.sleep(0.05)


async def test_a_process_is_killed_while_everybody_talks_and_nothing_is_lost_doubled_or_reordered():
    async with Trio.running("kill") as trio:
        await trio.gather()
        begun = 0
        for colour in COLOURS:
            victim = trio.holder(colour)
            talking = asyncio.create_task(talk(trio, range(begun, begun + 60)))
            await asyncio.sleep(1)
            await trio.processes[victim].kill()
            seconds = await trio.takes_over(colour, victim)
            print(f"{colour} was taken over after {seconds:.1f} s")
            await talking
            begun += 60
            await trio.processes[victim].start()
        found = await trio.judge()
        print(found)
        assert found.is_none and found.said == 2 * 3 * begun, found


async def test_all_processes_are_restarted_one_after_the_other_while_everybody_talks():
    async with Trio.running("rolling") as trio:
        await trio.gather()
        talking = asyncio.create_task(talk(trio, range(150)))
        for number in range(3):
            await trio.processes[number].stop()
            await trio.processes[number].start()
        await talking
        found = await trio.judge()
        print(found)
        assert found.is_none and found.said == 2 * 3 * 150, found


async def test_a_process_that_slept_beyond_its_lease_finds_itself_replaced_and_writes_nothing():
    async with Trio.running("asleep") as trio:
        await trio.gather()
        sleeper = trio.holder("red")
        pid = trio.pid(sleeper)
        mine = [colour for colour in COLOURS if trio.holder(colour) == sleeper]
        talking = asyncio.create_task(talk(trio, range(60)))
        freeze(pid)
        # The people's clients and the load balancer notice in their own ways that nobody answers.
        trio.balancer.without(trio.ports[sleeper])
        for colour in mine:
            seconds = await trio.takes_over(colour, sleeper)
            print(f"{colour} was taken over after {seconds:.1f} s")
            trio.here[colour].looks_elsewhere(trio.socket(sleeper, colour))
        await talking
        thaw(pid)
        code = await asyncio.wait_for(trio.processes[sleeper].has_ended(), 30)
        log = trio.processes[sleeper].log.read_text()
        assert code == 1, code
        assert "another process has taken over; nothing more is written" in log
        await talk(trio, range(60, 80))
        found = await trio.judge()
        print(found)
        assert found.is_none and found.said == 2 * 3 * 80, found
