package mqttclient_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/zigate-ota/zigate-ota/bridge/mqttclient"
)

// users writes a password file in which everyone's password is "secret", and returns its path.
func (m *mosquitto) users(names ...string) string {
	m.t.Helper()
	var lines strings.Builder
	for _, name := range names {
		salt, hash, rounds := mosquittoHash(m.t, "secret")
		fmt.Fprintf(&lines, "%s:$7$%d$%s$%s\n", name, rounds, salt, hash)
	}
	return m.file("passwords", lines.String())
}

// TestMosquittoPublishDenied: with MQTT 3.1.1 Mosquitto acknowledges what its access list denies, and drops
// it. It is told nevertheless, over a connection that stays.
func TestMosquittoPublishDenied(t *testing.T) {
	m := newMosquitto(t, "allow_anonymous true")
	m.kill()
	access := m.file("access", "user user\ntopic read base/request/#\ntopic read base/status\n")
	m.configure("allow_anonymous false", "password_file "+m.users("user", "watcher"), "acl_file "+access)
	m.start()
	var log logLines
	c := newClient(t, mqttclient.Options{
		URLs: []string{"tcp://" + m.addr}, Username: "user", Password: "secret", Logger: log.logger(),
		Subscriptions: []mqttclient.Subscription{{Filter: "base/request/#", Handler: new(messageInbox).handle}},
	})
	stop := runClient(t, c)
	defer stop()
	eventually(t, "denied", func() bool { return errors.Is(c.Health(), mqttclient.ErrBrokerRefused) })
	for _, part := range []string{`user "user"`, "base/status", "access list"} {
		if err := c.Health(); !strings.Contains(err.Error(), part) {
			t.Errorf("Health = %v: %s is missing", err, part)
		}
	}
	if n := log.count("deny what is published"); n != 1 {
		t.Errorf("told %d times, want once", n)
	}
	if log.count("secret") > 0 {
		t.Error("the password is in the log")
	}
	if n := log.count("connected to the MQTT broker"); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}
