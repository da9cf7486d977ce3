package contract_test

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
)

// TestGoldenPayloads reads every payload of the golden files into its type, which must know all keys, and
// writes it again: to the same bytes. So whoever reads with these types loses nothing.
func TestGoldenPayloads(t *testing.T) {
	for name, makePayload := range map[string]func() any{
		"info":     func() any { return new(contract.Info) },
		"images":   func() any { return new(contract.Images) },
		"device":   func() any { return new(contract.Device) },
		"update":   func() any { return new(contract.UpdateState) },
		"event":    func() any { return new(contract.Event) },
		"response": func() any { return new(contract.Response) },
	} {
		b, err := os.ReadFile("../testdata/" + name + ".golden.json")
		if err != nil {
			t.Fatal(err)
		}
		var cases []struct {
			Case    string
			Payload json.RawMessage
		}
		if err := json.Unmarshal(b, &cases); err != nil || len(cases) == 0 {
			t.Fatalf("%d cases of %s, %v", len(cases), name, err)
		}
		for _, c := range cases {
			var want bytes.Buffer
			if err := json.Compact(&want, c.Payload); err != nil {
				t.Fatal(err)
			}
			payload := makePayload()
			decoder := json.NewDecoder(bytes.NewReader(want.Bytes()))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(payload); err != nil {
				t.Errorf("%s, %s: %v", name, c.Case, err)
				continue
			}
			if diff := cmp.Diff(want.String(), string(contract.Marshal(payload))); diff != "" {
				t.Errorf("%s, %s: reading and writing it has changed it (-before +after):\n%s",
					name, c.Case, diff)
			}
		}
	}
}
