package broker

import (
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// access checks user name and password of clients that connect. A client that is connected may publish and
// subscribe to everything.
type access struct {
	mochi.HookBase
	username, password string
	log                *slog.Logger
}

// ID returns the name of the hook for mochi.
func (*access) ID() string { return "access" }

// Provides says which events mochi passes to the hook.
func (*access) Provides(b byte) bool {
	return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck
}

// OnConnectAuthenticate reports whether the client may connect, and logs where it may not.
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

// OnACLCheck allows every topic.
func (*access) OnACLCheck(*mochi.Client, string, bool) bool { return true }

// equal returns 1 where both are equal, else 0. It takes the same time in any case, so that the time does not
// tell how much of a guess is right.
func equal(given []byte, wanted string) int {
	a := sha256.Sum256(given)
	b := sha256.Sum256([]byte(wanted))
	return subtle.ConstantTimeCompare(a[:], b[:])
}
