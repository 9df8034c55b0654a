// The files of a sandbox: going through directories, moving files in and out, editing small ones.

import { $, ask, get, make, post, remove, request, say, trying } from "./api.js";

const HOME = "/home/sandbox";
const EDIT_MAX = 1024 * 1024;

let sandbox = null;
let directory = HOME;
let editing = null; // the path in the editor

const base = () => `/sandboxes/${sandbox}/files`;
const at = (path) => `${base()}?path=${encodeURIComponent(path)}`;
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
	const path = join(entry.name);
	const open = entry.isDir ? () => go(path) : () => edit(path, entry.size);
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
	const entries = await get(`${base()}/list?path=${encodeURIComponent(path)}`) ?? [];
	directory = path.replace(/\/+$/, "") || "/";
	$("path").value = directory;
	$("up").disabled = directory === "/";
	entries.sort((a, b) => b.isDir - a.isDir || a.name.localeCompare(b.name));
	$("entries").replaceChildren(...entries.map(row));
	$("no-entries").hidden = entries.length > 0;
}

async function drop(path, isDir) {
	const text = isDir ? "With all that is in it." : "";
	if (!await ask({ title: `Delete ${path}?`, text, yes: "Delete", danger: true }))
		return;
	await remove(at(path));
	await go(directory);
}

// The browser fetches it by itself, however large it is.
async function download(path) {
	const { url } = await post(`${base()}/download-url`, { path, expiresIn: 300 });
	make("a", { href: url, download: path.split("/").pop() }).click();
}

async function upload(list) {
	for (const file of list) {
		say(`Uploading ${file.name}…`);
		await request("PUT", at(join(file.name)), { body: file });
	}
	await go(directory);
	say(list.length === 1 ? "It is uploaded." : `${list.length} files are uploaded.`);
}

$("go").onsubmit = trying(async (event) => {
	event.preventDefault();
	await go($("path").value.trim() || "/");
});
$("up").onclick = async () => {
	await trying(() => go(directory.replace(/\/[^/]*$/, "") || "/"))();
};
$("new-directory").onclick = trying(async () => {
	const name = await ask({ title: "New directory", yes: "Make", value: "" });
	if (!name)
		return;
	await request("POST", `${base()}/mkdir?path=${encodeURIComponent(join(name))}`);
	await go(directory);
});
$("new-file").onclick = trying(async () => {
	const name = await ask({ title: "New file", yes: "Make", value: "" });
	if (!name)
		return;
	await request("PUT", at(join(name)), { body: "" });
	await go(directory);
	await edit(join(name), 0);
});
$("upload").onclick = () => $("chosen").click();
$("chosen").onchange = trying(async () => {
	await upload([...$("chosen").files]);
	$("chosen").value = "";
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

async function edit(path, size) {
	if (size > EDIT_MAX) {
		say(new Error(`${path} is larger than ${sizeText(EDIT_MAX)}: download it instead.`));
		return;
	}
	const bytes = await (await request("GET", at(path))).arrayBuffer();
	let text;
	try {
		text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
	} catch {
		say(new Error(`${path} is not text: download it instead.`));
		return;
	}
	editing = path;
	$("editor-title").textContent = path;
	$("editor-text").value = text;
	$("editor-state").textContent = "";
	$("editor").showModal();
	$("editor-text").focus();
	$("editor-text").setSelectionRange(0, 0);
	$("editor-text").scrollTop = 0;
}

async function save() {
	await request("PUT", at(editing), { body: $("editor-text").value });
	$("editor-state").textContent = "Saved.";
	await go(directory);
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
	$("entries").replaceChildren();
}
