package document_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/statefile/document"
)

var lists = map[string]string{"devices": "euid", "images": "sha256"}

// sample has two lists and two fields.
func sample() document.Document {
	d := document.Document{
		Fields: map[string]json.RawMessage{"version": json.RawMessage("1"), "network": json.RawMessage(`{"panId":4660}`)},
		Lists:  map[string][]json.RawMessage{"images": {json.RawMessage(`{"sha256":"ab"}`)}},
	}
	for i := range 3 {
		d.Lists["devices"] = append(d.Lists["devices"], json.RawMessage(fmt.Sprintf(`{"euid":"%d","name":"a,{b}","n":[1,2]}`, i)))
	}
	return d
}

func written(t *testing.T, d document.Document) []byte {
	t.Helper()
	b, err := d.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDocumentComesBack(t *testing.T) {
	for name, d := range map[string]document.Document{
		"full":  sample(),
		"empty": {Fields: map[string]json.RawMessage{}, Lists: map[string][]json.RawMessage{"devices": {}, "images": {}}},
	} {
		b := written(t, d)
		got, whole, err := document.Parse(b, lists)
		if diff := cmp.Diff(d, got); !whole || err != nil || diff != "" {
			t.Errorf("%s: %v, %v (-want +got):\n%s", name, whole, err, diff)
		}
	}
}

// An entry that was written over several lines is one line here.
func TestEntriesAreLines(t *testing.T) {
	d := document.Document{Lists: map[string][]json.RawMessage{"devices": {json.RawMessage("{\n \"euid\":\n 1}")}}}
	if b := string(written(t, d)); !strings.Contains(b, "\n\n{\"euid\":1}\n\n") {
		t.Errorf("%q", b)
	}
}

// Whatever becomes of any one byte, one entry or one field is lost at most.
func TestDamagedByte(t *testing.T) {
	whole := sample()
	good := written(t, whole)
	for at := range good {
		for _, damage := range []byte{0, '\n', ' ', '"', '{', '}', ',', 'x', '7', good[at] ^ 0x01, good[at] ^ 0x80} {
			bad := slices.Clone(good)
			bad[at] = damage
			got, _, err := document.Parse(bad, lists)
			if err != nil {
				t.Fatalf("byte %d as %q: %v", at, damage, err)
			}
			if lost := missing(whole, got); lost > 1 {
				t.Fatalf("byte %d as %q: %d are lost\n%s", at, damage, lost, bad)
			}
		}
	}
}

// missing counts what of one document is not in the other.
func missing(want, got document.Document) (n int) {
	for key, value := range want.Fields {
		if compact(got.Fields[key]) != compact(value) {
			n++
		}
	}
	for key, entries := range want.Lists {
		for _, e := range entries {
			if !slices.ContainsFunc(got.Lists[key], func(o json.RawMessage) bool { return compact(o) == compact(e) }) {
				n++
			}
		}
	}
	return n
}

// compact is JSON without blanks between its parts.
func compact(value json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, value) != nil {
		return string(value)
	}
	return b.String()
}

func TestWhatIsNoDocument(t *testing.T) {
	for name, text := range map[string]string{
		"nothing": "", "zeros": strings.Repeat("\x00", 4096), "an array": "[1,2]", "a number": "7", "a list that is none": `{"devices":{}}`,
		"cut off": `{"version`,
	} {
		if d, _, err := document.Parse([]byte(text), lists); err == nil {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func TestAListOnOneLineOfADamagedFile(t *testing.T) {
	for name, tt := range map[string]struct {
		text    string
		entries int
		fields  int
	}{
		"empty":    {"x\n\"version\":1,\n\"devices\":[]", 0, 1},
		"full":     {"x\n\"version\":1,\n\"devices\":[1,2]", 2, 1},
		"no list":  {"x\n\"version\":1,\n\"devices\":7", 0, 1},
		"no field": {"x\n\"devices\":[]", 0, 0},
	} {
		d, whole, err := document.Parse([]byte(tt.text), lists)
		if whole || err != nil || len(d.Lists["devices"]) != tt.entries || len(d.Fields) != tt.fields {
			t.Errorf("%s: %+v, %v, %v", name, d, whole, err)
		}
	}
}

func TestWith(t *testing.T) {
	for _, tt := range []struct{ object, more, want string }{
		{`{"a":1}`, `{}`, `{"a":1}`},
		{`{"a":1}`, `{"b":{"c":2}}`, `{"a":1,"b":{"c":2}}`},
		{`{"a":1}`, `{"a":2}`, `{"a":1}`},
	} {
		var more map[string]json.RawMessage
		if err := json.Unmarshal([]byte(tt.more), &more); err != nil {
			t.Fatal(err)
		}
		if got, err := document.With(json.RawMessage(tt.object), more); err != nil || string(got) != tt.want {
			t.Errorf("%s with %s: %s, %v", tt.object, tt.more, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	d := sample()
	b, err := d.Bytes()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"devices":[null]}`))
	f.Add([]byte("0\n\"devices\":[]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, _, err := document.Parse(data, lists)
		if err != nil {
			return
		}
		again, whole, err := document.Parse(written(t, d), lists)
		if !whole || err != nil {
			t.Fatalf("what was read cannot be written and read: %v", err)
		}
		if n := missing(d, again); n > 0 {
			t.Fatalf("%d are lost by writing and reading", n)
		}
	})
}
