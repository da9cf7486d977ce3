package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the files that tests compare with")

// home is an environment with nothing but what a shell has.
var home = []string{"HOME=/home/user", "PATH=/usr/bin"}

func load(t *testing.T, entries ...string) Config {
	t.Helper()
	c, err := Load(append(entries, home...))
	if err != nil {
		t.Fatalf("Load(%q): %v", entries, err)
	}
	return c
}

func compareWithFile(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s is not what the program writes (-file +program); go generate ./cmd/zigate-ota makes it anew:\n%s", path, diff)
	}
}

func TestExampleIsCurrent(t *testing.T) {
	var b bytes.Buffer
	if err := WriteExample(&b); err != nil {
		t.Fatal(err)
	}
	compareWithFile(t, "../../../../config.example.env", b.Bytes())
}

// The defaults are part of the contract with whoever runs the service, so they stand here once
// more, as typed values.
func TestDefaults(t *testing.T) {
	got := load(t)
	got.sources = nil
	want := Config{
		Dongle: "auto", DongleBaud: 115200, DongleQueryWatch: QueryWatchIdle,
		Share:         ShareConfig{OTA: ShareOTAService, Clients: 4},
		MQTT:          MQTTConfig{BaseTopic: "zigate-ota", ClientID: "zigate-ota"},
		Broker:        BrokerConfig{Addr: "127.0.0.1:1883"},
		HomeAssistant: HomeAssistantConfig{Discovery: true, Prefix: "homeassistant"},
		HTTP:          HTTPConfig{Addr: "127.0.0.1:8501"},
		StateDir:      "/home/user/.local/state/zigate-ota",
		Image: ImageConfig{
			Dir: "/home/user/.local/state/zigate-ota/images", Indexes: ImageIndexes{"zigbee2mqtt"}, IndexInterval: 24 * time.Hour, MaxBytes: 16777216,
			FetchTimeout: 2 * time.Minute, DirectorURL: "http://director",
		},
		Upgrade: UpgradeConfig{
			BlockSize: 64, NotifyInterval: 15 * time.Second, NotifyAttempts: 20, StallTimeout: 5 * time.Minute,
			RejoinTimeout: 15 * time.Minute, Retries: 2, Slice: 30 * time.Minute, Overlap: OverlapAuto, Canary: true, Policy: PolicyManual,
			Unsolicited: UnsolicitedRefuse,
		},
		Log: LogConfig{Level: slog.LevelInfo, Format: LogText},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Config{}, Secret{})); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
}

