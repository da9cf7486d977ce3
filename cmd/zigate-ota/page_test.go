package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

var screenshots = flag.String("screenshots", "", "folder that TestPageScreenshots writes to")

func (s *testService) url() string { return "http://" + s.app.httpAddr() + "/" }

// rowOf is the selector of a device's row, or of something in it.
func rowOf(euid, inside string) string { return fmt.Sprintf(`.row[data-euid="%s"] %s`, euid, inside) }

// shows is an expression that is true when what a selector finds has a text in it.
func shows(selector, text string) string {
	return fmt.Sprintf(`Boolean(document.querySelector(%s)?.textContent.includes(%s))`, quote(selector), quote(text))
}

// someShow is shows for any of what a selector finds.
func someShow(selector, text string) string {
	return fmt.Sprintf(`[...document.querySelectorAll(%s)].some((e) => e.textContent.includes(%s))`, quote(selector), quote(text))
}

// writeImage writes an image where a person would have downloaded it to.
func writeImage(t *testing.T, name string, image []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, image, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestPage drives the page in a browser, against the service with a simulated dongle.
func TestPage(t *testing.T) {
	b := startBrowser(t)
	for name, test := range map[string]func(*testing.T, *browser){
		"upgrade, two browsers in step": pageUpgrade, "failure": pageFailure, "turns": pageTurns, "refusals": pageRefusals,
		"other images": pageOtherImages, "what a device says for people": pageForPeople, "trouble with the dongle": pageDongle,
		"lost connection": pageLostConnection, "markup in names": pageMarkup, "token": pageToken,
		"keyboard and screen reader": pageKeyboard, "a thousand devices": pageThousand,
		"from elsewhere": pageElsewhere, "phone": pagePhone, "pages of others": pageForeign,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, b)
		})
	}
}

// pageUpgrade: an image is dropped on the page, its device upgraded, paused in one browser and
// resumed in another.
func pageUpgrade(t *testing.T, b *browser) {
	s := serveHere(t, 10)
	s.settle()
	one, two := b.open(t, s.url()), b.open(t, s.url())
	image := bulbImage(newerVersion, 12_000)
	one.drop(writeImage(t, "bulb.ota", image))
	for _, p := range []*tab{one, two} {
		p.await("the image to be offered", shows(rowOf(kitchen, ".newer"), "0x22010731"))
		p.await("so for the other bulb", shows(rowOf(hall, ".badge"), "Update available"))
	}
	one.await("the note", someShow(".toast", "it is newer than what 2 devices run"))
	one.click(rowOf(kitchen, `[data-action="upgrade"]`))
	for _, p := range []*tab{one, two} {
		p.await("the download", fmt.Sprintf(`Number(document.querySelector(%s).getAttribute("aria-valuenow")) > 5`, quote(rowOf(kitchen, ".bar"))))
		p.await("rate and time left", fmt.Sprintf(`/\d+\.\d %% · .*B\/s · .* left/.test(document.querySelector(%s).textContent)`, quote(rowOf(kitchen, ".progress"))))
	}
	two.click(rowOf(kitchen, `[data-action="pause"]`))
	for _, p := range []*tab{one, two} {
		p.await("the pause", shows(rowOf(kitchen, ".badge"), "Paused"))
	}
	one.run(`location.hash = "#device/` + kitchen + `"`)
	one.await("the chart", `document.querySelector("#sheet .plot .line")?.getAttribute("d")?.length > 20`)
	one.click(`#sheet [data-action="resume"]`)
	for _, p := range []*tab{one, two} {
		p.await("the new version", shows(rowOf(kitchen, ".cell-version"), "0x22010731"))
		p.await("the end", shows(rowOf(kitchen, ".badge"), "Upgraded"))
	}
	one.await("the upgrade among the earlier ones", someShow("#sheet .past li", "Upgraded"))
	one.await("the final answer", someShow(".toast", "runs 0x22010731 now"))
	two.await("the word for those who listen", someShow("#announce", "Runs 0x22010731 now"))
	if got := s.app.home.Device(0x000b57fffec6a5b2).Snapshot(); !bytes.Equal(got.Installed, image) {
		t.Errorf("the device has installed %d bytes, not the image's %d", len(got.Installed), len(image))
	}
	two.run(`location.hash = "#images"`)
	two.await("the report", someShow(".card .checks li", otafile.CheckIntegrityCode+": passed"))
	two.await("whom it is for", someShow(".card .facts", hall))
	two.run(`location.hash = "#log"`)
	two.await("the event", someShow(".events li", "Runs 0x22010731 now"))
	for _, p := range []*tab{one, two} {
		if bad := p.complaints(); len(bad) > 0 {
			t.Errorf("the page complains: %v", bad)
		}
	}
}

