"""The console page in a real browser: what a person does with it. Screenshots are kept when CONSOLE_SHOTS names a
directory. ctest: timeout=300"""
import os
import urllib.parse

import pytest

from browser import Browser
from guests import Guest
from harness import eventually

SHOTS = os.environ.get("CONSOLE_SHOTS")


@pytest.fixture
def browser():
    found = Browser()
    yield found
    found.stop()


def shot(browser, name):
    if SHOTS:
        browser.screenshot(f"{SHOTS}/{name}.png")


def enter(browser, bridge, where=""):
    """Opens the page and gives the key."""
    browser.go(f"{bridge.url}/#{where}")
    browser.type("#key", bridge.key + "\ue007")
    browser.wait("!document.querySelector('dialog[open]')")


def screen(browser):
    """The terminal's text."""
    return browser.run("[...document.querySelectorAll('#screen .xterm-rows > div')].map(e => e.innerText).join('\\n')")


def type_shell(browser, text):
    browser.wait("document.activeElement?.closest('#screen') !== null && document.querySelector('#terminal-state').innerText === ''")
    browser.type_here(text)


def wait_screen(browser, wanted):
    return eventually(lambda: wanted in screen(browser).replace("\xa0", " "), f"{wanted!r} on the screen in:\n{screen(browser)}", 20)


def test_page_and_policy(bridge):
    """Served without a key, with a policy that lets nothing in from elsewhere; no path out of the table."""
    for path in ("/", "/console/app.js", "/console/style.css", "/console/xterm.js"):
        reply = bridge.get(path, key=None)
        assert reply.status == 200 and "default-src 'none'" in reply.headers["Content-Security-Policy"], path
    assert bridge.get("/console/..%2fmisc.c", key=None).status == 404
    page = bridge.get("/", key=None).body.decode()
    assert "onclick=" not in page and "<script>" not in page and "http" not in page.replace("http-equiv", "")


