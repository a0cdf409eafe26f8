// People with a client of matrix-js-sdk each.
import { ClientEvent, MatrixScheduler, MemoryStore, RoomEvent, TimelineWindow, createClient } from "matrix-js-sdk";

// Some parts of the library log to the console, whatever logger their client has.
for (const method of ["trace", "debug", "info", "warn", "error", "log"]) console[method] = () => {};
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

// retry is the application's rule for sending an event again, which the library does with the same transaction id: while
// nobody answers, or with 503.
const retry = (_event, _attempts, error) => (error.httpStatus === undefined || error.httpStatus === 503 ? 50 : -1);

// person registers a person, logs in, and has the client follow what happens.
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
        scheduler: new MatrixScheduler(retry),
        logger: quiet,
    });
    await client.startClient({ initialSyncLimit: 5, pollTimeout: 10000, pendingEventOrdering: "detached" });
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

// live are the events at the live end of what sync has brought of a room, in order. What the client itself has on its way
// is not among them.
export const live = (client, room) => client.getRoom(room)?.getLiveTimeline().getEvents() ?? [];

// history pages back from there to the beginning of the room, across the gaps that sync has left.
export async function history(client, room, page = 30) {
    const window = new TimelineWindow(client, client.getRoom(room).getUnfilteredTimelineSet(), { windowLimit: 100000 });
    await window.load();
    for (let pages = 0; window.canPaginate("b"); pages++) {
        if (pages > 500) throw new Error("paging has no end");
        await window.paginate("b", page);
    }
    return window.getEvents();
}

// bodies are the texts among events.
export const bodies = (events) =>
    events.filter((e) => e.getType() === "m.room.message" && !e.isRedacted()).map((e) => e.getContent().body);

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
