// The program under test as a process: started on a directory of its own, killed, started again on the same port.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");

// A free port below those that the system gives to outgoing connections: a client that tries to reach a dead server there
// might connect to itself.
async function freePort() {
    for (;;) {
        const port = 20000 + Math.floor(Math.random() * 10000);
        const probe = createServer();
        const free = await new Promise((done) => {
            probe.once("error", () => done(false));
            probe.listen(port, "127.0.0.1", () => probe.close(() => done(true)));
        });
        if (free) return port;
    }
}

export class Server {
    // The program is BONGSU_BIN, or is built from this tree.
    static async start() {
        const s = new Server();
        s.dir = mkdtempSync(join(tmpdir(), "bongsu-js-"));
        s.bin = process.env.BONGSU_BIN;
        if (!s.bin) {
            s.bin = join(s.dir, "bongsu");
            const env = { ...process.env, CGO_ENABLED: "0" };
            execFileSync("go", ["build", "-buildvcs=false", "-o", s.bin, "./cmd/bongsu"], { cwd: root, env, stdio: "inherit" });
        }
        s.port = await freePort();
        s.log = "";
        await s.run();
        return s;
    }

    get url() {
        return `http://127.0.0.1:${this.port}`;
    }

    async run() {
        const args = ["serve", "--data", join(this.dir, "data"), "--listen", `127.0.0.1:${this.port}`,
            "--server-name", "localhost", "--open-registration", "--rate-limits=off"];
        this.process = spawn(this.bin, args, { stdio: ["ignore", "pipe", "pipe"] });
        this.process.stderr.on("data", (text) => (this.log += text));
        const ended = once(this.process, "exit");
        const ready = (async () => {
            for await (const line of createInterface({ input: this.process.stdout })) {
                if (line.includes("ready on http://")) return true;
            }
            return false;
        })();
        if (!(await Promise.race([ready, ended.then(() => false)]))) throw new Error(`the server did not start:\n${this.log}`);
    }

    // kill -9.
    async kill() {
        if (this.process.exitCode !== null || this.process.signalCode !== null) return;
        const ended = once(this.process, "exit");
        this.process.kill("SIGKILL");
        await ended;
    }

    async close() {
        await this.kill();
        rmSync(this.dir, { recursive: true, force: true });
    }
}