@pytest.mark.seconds(120)
def test_a_visit(bridge, browser):
    """The key, a new sandbox, its terminal, files and commands, its end; and nothing is asked of anybody else."""
    browser.go(bridge.url)
    browser.type("#key", "osb_wrong\ue007")
    browser.wait_text("#key-wrong", "not known")
    shot(browser, "1-key")
    browser.type("#key", bridge.key + "\ue007")
    browser.wait_text("#list", "none yet")
    shot(browser, "2-empty")
    browser.click("#create")
    shot(browser, "3-new")
    browser.click("#ask-new button.primary")
    browser.wait_text("#status", "running", 30)
    sandbox = browser.text("#title")
    assert bridge.get(f"/sandboxes/{sandbox}").json()["status"] == "running"

    browser.wait("document.querySelectorAll('#terminals button').length === 1")
    type_shell(browser, "export PS1='$ '; clear; echo $((6 * 7)) is the answer\ue007")
    wait_screen(browser, "42 is the answer")
    type_shell(browser, "ls --color -d /usr /etc /tmp; stty size\ue007")
    wait_screen(browser, "/usr")
    rows, cols = browser.run("[...document.querySelector('#screen .xterm-rows').children].length"), None
    pty = bridge.get(f"/sandboxes/{sandbox}/pty").json()[0]
    assert pty["rows"] == rows and pty["cols"] > 80, (pty, cols)
    shot(browser, "4-terminal")

    browser.click("#tab-files")
    browser.clear("#path")
    browser.type("#path", "/tmp\ue007")
    browser.wait("document.querySelector('#entries').dataset.of === '/tmp'")
    browser.click("#new-directory")
    browser.type("#ask-value", "things\ue007")
    browser.wait_text("#entries", "things/")
    browser.click_text("#entries button.directory", "things/")
    browser.wait("document.querySelector('#entries').dataset.of === '/tmp/things'")
    browser.click("#new-file")
    browser.type("#ask-value", "note.txt\ue007")
    browser.find("#editor")
    browser.type("#editor-text", "written in a browser, é€\n")
    browser.wait_text("#editor-state", "Not saved")
    browser.press("Control", "s")
    browser.wait_text("#editor-state", "Saved")
    shot(browser, "5-editor")
    browser.type("#editor-text", "x")
    browser.click("#editor-close")
    browser.wait_text("#editor-state", "Close again")
    browser.click("#editor-close")
    assert bridge.get(f"/sandboxes/{sandbox}/files", query={"path": "/tmp/things/note.txt"}).body.decode() == "written in a browser, é€\n"
    with open(f"{browser.dir}/up.bin", "wb") as out:
        out.write(bytes(range(256)) * 1000)
    browser.run("document.querySelector('#chosen').hidden = false")
    browser.type("#chosen", f"{browser.dir}/up.bin")
    browser.wait_text("#entries", "up.bin")
    shot(browser, "6-files")
    assert bridge.get(f"/sandboxes/{sandbox}/files", query={"path": "/tmp/things/up.bin"}).body == bytes(range(256)) * 1000
    browser.click("#entries tr:last-child button.danger")
    browser.click("#ask-yes")
    browser.wait("!document.querySelector('#entries').innerText.includes('up.bin')")

    browser.click("#tab-run")
    browser.type("#line", "cat /tmp/things/note.txt; echo problem >&2; exit 3\ue007")
    browser.wait_text("#result", "exit 3")
    browser.wait_text("#output", "written in a browser, é€")
    browser.wait_text("#output .err", "problem")
    shot(browser, "7-run")
    browser.clear("#line")
    browser.type("#line", "echo begun; sleep 100\ue007")
    browser.wait_text("#output", "begun")
    browser.click("#stop")
    browser.wait_text("#result", "exit 143")

    browser.click("#kill")
    shot(browser, "8-kill")
    browser.click("#ask-yes")
    browser.wait_text("#nothing", "No sandbox")
    assert bridge.get(f"/sandboxes/{sandbox}").json()["status"] == "stopped"
    severe = [text for text in browser.complaints() if "403" not in text and "401" not in text and "404" not in text]
    assert not severe, severe
    hosts = {urllib.parse.urlsplit(url).netloc for url in browser.requested() if not url.startswith(("data:", "blob:", "chrome"))}
    assert hosts == {f"127.0.0.1:{bridge.port}"}, hosts


def test_files_stay_as_they_are(bridge, browser):
    """A name that is no text could not be opened; lines that end in CR LF lost their CR when they were saved; a link was
    fetched whole whatever it led to, and one to a directory led nowhere; a page of 100 000 rows stood still."""
    sandbox = bridge.create()
    guest = Guest(bridge, sandbox)
    assert guest.put(b"odd/\xff.txt", b"one\r\ntwo\r\n").status == 204
    assert guest.put("odd/mixed", b"one\r\ntwo\n").status == 204
    done = bridge.run(sandbox, "cd odd && mkdir deep many && touch deep/below && ln -s deep to-deep && truncate -s 2M large &&"
                               " ln -s large to-large && cd many && seq 2500 | xargs touch")
    assert done["exitCode"] == 0, done
    enter(browser, bridge, f"{sandbox}/files")
    browser.clear("#path")
    browser.type("#path", "/home/sandbox/odd\ue007")
    browser.wait_text("#entries", "mixed")
    browser.click_text("#entries button.file", "\N{REPLACEMENT CHARACTER}.txt")
    browser.find("#editor")
    for key in "z", "Enter":
        browser.press(key)
    browser.press("Control", "s")
    browser.wait_text("#editor-state", "Saved")
    assert guest.get(b"odd/\xff.txt").body == b"z\r\none\r\ntwo\r\n"
    browser.click("#editor-close")
    browser.click_text("#entries button.file", "mixed")
    browser.wait_text("#say", "line ends of several kinds")
    browser.click_text("#entries button.file", "to-large")
    browser.wait_text("#say", "larger than 1.0 MiB")
    browser.click_text("#entries button.directory", "many/")
    browser.wait_text("#entries-note", "first 2000 of 2500")
    assert browser.run("document.querySelector('#entries').children.length") == 2000
    browser.click("#up")
    browser.wait_text("#entries", "to-deep")
    browser.click_text("#entries button.file", "to-deep")
    browser.wait_text("#entries", "below")
    assert browser.run("document.querySelector('#path').value") == "/home/sandbox/odd/to-deep"


