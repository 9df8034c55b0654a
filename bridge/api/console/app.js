// The list of sandboxes, and which of them is shown in which view. The address keeps both:
// #sb-12345678/files.

import { $, ask, get, key, make, post, remove, request, say, trying } from "./api.js";
import * as files from "./files.js";
import * as run from "./run.js";
import * as terminal from "./terminal.js";

const views = { terminal, files, run };
const REFRESH_MS = 4000;

let sandboxes = [];
let current = null; // its id
let view = "terminal";
let canHibernate = false;

const found = () => sandboxes.find((s) => s.sandboxID === current);

// ---- the list ----

function item(s) {
	const running = s.status === "running";
	return make("a", {
		href: `#${s.sandboxID}/${view}`,
		"aria-current": s.sandboxID === current ? "page" : undefined,
	}, make("span", { class: "dot " + s.status, title: s.status }),
	make("span", { class: "name" }, s.alias || s.sandboxID),
	make("span", { class: "hint" }, running ? s.template || s.templateID || "" : s.status));
}

let drawn = "";

function drawList() {
	const shown = JSON.stringify([current, view, sandboxes.map((s) => [s.sandboxID, s.status, s.alias])]);
	if (shown === drawn)
		return; // the focus stays where it is
	drawn = shown;
	const focused = document.activeElement?.getAttribute?.("href");
	$("list").replaceChildren(...sandboxes.map(item));
	if (!sandboxes.length)
		$("list").append(make("p", { class: "hint" }, "There is none yet."));
	if (focused)
		[...$("list").children].find((e) => e.getAttribute("href")?.split("/")[0] === focused.split("/")[0])?.focus();
}

function drawHead() {
	const s = found();
	$("nothing").hidden = Boolean(s);
	$("sandbox").hidden = !s;
	document.title = s ? `${s.alias || s.sandboxID} · Sandboxes` : "Sandboxes";
	if (!s)
		return;
	$("title").textContent = s.alias || s.sandboxID;
	$("status").textContent = s.status;
	$("status").className = "status " + s.status;
	const since = s.startedAt ? "since " + new Date(s.startedAt).toLocaleString([], { dateStyle: "short", timeStyle: "short" }) : "";
	$("facts").textContent = [s.alias && s.sandboxID, s.template || s.templateID, since].filter(Boolean).join(" · ");
	$("hibernate").hidden = !canHibernate || s.status !== "running";
	$("wake").hidden = s.status !== "hibernated" && s.status !== "stopped";
	$("asleep-text").textContent = s.status === "error" ? `It cannot run: ${s.note || "the reason is not known"}.`
		: s.status === "stopped" ? "It is stopped. Its files are kept; what ran in it has ended."
			: s.status === "hibernated" ? "It sleeps, and goes on where it was when it is woken." : `It is ${s.status}.`;
}

// A killed one stays in the list for a while, as one that is stopped and has an end.
const isKilled = (s) => s.status === "stopped" && s.endAt;

async function refresh() {
	sandboxes = (await get("/sandboxes?status=all")).filter((s) => !isKilled(s));
	$("forget").hidden = !key.get();
	drawList();
	drawHead();
	if (current && !found())
		location.hash = "";
	else if (isShown !== isUp())
		show();
}

// ---- what is shown ----

let isShown = false;
const isUp = () => found()?.status === "running";

// A sandbox that sleeps is not woken by being looked at.
function show() {
	const [id, name] = location.hash.slice(1).split("/");
	const before = current;
	current = id || null;
	view = views[name] ? name : "terminal";
	drawList();
	drawHead();
	isShown = isUp();
	$("tabs").hidden = !isShown;
	$("asleep").hidden = isShown;
	for (const v of Object.keys(views)) {
		const on = v === view;
		$("tab-" + v).setAttribute("aria-selected", on);
		$("tab-" + v).tabIndex = on ? 0 : -1;
		$(v).hidden = !on || !isShown;
	}
	if (before !== current || !isShown) {
		for (const v of Object.values(views))
			v.leave();
	}
	if (isShown)
		trying(() => views[view].enter(current))();
}

const tabs = [...document.querySelectorAll("[role=tab]")];

for (const tab of tabs) {
	tab.onclick = () => (location.hash = `${current}/${tab.getAttribute("aria-controls")}`);
	tab.onkeydown = (event) => {
		const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
		if (!step)
			return;
		const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
		next.focus();
		next.click();
	};
}

// ---- what is done ----

function askNew() {
	return new Promise((resolve) => {
		const dialog = $("ask-new");
		dialog.returnValue = "";
		dialog.onclose = () => resolve(dialog.returnValue === "yes");
		dialog.onkeydown = (event) => {
			if (event.key === "Enter" && event.target instanceof HTMLInputElement) {
				event.preventDefault();
				dialog.close("yes");
			}
		};
		dialog.showModal();
	});
}

$("create").onclick = trying(async () => {
	if (!await askNew())
		return;
	say("Creating a sandbox…");
	const s = await post("/sandboxes", {
		templateID: $("new-template").value.trim(), timeout: Number($("new-timeout").value) || 0,
	});
	await refresh();
	say("It runs.");
	location.hash = `${s.sandboxID}/terminal`;
});

$("kill").onclick = trying(async () => {
	const id = current;
	if (!await ask({
		title: `Kill ${id}?`, text: "All that runs in it ends, and its files are gone.", yes: "Kill", danger: true,
	}))
		return;
	await remove("/sandboxes/" + id);
	await refresh();
});

$("hibernate").onclick = trying(async () => {
	await post(`/sandboxes/${current}/hibernate`);
	await refresh();
});

$("wake").onclick = trying(async () => {
	await post(`/sandboxes/${current}/wake`, {});
	await refresh();
});

$("forget").onclick = () => {
	key.forget();
	location.reload();
};

addEventListener("hashchange", show);

// ---- the beginning ----

async function begin() {
	const workers = await get("/workers").catch(() => []);
	canHibernate = workers.some?.((w) => w.canHibernate) ?? false;
	$("about").textContent = workers[0] ? `${workers[0].driver || ""} ${workers[0].version || ""}`.trim() : "";
	await refresh();
	show();
	setInterval(() => {
		if (!document.hidden && !document.querySelector("dialog[open]"))
			refresh().catch(() => {});
	}, REFRESH_MS);
}

// The first request asks for the key, if one is needed.
request("GET", "/whoami").then(begin).catch(say);
