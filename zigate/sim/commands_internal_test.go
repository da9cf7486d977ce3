package sim

import (
	"slices"
	"testing"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Every command that the code knows has a row in the table of commands, and every row runs, on every firmware,
// whatever the receive buffer holds: a row whose message is of another type would be "unhandled".
func TestCommandTable(t *testing.T) {
	if len(commands) != len(commandTable) {
		t.Errorf("%d rows for %d types of commands", len(commandTable), len(commands))
	}
	for n := range 0x10000 {
		typ := message.MsgType(n)
		if typ.Known() && !typ.FromDongle() && commands[typ].run == nil {
			t.Errorf("%s (%s) has no row: say what the firmware does with it", typ, typ.Name())
		}
	}
	for _, firmware := range Firmwares() {
		for _, row := range commandTable {
			for _, fill := range []byte{0, 1, 0xFF} {
				d := New(Config{Firmware: firmware, Devices: []DeviceConfig{{IEEE: 1, Addr: 1}}})
				o := row.run(d.chip, slices.Repeat([]byte{fill}, 640))
				if o.status == message.StatusUnhandled {
					t.Errorf("%s: %s (%s) is unhandled", firmware, row.typ, row.typ.Name())
				}
			}
		}
	}
}