// The names, too.
func TestVariables(t *testing.T) {
	want := strings.Fields(`
		DONGLE DONGLE_BAUD DONGLE_QUERY_WATCH SHARE_ADDR SHARE_PTY SHARE_OTA SHARE_ALLOW SHARE_CLIENTS
		MQTT_URL MQTT_USERNAME MQTT_USERNAME_FILE MQTT_PASSWORD MQTT_PASSWORD_FILE MQTT_CLIENT_ID MQTT_BASE_TOPIC MQTT_FRAMES
		MQTT_CA_FILE MQTT_CERT_FILE MQTT_KEY_FILE
		BROKER_ADDR HOMEASSISTANT_DISCOVERY HOMEASSISTANT_PREFIX HTTP_ADDR HTTP_TOKEN HTTP_TOKEN_FILE HTTP_TRUSTED_PROXIES
		STATE_DIR IMAGE_DIR IMAGE_INDEXES IMAGE_INDEX_INTERVAL IMAGE_PREFETCH IMAGE_MAKER_ALIASES IMAGE_MAX_BYTES IMAGE_ALLOWED_HOSTS IMAGE_FETCH_TIMEOUT
		IMAGE_CA_FILE IMAGE_DIRECTOR_URL
		UPGRADE_CONCURRENCY UPGRADE_BLOCK_SIZE UPGRADE_BLOCK_INTERVAL UPGRADE_NOTIFY_INTERVAL UPGRADE_NOTIFY_ATTEMPTS
		UPGRADE_STALL_TIMEOUT UPGRADE_REJOIN_TIMEOUT UPGRADE_RETRIES UPGRADE_SLICE UPGRADE_OVERLAP UPGRADE_CANARY UPGRADE_MIN_BATTERY
		UPGRADE_WINDOW UPGRADE_POLICY UPGRADE_UNSOLICITED LOG_LEVEL LOG_FORMAT`)
	var got []string
	for _, name := range knownVariables(settingsOf(&Config{})) {
		got = append(got, strings.TrimPrefix(name, "ZIGATE_OTA_"))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
	for _, s := range settingsOf(&Config{}) {
		if s.tags.Get("desc") == "" || s.allowed() == "" || strings.Contains(s.allowed(), "from  to") {
			t.Errorf("%s: desc %q, allowed %q", s.name, s.tags.Get("desc"), s.allowed())
		}
	}
}

// Values that are taken, and what becomes of them.
func TestValues(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("from a file \r\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	working, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	field := map[string]func(Config) any{
		"DONGLE":                  func(c Config) any { return c.Dongle },
		"DONGLE_BAUD":             func(c Config) any { return c.DongleBaud },
		"DONGLE_QUERY_WATCH":      func(c Config) any { return c.DongleQueryWatch },
		"MQTT_URL":                func(c Config) any { return []string(c.MQTT.URL) },
		"MQTT_USERNAME":           func(c Config) any { return c.MQTT.Username.Reveal() },
		"MQTT_CLIENT_ID":          func(c Config) any { return c.MQTT.ClientID },
		"MQTT_FRAMES":             func(c Config) any { return c.MQTT.Frames },
		"BROKER_ADDR":             func(c Config) any { return c.Broker.Addr },
		"STATE_DIR":               func(c Config) any { return c.StateDir },
		"IMAGE_DIR":               func(c Config) any { return c.Image.Dir },
		"IMAGE_INDEXES":           func(c Config) any { return []string(c.Image.Indexes) },
		"IMAGE_MAKER_ALIASES":     func(c Config) any { return [][2]string(c.Image.MakerAliases) },
		"IMAGE_ALLOWED_HOSTS":     func(c Config) any { return []string(c.Image.AllowedHosts) },
		"IMAGE_DIRECTOR_URL":      func(c Config) any { return string(c.Image.DirectorURL) },
		"UPGRADE_BLOCK_INTERVAL":  func(c Config) any { return c.Upgrade.BlockInterval },
		"UPGRADE_NOTIFY_ATTEMPTS": func(c Config) any { return c.Upgrade.NotifyAttempts },
		"UPGRADE_WINDOW":          func(c Config) any { return c.Upgrade.Window },
		"UPGRADE_POLICY":          func(c Config) any { return c.Upgrade.Policy },
		"LOG_LEVEL":               func(c Config) any { return c.Log.Level },
	}
	tests := []struct {
		variable string
		environ  string // separated by spaces
		want     any
	}{
		{"DONGLE", "ZIGATE_OTA_DONGLE=sim", DongleSimulated},
		{"DONGLE", "ZIGATE_OTA_DONGLE=/dev/serial/by-id/usb-FTDI-if00", DongleAddress("/dev/serial/by-id/usb-FTDI-if00")},
		{"DONGLE", "ZIGATE_OTA_DONGLE=tcp://zigate.lan", DongleAddress("tcp://zigate.lan:9999")},
		{"DONGLE", "ZIGATE_OTA_DONGLE=tcp://zigate.lan:23/", DongleAddress("tcp://zigate.lan:23")},
		{"DONGLE", "ZIGATE_OTA_DONGLE=tcp://[fe80::1]", DongleAddress("tcp://[fe80::1]:9999")},
		{"DONGLE", "ZIGATE_OTA_DONGLE=", DongleAuto},
		{"DONGLE", "ZIGATE_OTA_DONGLE=sim ZIGATE_OTA_DONGLE=auto", DongleSimulated},
		{"DONGLE_BAUD", "ZIGATE_OTA_DONGLE_BAUD=1000000", 1000000},
		{"DONGLE_QUERY_WATCH", "ZIGATE_OTA_DONGLE_QUERY_WATCH=Always", QueryWatchAlways},
		{"MQTT_URL", "ZIGATE_OTA_MQTT_URL=mqtt://a,mqtts://b,tls://c:1,tcp://d:2,ssl://e", []string{"tcp://a:1883", "ssl://b:8883", "ssl://c:1", "tcp://d:2", "ssl://e:8883"}},
		{"MQTT_URL", "ZIGATE_OTA_MQTT_URL=ws://a/mqtt,WSS://b:443/mqtt?x=y", []string{"ws://a/mqtt", "wss://b:443/mqtt?x=y"}},
		{"MQTT_URL", "ZIGATE_OTA_MQTT_URL=tcp://[::1]", []string{"tcp://[::1]:1883"}},
		{"MQTT_USERNAME", "ZIGATE_OTA_MQTT_USERNAME=user", "user"},
		{"MQTT_USERNAME", "ZIGATE_OTA_MQTT_USERNAME_FILE=" + secret, "from a file "},
		{"MQTT_USERNAME", "ZIGATE_OTA_MQTT_USERNAME= ZIGATE_OTA_MQTT_USERNAME_FILE=" + secret, "from a file "},
		{"MQTT_CLIENT_ID", "ZIGATE_OTA_MQTT_BASE_TOPIC=home/attic/zigate", "home-attic-zig-9dae53c1"},
		{"MQTT_FRAMES", "ZIGATE_OTA_MQTT_FRAMES=1", true},
		{"BROKER_ADDR", "ZIGATE_OTA_BROKER_ADDR=:0", Address(":0")},
		{"BROKER_ADDR", "ZIGATE_OTA_BROKER_ADDR=[::1]:1883", Address("[::1]:1883")},
		{"STATE_DIR", "STATE_DIRECTORY=/var/lib/zigate-ota:/var/lib/other", "/var/lib/zigate-ota"},
		{"STATE_DIR", "XDG_STATE_HOME=/x/state", "/x/state/zigate-ota"},
		{"STATE_DIR", "XDG_STATE_HOME=state", "/home/user/.local/state/zigate-ota"},
		{"STATE_DIR", "STATE_DIRECTORY=/a ZIGATE_OTA_STATE_DIR=state", filepath.Join(working, "state")},
		{"IMAGE_DIR", "STATE_DIRECTORY=/a", "/a/images"},
		{"IMAGE_DIR", "ZIGATE_OTA_IMAGE_DIR=/srv/images/", "/srv/images"},
		{"IMAGE_INDEXES", "ZIGATE_OTA_IMAGE_INDEXES=https://user:pw@example.org/index.json?t=1,/srv/index.json", []string{"https://user:pw@example.org/index.json?t=1", "/srv/index.json"}},
		{"IMAGE_INDEXES", "ZIGATE_OTA_IMAGE_INDEXES=Zigbee2MQTT,sonoff,./sonoff,index.json", []string{"zigbee2mqtt", "sonoff", "./sonoff", "index.json"}},
		{"IMAGE_INDEXES", "ZIGATE_OTA_IMAGE_INDEXES=None", []string{}},
		{"IMAGE_INDEXES", "ZIGATE_OTA_IMAGE_INDEXES=", []string{"zigbee2mqtt"}},
		{"IMAGE_MAKER_ALIASES", "ZIGATE_OTA_IMAGE_MAKER_ALIASES=Maker=Maker-Ltd,Öl=ol", [][2]string{{"Maker", "Maker-Ltd"}, {"Öl", "ol"}}},
		{"IMAGE_ALLOWED_HOSTS", "ZIGATE_OTA_IMAGE_ALLOWED_HOSTS=*.Example.org,192.0.2.1,[2001:db8::1],director", []string{"*.example.org", "192.0.2.1", "2001:db8::1", "director"}},
		{"IMAGE_DIRECTOR_URL", "ZIGATE_OTA_IMAGE_DIRECTOR_URL=https://director:8443/base/", "https://director:8443/base"},
		{"UPGRADE_BLOCK_INTERVAL", "ZIGATE_OTA_UPGRADE_BLOCK_INTERVAL=250ms", 250 * time.Millisecond},
		{"UPGRADE_NOTIFY_ATTEMPTS", "ZIGATE_OTA_UPGRADE_NOTIFY_ATTEMPTS=\t5 ", 5},
		{"UPGRADE_WINDOW", "ZIGATE_OTA_UPGRADE_WINDOW=02:00-05:00", Window{2 * time.Hour, 5 * time.Hour}},
		{"UPGRADE_WINDOW", "ZIGATE_OTA_UPGRADE_WINDOW=22:30-24:00", Window{22*time.Hour + 30*time.Minute, 24 * time.Hour}},
		{"UPGRADE_WINDOW", "ZIGATE_OTA_UPGRADE_WINDOW=23:59-00:00", Window{23*time.Hour + 59*time.Minute, 0}},
		{"UPGRADE_POLICY", "ZIGATE_OTA_UPGRADE_POLICY=auto", PolicyAuto},
		{"LOG_LEVEL", "ZIGATE_OTA_LOG_LEVEL=DEBUG", slog.LevelDebug},
	}
	for _, tt := range tests {
		t.Run(tt.environ, func(t *testing.T) {
			got := field[tt.variable](load(t, strings.Split(tt.environ, " ")...))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.variable, diff)
			}
		})
	}
}

