// The API, with the key of this tab; and small things all views use.

const KEY = "api-key";

export const $ = (id) => document.getElementById(id);

export const key = {
	get: () => sessionStorage.getItem(KEY) || "",
	set: (value) => sessionStorage.setItem(KEY, value),
	forget: () => sessionStorage.removeItem(KEY),
};

export class Failure extends Error {
	constructor(status, message) {
		super(message);
		this.status = status;
	}
}

let asking = null; // the dialog that is open: many may wait for one answer

function askKey(wrong) {
	asking ||= new Promise((resolve) => {
		const dialog = $("ask-key");
		$("key").value = "";
		$("key-wrong").textContent = wrong;
		dialog.oncancel = (event) => event.preventDefault();
		dialog.onclose = () => {
			key.set($("key").value.trim());
			asking = null;
			resolve();
		};
		dialog.showModal();
	});
	return asking;
}

async function reason(response) {
	const text = await response.text();
	try {
		return JSON.parse(text).error || text;
	} catch {
		return text || response.statusText;
	}
}

// A Response that is well; asks for the key when there is none, or a wrong one.
export async function request(method, path, { json, body, signal } = {}) {
	for (;;) {
		const used = key.get();
		const headers = {};
		if (used)
			headers["X-API-Key"] = used;
		if (json !== undefined)
			headers["Content-Type"] = "application/json";
		const response = await fetch("/api" + path, {
			method, headers, signal, body: json === undefined ? body : JSON.stringify(json),
		});
		if (response.ok)
			return response;
		const why = await reason(response);
		if (response.status !== 401 && !(response.status === 403 && /key/i.test(why)))
			throw new Failure(response.status, why);
		if (used === key.get()) // else another request has asked meanwhile
			await askKey(used ? "This key is not known here." : "");
	}
}

export const get = async (path) => (await request("GET", path)).json();
export const post = async (path, json = {}) => {
	const text = await (await request("POST", path, { json })).text();
	return text ? JSON.parse(text) : null;
};
export const remove = (path) => request("DELETE", path);

export function socket(path) {
	const url = new URL("/api" + path, location.href);
	url.protocol = url.protocol.replace("http", "ws");
	if (key.get())
		url.searchParams.set("api_key", key.get());
	const ws = new WebSocket(url);
	ws.binaryType = "arraybuffer";
	return ws;
}

let sayTimer;

// Tells the user; an error stays longer.
export function say(what) {
	const wrong = what instanceof Error;
	const box = $("say");
	box.textContent = wrong ? what.message : what;
	box.className = wrong ? "shown wrong" : "shown";
	clearTimeout(sayTimer);
	sayTimer = setTimeout(() => (box.className = ""), wrong ? 8000 : 3000);
}

// An event handler whose failure is told, and whose button waits meanwhile.
export const trying = (fn) => async (event) => {
	const button = event?.currentTarget instanceof HTMLButtonElement ? event.currentTarget : null;
	if (button)
		button.disabled = true;
	try {
		await fn(event);
	} catch (error) {
		say(error);
	} finally {
		if (button)
			button.disabled = false;
	}
};

// A question: resolves to null, or to what was entered (true when nothing was to be).
export function ask({ title, text = "", yes, value, danger = false }) {
	return new Promise((resolve) => {
		const dialog = $("ask"), input = $("ask-value");
		$("ask-title").textContent = title;
		$("ask-text").textContent = text;
		$("ask-yes").textContent = yes;
		$("ask-yes").className = danger ? "danger" : "primary";
		input.hidden = value === undefined;
		input.value = value ?? "";
		input.setAttribute("aria-label", title);
		dialog.returnValue = "";
		dialog.onclose = () => {
			if (dialog.returnValue !== "yes")
				resolve(null);
			else
				resolve(value === undefined ? true : input.value);
		};
		dialog.showModal();
		// Enter in a form presses its first button, which is to cancel.
		dialog.onkeydown = (event) => {
			if (event.key === "Enter" && event.target === input) {
				event.preventDefault();
				dialog.close("yes");
			}
		};
	});
}

export function make(tag, attributes = {}, ...children) {
	const e = document.createElement(tag);
	for (const [name, value] of Object.entries(attributes)) {
		if (name.startsWith("on"))
			e[name] = value;
		else if (value !== undefined && value !== false)
			e.setAttribute(name, value === true ? "" : value);
	}
	e.append(...children);
	return e;
}