// pageFailure: a device calls its image invalid; the page says so and what it means.
func pageFailure(t *testing.T, b *browser) {
	devices := simulatedDevices()
	devices[0].InvalidAtEnd = true
	s := serveHome(t, newSimulation(devices, 100))
	s.settle()
	p := b.open(t, s.url())
	p.drop(writeImage(t, "bulb.ota", bulbImage(newerVersion, 4_000)))
	p.click(rowOf(kitchen, `[data-action="upgrade"]`))
	p.await("the failure", shows(rowOf(kitchen, ".badge"), "Failed"))
	p.await("why", shows(rowOf(kitchen, ".progress"), "called it invalid. It still runs its old version."))
	p.await("the note", someShow(`.toast[role="alert"]`, "called it invalid"))
	p.click(`[data-filter="failed"]`)
	p.await("only the one that failed", `document.querySelectorAll(".rows .row").length === 1`)
	p.run(`location.hash = "#log"`)
	p.click(`[data-kind="trouble"]`)
	p.await("the event", someShow(".events li", "Upgrade failed"))
	if bad := p.complaints("the server responded with a status of 409"); len(bad) > 0 {
		t.Errorf("the page complains: %v", bad)
	}
}

// pageTurns: who was asked for last is first in the queue, since its time is the nearest. The page says what each
// waits for, and when it and all of them are expected to be done.
func pageTurns(t *testing.T, b *browser) {
	s := serveHere(t, 100)
	s.settle()
	p := b.open(t, s.url()+"#queue")
	p.drop(writeImage(t, "bulb.ota", bulbImage(newerVersion, 4_000)))
	p.await("the note", someShow(".toast", "it is newer than what 2 devices run"))
	for i, euid := range []string{kitchen, hall} {
		body := fmt.Sprintf(`{"deviceId": %q, "when": %q}`, euid, time.Now().AddDate(0, 0, 2-i).Format(time.RFC3339))
		answer, err := http.Post(s.url()+"api/v1/request/upgrade?wait=0", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		p.await("it waits", fmt.Sprintf(`document.querySelector('#queue .entry[data-euid="%s"]') !== null`, euid))
	}
	p.await("what it waits for, and when it begins", fmt.Sprintf(`/^its time has not come · begins about .+, in (1 d|23 h) .* · complete about .+/i.test(document.querySelector('#queue .entry[data-euid="%s"] .turn').textContent)`, hall))
	p.await("its place", fmt.Sprintf(`document.querySelector('#queue .entry[data-euid="%s"] .name').textContent.startsWith("1. ")`, hall))
	p.await("the end of all", `/^All downloads complete about .+, in (2 d|1 d)/.test(document.getElementById("queue-end").textContent)`)
	p.await("their turns", fmt.Sprintf(`[...document.querySelectorAll("#queue .entry")].map((e) => e.dataset.euid).join() === %s`, quote(hall+","+kitchen)))
	if bad := p.complaints(); len(bad) > 0 {
		t.Errorf("the page complains: %v", bad)
	}
}

// pageOtherImages: a second image of a device is shown beside it, and upgraded from there.
func pageOtherImages(t *testing.T, b *browser) {
	devices := simulatedDevices()[:1]
	devices[0].OtherClients = []sim.ClientConfig{{Endpoint: 2, ImageType: 0x2202, FileVersion: 5}}
	s := serveHome(t, newSimulation(devices, 100))
	p := b.open(t, s.url()+"#device/"+kitchen)
	p.await("the image", someShow("#sheet .others li", "0x2202Runs 0x00000005 at endpoint 2"))
	image := otafile.Build(otafile.Header{ManufacturerCode: 0x117C, ImageType: 0x2202, FileVersion: 6}, firmware(3_000))
	p.drop(writeImage(t, "second.ota", image))
	p.await("what it is newer than", someShow(".toast", "it is newer than what "))
	p.await("that there is a newer one", someShow("#sheet .others li", "Newer: 0x00000006"))
	p.click(`#sheet .others button`)
	p.await("what is upgraded", someShow("#sheet .facts div", "Image type0x2202"))
	p.await("the new version", someShow("#sheet .others li", "Runs 0x00000006"))
	p.await("the upgrade among the earlier ones", someShow("#sheet .past li", "0x00000006 of type 0x2202"))
	if got := s.app.home.Device(devices[0].IEEE).OtherClients()[0]; !bytes.Equal(got.Installed, image) {
		t.Errorf("the device has installed %d bytes, not the image's %d", len(got.Installed), len(image))
	}
	if bad := p.complaints(); len(bad) > 0 {
		t.Errorf("the page complains: %v", bad)
	}
}

// pageForPeople: what a device calls its software stands with its version in hexadecimal, in the list and where
// the device is looked at closely; what its image is called, and that it has another OTA server, is told there.
func pageForPeople(t *testing.T, b *browser) {
	devices := simulatedDevices()[:2]
	devices[0].SoftwareBuild, devices[0].DateCode, devices[0].UpgradeServer = "2.3.093", "20230506", 0x00212effff00aabb
	devices[1].NoSoftwareBuild = true
	s := serveHome(t, newSimulation(devices, 100))
	p := b.open(t, s.url())
	for _, text := range []string{"2.3.093", "0x22010631"} {
		p.await(text+" in the list", shows(rowOf(kitchen, ".cell-version"), text))
	}
	p.await("the version alone", shows(rowOf(hall, ".cell-version"), "0x22010631"))
	build := quote(rowOf(hall, ".cell-version .sub"))
	p.await("no build", fmt.Sprintf(`document.querySelector(%s).checkVisibility() === false`, build))
	p.drop(writeImage(t, "bulb.ota", bulbImage(newerVersion, 4_000)))
	p.run(`location.hash = "#device/` + kitchen + `"`)
	p.await("what it runs", shows("#sheet", "2.3.093 (0x22010631)"))
	p.await("its date code", someShow("#sheet .facts div", "Date code20230506"))
	p.await("its other server", someShow("#sheet .facts div", "0x00212effff00aabb: it may look for images there alone"))
	p.await("what its image is called",
		`[...document.querySelectorAll("#sheet [title]")].some((e) => e.title.includes("Bulb firmware, bulb.ota"))`)
	if bad := p.complaints(); len(bad) > 0 {
		t.Errorf("the page complains: %v", bad)
	}
}

// pageDongle: what is wrong with a dongle that is connected is told where people look for the dongle.
func pageDongle(t *testing.T, b *browser) {
	s := serveHome(t, sim.New(sim.Config{FactoryNew: true, Speed: 100}))
	p := b.open(t, s.url())
	p.await("what is wrong", someShow(".tile", "The dongle has no network, so no device can reach it"))
	p.await("the tone of trouble", `[...document.querySelectorAll(".tile")].some((e) => e.textContent.includes("no network") && (e.dataset.tone ?? e.querySelector("[data-tone]")?.dataset.tone) === "bad")`)
	if bad := p.complaints(); len(bad) > 0 {
		t.Errorf("the page complains: %v", bad)
	}
}

// pageRefusals: each is told in words.
func pageRefusals(t *testing.T, b *browser) {
	s := serveHere(t, 100)
	s.settle()
	p := b.open(t, s.url())
	damaged := bulbImage(newerVersion, 3_000)
	damaged[len(damaged)-1] ^= 1
	p.drop(writeImage(t, "broken.ota", damaged), writeImage(t, "notes.ota", []byte("no image")))
	p.await("what is wrong with it", someShow(`.toast[role="alert"]`, otafile.CheckIntegrityCode))
	p.await("and with the other", someShow(`.toast[role="alert"]`, "not a Zigbee OTA file"))
	p.run(`location.hash = "#images"`)
	p.await("the view", `document.getElementById("image-url")?.checkVisibility() === true`)
	base := serveFiles(t, map[string][]byte{"bulb.ota": bulbImage(bulbVersion, 3_000)})
	for url, told := range map[string]string{base + "/gone.ota": "404", base + "/bulb.ota": "no device that it is for runs anything older"} {
		p.run(fmt.Sprintf(`document.getElementById("image-url").value = %s; document.querySelector(".add-url").requestSubmit()`, quote(url)))
		p.await(told, someShow(".toast", told))
		p.await("the form to be ready again", `!document.querySelector(".add-url button").disabled`)
	}
	p.run(`location.hash = "#device/` + kitchen + `"`)
	p.run(`document.querySelector("#sheet details").open = true`)
	p.click(`#sheet .options [type="submit"]`)
	p.await("that it is up to date", someShow(".toast", "It runs this version already."))
	p.click(`#sheet [aria-label="Rename"]`)
	p.await("the field for it", `document.activeElement.id === "rename"`)
	p.write("0x1234")
	p.key("Enter", 13, "\r")
	p.await("that this is no name", someShow(".toast", "must not be"))
	p.run(`document.getElementById("rename").select()`)
	p.write("Kitchen")
	p.key("Enter", 13, "\r")
	p.await("the name", shows("#sheet-title", "Kitchen"))
	if bad := p.complaints("the server responded with a status of 4", "the server responded with a status of 5"); len(bad) > 0 {
		t.Errorf("the page complains: %v", bad)
	}
}

// pageLostConnection: the service is killed and started again; the page says so, and goes on.
func pageLostConnection(t *testing.T, b *browser) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	env := environ(t.TempDir(), "ZIGATE_OTA_DONGLE=sim", "ZIGATE_OTA_HTTP_ADDR="+address)
	serve := func() *process {
		p := start(t, env, programPath(t), "serve")
		p.stderr.await(t, "readiness", func(line string) bool { return strings.Contains(line, "msg=ready") })
		return p
	}
	first := serve()
	p := b.open(t, "http://"+address+"/")
	p.await("the devices", shows(rowOf(kitchen, ".cell-version"), "0x22010631"))
	p.run(`sessionStorage.setItem("same", "page"); document.getElementById("filter").value = "bulb"`)
	first.stop()
	p.await("that the connection is lost", shows("#connection", "Connection lost"))
	second := serve()
	p.await("that it is back", `document.getElementById("connection").dataset.state === "up"`)
	rename, err := http.Post("http://"+address+"/api/v1/request/rename", "application/json", strings.NewReader(`{"deviceId":"`+kitchen+`","name":"After all"}`))
	if err != nil {
		t.Fatal(err)
	}
	rename.Body.Close()
	p.await("what happens now", shows(rowOf(kitchen, ".name"), "After all"))
	if filter := p.run(`document.getElementById("filter").value`); filter != "bulb" {
		t.Errorf("the page was loaded anew: the filter is %q", filter)
	}
	second.stop()
}