def test_terminals_come_back(bridge, browser):
    """The page is loaded anew, and the bridge restarted: the same shell, and what it printed."""
    sandbox = bridge.create()
    enter(browser, bridge, f"{sandbox}/terminal")
    browser.wait("document.querySelectorAll('#terminals button').length === 1")
    type_shell(browser, "X=kept; echo ready when you are\ue007")
    wait_screen(browser, "ready when you are")
    browser.ask("POST", "/refresh")
    wait_screen(browser, "ready when you are")
    bridge.restart()
    type_shell(browser, "echo X is $X\ue007")
    wait_screen(browser, "X is kept")
    browser.click("#new-terminal")
    browser.wait("document.querySelectorAll('#terminals button').length === 2")
    type_shell(browser, "echo X is ${X:-nothing}\ue007")
    wait_screen(browser, "X is nothing")
    browser.click("#end-terminal")
    browser.wait("document.querySelectorAll('#terminals button').length === 1")
    wait_screen(browser, "X is kept")


@pytest.mark.seconds(90)
def test_one_that_was_put_aside(bridge, browser):
    """A sandbox that nobody used is stopped: it is shown so, looking at it does not wake it, and Wake does."""
    sandbox = bridge.create(timeout=1)
    eventually(lambda: bridge.get(f"/sandboxes/{sandbox}").json()["status"] != "running", "it to be put aside", 30)
    enter(browser, bridge, f"{sandbox}/terminal")
    browser.wait_text("#asleep", "stopped")
    shot(browser, "10-stopped")
    assert bridge.get(f"/sandboxes/{sandbox}").json()["status"] == "stopped"
    bridge.post(f"/sandboxes/{sandbox}/timeout", {"timeout": 0})
    browser.click("#wake")
    browser.wait_text("#status", "running", 30)
    type_shell(browser, "echo up again\ue007")
    wait_screen(browser, "up again")


def test_by_keyboard(bridge, browser):
    """Everything can be reached without a mouse."""
    sandbox = bridge.create()
    enter(browser, bridge)
    browser.wait_text("#list", sandbox)
    browser.run("document.querySelector('#create').focus()")
    browser.press("Tab")
    assert browser.run("document.activeElement.getAttribute('href')") == f"#{sandbox}/terminal"
    browser.press("Enter")
    browser.wait("document.activeElement?.closest('#screen') !== null")
    browser.run("document.querySelector('#tab-terminal').focus()")
    browser.press("Right")
    browser.wait("document.activeElement.id === 'tab-files' && !document.querySelector('#files').hidden")
    browser.press("Right")
    browser.wait("!document.querySelector('#run').hidden")
    browser.wait("document.activeElement.id === 'line'")


def test_dark(bridge):
    """Dark where the system is: shown, and kept as a picture."""
    sandbox = bridge.create()
    browser = Browser(dark=True)
    try:
        enter(browser, bridge, f"{sandbox}/terminal")
        browser.wait("document.querySelectorAll('#terminals button').length === 1")
        type_shell(browser, "ls --color / | head -5; echo dark\ue007")
        wait_screen(browser, "dark")
        background = browser.run("getComputedStyle(document.body).backgroundColor")
        assert max(int(n) for n in background[4:-1].split(",")) < 60, background
        shot(browser, "9-dark")
    finally:
        browser.stop()
