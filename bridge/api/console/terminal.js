// The terminals of a sandbox. The shell is the sandbox's: leaving a view leaves it running, and coming
// back shows what it printed meanwhile.

import { $, get, make, post, remove, say, socket, trying } from "./api.js";

const AGAIN_MIN_MS = 300, AGAIN_MAX_MS = 10000, WAITING_MAX = 1000;

let sandbox = null;
let session = null; // the terminal shown
let sessions = [];
let ws = null;
let term = null, fit = null;
let again = AGAIN_MIN_MS, timer = null;
let waiting = []; // what was typed without a connection
let told = ""; // the size the session has from us

const base = () => `/sandboxes/${sandbox}/pty`;

function theme() {
	const css = getComputedStyle(document.documentElement);
	const of = (name) => css.getPropertyValue(name).trim();
	const dark = matchMedia("(prefers-color-scheme: dark)").matches;
	return {
		background: of("--screen"), foreground: of("--screen-text"), cursor: of("--accent"),
		cursorAccent: of("--screen"), selectionBackground: of("--selection"),
		// The bright colours of a dark terminal cannot be read on a light one.
		...(dark ? {} : {
			black: "#24292f", red: "#b3261e", green: "#1a7f37", yellow: "#8a5a00", blue: "#0b57d0", magenta: "#8250df",
			cyan: "#0f6c74", white: "#59636e", brightBlack: "#59636e", brightRed: "#c9302c", brightGreen: "#1f883d",
			brightYellow: "#9a6700", brightBlue: "#2f6fde", brightMagenta: "#a475f9", brightCyan: "#1b7c83",
			brightWhite: "#24292f",
		}),
	};
}

function makeScreen() {
	term = new globalThis.Terminal({
		fontFamily: 'ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace', fontSize: 14, cursorBlink: true,
		scrollback: 10000, theme: theme(), screenReaderMode: false,
	});
	fit = new globalThis.FitAddon.FitAddon();
	term.loadAddon(fit);
	term.open($("screen"));
	term.onData(send);
	term.onBinary((text) => send(Uint8Array.from(text, (c) => c.charCodeAt(0))));
	term.onResize(tellSize);
	new ResizeObserver(() => $("screen").offsetParent && fit.fit()).observe($("screen"));
	matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (term.options.theme = theme()));
}

// What is typed before there is a connection, or between two, goes to the next.
function send(data) {
	if (ws?.readyState === WebSocket.OPEN)
		ws.send(data);
	else if (session && waiting.length < WAITING_MAX)
		waiting.push(data);
}

function tellSize() {
	const size = { cols: term.cols, rows: term.rows }, text = `${session} ${size.cols}x${size.rows}`;
	if (!session || text === told)
		return;
	told = text;
	post(`${base()}/${session}/resize`, size).catch(() => (told = ""));
}

// ---- the connection ----

function state(text) {
	$("terminal-state").textContent = text;
}

function drop() {
	clearTimeout(timer);
	if (ws) {
		ws.onclose = ws.onmessage = null;
		ws.close();
	}
	ws = null;
}

function connect() {
	const id = session;
	drop();
	told = "";
	ws = socket(`${base()}/${id}`);
	ws.onopen = () => {
		again = AGAIN_MIN_MS;
		term.reset(); // what was printed comes again
		state("");
		tellSize();
		waiting.splice(0).forEach(send);
	};
	ws.onmessage = (event) => {
		if (typeof event.data !== "string" && event.data.byteLength)
			term.write(new Uint8Array(event.data));
	};
	ws.onclose = (event) => {
		ws = null;
		if (event.code === 1000) {
			term.write("\r\n\x1b[2m[the shell has ended]\x1b[0m\r\n");
			state("ended");
			list().catch(say);
		} else if (event.code === 4404 || event.code === 4410) {
			state(event.reason || "gone");
		} else {
			state("connecting…");
			timer = setTimeout(() => session === id && connect(), again);
			again = Math.min(again * 2, AGAIN_MAX_MS);
		}
	};
}

// ---- which ----

function draw() {
	$("terminals").replaceChildren(...sessions.map((s, i) => make("button", {
		type: "button", class: "pill", "aria-pressed": String(s.sessionID === session),
		title: s.sessionID, onclick: () => choose(s.sessionID),
	}, String(i + 1))));
	$("end-terminal").disabled = !session;
}

// False: another sandbox is looked at meanwhile.
async function list() {
	const of = sandbox, found = await get(base());
	if (of !== sandbox)
		return false;
	sessions = found.filter((s) => s.running);
	draw();
	return true;
}

function choose(id) {
	session = id;
	waiting = [];
	draw();
	term.reset();
	fit.fit();
	connect();
	term.focus();
}

async function create() {
	const of = sandbox;
	fit.fit();
	const s = await post(base(), { cols: term.cols, rows: term.rows });
	if (of === sandbox && await list())
		choose(s.sessionID);
}

$("new-terminal").onclick = trying(create);
$("end-terminal").onclick = trying(async () => {
	const id = session;
	await remove(`${base()}/${id}`);
	if (session !== id)
		return;
	session = null;
	if (await list() && sessions.length)
		choose(sessions[0].sessionID);
});

export async function enter(id) {
	if (!term)
		makeScreen();
	fit.fit();
	if (sandbox === id && session) {
		term.focus();
		return;
	}
	leave();
	sandbox = id;
	if (!await list())
		return;
	if (sessions.length)
		choose(sessions[0].sessionID);
	else
		await create();
}

export function leave() {
	drop();
	sandbox = session = null;
	sessions = [];
	waiting = [];
	term?.reset();
	state("");
	draw();
}
