package main

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/commandline"
)

func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	usageText := regexp.QuoteMeta("Usage: zigate-ota [command]")
	tests := []struct {
		name           string
		args           []string
		environ        []string
		code           int
		stdout, stderr string // patterns; empty: nothing is written
	}{
		{name: "help", args: []string{"help"}, stdout: usageText},
		{name: "--help", args: []string{"--help"}, stdout: usageText},
		{name: "help of a command", args: []string{"help", "demo"}, stdout: `(?s)^zigate-ota demo: a whole upgrade .*\n\nUsage: zigate-ota demo \[--once\] .*\nFlags:\n.*\n  --speed N  .* \(default 30\)\n$`},
		{name: "help of the default command", args: []string{"serve", "--help"}, stdout: `^zigate-ota serve: run the service `},
		{name: "help of help", args: []string{"help", "--help"}, stdout: usageText},
		{name: "one dash", args: []string{"demo", "-help"}, stdout: `^zigate-ota demo: `},
		{name: "a command with --help", args: []string{"demo", "--help"}, stdout: `^zigate-ota demo: `},
		{name: "help behind other flags", args: []string{"demo", "--once", "-h"}, stdout: `^zigate-ota demo: `},
		{name: "help of a command of the shell", args: []string{"help", "upgrade"}, stdout: `(?s)^zigate-ota upgrade: .*Usage: zigate-ota upgrade DEVICE\.\.\. \| all \[flags\]\n.*\n  --no-wait  .*Exit codes: 0 `},
		{name: "--help behind arguments of the shell", args: []string{"rename", "a", "b", "--help"}, stdout: `^zigate-ota rename: `},
		{name: "help of no command", args: []string{"help", "upgarde"}, code: 2, stderr: `^zigate-ota: there is no command "upgarde"; did you mean upgrade\?\n`},
		{name: "--version", args: []string{"--version"}, stdout: `^zigate-ota dev( \([0-9a-f]{1,12}\))? go1\.\S+ \w+/\w+\n$`},
		{name: "version", args: []string{"version"}, stdout: `^zigate-ota dev( \([0-9a-f]{1,12}\))? go1\.\S+ \w+/\w+\n$`},
		{name: "config", args: []string{"config"}, stdout: `(?m)^ZIGATE_OTA_DONGLE=auto  # default$`},
		{name: "config --example", args: []string{"config", "--example"}, stdout: `(?m)^#ZIGATE_OTA_DONGLE=auto$`},

		{name: "unknown command", args: []string{"upgarde"}, code: 2, stderr: `^zigate-ota: there is no command "upgarde"; did you mean upgrade\?\n\n(?s).*` + usageText},
		{name: "unknown command with flags", args: []string{"upgarde", "all", "--no-wait"}, code: 2, stderr: `^zigate-ota: there is no command "upgarde"; did you mean upgrade\?\n`},
		{name: "unknown command with help", args: []string{"upgarde", "--help"}, code: 2, stderr: `^zigate-ota: there is no command "upgarde"; did you mean upgrade\?\n`},
		{name: "unknown command like no other", args: []string{"xyzzy"}, code: 2, stderr: `^zigate-ota: there is no command "xyzzy"\n\n(?s).*` + usageText},
		{name: "serve with an argument", args: []string{"serve", "now"}, code: 2, stderr: `^zigate-ota serve: takes no argument, got "now"; see zigate-ota help serve\n$`},
		{name: "an unknown flag alone", args: []string{"--verbose"}, code: 2, stderr: `^zigate-ota serve: there is no flag --verbose; see zigate-ota help serve\n$`},
		{name: "version with an argument", args: []string{"version", "x"}, code: 2, stderr: `^zigate-ota version: takes no argument, got "x"; see zigate-ota help version\n$`},
		{name: "config with an argument", args: []string{"config", "x"}, code: 2, stderr: `^zigate-ota config: takes no argument, got "x"; see zigate-ota help config\n$`},
		{name: "healthcheck with an argument", args: []string{"healthcheck", "x"}, code: 2, stderr: `^zigate-ota healthcheck: takes no argument, got "x"; see zigate-ota help healthcheck\n$`},

		{name: "demo with an unknown flag", args: []string{"demo", "--twice"}, code: 2, stderr: `^zigate-ota demo: there is no flag --twice; see zigate-ota help demo\n$`},
		{name: "demo with an argument", args: []string{"demo", "x"}, code: 2, stderr: `^zigate-ota demo: takes no argument, got "x"; see zigate-ota help demo\n$`},
		{name: "demo at no speed", args: []string{"demo", "--speed", "0"}, code: 2, stderr: `^zigate-ota demo: --speed must be more than 0, 1 is the pace of a real radio\n$`},
		{name: "demo at no number", args: []string{"demo", "--speed", "NaN"}, code: 2, stderr: `^zigate-ota demo: --speed must be more than 0, 1 is the pace of a real radio\n$`},
		{name: "demo at a word", args: []string{"demo", "--speed", "fast"}, code: 2, stderr: `^zigate-ota demo: --speed "fast": not a number; see zigate-ota help demo\n$`},
		{name: "demo with a mistake in the configuration", args: []string{"demo"}, environ: []string{"ZIGATE_OTA_LOG_LEVEL=loud"}, code: 2, stderr: `^zigate-ota demo: the configuration has mistakes:\nZIGATE_OTA_LOG_LEVEL: `},
		{name: "demo of a file that is not there", args: []string{"demo", "--image", filepath.Join(dir, "none.ota")}, code: 1, stderr: `^zigate-ota demo: reading the image: open .*none\.ota: no such file or directory\n$`},
		{name: "demo of a file that is no image", args: []string{"demo", "--image", "main.go"}, code: 1, stderr: `^zigate-ota demo: main\.go: .+\n$`},

		{name: "sim nowhere", args: []string{"sim"}, code: 2, stderr: `^zigate-ota sim: say where: --tcp 127\.0\.0\.1:9999 or --pty /tmp/zigate; see zigate-ota help sim\n$`},
		{name: "sim with an argument", args: []string{"sim", "--tcp", "127.0.0.1:0", "x"}, code: 2, stderr: `^zigate-ota sim: takes no argument, got "x"; see zigate-ota help sim\n$`},
		{name: "sim at no speed", args: []string{"sim", "--tcp", "127.0.0.1:0", "--speed", "-1"}, code: 2, stderr: `^zigate-ota sim: --speed must be more than 0, 1 is the pace of a real radio; see zigate-ota help sim\n$`},
		{name: "sim at no number", args: []string{"sim", "--tcp", "127.0.0.1:0", "--speed", "NaN"}, code: 2, stderr: `^zigate-ota sim: --speed must be more than 0, 1 is the pace of a real radio; see zigate-ota help sim\n$`},
		{name: "sim of no device", args: []string{"sim", "--tcp", "127.0.0.1:0", "--devices", "0"}, code: 2, stderr: `^zigate-ota sim: --devices must be from 1 to 10000; see zigate-ota help sim\n$`},
		{name: "sim of unknown firmware", args: []string{"sim", "--tcp", "127.0.0.1:0", "--firmware", "3.0f"}, code: 2, stderr: `^zigate-ota sim: --firmware "3\.0f": there are 3\.1c, 3\.1d, 3\.1e, 3\.23, v2; see zigate-ota help sim\n$`},
		{name: "sim with an impossible fault", args: []string{"sim", "--tcp", "127.0.0.1:0", "--corrupt", "2"}, code: 2, stderr: `^zigate-ota sim: --corrupt is a probability, from 0 to 1; see `},
		{name: "sim of a device that is none", args: []string{"sim", "--tcp", "127.0.0.1:0", "--device", "{}{}"}, code: 2, stderr: `^zigate-ota sim: --device "\{\}\{\}": not a scenario: there is more behind the object; see `},
		{name: "sim of no scenario", args: []string{"sim", "--tcp", "127.0.0.1:0", "--scenario", "main.go"}, code: 1, stderr: `^zigate-ota sim: main\.go: not a scenario: `},
		{name: "serve with a trace that cannot be", args: []string{"serve", "--trace"}, code: 2, stderr: `^zigate-ota serve: --trace wants FILE; see zigate-ota help serve\n$`},
		{name: "sim at an address of another machine", args: []string{"sim", "--tcp", "192.0.2.1:9999"}, code: 1, stderr: `^zigate-ota sim: opening the dongle's port: listen tcp 192\.0\.2\.1:9999: .*; choose another with --tcp\n$`},
		{name: "sim of an unknown stack", args: []string{"sim", "--tcp", "127.0.0.1:0", "--stacks", "ti,zigbee"}, code: 2, stderr: `^zigate-ota sim: --stacks: no simulated stack "zigbee": use one of ember, nxp, .*none; see zigate-ota help sim\n$`},
		{name: "sim with the makers' stacks", args: []string{"sim", "--pty", "main.go"}, code: 1, stdout: `^device .* stack ember\n.* stack ember\n.* file version 0x01020500\n.* file version 0x00000010\n$`, stderr: `main\.go`},
		{name: "sim with stacks in turn", args: []string{"sim", "--pty", "main.go", "--stacks", "ti,none", "--stacks", "nxp"}, code: 1, stdout: `^.* stack ti\n.* file version 0x22010631\n.* stack nxp\n.* stack ti\n$`, stderr: `main\.go`},
		{name: "sim of a device that names its stack", args: []string{"sim", "--pty", "main.go", "--stacks", "ti", "--device", `{"ieee": 1, "stack": "zboss"}`}, code: 1, stdout: ` stack zboss\n$`, stderr: `main\.go`},
		{name: "sim in the place of a file", args: []string{"sim", "--pty", "main.go"}, code: 1, stdout: `^device `, stderr: `^zigate-ota sim: .*main\.go is a file of another kind; remove it or choose another name\n$`},

		{name: "serve with a state folder that cannot be", args: []string{"serve"}, environ: []string{"ZIGATE_OTA_DONGLE=sim", "ZIGATE_OTA_IMAGE_INDEXES=none", "ZIGATE_OTA_STATE_DIR=/proc/zigate-ota"}, code: 1, stderr: `(?m)^zigate-ota serve: .*/proc/zigate-ota.*ZIGATE_OTA_`},
		{name: "healthcheck of nobody", args: []string{"healthcheck"}, environ: []string{"ZIGATE_OTA_HTTP_ADDR=127.0.0.1:1"}, code: 1, stderr: `^zigate-ota healthcheck: the service does not answer at http://127\.0\.0\.1:1/readyz \(ZIGATE_OTA_HTTP_ADDR\): .*connection refused\n$`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := ran(t, append([]string{"HOME=" + dir}, tt.environ...), tt.args...)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, out := range []struct{ name, got, want string }{{"stdout", stdout, tt.stdout}, {"stderr", stderr, tt.stderr}} {
				if out.want == "" && out.got != "" {
					t.Errorf("%s: %q, want nothing", out.name, out.got)
				} else if !regexp.MustCompile(out.want).MatchString(out.got) {
					t.Errorf("%s: %q, want %s", out.name, out.got, out.want)
				}
			}
		})
	}
}

