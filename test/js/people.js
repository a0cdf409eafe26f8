// People with a client of matrix-js-sdk each.
import { ClientEvent, MatrixScheduler, MemoryStore, RoomEvent, createClient } from "matrix-js-sdk";

const quiet = { trace() {}, debug() {}, info() {}, warn() {}, error() {}, getChild: () => quiet };

// register makes an account in the two steps of user-interactive authentication.
export async function register(url, name) {
    const guest = createClient({ baseUrl: url, logger: quiet });
    const account = { username: name, password: `secret of ${name}` };
    let session;
    try {
        await guest.registerRequest(account);
        throw new Error("registration without authentication");
    } catch (e) {
        if (e.httpStatus !== 401) throw e;
        session = e.data.session;
        if (!e.data.flows.some((f) => f.stages.join() === "m.login.dummy")) throw e;
    }
    return guest.registerRequest({ ...account, auth: { type: "m.login.dummy", session } });
}

// join registers a person, logs in, and has the client follow what happens.
export async function person(url, name) {
    await register(url, name);
    const guest = createClient({ baseUrl: url, logger: quiet });
    const login = await guest.loginRequest({
        type: "m.login.password",
        identifier: { type: "m.id.user", user: name },
        password: `secret of ${name}`,
    });
    const client = createClient({
        baseUrl: url,
        userId: login.user_id,
        deviceId: login.device_id,
        accessToken: login.access_token,
        timelineSupport: true,
        store: new MemoryStore(),
        scheduler: new MatrixScheduler(),
        logger: quiet,
    });
    await client.startClient({ initialSyncLimit: 5, pollTimeout: 10000 });
    await until(client, "the first sync", () => client.isInitialSyncComplete());
    return client;
}

// until waits for ok, which is asked again whenever the client has heard something.
export function until(client, what, ok, patience = 30000) {
    return new Promise((resolve, reject) => {
        const emitters = [ClientEvent.Sync, ClientEvent.Event, ClientEvent.Room, RoomEvent.Timeline, RoomEvent.Receipt,
            RoomEvent.LocalEchoUpdated, RoomEvent.Redaction, RoomEvent.MyMembership];
        const stop = () => {
            clearTimeout(timer);
            emitters.forEach((e) => client.off(e, ask));
        };
        const ask = () => {
            let yes;
            try {
                yes = ok();
            } catch (e) {
                stop();
                return reject(e);
            }
            if (yes) {
                stop();
                resolve(yes);
            }
        };
        const timer = setTimeout(() => {
            stop();
            reject(new Error(`${client.getUserId()} waited in vain for ${what}`));
        }, patience);
        emitters.forEach((e) => client.on(e, ask));
        ask();
    });
}

// bodies are the texts that a client shows in a room, in order; what is still on its way is left out.
export function bodies(client, room) {
    return (client.getRoom(room)?.getLiveTimeline().getEvents() ?? [])
        .filter((e) => e.getType() === "m.room.message" && !e.isRedacted() && e.status === null)
        .map((e) => e.getContent().body);
}

// pageBack reads a room's history to its beginning.
export async function pageBack(client, room, limit = 30) {
    const timeline = client.getRoom(room).getLiveTimeline();
    for (let pages = 0; await client.paginateEventTimeline(timeline, { backwards: true, limit }); pages++) {
        if (pages > 100) throw new Error("paging has no end");
    }
    return timeline.getEvents();
}

// meet makes a room with both in it.
export async function meet(a, b, options = {}) {
    const { room_id: room } = await a.createRoom({ preset: "private_chat", ...options });
    await a.invite(room, b.getUserId());
    await until(b, "the invitation", () => b.getRoom(room)?.getMyMembership() === "invite");
    await b.joinRoom(room);
    await until(b, "the own join", () => b.getRoom(room)?.getMyMembership() === "join");
    await until(a, "the other's join", () => a.getRoom(room)?.getMember(b.getUserId())?.membership === "join");
    return room;
}