func TestPrint(t *testing.T) {
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := load(t,
		"ZIGATE_OTA_DONGLE=tcp://zigate.lan",
		"ZIGATE_OTA_MQTT_URL=wss://broker.lan/mqtt?signature=hunter2",
		"ZIGATE_OTA_MQTT_USERNAME=hunter2",
		"ZIGATE_OTA_MQTT_PASSWORD_FILE="+password,
		"ZIGATE_OTA_HTTP_TOKEN=hunter2",
		"ZIGATE_OTA_IMAGE_INDEXES=https://user:hunter2@example.org/index.json?token=hunter2,/srv/index.json",
		"ZIGATE_OTA_IMAGE_DIRECTOR_URL=http://user:hunter2@director",
		"ZIGATE_OTA_UPGRADE_WINDOW=22:00-05:30",
		"ZIGATE_OTA_UPGRADE_STALL_TIMEOUT=90m",
		"ZIGATE_OTA_LOG_LEVEL=warn",
	)
	var b bytes.Buffer
	if err := c.Print(&b); err != nil {
		t.Fatal(err)
	}
	compareWithFile(t, "testdata/print.golden", b.Bytes())

	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("started", "config", c, "mqtt", c.MQTT, "token", c.HTTP.Token)
	marshalled, err := json.Marshal(c.HTTP)
	if err != nil {
		t.Fatal(err)
	}
	shown := []string{c.String(), logged.String(), string(marshalled)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		shown = append(shown, fmt.Sprintf(verb, c.HTTP), fmt.Sprintf(verb, c.MQTT.Password), fmt.Sprintf(verb, &c.HTTP), fmt.Sprintf(verb, c))
	}
	for _, text := range shown {
		if strings.Contains(text, "hunter2") || strings.Contains(text, "68756e74657232") {
			t.Errorf("a secret is shown: %s", text)
		}
	}
	for _, part := range []string{`"ZIGATE_OTA_MQTT_PASSWORD":"********"`, `"ZIGATE_OTA_LOG_LEVEL":"warn"`} {
		if !strings.Contains(logged.String(), part) {
			t.Errorf("the log has no %s: %s", part, &logged)
		}
	}
	if strings.Contains(logged.String(), "ZIGATE_OTA_LOG_FORMAT") {
		t.Errorf("the log has variables that are not set: %s", &logged)
	}
}

// Each name of a public index is in the texts that people read, and leads to an address.
func TestNamedIndexes(t *testing.T) {
	allowed := ""
	for _, s := range settingsOf(&Config{}) {
		if s.name == "ZIGATE_OTA_IMAGE_INDEXES" {
			allowed = s.allowed()
		}
	}
	for _, name := range indexNames() {
		var indexes ImageIndexes
		if err := indexes.Decode(name + ",/srv/index.json"); err != nil {
			t.Fatal(err)
		}
		got := indexes.Locations()
		if len(got) != 2 || !strings.HasPrefix(got[0], "https://") || got[1] != "/srv/index.json" || indexes.String() != name+",/srv/index.json" {
			t.Errorf("%s: %q, %s", name, got, indexes)
		}
		if !strings.Contains(allowed, name+", ") {
			t.Errorf("%s is not among what is allowed: %s", name, allowed)
		}
	}
	if got := (ImageIndexes{}).Locations(); len(got) != 0 || (ImageIndexes{}).String() != "none" {
		t.Errorf("none: %q, %s", got, ImageIndexes{})
	}
}