// pageMarkup: what devices, files and people call things is shown as it is, and does nothing.
func pageMarkup(t *testing.T, b *browser) {
	const evil = `<script>pwned()</script>`
	devices := simulatedDevices()
	devices[0].ModelID, devices[0].ManufacturerName = `<img src=x onerror=pwned()>`, `"><svg onload=pwned()>`
	s := serveHome(t, newSimulation(devices, 100))
	s.settle()
	s.ask("rename", fmt.Sprintf(`{"deviceId":%q,"name":%q}`, kitchen, evil))
	h := otafile.Header{ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: newerVersion, StackVersion: 2}
	copy(h.HeaderString[:], `<script>pwned()</script><b>`)
	p := b.open(t, s.url())
	p.run(`window.pwned = () => { window.hurt = true }`)
	p.drop(writeImage(t, `<img src=x onerror=pwned()>.ota`, otafile.Build(h, firmware(500))))
	p.await("the name as it is", fmt.Sprintf(`document.querySelector(%s)?.textContent === %s`, quote(rowOf(kitchen, ".name")), quote(evil)))
	p.await("the model as it is", shows(rowOf(kitchen, ".cell-name"), `<img src=x onerror=pwned()> · "><svg onload=pwned()>`))
	p.click(rowOf(kitchen, `[data-action="upgrade"]`))
	p.await("the end", shows(rowOf(kitchen, ".badge"), "Upgraded"))
	for hash, selector := range map[string]string{"#images": ".card h3", "#log": ".events .whom", "#device/" + kitchen: "#sheet-title"} {
		p.run(fmt.Sprintf(`location.hash = %s`, quote(hash)))
		p.await(hash, someShow(selector, `<script>pwned()</script>`))
	}
	if got := p.run(`[document.querySelectorAll("main script, main img, dialog script, dialog img, [onload], [onerror]").length, Boolean(window.hurt)].join()`); got != "0,false" {
		t.Errorf("elements of foreign markup, and whether it did anything: %s", got)
	}
	if bad := p.complaints(); len(bad) > 0 {
		t.Errorf("the page complains: %v", bad)
	}
}

