package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// browser is a headless Chromium, driven over the DevTools protocol: JSON messages over a WebSocket, of which
// the tests need a dozen.
type browser struct {
	conn *websocket.Conn

	mu      sync.Mutex
	nextID  int
	waiting map[int]chan devtoolsMessage
	tabs    map[string]*tab // by session
}

type devtoolsMessage struct {
	ID        int             `json:"id,omitempty"`
	SessionID string          `json:"sessionId,omitempty"`
	Method    string          `json:"method,omitempty"`
	Params    json.RawMessage `json:"params,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// tab is one page in a browser context of its own: two tabs share nothing, as two people's browsers do.
type tab struct {
	t         *testing.T
	browser   *browser
	sessionID string
	mu        sync.Mutex
	// complaint is what went wrong in the page: exceptions, errors on the console, refused by the policy.
	complaint []string
}

// startBrowser starts Chromium until the test ends; the test is skipped where there is none.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("there is no chromium here")
	}
	work := t.TempDir()
	p := start(t, []string{"HOME=" + work, "PATH=" + os.Getenv("PATH"), "TZ=UTC", "LANG=C.UTF-8"}, path,
		"--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio", "--lang=en-GB", "--host-resolver-rules=MAP evil.example 127.0.0.1",
		"--user-data-dir="+filepath.Join(work, "profile"), "--remote-debugging-port=0", "about:blank")
	line := p.stderr.await(t, "the address of Chromium's DevTools", func(line string) bool { return strings.HasPrefix(line, "DevTools listening on ") })
	conn, _, err := websocket.DefaultDialer.DialContext(t.Context(), strings.TrimPrefix(line, "DevTools listening on "), nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{conn: conn, waiting: map[int]chan devtoolsMessage{}, tabs: map[string]*tab{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.read()
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
		p.stop() // before its folder is removed
	})
	return b
}

// read passes on what comes, until the connection ends.
func (b *browser) read() {
	for {
		var m devtoolsMessage
		if b.conn.ReadJSON(&m) != nil {
			return
		}
		b.mu.Lock()
		answer, t := b.waiting[m.ID], b.tabs[m.SessionID]
		delete(b.waiting, m.ID)
		b.mu.Unlock()
		switch {
		case answer != nil:
			answer <- m
		case t != nil:
			t.notice(m)
		}
	}
}

// ask sends a command and returns its result.
func (b *browser) ask(session, method string, params any) (json.RawMessage, error) {
	raw, err := json.Marshal(params)
	if err != nil {
		return nil, err
	}
	answer := make(chan devtoolsMessage, 1)
	b.mu.Lock()
	b.nextID++
	id := b.nextID
	b.waiting[id] = answer
	err = b.conn.WriteJSON(devtoolsMessage{ID: id, SessionID: session, Method: method, Params: raw})
	b.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case m := <-answer:
		if m.Error != nil {
			return nil, fmt.Errorf("%s: %s", method, m.Error.Message)
		}
		return m.Result, nil
	case <-time.After(patience):
		return nil, fmt.Errorf("%s: no answer", method)
	}
}

type object = map[string]any

// open opens our page.
func (b *browser) open(t *testing.T, url string) *tab {
	t.Helper()
	p := b.load(t, url)
	p.await("the page to be live", `document.getElementById("connection")?.dataset.state === "up"`)
	return p
}

// load opens any page.
func (b *browser) load(t *testing.T, url string) *tab {
	t.Helper()
	var made struct{ BrowserContextID, TargetID, SessionID string }
	must := func(session, method string, params any) {
		t.Helper()
		result, err := b.ask(session, method, params)
		if err == nil {
			err = json.Unmarshal(result, &made)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	must("", "Target.createBrowserContext", object{})
	must("", "Target.createTarget", object{"url": "about:blank", "browserContextId": made.BrowserContextID, "width": 1280, "height": 900})
	must("", "Target.attachToTarget", object{"targetId": made.TargetID, "flatten": true})
	p := &tab{t: t, browser: b, sessionID: made.SessionID}
	b.mu.Lock()
	b.tabs[p.sessionID] = p
	b.mu.Unlock()
	for _, domain := range []string{"Page", "Runtime", "Log"} {
		p.do(domain+".enable", object{})
	}
	p.do("Emulation.setFocusEmulationEnabled", object{"enabled": true}) // all tabs are looked at
	// What moves is hard to hit.
	p.do("Emulation.setEmulatedMedia", object{"features": []any{object{"name": "prefers-reduced-motion", "value": "reduce"}}})
	p.do("Page.navigate", object{"url": url})
	p.await("the page to be loaded", `location.href !== "about:blank" && document.readyState === "complete"`)
	return p
}

// do carries a command out that has to work.
func (p *tab) do(method string, params any) json.RawMessage {
	p.t.Helper()
	result, err := p.browser.ask(p.sessionID, method, params)
	if err != nil {
		p.t.Fatal(err)
	}
	return result
}

// evaluate is the value of an expression in the page, as JSON. A promise is waited for.
func (p *tab) evaluate(expression string) (json.RawMessage, error) {
	result, err := p.browser.ask(p.sessionID, "Runtime.evaluate", object{"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true})
	if err != nil {
		return nil, err
	}
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct{ Exception struct{ Description string } }
	}
	err = json.Unmarshal(result, &r)
	if err == nil && r.ExceptionDetails != nil {
		err = errors.New(r.ExceptionDetails.Exception.Description)
	}
	return r.Result.Value, err
}

// run has the page evaluate something that has to work, and returns its value as text.
func (p *tab) run(expression string) string {
	p.t.Helper()
	value, err := p.evaluate(expression)
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	var text string
	if json.Unmarshal(value, &text) == nil {
		return text
	}
	return string(value)
}

// await waits until an expression is true in the page.
func (p *tab) await(what, expression string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	for {
		value, err := p.evaluate(expression)
		if err == nil && string(value) == "true" {
			return
		}
		select {
		case <-ctx.Done():
			text, _ := p.evaluate("document.body.innerText")
			p.t.Fatalf("did not come: %s (%s: %s, %v); the page shows %s", what, expression, value, err, text)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// click presses what a selector finds first, once it is there. It presses as a mouse does, so what is
// covered is not hit.
func (p *tab) click(selector string) {
	p.t.Helper()
	quoted := quote(selector)
	p.await(selector+" to be there", fmt.Sprintf(`(() => { const e = document.querySelector(%s); return Boolean(e && e.checkVisibility() && !e.disabled) })()`, quoted))
	var at struct{ X, Y float64 }
	place := p.run(fmt.Sprintf(`(() => { const e = document.querySelector(%s); e.scrollIntoView({block: "center", behavior: "instant"}); const r = e.getBoundingClientRect(); return JSON.stringify({x: r.x + r.width / 2, y: r.y + r.height / 2}) })()`, quoted))
	if err := json.Unmarshal([]byte(place), &at); err != nil {
		p.t.Fatalf("%s: %v: %s", selector, err, place)
	}
	for _, kind := range []string{"mousePressed", "mouseReleased"} {
		p.do("Input.dispatchMouseEvent", object{"type": kind, "x": at.X, "y": at.Y, "button": "left", "clickCount": 1})
	}
}

// key presses a key.
func (p *tab) key(name string, code int, text string) {
	p.t.Helper()
	p.do("Input.dispatchKeyEvent", object{"type": "keyDown", "key": name, "code": name, "windowsVirtualKeyCode": code, "text": text})
	p.do("Input.dispatchKeyEvent", object{"type": "keyUp", "key": name, "code": name, "windowsVirtualKeyCode": code})
}

// write types text into what has the focus.
func (p *tab) write(text string) { p.do("Input.insertText", object{"text": text}) }

// drop drops files on the page.
func (p *tab) drop(paths ...string) {
	p.t.Helper()
	for _, kind := range []string{"dragEnter", "dragOver", "drop"} {
		p.do("Input.dispatchDragEvent", object{"type": kind, "x": 150, "y": 300, "data": object{"items": []any{}, "files": paths, "dragOperationsMask": 1}})
	}
}

// screenshot is the page as PNG.
func (p *tab) screenshot() []byte {
	p.t.Helper()
	var shot struct{ Data string }
	if err := json.Unmarshal(p.do("Page.captureScreenshot", object{"format": "png"}), &shot); err != nil {
		p.t.Fatal(err)
	}
	png, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		p.t.Fatal(err)
	}
	return png
}

// notice keeps what went wrong in the page.
func (p *tab) notice(m devtoolsMessage) {
	switch m.Method {
	case "Runtime.exceptionThrown":
	case "Runtime.consoleAPICalled":
		if !strings.Contains(string(m.Params), `"type":"error"`) {
			return
		}
	case "Log.entryAdded":
		if !strings.Contains(string(m.Params), `"level":"error"`) {
			return
		}
	default:
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.complaint = append(p.complaint, string(m.Params))
}

// complaints takes what went wrong in the page so far, but for what is expected.
func (p *tab) complaints(expected ...string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var left []string
	for _, c := range p.complaint {
		known := false
		for _, e := range expected {
			known = known || strings.Contains(c, e)
		}
		if !known {
			left = append(left, c)
		}
	}
	p.complaint = nil
	return left
}

// quote is a string in JavaScript.
func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings always can be
	}
	return string(b)
}
