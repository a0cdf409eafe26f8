import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Server } from "./server.js";
import { bodies, history, live, meet, person, until } from "./people.js";

let server, anna, bela, room;

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

test("invite and join", async () => {
    room = await meet(anna, bela, { name: "Tea", topic: "leaves" });
    assert.equal(bela.getRoom(room).name, "Tea");
    assert.equal(bela.getRoom(room).getJoinedMemberCount(), 2);
});

test("send and receive in order", async () => {
    const want = [];
    for (let i = 0; i < 20; i++) {
        await (i % 3 ? anna : bela).sendTextMessage(room, `word ${i}`);
        want.push(`word ${i}`);
    }
    for (const who of [anna, bela]) {
        await until(who, "the last word", () => bodies(live(who, room)).includes(want.at(-1)));
        assert.deepEqual(bodies(await history(who, room)), want);
    }
});

test("a client that comes later pages back to the beginning", async () => {
    const late = await person(server.url, "csilla");
    try {
        await anna.invite(room, late.getUserId());
        await until(late, "the invitation", () => late.getRoom(room)?.getMyMembership() === "invite");
        await late.joinRoom(room);
        await until(late, "the own join", () => late.getRoom(room)?.getMyMembership() === "join");
        const events = await history(late, room, 6);
        assert.equal(events[0].getType(), "m.room.create");
        assert.deepEqual(bodies(events), bodies(await history(anna, room)));
        const ids = events.map((e) => e.getId());
        assert.equal(new Set(ids).size, ids.length, "an event came twice");
    } finally {
        late.stopClient();
    }
});

test("redact", async () => {
    const { event_id: id } = await anna.sendTextMessage(room, "oops");
    await until(bela, "the message", () => bela.getRoom(room).findEventById(id));
    await anna.redactEvent(room, id);
    await until(bela, "the redaction", () => bela.getRoom(room).findEventById(id).isRedacted());
    const event = await bela.fetchRoomEvent(room, id);
    assert.deepEqual(event.content, {});
    assert.ok(event.unsigned.redacted_because);
});

test("state", async () => {
    await anna.setRoomTopic(room, "oolong");
    const topic = () => bela.getRoom(room).currentState.getStateEvents("m.room.topic", "")?.getContent().topic;
    await until(bela, "the topic", () => topic() === "oolong");
    assert.equal((await bela.getStateEvent(room, "m.room.topic", "")).topic, "oolong");
    await assert.rejects(bela.setRoomTopic(room, "coffee"), (e) => e.httpStatus === 403 && e.errcode === "M_FORBIDDEN");
    await anna.setDisplayName("Anna 안나");
    await until(bela, "the new name", () => bela.getRoom(room).getMember(anna.getUserId()).name === "Anna 안나");
});

test("media", async () => {
    const data = Buffer.from(Array.from({ length: 50000 }, (_, i) => (i * 7919) % 251));
    const { content_uri: uri } = await anna.uploadContent(new Blob([data]), { name: "봉수.bin", type: "application/octet-stream" });
    await anna.sendMessage(room, { msgtype: "m.file", body: "봉수.bin", url: uri });
    const event = await until(bela, "the file", () => live(bela, room).find((e) => e.getContent().url === uri));
    const url = bela.mxcUrlToHttp(event.getContent().url, undefined, undefined, undefined, undefined, true, true);
    const answer = await fetch(url, { headers: { Authorization: `Bearer ${bela.getAccessToken()}` } });
    assert.equal(answer.status, 200);
    assert.deepEqual(Buffer.from(await answer.arrayBuffer()), data);
    assert.equal((await fetch(url)).status, 401);
});

test("receipts and unread counts", async () => {
    const { event_id: id } = await anna.sendTextMessage(room, "read me");
    await until(bela, "something unread", () => bela.getRoom(room).getUnreadNotificationCount() > 0);
    const event = await until(bela, "the message", () => bela.getRoom(room).findEventById(id));
    await bela.sendReadReceipt(event);
    await until(bela, "nothing unread", () => bela.getRoom(room).getUnreadNotificationCount() === 0);
    await until(anna, "the receipt", () => anna.getRoom(room).hasUserReadEvent(bela.getUserId(), id));
});

test("leave", async () => {
    await bela.leave(room);
    await until(anna, "the leave", () => anna.getRoom(room).getMember(bela.getUserId()).membership === "leave");
    await assert.rejects(bela.sendTextMessage(room, "from outside"), (e) => e.errcode === "M_FORBIDDEN");
});