// The help names every command, in one line each with its flags below.
func TestHelpNamesEveryCommand(t *testing.T) {
	_, stdout, _ := ran(t, nil, "help")
	for _, c := range commandline.Commands() {
		if !regexp.MustCompile(`(?m)^  ` + c.Name + ` +` + regexp.QuoteMeta(c.Summary) + `$`).MatchString(stdout) {
			t.Errorf("%s is missing in:\n%s", c.Name, stdout)
		}
		if c.Arguments != "" && !strings.Contains(stdout, c.Arguments) {
			t.Errorf("the arguments of %s are missing", c.Name)
		}
	}
	for line := range strings.Lines(stdout) {
		if len(line) > 101 {
			t.Errorf("too long for a terminal: %s", line)
		}
	}
}

// Every command that needs the configuration tells all its mistakes at once and exits with 2, which systemd
// takes as a reason not to try again.
func TestMistakesOfConfiguration(t *testing.T) {
	mistakes := []string{
		"HOME=" + t.TempDir(), "ZIGATE_OTA_DONGEL=auto", "ZIGATE_OTA_UPGRADE_CONCURRENCY=many", "ZIGATE_OTA_MQTT_BASE_TOPIC=a/#",
		"ZIGATE_OTA_MQTT_PASSWORD=hunter2",
	}
	for _, command := range []string{"serve", "demo", "config", "healthcheck"} {
		code, stdout, stderr := ran(t, mistakes, command)
		if code != 2 || stdout != "" {
			t.Errorf("%s: exit code %d, stdout %q; want 2 and nothing", command, code, stdout)
		}
		for _, want := range []string{
			"zigate-ota " + command + ": the configuration has mistakes:\n",
			"ZIGATE_OTA_DONGEL", "the nearest name is ZIGATE_OTA_DONGLE",
			`ZIGATE_OTA_UPGRADE_CONCURRENCY: "many"`, `ZIGATE_OTA_MQTT_BASE_TOPIC: "a/#"`,
			"ZIGATE_OTA_MQTT_PASSWORD: set without ZIGATE_OTA_MQTT_USERNAME",
		} {
			if !strings.Contains(stderr, want) {
				t.Errorf("%s does not say %q:\n%s", command, want, stderr)
			}
		}
		if strings.Contains(stderr, "hunter2") {
			t.Errorf("%s tells the password:\n%s", command, stderr)
		}
	}
}