// pageToken: without the token the page reads; it asks for it when something is to be changed, and keeps it.
func pageToken(t *testing.T, b *browser) {
	s := serveHere(t, 100, "ZIGATE_OTA_HTTP_TOKEN=correct-horse")
	s.settle()
	p := b.open(t, s.url())
	p.await("the notice", shows("#notice", "needs the token"))
	p.click("#check-all")
	p.await("the question", `document.activeElement?.id === "token"`)
	p.write("battery-staple")
	p.key("Enter", 13, "\r")
	p.await("that it is wrong", shows("#question .field-error", "not the one"))
	p.write("correct-horse")
	p.key("Enter", 13, "\r")
	p.await("what was asked for", someShow(".toast", "4 devices checked"))
	p.await("no notice any more", `document.getElementById("notice").hidden`)
	p.run(`window.before = true`)
	p.do("Page.reload", object{})
	p.await("the page again", `!window.before && document.getElementById("connection")?.dataset.state === "up" && document.getElementById("notice").hidden`)
	p.click(rowOf(kitchen, ".name"))
	p.click(`#sheet [aria-label="Rename"]`)
	p.await("the field for it", `document.activeElement.id === "rename"`)
	p.write("Kitchen")
	p.key("Enter", 13, "\r")
	p.await("the name", shows("#sheet-title", "Kitchen"))
	other := b.open(t, s.url())
	other.await("the notice in another browser", shows("#notice", "needs the token"))
}

