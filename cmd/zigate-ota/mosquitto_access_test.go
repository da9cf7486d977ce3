package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// guarded starts a Mosquitto with an access list, and users whose password is "secret". The user "test"
// may do everything.
func guarded(t *testing.T, access string, users ...string) *mosquitto {
	t.Helper()
	dir := t.TempDir()
	passwords, list := filepath.Join(dir, "passwords"), filepath.Join(dir, "access.acl")
	access += "\nuser test\ntopic readwrite #\npattern read test/ready\n"
	if err := os.WriteFile(list, []byte(access), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(passwords, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range append(users, "test") {
		if out, err := exec.Command(tool(t, "mosquitto_passwd"), "-b", passwords, name, "secret").CombinedOutput(); err != nil {
			t.Fatalf("mosquitto_passwd: %v\n%s", err, out)
		}
	}
	return newMosquitto(t, "allow_anonymous false", "password_file "+passwords, "acl_file "+list).user("test")
}

// With the access list that we ship, a whole upgrade passes, and what a user has no need for is denied.
func TestMosquittoAccessList(t *testing.T) {
	t.Parallel()
	list, err := os.ReadFile(root + "deploy/mosquitto/access.acl")
	if err != nil {
		t.Fatal(err)
	}
	m := guarded(t, string(list), "zigate-ota", "homeassistant", "consumer")
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	everything := m.sub("#")
	heard := m.user("consumer").sub("#")
	home := m.user("homeassistant").sub("#")
	http := freePort(t)
	dir, dongle := t.TempDir(), simulation(t, "--tcp", "127.0.0.1:0", "--speed", "1000")
	more := []string{"ZIGATE_OTA_MQTT_USERNAME=zigate-ota", "ZIGATE_OTA_MQTT_PASSWORD_FILE=" + secret, "ZIGATE_OTA_HTTP_ADDR=" + http}
	service := m.service(dir, dongle, more...)
	settled(t, heard, "zigate-ota")
	awaitHealthy(t, environ(dir, append(more, "ZIGATE_OTA_DONGLE="+dongle, "ZIGATE_OTA_MQTT_URL="+m.url())...))

	// The consumer registers the image, Home Assistant installs it.
	url := serveFiles(t, map[string][]byte{"bulb.ota": bulbImage(newerVersion, 3000)}) + "/bulb.ota"
	m.user("consumer").pub("zigate-ota/request/add_image", `{"deviceId":"`+kitchen+`","url":"`+url+`","transaction":"add"}`, "-q", "1")
	if got := heard.await(t, "add_image", finalTo("add")); at(got.object(), "status") != "success" {
		t.Errorf("add_image: %s", got)
	}
	config := "homeassistant/device/zigate_ota_" + strings.TrimPrefix(kitchen, "0x") + "/config"
	entity, _ := at(home.await(t, "discovery", onTopic(config, nil)).object(), "components", "update").(map[string]any)
	state, _ := entity["state_topic"].(string)
	command, _ := entity["command_topic"].(string)
	install, _ := entity["payload_install"].(string)
	m.user("homeassistant").pub(command, install, "-q", "1")
	home.await(t, "installed", onTopic(state, func(u map[string]any) bool { return at(u, "installed_version") == "0x22010731" }))
	for name, seen := range map[string]*journal[published]{"consumer": heard, "homeassistant": home} {
		seen.await(t, "upgradeSucceeded to "+name, onTopic("zigate-ota/event/upgradeSucceeded", nil))
	}

	// What is denied.
	for i, try := range []struct{ user, topic string }{
		{"zigate-ota", "zigate-ota/request/forget"},
		{"zigate-ota", "zigate-ota/other"},
		{"zigate-ota", "homeassistant/status"},
		{"zigate-ota", "homeassistant/switch/door/config"},
		{"zigate-ota", "somewhere/else"},
		{"homeassistant", "zigate-ota/status"},
		{"homeassistant", "zigate-ota/device/" + kitchen},
		{"homeassistant", "zigate-ota/request/forget"},
		{"homeassistant", "zigate-ota/response/upgrade"},
		{"consumer", "zigate-ota/status"},
		{"consumer", "zigate-ota/info"},
		{"consumer", "zigate-ota/response/upgrade"},
		{"consumer", "homeassistant/status"},
		{"consumer", config},
	} {
		m.user(try.user).pub(try.topic, fmt.Sprintf(`{"deviceId":"%s","transaction":"denied %d"}`, kitchen, i), "-q", "1")
	}
	m.pub("zigate-ota/event/last", "last", "-q", "1")
	for _, seen := range []*journal[published]{everything, heard, home} {
		seen.await(t, "the last message", func(msg published) bool { return msg.Payload == "last" })
		for _, got := range seen.each(func(msg published) bool { return strings.Contains(msg.Payload, `"denied `) }) {
			t.Errorf("it was not denied: %s", got)
		}
	}
	if got := heard.each(func(msg published) bool { return strings.HasPrefix(msg.Topic, "homeassistant/") }); len(got) > 0 {
		t.Errorf("the consumer reads %v", got)
	}
	service.stop()
	heard.await(t, "last will", func(msg published) bool { return msg.Topic == "zigate-ota/status" && msg.Payload == "offline" })
}

// Credentials that the broker does not take, and an access list that gives no rights: each is told as such,
// in the log and by the health check, and the broker is not pestered.
func TestMosquittoDenies(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, access, password, says, told string }{
		{"password", "", "wrong-1234", "ZIGATE_OTA_MQTT_PASSWORD", "no connection to the MQTT broker"},
		{"publishing", "user nobody\ntopic read zigate-ota/#\n", "secret", "access list", "deny what is published"},
		{"everything", "", "secret", "access list", "deny what is published"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := guarded(t, tt.access, "nobody")
			port, dir := freePort(t), t.TempDir()
			more := []string{"ZIGATE_OTA_MQTT_USERNAME=nobody", "ZIGATE_OTA_MQTT_PASSWORD=" + tt.password, "ZIGATE_OTA_HTTP_ADDR=" + port}
			service := m.service(dir, "sim", more...)
			service.stderr.await(t, "log", func(line string) bool {
				return strings.Contains(line, tt.told) && strings.Contains(line, tt.says)
			})
			more = append(more, "ZIGATE_OTA_DONGLE=sim", "ZIGATE_OTA_MQTT_URL="+m.url())
			code, stdout, _ := ran(t, environ(dir, more...), "healthcheck")
			if code == 0 || !strings.Contains(stdout, tt.says) {
				t.Errorf("healthcheck: exit status %d, %s", code, stdout)
			}
			if strings.Contains(service.stderr.String()+stdout, tt.password) {
				t.Error("the password is shown")
			}
			if n := len(service.stderr.journal.each(func(line string) bool { return strings.Contains(line, tt.told) })); n != 1 {
				t.Errorf("told %d times", n)
			}
			if n := len(m.process.stderr.journal.each(func(line string) bool { return strings.Contains(line, "New connection") })); n > 6 {
				t.Errorf("the broker counts %d connections", n)
			}
		})
	}
}