func TestConfigMasksSecrets(t *testing.T) {
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("opensesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := ran(t, []string{
		"HOME=" + dir, "ZIGATE_OTA_MQTT_URL=wss://broker.lan/mqtt?key=swordfish", "ZIGATE_OTA_MQTT_USERNAME=user",
		"ZIGATE_OTA_MQTT_PASSWORD=hunter2", "ZIGATE_OTA_HTTP_TOKEN_FILE=" + token,
	}, "config")
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	for _, secret := range []string{"hunter2", "opensesame", "swordfish"} {
		if strings.Contains(stdout, secret) {
			t.Errorf("tells %q:\n%s", secret, stdout)
		}
	}
	for _, want := range []string{`(?m)^ZIGATE_OTA_MQTT_PASSWORD=\S+  # set$`, `(?m)^ZIGATE_OTA_HTTP_TOKEN=\S+  # set, file$`, `(?m)^ZIGATE_OTA_MQTT_URL=wss://broker\.lan.*  # set$`} {
		if !regexp.MustCompile(want).MatchString(stdout) {
			t.Errorf("does not match %s:\n%s", want, stdout)
		}
	}
}

// What healthcheck makes of the service's answer, whatever proxy the environment names.
func TestHealthcheck(t *testing.T) {
	tests := []struct {
		name   string
		status int
		body   string
		code   int
	}{
		{"ready", http.StatusOK, `{"ready":true,"checks":{}}`, 0},
		{"not ready", http.StatusServiceUnavailable, `{"ready":false,"checks":{"dongle":{"ok":false,"error":"gone"}}}`, 1},
		{"something else listens there", http.StatusNotFound, "404 page not found", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/readyz" {
					t.Errorf("asked for %s", r.URL)
				}
				w.WriteHeader(tt.status)
				_, _ = w.Write([]byte(tt.body + "\n"))
			}))
			defer server.Close()
			_, port, err := net.SplitHostPort(server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			code, stdout, stderr := ran(t, []string{"HOME=/", "ZIGATE_OTA_HTTP_ADDR=127.0.0.1:" + port}, "healthcheck")
			if code != tt.code || stdout != tt.body+"\n" {
				t.Errorf("exit code %d, want %d; %q %q", code, tt.code, stdout, stderr)
			}
			if tt.code != 0 && !strings.Contains(stderr, http.StatusText(tt.status)) {
				t.Errorf("stderr %q does not tell the status", stderr)
			}
		})
	}
}