// pageElsewhere: from another machine the page only shows, where there is no token, and says
// what to do about it.
func pageElsewhere(t *testing.T, b *browser) {
	s := serveHere(t, 100, "ZIGATE_OTA_HTTP_ADDR=0.0.0.0:0")
	s.settle()
	_, port, err := net.SplitHostPort(s.app.httpAddr())
	if err != nil {
		t.Fatal(err)
	}
	p := b.open(t, "http://"+net.JoinHostPort(outerAddress(t), port)+"/")
	p.await("the notice", shows("#notice", "set ZIGATE_OTA_HTTP_TOKEN"))
	p.click("#check-all")
	p.await("why not", someShow(`.toast[role="alert"]`, "set ZIGATE_OTA_HTTP_TOKEN"))
	for _, m := range s.heard.each(func(m published) bool {
		return strings.Contains(m.Topic, "/event/") && strings.Contains(m.Topic, "image")
	}) {
		t.Errorf("something was changed: %v", m)
	}
}

// pageForeign: a page of somebody else, open in a browser on this machine, can neither change anything nor
// read, not even when its name is made to lead here.
func pageForeign(t *testing.T, b *browser) {
	s := serveHere(t, 100)
	s.settle()
	foreign := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!doctype html><title>somebody else</title>")
	}))
	t.Cleanup(foreign.Close)
	p := b.load(t, foreign.URL)
	try := func(p *tab, options string) string {
		t.Helper()
		return p.run(fmt.Sprintf(`fetch(%s, {method: "POST", body: "{}"%s}).then((r) => r.type + " " + r.status, () => "refused")`, quote(s.url()+"api/v1/request/check"), options))
	}
	if got := try(p, ""); got != "refused" {
		t.Errorf("a plain request: %s", got)
	}
	if got := try(p, `, headers: {"Content-Type": "application/json"}`); got != "refused" {
		t.Errorf("a request with JSON: %s", got)
	}
	if got := try(p, `, mode: "no-cors"`); got != "opaque 0" {
		t.Errorf("a request whose answer is not looked at: %s", got)
	}
	if got := p.run(fmt.Sprintf(`fetch(%s).then((r) => r.text(), () => "refused")`, quote(s.url()+"api/v1/devices"))); got != "refused" {
		t.Errorf("reading: %s", got)
	}
	rebound := b.load(t, strings.Replace(s.url(), "127.0.0.1", "evil.example", 1))
	rebound.await("no access", shows("#notice", "asked under the name"))
	if got := rebound.run(`fetch("/api/v1/request/check", {method: "POST", body: "{}", headers: {"Content-Type": "application/json"}}).then((r) => r.status)`); got != "403" {
		t.Errorf("a request under a name that was made to lead here: %s", got)
	}
	metrics, err := http.Get(s.url() + "metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer metrics.Body.Close()
	told, err := io.ReadAll(metrics.Body)
	if err != nil || strings.Contains(string(told), `commands_total{operation="check"`) {
		t.Errorf("a check was carried out, or %v", err)
	}
}

