package shell_test

import (
	"strings"
	"testing"

	"github.com/zigate-ota/zigate-ota/bridge/broker"
	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/shell"
)

// Devices are completed by their names and their EUIDs, with what is known of them. What is named already
// is not offered again.
func TestCompletionOfDevices(t *testing.T) {
	s := newService(t, broker.Options{})
	s.device(kitchen, record(kitchen, "Kitchen bulb", "", "", 0))
	s.device(hall, strings.Replace(record(hall, hall, "", "", 0), `"mfgId"`, `"modelId":"LWB\u001b010","mfgId"`, 1))
	s.say("info", `{"devices":2,"dongle":{"connected":true}}`, true)
	named := "Kitchen bulb\n"
	euids := kitchen + "\tKitchen bulb\n" + hall + "\tLWB010\n"
	for _, tt := range []struct{ words, want string }{
		{"devices|", named + euids},
		{"devices|kit", named},
		{"devices|Kitchen bulb|", euids},
		{"devices|--json|0x000B57FFFEC6A5C", hall + "\tLWB010\n"},
		{"rename|", named + euids},
		{"add-image|", named + euids},
		{"upgrade|", named + euids + "all\tevery device\n"},
		{"upgrade|" + hall + "|", named + kitchen + "\tKitchen bulb\n"},
		{"cancel|a", "all\tevery device\n"},
		{"events|--device|K", named},
		{"status|", ""},
	} {
		got := s.start(append([]string{"__complete"}, strings.Split(tt.words, "|")...)...).succeeds()
		if got != tt.want+":4\n" { // 4: and no files
			t.Errorf("%s: %q, want %q", tt.words, got, tt.want)
		}
	}
	r := start(t, shell.Broker{URLs: []string{"tcp://127.0.0.1:1"}}, nil, "__complete", "devices", "")
	if got := r.succeeds(); got != ":4\n" {
		t.Errorf("without a service: %q", got)
	}
}
