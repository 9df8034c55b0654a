// A command, and what it prints while it prints it.

import { $, make, post, say, socket, trying } from "./api.js";

const OUTPUT_MAX = 512 * 1024; // characters shown; what is older goes

let sandbox = null;
let ws = null;
let turn = 0; // of the command that is shown
let began = 0;
let shown = 0;

const decoders = {};

function show(stream, bytes) {
	const output = $("output"), follow = output.scrollHeight - output.scrollTop - output.clientHeight < 40;
	const text = decoders[stream].decode(bytes, { stream: true });
	const last = output.lastElementChild;
	if (last?.className === stream && last.textContent.length < 16384)
		last.firstChild.appendData(text);
	else
		output.append(make("span", { class: stream }, document.createTextNode(text)));
	shown += text.length;
	while (shown > OUTPUT_MAX && output.childElementCount > 1) {
		shown -= output.firstElementChild.textContent.length;
		output.firstElementChild.remove();
	}
	if (follow)
		output.scrollTop = output.scrollHeight;
}

function ended(text, good) {
	$("result").textContent = text;
	$("result").className = good ? "hint" : "wrong";
	$("stop").disabled = true;
	ws = null;
}

function drop() {
	turn++;
	if (ws)
		ws.onmessage = ws.onclose = null;
	ws?.close();
	ws = null;
}

async function start(line) {
	drop();
	const mine = turn;
	$("output").replaceChildren();
	shown = 0;
	decoders.out = new TextDecoder();
	decoders.err = new TextDecoder();
	$("result").className = "hint";
	$("result").textContent = "starting…";
	const { sessionID } = await post(`/sandboxes/${sandbox}/exec`, { cmd: "/bin/sh", args: ["-c", line] });
	if (mine !== turn)
		return; // another one was begun meanwhile, or another sandbox is looked at
	began = performance.now();
	$("result").textContent = "running";
	$("stop").disabled = false;
	let code = null;
	ws = socket(`/sandboxes/${sandbox}/exec/${sessionID}`);
	ws.onopen = () => ws.send(new Uint8Array([5])); // nothing comes on its stdin
	ws.onmessage = ({ data }) => {
		const bytes = new Uint8Array(data);
		if (bytes[0] === 1 || bytes[0] === 2)
			show(bytes[0] === 1 ? "out" : "err", bytes.subarray(1));
		else if (bytes[0] === 3)
			code = new DataView(data).getInt32(1);
	};
	ws.onclose = (event) => {
		const seconds = ((performance.now() - began) / 1000).toFixed(1);
		if (code === null)
			ended(`the connection was lost: ${event.reason || event.code}`, false);
		else
			ended(`exit ${code}, ${seconds} s`, code === 0);
	};
}

$("command").onsubmit = trying(async (event) => {
	event.preventDefault();
	const line = $("line").value.trim();
	if (!line)
		return;
	try {
		await start(line);
	} catch (error) {
		ended("not started", false);
		throw error;
	}
});

// First asked, then told.
let asked = null;
$("stop").onclick = () => {
	if (!ws)
		return;
	const signal = asked === ws ? "KILL" : "TERM";
	asked = ws;
	const text = new TextEncoder().encode(JSON.stringify({ signal }));
	ws.send(new Uint8Array([6, ...text]));
	say(`${signal} is sent.`);
};

export function enter(id) {
	sandbox = id;
	$("line").focus();
}

export function leave() {
	drop();
	sandbox = null;
	$("output").replaceChildren();
	$("result").textContent = "";
	$("stop").disabled = true;
}