// outerAddress is an address of this machine that is no loopback address.
func outerAddress(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if network, ok := a.(*net.IPNet); ok && network.IP.IsGlobalUnicast() && network.IP.To4() != nil {
			return network.IP.String()
		}
	}
	t.Skip("this machine has loopback addresses only")
	return ""
}

// pageKeyboard: everything can be reached and done without a mouse, and has a name for those
// who hear the page.
func pageKeyboard(t *testing.T, b *browser) {
	s := serveHere(t, 100)
	s.settle()
	p := b.open(t, s.url())
	p.drop(writeImage(t, "bulb.ota", bulbImage(newerVersion, 4_000)))
	p.await("the image", shows(rowOf(kitchen, ".badge"), "Update available"))
	p.key("/", 191, "/")
	p.await("the filter", `document.activeElement.id === "filter"`)
	p.write("ikea")
	p.await("the bulbs", `document.querySelectorAll(".rows .row").length === 2`)
	p.run(`document.querySelector(".rows .name").focus()`)
	p.key("ArrowDown", 40, "")
	p.await("the second bulb", `document.activeElement === document.querySelectorAll(".rows .name")[1]`)
	p.key("Enter", 13, "\r")
	p.await("the sheet", `document.getElementById("sheet").open && document.activeElement.id === "sheet-title"`)
	for _, view := range []string{"", "#queue", "#images", "#log", "#devices"} {
		if view != "" {
			p.run(`location.hash = "` + view + `"`)
			p.await(view, `!document.getElementById("`+view[1:]+`").hidden`)
		}
		if nameless := p.nameless(); len(nameless) > 0 {
			t.Errorf("%s: without a name: %v", view, nameless)
		}
	}
	p.run(`document.querySelectorAll(".rows .name")[1].focus()`)
	p.key("Enter", 13, "\r")
	p.await("the sheet again", `document.getElementById("sheet").open`)
	p.key("Escape", 27, "")
	p.await("the focus where it was", `!document.getElementById("sheet").open && document.activeElement === document.querySelectorAll(".rows .name")[1]`)
	p.run(fmt.Sprintf(`document.querySelector(%s).focus()`, quote(rowOf(hall, `[data-action="upgrade"]`))))
	p.key("Enter", 13, "\r")
	p.await("the progress, in words", fmt.Sprintf(`document.querySelector(%s)?.getAttribute("aria-valuetext")?.length > 3`, quote(rowOf(hall, `[role="progressbar"]`))))
	p.await("the focus on a button of that row", fmt.Sprintf(`document.activeElement.closest(".row")?.dataset.euid === %s`, quote(hall)))
	p.await("the word at the end", someShow("#announce", "Runs 0x22010731 now"))
}

