import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Server } from "./server.js";
import { bodies, history, live, meet, person, until } from "./people.js";

let server, anna, bela;

before(async () => {
    server = await Server.start();
    anna = await person(server.url, "anna");
    bela = await person(server.url, "bela");
});

after(async () => {
    anna?.stopClient();
    bela?.stopClient();
    await server?.close();
});

test("kill -9 in mid-conversation: both clients go on by themselves", async () => {
    const room = await meet(anna, bela);
    const acknowledged = new Set();
    let stop = false;
    const talk = async (who, name) => {
        for (let i = 0; !stop; i++) {
            const body = `${name} ${i}`;
            await who.sendTextMessage(room, body); // repeats by itself, with the same transaction id
            acknowledged.add(body);
            await new Promise((next) => setTimeout(next, 20));
        }
    };
    const talking = Promise.all([talk(anna, "anna"), talk(bela, "bela")]);
    talking.catch(() => {}); // awaited below
    try {
        for (const enough of [20, 60]) {
            await until(anna, `${enough} messages`, () => acknowledged.size >= enough);
            const before = new Set(acknowledged);
            await server.kill();
            await server.run();
            for (const who of [anna, bela]) {
                await until(who, "something new after the crash", () => bodies(live(who, room)).some((b) => acknowledged.has(b) && !before.has(b)));
            }
        }
    } finally {
        stop = true;
        await talking;
    }

    const { event_id: last } = await anna.sendTextMessage(room, "good night");
    acknowledged.add("good night");
    const seen = [];
    for (const who of [anna, bela]) {
        await until(who, "the last message", () => live(who, room).some((e) => e.getId() === last));
        seen.push(bodies(await history(who, room)));
        assert.equal(new Set(seen.at(-1)).size, seen.at(-1).length, "a message came twice");
        assert.deepEqual(new Set(seen.at(-1)), acknowledged);
    }
    assert.deepEqual(seen[1], seen[0], "both see one order");
    assert.ok(!server.log.includes("panic"), server.log);
});