// The binary by itself: what the linker stamps, exit codes, and the service from its start to
// a stop by SIGTERM.
func TestBinary(t *testing.T) {
	version := start(t, nil, programPath(t), "version")
	<-version.done
	if got := version.stdout.String(); !strings.HasPrefix(got, "zigate-ota test") {
		t.Errorf("version: %q", got)
	}
	wrong := start(t, []string{"HOME=/", "ZIGATE_OTA_DONGEL=sim"}, programPath(t))
	<-wrong.done
	if code := wrong.cmd.ProcessState.ExitCode(); code != commandline.ExitUsage {
		t.Errorf("exit code %d for a mistake in the configuration, want %d", code, commandline.ExitUsage)
	}

	dir := t.TempDir()
	service := start(t, environ(dir, "ZIGATE_OTA_DONGLE=sim", "ZIGATE_OTA_LOG_FORMAT=json"), programPath(t))
	line := service.stderr.await(t, "ready", func(line string) bool { return strings.Contains(line, `"msg":"ready"`) })
	var ready struct{ HTTP, Version string }
	if err := json.Unmarshal([]byte(line), &ready); err != nil || ready.Version != "test" {
		t.Fatalf("%v: %s", err, line)
	}
	service.stderr.await(t, "dongle", func(line string) bool { return strings.Contains(line, `"msg":"the dongle is connected"`) })
	health := environ(dir, "ZIGATE_OTA_HTTP_ADDR="+ready.HTTP)
	awaitHealthy(t, health)
	if err := service.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	<-service.done
	if code := service.cmd.ProcessState.ExitCode(); code != commandline.ExitOK {
		t.Errorf("exit code %d after a stop, want 0", code)
	}
	service.stderr.await(t, "stopped", func(line string) bool { return strings.Contains(line, `"msg":"stopped"`) })
	if code, _, _ := ran(t, health, "healthcheck"); code != commandline.ExitFailed {
		t.Errorf("healthcheck of a service that was stopped: exit code %d, want 1", code)
	}
}

// awaitHealthy asks until the service is well: its parts come one after the other.
func awaitHealthy(t *testing.T, environ []string) {
	t.Helper()
	var stdout, stderr string
	for range 300 {
		var code int
		if code, stdout, stderr = ran(t, environ, "healthcheck"); code == commandline.ExitOK {
			return
		}
		awaitTick(t)
	}
	t.Fatalf("never healthy: %s %s", stdout, stderr)
}