// pagePhone: on the narrowest of phones nothing has to be scrolled sideways, and buttons are large
// enough for fingers.
func pagePhone(t *testing.T, b *browser) {
	s := serveHere(t, 100)
	s.settle()
	p := b.open(t, s.url())
	p.do("Emulation.setDeviceMetricsOverride", object{"width": 320, "height": 640, "deviceScaleFactor": 1, "mobile": true})
	p.drop(writeImage(t, "a-name-that-is-longer-than-a-phone-is-wide-and-has-nowhere-to-break.ota", bulbImage(newerVersion, 40_000)))
	p.await("the image", shows(rowOf(kitchen, ".badge"), "Update available"))
	// Under a note.
	p.run(fmt.Sprintf(`document.querySelector(%s).click()`, quote(rowOf(kitchen, `[data-action="upgrade"]`))))
	p.await("the download", shows(rowOf(kitchen, ".badge"), "Downloading"))
	for _, view := range []string{"#devices", "#queue", "#images", "#log", "#device/" + kitchen} {
		p.run(fmt.Sprintf("location.hash = %s", quote(view)))
		p.await(view, `document.querySelectorAll(".view:not([hidden]) :is(.row, .entry, .card, .events li)").length > 0`)
		wide := p.run(`[...document.querySelectorAll("body *")].filter((e) => e.checkVisibility() && !e.closest(".unseen, .skip") && e.getBoundingClientRect().right > 321 && e.scrollWidth > 0).map((e) => e.tagName + "." + e.className).join(" ")`)
		if wide != "" {
			t.Errorf("%s: wider than the screen: %s", view, wide)
		}
		small := p.run(`[...document.querySelectorAll("main button:not(.name), dialog[open] button")].filter((e) => e.checkVisibility() && e.getBoundingClientRect().height < 38).map((e) => e.textContent).join(", ")`)
		if small != "" {
			t.Errorf("%s: too small for a finger: %s", view, small)
		}
	}
}

// nameless lists what can be operated but has no name in the accessibility tree.
func (p *tab) nameless() []string {
	p.t.Helper()
	type value struct{ Value any }
	var tree struct {
		Nodes []struct {
			Ignored    bool
			Role, Name value
		}
	}
	if err := json.Unmarshal(p.do("Accessibility.getFullAXTree", object{}), &tree); err != nil {
		p.t.Fatal(err)
	}
	var found []string
	operable := []any{"button", "link", "textbox", "searchbox", "combobox", "checkbox", "progressbar", "img", "table", "dialog", "navigation"}
	seen := 0
	for _, n := range tree.Nodes {
		if n.Ignored || !slices.Contains(operable, n.Role.Value) {
			continue
		}
		seen++
		if name, _ := n.Name.Value.(string); strings.TrimSpace(name) == "" {
			found = append(found, fmt.Sprint(n.Role.Value))
		}
	}
	if seen < 5 {
		p.t.Errorf("only %d things can be operated, of %d", seen, len(tree.Nodes))
	}
	return found
}

// stopwatch is how long frames took in the page, in milliseconds, while something went on.
const stopwatch = `new Promise((done) => {
	const gaps = [], begin = performance.now();
	let last = begin;
	const frame = (now) => {
		gaps.push(now - last);
		last = now;
		if (now - begin < 2000) requestAnimationFrame(frame);
		else done(gaps.length + " frames, the longest " + Math.round(Math.max(...gaps)) + " ms");
	};
	requestAnimationFrame(frame);
})`

// pageThousand: a thousand devices, of which a hundred change ten times a second, are shown and found.
func pageThousand(t *testing.T, b *browser) {
	home := newThousand(t)
	p := b.open(t, home.url)
	p.await("all rows", `document.querySelectorAll(".rows .row").length === 1000`)
	stop := home.stir()
	t.Log(p.run(stopwatch))
	stop()
	home.change(7, 99)
	p.await("the last value", shows(rowOf(home.euid(7), ".progress"), "99.0 %"))
	p.run(`document.getElementById("filter").focus()`)
	p.write("number 777")
	p.await("the one that is looked for", `document.querySelectorAll(".rows .row").length === 1`)
	p.run(`document.getElementById("filter").value = ""; document.getElementById("filter").dispatchEvent(new Event("input")); document.querySelector('[data-order="lqi"] button').click()`)
	p.await("the order by link quality", `(() => { const l = [...document.querySelectorAll(".rows .signal")].map((e) => Number(e.textContent)); return l.length === 1000 && l.every((v, i) => !i || l[i - 1] <= v) })()`)
	if bad := p.complaints(); len(bad) > 0 {
		t.Errorf("the page complains: %v", bad)
	}
}
