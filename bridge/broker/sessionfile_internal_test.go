package broker

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// sessionLines is a file with three sessions, of which the last one has ended, and three messages.
const sessionLines = `{"version":1}
{"session":{"clientId":"one","protocol":4,"subscriptions":[{"filter":"a/#","qos":1}]}}
{"session":{"clientId":"two","protocol":5,"expiry":3600}}
{"session":{"clientId":"three","protocol":4}}
{"message":{"clientId":"one","number":1,"topic":"a/1","payload":"MQ==","qos":1}}
{"message":{"clientId":"one","number":2,"topic":"a/2","payload":"MQ==","qos":1,"retain":true}}
{"message":{"clientId":"two","number":3,"topic":"b","payload":"MQ==","qos":2,"expires":2000000000}}
{"taken":[2]}
{"over":"three"}
`

// read returns what a file with sessions holds, as text.
func read(t *testing.T, file []byte) map[string]bool {
	t.Helper()
	held, err := readSessions(bytes.NewReader(file))
	if err != nil && !strings.Contains(err.Error(), "this program reads version") {
		t.Fatalf("%v in %s", err, file)
	}
	entries := map[string]bool{}
	for id := range held.sessions {
		entries[fmt.Sprint("session ", id)] = true
	}
	for _, m := range held.messages {
		entries[fmt.Sprint("message ", m.Topic)] = true
	}
	return entries
}

// A byte that is damaged costs one entry, or two where it is the end of a line.
func TestDamagedSessions(t *testing.T) {
	good := read(t, []byte(sessionLines))
	if len(good) != 4 {
		t.Fatalf("it holds %v", good)
	}
	for at := range len(sessionLines) {
		for _, damage := range []byte{0, '"', '}', 0x80} {
			file := []byte(sessionLines)
			if file[at] == damage || at == len(`{"version":`) {
				continue
			}
			file[at] = damage
			lost := 0
			got := read(t, file)
			for entry := range good {
				if !got[entry] {
					lost++
				}
			}
			if most := 1 + bytes.Count([]byte{sessionLines[at]}, []byte{'\n'}); lost > most {
				t.Errorf("byte %d as %q costs %d entries: %v of %v", at, damage, lost, got, good)
			}
		}
	}
}

// Whatever the file holds, it is read to its end, and of each message there is one.
func FuzzReadSessions(f *testing.F) {
	f.Add([]byte(sessionLines))
	f.Add([]byte("{}\n{\"version\":2}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		held, err := readSessions(bytes.NewReader(data))
		if err != nil && len(held.sessions)+len(held.messages) > 0 {
			t.Errorf("%v, and yet it holds %v", err, held)
		}
		if len(held.order) != len(held.sessions) {
			t.Errorf("%d sessions in order, %d held", len(held.order), len(held.sessions))
		}
		if lines := bytes.Count(data, []byte{'\n'}); held.bad > lines {
			t.Errorf("%d of %d lines are bad", held.bad, lines)
		}
	})
}
