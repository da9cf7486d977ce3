package bridge_test

import (
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"testing"

	"github.com/zigate-ota/zigate-ota/bridge"
	"github.com/zigate-ota/zigate-ota/otasvc"
)

// FuzzRequest: whatever comes on a request topic, it is either taken, or answered at once with one
// invalidData that says why, as valid JSON.
func FuzzRequest(f *testing.F) {
	for _, payload := range []string{
		``, `{}`, `[]`, `{"deviceId":"all"}`, `{"deviceId":20303,"transaction":1e3}`, `{"deviceId":"0x4f4f","url":"http://h/f","version":"0x10"}`,
		`{"deviceId":"a","when":"window","apply":"hold","force":true}`, `{"deviceId":"a","payloadType":3,"queryJitter":100,"mfgId":"4476"}`,
		`{"deviceId":"a","deviceId":"b"}`, `{"transaction":"` + "\xff" + `"}`, `{"seconds":1,"name":"\u0000"}`,
	} {
		for _, operation := range slices.Sorted(maps.Keys(responses)) {
			f.Add(operation, []byte(payload))
		}
	}
	f.Add("a/b", []byte(`{"transaction":null}`))
	f.Fuzz(func(t *testing.T, operation string, payload []byte) {
		log := slog.New(slog.DiscardHandler)
		service, err := otasvc.New(otasvc.Options{Observer: noObserver{}, Logger: log})
		if err != nil {
			t.Fatal(err)
		}
		out := newPaper()
		b := bridge.New(bridge.Options{Topics: "zigate-ota", Service: service, Out: out, Observer: noObserver{}, Logger: log})
		b.HandleRequest(command("zigate-ota/request/"+operation, payload, false))
		answers := out.all("zigate-ota/response/")
		if len(answers) > 1 {
			t.Errorf("%d answers", len(answers))
		}
		for _, m := range answers {
			var a struct {
				Status, Error string
				Transaction   json.RawMessage
			}
			if err := json.Unmarshal([]byte(m.payload), &a); err != nil || a.Status != "invalidData" || a.Error == "" || !shortTransaction(a.Transaction) {
				t.Errorf("answered %s", m.payload)
			}
		}
		if responses[operation] == "" && len(answers) != 1 {
			t.Errorf("no answer to %q", operation)
		}
	})
}

// shortTransaction reports whether a transaction that came back is absent, or has no more than 128 bytes.
func shortTransaction(raw json.RawMessage) bool {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return len(text) <= 128
	}
	return len(raw) <= 128
}
