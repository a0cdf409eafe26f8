import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Server } from "./server.js";
import { bodies, meet, pageBack, person, until } from "./people.js";

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
        }
    };
    const talking = Promise.all([talk(anna, "anna"), talk(bela, "bela")]);
    talking.catch(() => {}); // awaited below
    for (const enough of [20, 60, 100]) {
        await until(anna, `${enough} messages`, () => acknowledged.size >= enough);
        await server.kill();
        await server.run();
    }
    await until(anna, "messages after the last crash", () => acknowledged.size >= 140);
    stop = true;
    await talking;

    const last = (await anna.sendTextMessage(room, "good night")).event_id;
    acknowledged.add("good night");
    for (const who of [anna, bela]) {
        await until(who, "the last message", () => who.getRoom(room).findEventById(last));
        await pageBack(who, room);
        const seen = bodies(who, room);
        assert.equal(new Set(seen).size, seen.length, "a message came twice");
        assert.deepEqual(new Set(seen), acknowledged);
    }
    assert.deepEqual(bodies(bela, room), bodies(anna, room), "both see one order");
    assert.ok(!server.log.includes("panic"), server.log);
});
