package broker

import (
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// access decides who may connect. Whoever is in may publish and subscribe to everything.
type access struct {
	mochi.HookBase
	username, password string
	log                *slog.Logger
}

func (*access) ID() string { return "access" }

func (*access) Provides(b byte) bool {
	return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck
}

func (a *access) OnConnectAuthenticate(client *mochi.Client, packet packets.Packet) bool {
	if a.username == "" || client.Net.Listener == nearID {
		return true
	}
	user := equal(packet.Connect.Username, a.username)
	password := equal(packet.Connect.Password, a.password)
	if user&password == 1 {
		return true
	}
	a.log.Warn("embedded MQTT broker: wrong user name or password", "clientId", client.ID,
		"remote", client.Net.Remote)
	return false
}

func (*access) OnACLCheck(*mochi.Client, string, bool) bool { return true }

// equal takes the same time whatever the two have in common.
func equal(given []byte, wanted string) int {
	a := sha256.Sum256(given)
	b := sha256.Sum256([]byte(wanted))
	return subtle.ConstantTimeCompare(a[:], b[:])
}
