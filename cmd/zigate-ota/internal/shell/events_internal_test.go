package shell

import (
	"testing"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
)

// TestEveryEventHasASentence: no event is shown as its bare name.
func TestEveryEventHasASentence(t *testing.T) {
	for _, name := range contract.EventNames() {
		if sentences[name] == nil {
			t.Errorf("there is no sentence for the event %s", name)
		}
	}
	if len(sentences) != len(contract.EventNames()) {
		t.Errorf("there are %d sentences for %d events", len(sentences), len(contract.EventNames()))
	}
}
