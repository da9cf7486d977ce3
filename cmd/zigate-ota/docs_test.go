package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/config"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
)

// docs are the documents in docs whose commands are run here; others have tests of their own.
var docs = []string{"docs/configuration.md", "docs/dongles.md", "docs/images.md", "docs/mqtt.md", "docs/security.md", "docs/troubleshooting.md", "docs/upgrades.md"}

// Links lead somewhere, variables are known, and the README names every document.
func TestDocsReferences(t *testing.T) {
	known := config.Variables()
	readme := document(t, "README.md")
	for _, name := range docs {
		text := document(t, name)
		if !strings.Contains(readme, "]("+name+")") {
			t.Errorf("the README has no link to %s", name)
		}
		for _, match := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			path := name // for a heading of the same document
			if target != "" {
				path = filepath.Join("docs", target)
			}
			if _, err := os.Stat(root + path); err != nil {
				t.Errorf("%s: a link leads nowhere: %v", name, err)
			} else if anchor != "" && !regexp.MustCompile(`(?mi)^#+ `+strings.ReplaceAll(anchor, "-", " ")+`$`).MatchString(document(t, path)) {
				t.Errorf("%s: %s has no heading %s", name, path, anchor)
			}
		}
		for _, variable := range regexp.MustCompile(`ZIGATE_OTA_[A-Z0-9_]+`).FindAllString(text, -1) {
			if !slices.Contains(known, variable) {
				t.Errorf("%s names %s, which the service does not know", name, variable)
			}
		}
	}
}

// Every reason that an upgrade can end with is explained. docs/mqtt.md is held against all words by the
// contract's tests.
func TestDocsExplainReasons(t *testing.T) {
	troubleshooting := document(t, "docs/troubleshooting.md")
	for _, reason := range contract.Reasons() {
		if !strings.Contains(troubleshooting, "`"+string(reason)+"`") {
			t.Errorf("docs/troubleshooting.md says nothing of the reason %s", reason)
		}
		if upgrade.Reason(reason).Explain() == "" {
			t.Errorf("the reason %s explains nothing", reason)
		}
	}
}

// The commands of the documents in docs, each run beside a service with a simulated dongle and a Mosquitto.
// What would act on this machine only says that it would.
func TestDocsCommands(t *testing.T) {
	t.Parallel()
	onLinux(t)
	m := newMosquitto(t)
	image := otafile.Build(otafile.Header{ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: 0x23095631, StackVersion: 2}, firmware(5000))
	url := serveFiles(t, map[string][]byte{"bulb.ota.signed": wrapped(t, "IKEA signed", image)})
	http := freePort(t)
	room := newShellRoom(t, "https://example.com", url)
	room.environ = append(room.environ, "ZIGATE_OTA_HTTP_ADDR="+http)
	room.script("mosquitto_pub", `exec `+m.pubTool+` -h 127.0.0.1 -p `+m.port+` "$@"`)
	room.script("mosquitto_sub", `exec `+m.subTool+` -h 127.0.0.1 -p `+m.port+` -W 60 "$@"`)
	room.script("sudo", `test "$*" = "systemctl reload zigate-ota"`)
	for path, target := range map[string]string{room.dir + "/zigate-ota": programPath(t), room.dir + "/by-id": room.dir + "/home"} {
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(room.dir+"/home", 0o700); err != nil {
		t.Fatal(err)
	}
	heard := m.sub("zigate-ota/#")
	m.service(t.TempDir(), "sim", "ZIGATE_OTA_HTTP_ADDR="+http)
	settled(t, heard, "zigate-ota")
	awaitHealthy(t, environ(room.dir, "ZIGATE_OTA_HTTP_ADDR="+http))
	ran := 0
	for _, name := range docs {
		for _, c := range commandsOf(t, name) {
			ran++
			if slices.Contains(strings.Fields(c.line), "sim") {
				awaitShown(t, c.line, c.output, room.start(c.line), 0, room.back.Replace)
				continue
			}
			expected := &shown{lines: c.output}
			for line := range strings.Lines(room.run(c.line)) {
				if !expected.take(strings.TrimSuffix(line, "\n")) {
					t.Fatalf("%s: %s:\ngot  %swant %s", name, c.line, line, expected.lines[expected.next])
				}
			}
			if !expected.done() {
				t.Errorf("%s: %s: did not come: %s", name, c.line, expected.lines[expected.next:])
			}
		}
	}
	if ran < 8 {
		t.Errorf("only %d commands were run: are the documents read at all?", ran)
	}
}
