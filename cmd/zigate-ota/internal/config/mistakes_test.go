package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a person reads who made a mistake, word for word. DIR stands for a folder with a few files.
func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	writePair(t, dir, "a")
	writePair(t, dir, "b")
	for name, content := range map[string]string{"empty": "\n", "large": strings.Repeat("x", 1<<17), "text": "no PEM", "secret": "hunter2\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const (
		dongle   = "auto, an absolute path such as /dev/ttyUSB0, tcp://host or tcp://host:port, sim"
		urls     = "tcp://, mqtt://, ssl://, mqtts://, tls://, ws:// or wss://, each with host and optional port, separated by commas"
		topic    = "1 to 200 bytes, without + and #, without a slash at either end, not beginning with $"
		address  = "host:port or :port"
		hosts    = "host names, IP addresses, *.domain and *, separated by commas"
		window   = "HH:MM-HH:MM, such as 02:00-05:00"
		token    = "printable ASCII characters without spaces"
		caFile   = "a readable file; needs a TLS address (ssl:// or wss://) in ZIGATE_OTA_MQTT_URL"
		certFile = "a readable file, together with ZIGATE_OTA_MQTT_KEY_FILE"
		keyFile  = "a readable file, together with ZIGATE_OTA_MQTT_CERT_FILE"
		indexes  = "zigbee2mqtt, zigbee2mqtt-old, zigpy, ikea, ledvance, sonoff, http:// or https:// URLs and paths, separated by commas; none"
		password = "any text, together with ZIGATE_OTA_MQTT_USERNAME"
	)
	tests := []struct {
		environ string // one variable a line, the prefix left out
		want    string // one mistake a line, likewise
	}{
		{"DONGLE=ttyUSB0", `DONGLE: "ttyUSB0" is neither a known word, an absolute path, nor a tcp:// address; allowed: ` + dongle},
		{"DONGLE=tcp://", `DONGLE: has no valid host; allowed: ` + dongle},
		{"DONGLE=tcp://zigate:0", `DONGLE: has no port from 1 to 65535; allowed: ` + dongle},
		{"DONGLE=tcp://zigate:", `DONGLE: has no port from 1 to 65535; allowed: ` + dongle},
		{"DONGLE=tcp://zigate:9999/dev", `DONGLE: a tcp:// address ends with its port; allowed: ` + dongle},
		{"DONGLE=tcp://user:hunter2@zigate", `DONGLE: holds a user name or password, which have variables of their own; allowed: ` + dongle},
		{"DONGLE_BAUD=57601", `DONGLE_BAUD: "57601" is not a known value; allowed: 9600, 19200, 38400, 57600, 115200, 230400, 460800, 500000, 921600, 1000000`},
		{"DONGLE_QUERY_WATCH=sometimes", `DONGLE_QUERY_WATCH: "sometimes" is not a known value; allowed: off, idle, always`},

		{"MQTT_URL=broker:1883", `MQTT_URL: does not begin with a scheme that is known here; allowed: ` + urls},
		{"MQTT_URL=tcp://a,http://b", `MQTT_URL: entry 2 of 2: does not begin with a scheme that is known here; allowed: ` + urls},
		{"MQTT_URL=tcp://a,,tcp://b", `MQTT_URL: entry 2 of 3: is empty; allowed: ` + urls},
		{"MQTT_URL=tcp://a:99999", `MQTT_URL: has no port from 1 to 65535; allowed: ` + urls},
		{"MQTT_URL=tcp://a:hunter2", `MQTT_URL: is not a URL; allowed: ` + urls},
		{"MQTT_URL=tcp://a/mqtt", `MQTT_URL: has something after its port, which only ws:// and wss:// may have; allowed: ` + urls},
		{"MQTT_URL=ws://a/mqtt#x", `MQTT_URL: has a fragment (#), which no server gets to see; allowed: ` + urls},
		{"MQTT_URL=tcp://user:hunter2@a", `MQTT_URL: holds a user name or password, which have variables of their own; allowed: ` + urls},
		{"MQTT_URL=tcp://user:hunter2@a:b:c", `MQTT_URL: is not a URL; allowed: ` + urls},
		{"MQTT_PASSWORD=hunter2", `MQTT_PASSWORD: set without ZIGATE_OTA_MQTT_USERNAME; allowed: ` + password},
		{"MQTT_USERNAME=u\nMQTT_PASSWORD=hunter2\nMQTT_PASSWORD_FILE=DIR/secret", `MQTT_PASSWORD: set, and so is ZIGATE_OTA_MQTT_PASSWORD_FILE: only one of them may be; allowed: ` + password},
		{"MQTT_USERNAME_FILE=DIR/none\nMQTT_PASSWORD=hunter2", `MQTT_USERNAME: its file cannot be opened: open DIR/none: no such file or directory; allowed: any text`},
		{"MQTT_USERNAME_FILE=DIR", `MQTT_USERNAME: its file cannot be read: read DIR: is a directory; allowed: any text`},
		{"HTTP_TOKEN_FILE=DIR/empty", `HTTP_TOKEN: its file DIR/empty is empty; allowed: ` + token},
		{"HTTP_TOKEN_FILE=DIR/large", `HTTP_TOKEN: its file DIR/large is larger than 65536 bytes; allowed: ` + token},
		{"HTTP_TOKEN=hunter2 hunter2", `HTTP_TOKEN: holds characters that do not fit into an HTTP header; allowed: ` + token},
		{"MQTT_CLIENT_ID=" + strings.Repeat("x", 129), `MQTT_CLIENT_ID: is too long or holds control characters; allowed: 1 to 128 printable characters`},
		{"MQTT_BASE_TOPIC=a/+", `MQTT_BASE_TOPIC: "a/+" has a wildcard; allowed: ` + topic},
		{"MQTT_BASE_TOPIC=#", `MQTT_BASE_TOPIC: "#" has a wildcard; allowed: ` + topic},
		{"MQTT_BASE_TOPIC=/a", `MQTT_BASE_TOPIC: "/a" begins or ends with a slash; allowed: ` + topic},
		{"MQTT_BASE_TOPIC=a/", `MQTT_BASE_TOPIC: "a/" begins or ends with a slash; allowed: ` + topic},
		{"MQTT_BASE_TOPIC=$SYS/a", `MQTT_BASE_TOPIC: "$SYS/a" begins with $, which brokers keep for themselves; allowed: ` + topic},
		{"MQTT_BASE_TOPIC=a\x00b", `MQTT_BASE_TOPIC: holds control characters; allowed: ` + topic},
		{"MQTT_BASE_TOPIC=" + strings.Repeat("x", 201), `MQTT_BASE_TOPIC: has 201 bytes; allowed: ` + topic},
		{"MQTT_FRAMES=perhaps", `MQTT_FRAMES: "perhaps" is neither true nor false; allowed: true, false`},
		{"MQTT_CA_FILE=DIR/a.crt", `MQTT_CA_FILE: set, but ZIGATE_OTA_MQTT_URL has no TLS address; allowed: ` + caFile},
		{"MQTT_URL=tcp://a\nMQTT_CA_FILE=DIR/a.crt", `MQTT_CA_FILE: set, but ZIGATE_OTA_MQTT_URL has no TLS address; allowed: ` + caFile},
		{"MQTT_URL=ssl://a\nMQTT_CA_FILE=DIR/none", `MQTT_CA_FILE: cannot be read: open DIR/none: no such file or directory; allowed: ` + caFile},
		{"MQTT_URL=wss://a\nMQTT_CA_FILE=DIR/text", `MQTT_CA_FILE: DIR/text holds no certificate in PEM form; allowed: ` + caFile},
		{"MQTT_URL=ssl://a\nMQTT_CERT_FILE=DIR/a.crt", `MQTT_CERT_FILE: set without ZIGATE_OTA_MQTT_KEY_FILE; allowed: ` + certFile},
		{"MQTT_URL=ssl://a\nMQTT_KEY_FILE=DIR/a.key", `MQTT_KEY_FILE: set without ZIGATE_OTA_MQTT_CERT_FILE; allowed: ` + keyFile},
		{"MQTT_URL=ssl://a\nMQTT_CERT_FILE=DIR/a.crt\nMQTT_KEY_FILE=DIR/b.key", `MQTT_CERT_FILE: does not go with ZIGATE_OTA_MQTT_KEY_FILE: tls: private key does not match public key; allowed: ` + certFile},
		{"MQTT_URL=ssl//a\nMQTT_CA_FILE=DIR/a.crt", `MQTT_URL: does not begin with a scheme that is known here; allowed: ` + urls},

		{"BROKER_ADDR=localhost", `BROKER_ADDR: "localhost" has no port; allowed: ` + address},
		{"BROKER_ADDR=localhost:mqtt", `BROKER_ADDR: "localhost:mqtt" has no port from 0 to 65535; allowed: ` + address},
		{"BROKER_ADDR=[1.2.3.4]:1", `BROKER_ADDR: "[1.2.3.4]:1" has no IPv6 address in its brackets; allowed: ` + address},
		{"HTTP_ADDR=http://localhost:8501", `HTTP_ADDR: "http://localhost:8501" has no valid host; allowed: ` + address},
		{"HTTP_ADDR=:65536", `HTTP_ADDR: ":65536" has no port from 0 to 65535; allowed: ` + address},
		{"HTTP_ADDR=:1883", `BROKER_ADDR: has the port of ZIGATE_OTA_HTTP_ADDR; allowed: ` + address},
		{"HOMEASSISTANT_PREFIX=zigate-ota", `HOMEASSISTANT_PREFIX: the same as ZIGATE_OTA_MQTT_BASE_TOPIC; allowed: ` + topic},
		{"HOMEASSISTANT_PREFIX=homeassistant/", `HOMEASSISTANT_PREFIX: "homeassistant/" begins or ends with a slash; allowed: ` + topic},

		{"STATE_DIR=/a\nIMAGE_DIR=/a/", `IMAGE_DIR: the same as ZIGATE_OTA_STATE_DIR; allowed: a folder other than the state folder itself`},
		{"STATE_DIR=/a\x01b\nIMAGE_DIR=/a", `STATE_DIR: "/a\x01b" holds characters that no folder should have; allowed: a folder`},
		{"IMAGE_CA_FILE=DIR/none", `IMAGE_CA_FILE: cannot be read: open DIR/none: no such file or directory; allowed: a readable file with certificates`},
		{"IMAGE_CA_FILE=DIR/text", `IMAGE_CA_FILE: DIR/text holds no certificate in PEM form; allowed: a readable file with certificates`},
		{"IMAGE_INDEXES=ftp://host/index.json", `IMAGE_INDEXES: does not begin with http:// or https://; allowed: ` + indexes},
		{"IMAGE_INDEXES=zigbe2mqtt", `IMAGE_INDEXES: "zigbe2mqtt" is not the name of an index (the path of a file is written with a slash, ./zigbe2mqtt); allowed: ` + indexes},
		{"IMAGE_INDEXES=zigpy,none", `IMAGE_INDEXES: entry 2 of 2: "none" stands beside other indexes; allowed: ` + indexes},
		{"IMAGE_MAKER_ALIASES=Maker", `IMAGE_MAKER_ALIASES: "Maker" is not two names with an equals sign between them; allowed: name=name, separated by commas`},
		{"IMAGE_MAKER_ALIASES=a=b=c", `IMAGE_MAKER_ALIASES: "a=b=c" is not two names with an equals sign between them; allowed: name=name, separated by commas`},
		{"IMAGE_MAKER_ALIASES=a=b,c= ", `IMAGE_MAKER_ALIASES: entry 2 of 2: "c=" lacks a name; allowed: name=name, separated by commas`},
		{"IMAGE_INDEXES=/a,https://", `IMAGE_INDEXES: entry 2 of 2: has no valid host; allowed: ` + indexes},
		{"IMAGE_INDEX_INTERVAL=24", `IMAGE_INDEX_INTERVAL: "24" is not a duration; allowed: a duration such as 90s or 1h30m, from 1m to 8760h`},
		{"IMAGE_INDEX_INTERVAL=0", `IMAGE_INDEX_INTERVAL: 0 is too small; allowed: a duration such as 90s or 1h30m, from 1m to 8760h`},
		{"IMAGE_MAX_BYTES=16MiB", `IMAGE_MAX_BYTES: "16MiB" is not a whole number; allowed: a whole number from 1024 to 4294967295`},
		{"IMAGE_MAX_BYTES=4294967296", `IMAGE_MAX_BYTES: 4294967296 is too large; allowed: a whole number from 1024 to 4294967295`},
		{"IMAGE_ALLOWED_HOSTS=https://example.org", `IMAGE_ALLOWED_HOSTS: "https://example.org" is no host, IP address, *.domain or *; allowed: ` + hosts},
		{"IMAGE_ALLOWED_HOSTS=a.org,fw.*.org", `IMAGE_ALLOWED_HOSTS: entry 2 of 2: "fw.*.org" is no host, IP address, *.domain or *; allowed: ` + hosts},
		{"IMAGE_DIRECTOR_URL=director", `IMAGE_DIRECTOR_URL: does not begin with http:// or https://; allowed: an http:// or https:// URL`},

		{"UPGRADE_CONCURRENCY=0", `UPGRADE_CONCURRENCY: 0 is too small; allowed: auto, or a whole number from 1 to 256`},
		{"UPGRADE_CONCURRENCY=257", `UPGRADE_CONCURRENCY: 257 is too large; allowed: auto, or a whole number from 1 to 256`},
		{"UPGRADE_CONCURRENCY=08", `UPGRADE_CONCURRENCY: "08" is neither auto nor a whole number; allowed: auto, or a whole number from 1 to 256`},
		{"UPGRADE_CONCURRENCY=many", `UPGRADE_CONCURRENCY: "many" is neither auto nor a whole number; allowed: auto, or a whole number from 1 to 256`},
		{"UPGRADE_BLOCK_SIZE=65", `UPGRADE_BLOCK_SIZE: 65 is too large; allowed: a whole number from 1 to 64`},
		{"UPGRADE_BLOCK_SIZE=010", `UPGRADE_BLOCK_SIZE: "010" is not a whole number; allowed: a whole number from 1 to 64`},
		{"UPGRADE_BLOCK_INTERVAL=-1s", `UPGRADE_BLOCK_INTERVAL: -1s is too small; allowed: a duration such as 90s or 1h30m, from 0s to 1m`},
		{"UPGRADE_BLOCK_INTERVAL=30s\nUPGRADE_STALL_TIMEOUT=30s", `UPGRADE_STALL_TIMEOUT: not longer than ZIGATE_OTA_UPGRADE_BLOCK_INTERVAL, so that every download would count as stalled; allowed: a duration such as 90s or 1h30m, from 100ms to 168h`},
		{"UPGRADE_RETRIES=-1", `UPGRADE_RETRIES: -1 is too small; allowed: a whole number from 0 to 100`},
		{"UPGRADE_MIN_BATTERY=101", `UPGRADE_MIN_BATTERY: 101 is too large; allowed: a whole number from 0 to 100`},
		{"UPGRADE_WINDOW=2-5", `UPGRADE_WINDOW: "2-5" is not a time of day, a dash and another time of day; allowed: ` + window},
		{"UPGRADE_WINDOW=24:00-05:00", `UPGRADE_WINDOW: "24:00-05:00" is not a time of day, a dash and another time of day; allowed: ` + window},
		{"UPGRADE_WINDOW=02:60-05:00", `UPGRADE_WINDOW: "02:60-05:00" is not a time of day, a dash and another time of day; allowed: ` + window},
		{"UPGRADE_WINDOW=02:00-02:00", `UPGRADE_WINDOW: "02:00-02:00" opens and closes at the same time; allowed: ` + window},
		{"UPGRADE_POLICY=automatic", `UPGRADE_POLICY: "automatic" is not a known value; allowed: manual, auto`},
		{"UPGRADE_UNSOLICITED=deny", `UPGRADE_UNSOLICITED: "deny" is not a known value; allowed: refuse, serve`},
		{"LOG_LEVEL=info+2", `LOG_LEVEL: "info+2" is not a known value; allowed: debug, info, warn, error`},
		{"LOG_FORMAT=xml", `LOG_FORMAT: "xml" is not a known value; allowed: text, json`},

		{"MQTT_PASWORD=hunter2", `MQTT_PASWORD: there is no such variable; the nearest name is ZIGATE_OTA_MQTT_PASSWORD`},
		{"SERVICE_HOST=10.0.0.1", `SERVICE_HOST: there is no such variable; the nearest name is ZIGATE_OTA_SHARE_OTA (Kubernetes sets this one for a Service named zigate-ota, unless enableServiceLinks is false)`},
		{"mqtt_url=tcp://a", `mqtt_url: there is no such variable; the nearest name is ZIGATE_OTA_MQTT_URL`},
		{"HTTP_TOKEN_FIEL=x", `HTTP_TOKEN_FIEL: there is no such variable; the nearest name is ZIGATE_OTA_HTTP_TOKEN_FILE`},

		// All at once, in the order of the settings, strangers last.
		{"LOGLEVEL=debug\nUPGRADE_WINDOW=never\nDONGLE=\nDONGLE_BAUD=fast\nBASE_TOPIC=x\nHTTP_ADDR=8501", `DONGLE_BAUD: "fast" is not a known value; allowed: 9600, 19200, 38400, 57600, 115200, 230400, 460800, 500000, 921600, 1000000
HTTP_ADDR: "8501" has no port; allowed: host:port or :port
UPGRADE_WINDOW: "never" is not a time of day, a dash and another time of day; allowed: HH:MM-HH:MM, such as 02:00-05:00
BASE_TOPIC: there is no such variable; the nearest name is ZIGATE_OTA_MQTT_BASE_TOPIC
LOGLEVEL: there is no such variable; the nearest name is ZIGATE_OTA_LOG_LEVEL`},
	}
	for _, tt := range tests {
		t.Run(tt.environ[:min(len(tt.environ), 60)], func(t *testing.T) {
			environ := home
			for line := range strings.SplitSeq(strings.ReplaceAll(tt.environ, "DIR/", dir+"/"), "\n") {
				environ = append(environ[:len(environ):len(environ)], "ZIGATE_OTA_"+line)
			}
			for i := range environ {
				if rest, ok := strings.CutSuffix(environ[i], "=DIR"); ok {
					environ[i] = rest + "=" + dir
				}
			}
			_, err := Load(environ)
			if err == nil {
				t.Fatal("no mistake found")
			}
			got := strings.ReplaceAll(err.Error(), dir, "DIR")
			want := "ZIGATE_OTA_" + strings.ReplaceAll(tt.want, "\n", "\nZIGATE_OTA_")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if strings.Contains(got, "hunter2") {
				t.Errorf("the error shows a secret: %s", got)
			}
		})
	}
}

func TestStateDirUnknown(t *testing.T) {
	_, err := Load([]string{"STATE_DIRECTORY=", "XDG_STATE_HOME=relative", "HOME="})
	const want = "ZIGATE_OTA_STATE_DIR: not set, and none of STATE_DIRECTORY, XDG_STATE_HOME and HOME tells where state is kept; allowed: a folder"
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestClientCertificateIsTaken(t *testing.T) {
	dir := t.TempDir()
	writePair(t, dir, "a")
	file := func(name string) string { return filepath.Join(dir, name) }
	c := load(t, "ZIGATE_OTA_MQTT_URL=tcp://a,ssl://b", "ZIGATE_OTA_MQTT_CA_FILE="+file("a.crt"),
		"ZIGATE_OTA_MQTT_CERT_FILE="+file("a.crt"), "ZIGATE_OTA_MQTT_KEY_FILE="+file("a.key"))
	got := []string{c.MQTT.CAFile, c.MQTT.CertFile, c.MQTT.KeyFile}
	if diff := cmp.Diff([]string{file("a.crt"), file("a.crt"), file("a.key")}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// writePair writes a certificate and its key.
func writePair(t *testing.T, dir, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for suffix, block := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: cert}, ".key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name+suffix), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
