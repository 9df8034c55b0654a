// The files of a sandbox: going through directories, moving files in and out, editing small ones.
// A path is a string of bytes here, as atob() gives them: names need not be text.

import { $, ask, get, make, post, remove, request, say, trying } from "./api.js";

const HOME = "/home/sandbox";
const EDIT_MAX = 1024 * 1024;
const ROWS_MAX = 2000;

let sandbox = null;
let directory = HOME;
let asked = 0; // how often for a directory: only the last answer is shown
let editing = null; // where the text in the editor is kept
let newline = "\n"; // and how its lines end there: in a page it is always this

const bytes = (text) => String.fromCharCode(...new TextEncoder().encode(text));
const shown = (path) => new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(path, (c) => c.charCodeAt(0)));
const at = (path, route = "") => `/sandboxes/${sandbox}/files${route}?pathB64=${encodeURIComponent(btoa(path))}`;
const join = (name) => (directory === "/" ? "/" : directory + "/") + name;

function sizeText(n) {
	const units = ["B", "KiB", "MiB", "GiB", "TiB"];
	let i = 0;
	while (n >= 1024 && i < units.length - 1) {
		n /= 1024;
		i++;
	}
	return `${i && n < 10 ? n.toFixed(1) : Math.round(n)} ${units[i]}`;
}

// ---- the directory ----

function row(entry) {
	const path = join(entry.nameB64 ? atob(entry.nameB64) : bytes(entry.name));
	const open = entry.isDir ? () => go(path) : () => visit(path);
	const actions = make("td", { class: "actions" });
	if (!entry.isDir)
		actions.append(make("button", { type: "button", class: "quiet", onclick: trying(() => download(path)) }, "Download"));
	actions.append(make("button", { type: "button", class: "quiet danger", onclick: trying(() => drop(path, entry.isDir)) }, "Delete"));
	return make("tr", {},
		make("td", {}, make("button", { type: "button", class: "link " + (entry.isDir ? "directory" : "file"), onclick: trying(open) },
			entry.name + (entry.isDir ? "/" : ""))),
		make("td", { class: "number" }, entry.isDir ? "" : sizeText(entry.size ?? 0)),
		actions);
}

async function go(path) {
	const turn = ++asked;
	const entries = await get(at(path, "/list")) ?? [];
	if (turn !== asked)
		return;
	const { compare } = new Intl.Collator();
	directory = path.replace(/\/+$/, "") || "/";
	$("path").value = $("entries").dataset.of = shown(directory);
	$("up").disabled = directory === "/";
	entries.sort((a, b) => b.isDir - a.isDir || compare(a.name, b.name));
	$("entries").replaceChildren(...entries.slice(0, ROWS_MAX).map(row));
	$("entries-note").textContent = entries.length ? `These are the first ${ROWS_MAX} of ${entries.length}.`
		: "This directory is empty. Files can be dropped here.";
	$("entries-note").hidden = entries.length > 0 && entries.length <= ROWS_MAX;
}

const again = () => sandbox && go(directory);

async function drop(path, isDir) {
	const url = at(path), text = isDir ? "With all that is in it." : "";
	if (!await ask({ title: `Delete ${shown(path)}?`, text, yes: "Delete", danger: true }))
		return;
	await remove(url);
	await again();
}

// The browser fetches it by itself, however large it is.
async function download(path) {
	const { url } = await post(at(path, "/download-url"), { expiresIn: 300 });
	make("a", { href: url, download: shown(path.split("/").pop()) }).click();
}

// All of them go where they were dropped, whatever is looked at meanwhile.
async function upload(list) {
	const all = list.map((file) => [file, at(join(bytes(file.name)))]);
	for (const [file, url] of all) {
		say(`Uploading ${file.name}…`);
		await request("PUT", url, { body: file });
	}
	await again();
	say(list.length === 1 ? "It is uploaded." : `${list.length} files are uploaded.`);
}

$("go").onsubmit = trying(async (event) => {
	event.preventDefault();
	const typed = $("path").value;
	await go(typed === shown(directory) ? directory : bytes(typed.trim() || "/"));
});
$("up").onclick = async () => {
	await trying(() => go(directory.replace(/\/[^/]*$/, "") || "/"))();
};
$("new-directory").onclick = trying(async () => {
	const name = await ask({ title: "New directory", yes: "Make", value: "" });
	if (!name)
		return;
	await request("POST", at(join(bytes(name)), "/mkdir"));
	await again();
});
$("new-file").onclick = trying(async () => {
	const name = await ask({ title: "New file", yes: "Make", value: "" });
	if (!name)
		return;
	const path = join(bytes(name));
	await request("PUT", at(path), { body: "" });
	await again();
	await visit(path);
});
$("upload").onclick = () => $("chosen").click();
$("chosen").onchange = trying(async () => {
	const list = [...$("chosen").files];
	$("chosen").value = ""; // so that the same can be chosen again
	await upload(list);
});
$("drop").ondragover = (event) => {
	event.preventDefault();
	$("drop").classList.add("over");
};
$("drop").ondragleave = () => $("drop").classList.remove("over");
$("drop").ondrop = trying(async (event) => {
	event.preventDefault();
	$("drop").classList.remove("over");
	await upload([...event.dataTransfer.files]);
});

// ---- the editor ----

// What a link leads to is known only now.
async function visit(path) {
	const { isDir, size } = await get(at(path, "/stat"));
	await (isDir ? go(path) : edit(path, size));
}

const edited = () => $("editor-text").value.replaceAll("\n", newline);

async function edit(path, size) {
	const refuse = (why) => say(new Error(`${shown(path)} ${why}: download it instead.`));
	if (size > EDIT_MAX) {
		refuse(`is larger than ${sizeText(EDIT_MAX)}`);
		return;
	}
	const url = at(path);
	const data = await (await request("GET", url)).arrayBuffer();
	let text;
	try {
		text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data);
	} catch {
		refuse("is not text");
		return;
	}
	newline = text.includes("\r\n") ? "\r\n" : "\n";
	$("editor-text").value = text;
	if (edited() !== text) {
		refuse("has line ends of several kinds, which an editor in a page would change");
		return;
	}
	editing = url;
	$("editor-title").textContent = shown(path);
	$("editor-state").textContent = "";
	$("editor").showModal();
	$("editor-text").focus();
	$("editor-text").setSelectionRange(0, 0);
	$("editor-text").scrollTop = 0;
}

async function save() {
	const body = edited();
	await request("PUT", editing, { body });
	$("editor-state").textContent = edited() === body ? "Saved." : "Not saved.";
	await again();
}

$("editor-save").onclick = trying(save);
$("editor-text").oninput = () => ($("editor-state").textContent = "Not saved.");
$("editor").onkeydown = (event) => {
	if (event.key === "s" && (event.ctrlKey || event.metaKey)) {
		event.preventDefault();
		trying(save)();
	}
};
// Whoever has not saved is asked to close a second time.
function closeEditor(event) {
	if ($("editor-state").textContent === "Not saved.") {
		event.preventDefault();
		$("editor-state").textContent = "Not saved. Close again to drop the changes.";
	}
}

$("editor-close").onclick = closeEditor;
$("editor").oncancel = closeEditor;

export async function enter(id) {
	if (sandbox !== id)
		directory = HOME;
	sandbox = id;
	try {
		await go(directory);
	} catch (error) {
		if (error.status !== 404 || directory === "/")
			throw error;
		await go("/");
	}
}

export function leave() {
	sandbox = null;
	asked++;
	$("entries").replaceChildren();
}
