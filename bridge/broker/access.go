package broker

import (
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// access checks user name, password and client identifier of clients that connect. A client that is connected
// may publish and subscribe to everything.
type access struct {
	mochi.HookBase
	server             *mochi.Server
	username, password string
	serviceID          string // the client identifier of the service; empty where none is its own
	log                *slog.Logger
}

// ID returns the name of the hook for mochi.
func (*access) ID() string { return "access" }

// Provides says which events mochi passes to the hook.
func (*access) Provides(b byte) bool {
	return b == mochi.OnConnect || b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck
}

// OnConnect refuses the client identifier of the service to clients from outside the process. Its error ends
// the connection before the session of that identifier is touched.
func (a *access) OnConnect(client *mochi.Client, _ packets.Packet) error {
	// Mochi would keep these for as long as the session; nobody needs them.
	client.Properties.Props.User = nil
	if client.Net.Listener == nearID || a.serviceID == "" || client.ID != a.serviceID {
		return nil
	}
	a.log.Warn("embedded MQTT broker: a client uses the client identifier of the service and was refused: "+
		"give it another one", "clientId", client.ID, "remote", client.Net.Remote)
	// The client may have gone already; the error below ends its connection in any case.
	_ = a.server.SendConnack(client, packets.ErrClientIdentifierNotValid, false, nil)
	return packets.ErrClientIdentifierNotValid
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
