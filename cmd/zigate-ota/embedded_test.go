package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/commandline"
)

// The embedded broker asks for the password that the configuration names, and keeps over a kill what
// others have retained.
func TestEmbeddedBroker(t *testing.T) {
	t.Parallel()
	dir, addr := t.TempDir(), freePort(t)
	more := []string{
		"ZIGATE_OTA_BROKER_ADDR=" + addr, "ZIGATE_OTA_MQTT_USERNAME=user", "ZIGATE_OTA_MQTT_PASSWORD=secret-1234", "ZIGATE_OTA_DONGLE=sim",
	}
	connect := func(password string) (mqtt.Client, error) {
		o := mqtt.NewClientOptions().AddBroker("tcp://" + addr).SetUsername("user").SetPassword(password).SetAutoReconnect(false)
		c := mqtt.NewClient(o)
		token := c.Connect()
		token.Wait()
		return c, token.Error()
	}
	kept := filepath.Join(dir, "state", "retained.json")
	for life := range 2 {
		service := start(t, environ(dir, more...), programPath(t), "serve")
		service.stderr.await(t, "ready", func(line string) bool { return strings.Contains(line, "msg=ready") })
		if _, err := connect("wrong"); err == nil {
			t.Error("a wrong password is taken")
		}
		c, err := connect("secret-1234")
		if err != nil {
			t.Fatal(err)
		}
		heard := newHeard(t)
		token := c.Subscribe("#", 1, func(_ mqtt.Client, m mqtt.Message) {
			heard.add(published{m.Topic(), string(m.Payload()), m.Retained()})
		})
		if token.Wait(); token.Error() != nil {
			t.Fatal(token.Error())
		}
		heard.await(t, "online", func(m published) bool { return m.Topic == "zigate-ota/status" && m.Payload == "online" })
		if life == 1 {
			if got := heard.await(t, "what was kept", func(m published) bool { return m.Topic == "somebody/else" }); !got.Retained || got.Payload != "kept" {
				t.Errorf("%+v", got)
			}
		} else if token := c.Publish("somebody/else", 1, true, "kept"); token.Wait() && token.Error() != nil {
			t.Fatal(token.Error())
		}
		for range 600 {
			if data, _ := os.ReadFile(kept); strings.Contains(string(data), "somebody/else") {
				break
			}
			awaitTick(t)
		}
		c.Disconnect(0)
		service.stop() // with SIGKILL
		if strings.Contains(service.stderr.String(), "secret-1234") {
			t.Error("the password is in the log")
		}
	}
}

// A port that is taken already: one sentence that says by whom, and what to do.
func TestEmbeddedBrokerPortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	code, _, stderr := ran(t, environ(t.TempDir(), "ZIGATE_OTA_BROKER_ADDR="+taken.Addr().String(), "ZIGATE_OTA_DONGLE=sim"), "serve")
	if code == commandline.ExitOK || !strings.Contains(stderr, "another MQTT broker") || !strings.Contains(stderr, "ZIGATE_OTA_BROKER_ADDR") {
		t.Errorf("exit status %d: %s", code, stderr)
	}
}
