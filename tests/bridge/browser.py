"""A headless Chromium, driven through chromedriver by the WebDriver protocol (plain HTTP and JSON)."""
import base64
import http.client
import json
import os
import re
import shutil
import subprocess
import tempfile

import harness
from harness import eventually

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {"Enter": "\ue007", "Tab": "\ue004", "Escape": "\ue00c", "Right": "\ue014", "Control": "\ue009"}


class WebDriverError(Exception):
    pass


class Browser:
    def __init__(self, width=1180, height=760, dark=False):
        self.dir = tempfile.mkdtemp(prefix="browser-")
        self.log = f"{self.dir}/log"
        with open(self.log, "wb") as log:
            self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                           start_new_session=True, env={**os.environ, "HOME": self.dir})
        harness.programs.add(self.driver)
        self.session = None
        self.port = int(eventually(self._port, "chromedriver to listen", 30).group(1))
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     f"--window-size={width},{height}", f"--user-data-dir={self.dir}/profile", "--hide-scrollbars",
                     "--disable-background-networking", "--disable-component-update", "--no-first-run"]
        if dark:
            arguments.append("--blink-settings=preferredColorScheme=0")
        made = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "goog:chromeOptions": {"args": arguments}}}})
        self.session = made["sessionId"]

    def _port(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return re.search(r"started successfully on port (\d+)", log.read())

    def _ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, None if method != "POST" else json.dumps(body or {}),
                           {"Content-Type": "application/json"})
        answer = connection.getresponse()
        value = json.loads(answer.read())["value"]
        connection.close()
        if answer.status != 200:
            raise WebDriverError(f"{value['error']}: {value['message'][:500]}")
        return value

    def ask(self, method, path, body=None):
        return self._ask(method, f"/session/{self.session}{path}", body)

    def stop(self):
        try:
            if self.session:
                self.ask("DELETE", "")
        finally:
            self.driver.terminate()
            self.driver.wait(10)
            harness.programs.discard(self.driver)
            shutil.rmtree(self.dir, ignore_errors=True)

    # the page

    def go(self, url):
        self.ask("POST", "/url", {"url": url})

    def run(self, script, *args):
        """The value of a JavaScript expression."""
        return self.ask("POST", "/execute/sync", {"script": f"return ({script})", "args": list(args)})

    def find(self, css, timeout=10.0):
        """The element, once it is there and can be seen."""
        def visible():
            for found in self.ask("POST", "/elements", {"using": "css selector", "value": css}):
                if self.ask("GET", f"/element/{found[ELEMENT]}/displayed"):
                    return found[ELEMENT]
            return None
        return eventually(visible, f"{css} to be seen", timeout)

    def click(self, css):
        self.ask("POST", f"/element/{self.find(css)}/click")

    def click_text(self, css, text):
        """The one of these elements that says so."""
        found = eventually(lambda: self.run(
            "[...document.querySelectorAll(arguments[0])].find(e => e.innerText === arguments[1])", css, text), text)
        self.ask("POST", f"/element/{found[ELEMENT]}/click")

    def type(self, css, text):
        element = self.find(css)
        self.ask("POST", f"/element/{element}/value", {"text": text})

    def type_here(self, text):
        """To whatever has the focus."""
        self.ask("POST", f"/element/{self.ask('GET', '/element/active')[ELEMENT]}/value", {"text": text})

    def clear(self, css):
        self.ask("POST", f"/element/{self.find(css)}/clear")

    def press(self, *keys):
        """Keys at once, wherever the focus is."""
        codes = [KEYS.get(key, key) for key in keys]
        actions = [{"type": "keyDown", "value": c} for c in codes] + [{"type": "keyUp", "value": c} for c in reversed(codes)]
        self.ask("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def text(self, css):
        return self.ask("GET", f"/element/{self.find(css)}/text")

    def wait_text(self, css, wanted, timeout=15.0):
        def found():
            text = self.run("(e => e?.checkVisibility() ? e.innerText : '')(document.querySelector(arguments[0]))", css)
            return wanted in text and text
        return eventually(found, f"{wanted!r} in {css}", timeout)

    def wait(self, script, timeout=15.0):
        return eventually(lambda: self.run(script), script, timeout)

    def screenshot(self, path):
        with open(path, "wb") as out:
            out.write(base64.b64decode(self.ask("GET", "/screenshot")))

    # what went wrong

    def complaints(self):
        """Errors on the page's console, violations of its policy among them."""
        return [entry["message"] for entry in self.ask("POST", "/se/log", {"type": "browser"}) if entry["level"] == "SEVERE"]

    def requested(self):
        """The URLs of all requests so far."""
        urls = []
        for entry in self.ask("POST", "/se/log", {"type": "performance"}):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                urls.append(message["params"]["request"]["url"])
            elif message["method"] == "Network.webSocketCreated":
                urls.append(message["params"]["url"])
        return urls
