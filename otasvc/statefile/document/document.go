// Package document writes lists and fields as one JSON object such that a damaged byte costs the entry in
// which it is, and nothing else: each entry and each field has a line of its own, and lines are two line ends
// apart, so that the loss of one still keeps them apart. A file that is valid JSON is read as that, however
// it is laid out; of one that is not, every line that makes sense is taken.
//
// It does not know what the entries mean, nor where the document is kept.
package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
)

// Document is what is in a file.
type Document struct {
	// Fields are all that is in no list, by key. Their values are JSON.
	Fields map[string]json.RawMessage
	// Lists are the entries by the key of their list, in order. Each entry is JSON.
	Lists map[string][]json.RawMessage
}

// apart is what stands between two lines.
const apart = "\n\n"

// Bytes is the document as it is written: the fields first, by key, then the lists.
func (d *Document) Bytes() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("{")
	first := true
	for _, key := range slices.Sorted(maps.Keys(d.Fields)) {
		if err := writeField(&b, key, d.Fields[key], &first); err != nil {
			return nil, err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(d.Lists)) {
		if err := writeList(&b, key, d.Lists[key], &first); err != nil {
			return nil, err
		}
	}
	b.WriteString(apart + "}\n")
	return b.Bytes(), nil
}

// separate begins a line, which follows others unless it is the first.
func separate(b *bytes.Buffer, first *bool) {
	if !*first {
		b.WriteByte(',')
	}
	*first = false
	b.WriteString(apart)
}

func writeField(b *bytes.Buffer, key string, value json.RawMessage, first *bool) error {
	separate(b, first)
	return writeMember(b, key, value)
}

// writeMember writes a key and its value.
func writeMember(b *bytes.Buffer, key string, value json.RawMessage) error {
	name, err := json.Marshal(key)
	if err != nil {
		return err
	}
	b.Write(name)
	b.WriteByte(':')
	return json.Compact(b, value) // a line end in it would divide it
}

func writeList(b *bytes.Buffer, key string, entries []json.RawMessage, first *bool) error {
	separate(b, first)
	name, err := json.Marshal(key)
	if err != nil {
		return err
	}
	b.Write(name)
	b.WriteString(":[")
	none := true
	for _, entry := range entries {
		separate(b, &none)
		if err := json.Compact(b, entry); err != nil {
			return err
		}
	}
	b.WriteString(apart + "]")
	return nil
}

// ErrNothing means that nothing in a file makes sense.
var ErrNothing = errors.New("nothing in it makes sense")

// Parse reads a document. lists has the key of each list, and by it a key that the entries of this list have
// and those of no other. whole is false where the file is not valid JSON, so that what is damaged was left
// out. The error is [ErrNothing], or says that the file is JSON of another kind.
func Parse(data []byte, lists map[string]string) (d Document, whole bool, err error) {
	d = Document{Fields: map[string]json.RawMessage{}, Lists: map[string][]json.RawMessage{}}
	if json.Valid(data) {
		return d, true, d.read(data, lists)
	}
	taken := false
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		taken = d.take(line, lists) || taken
	}
	if !taken {
		return Document{}, false, ErrNothing
	}
	return d, false, nil
}

// read reads a file that is valid JSON.
func (d *Document) read(data []byte, lists map[string]string) error {
	if err := json.Unmarshal(data, &d.Fields); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(lists)) {
		at := d.keyOf(key, lists[key])
		var entries []json.RawMessage
		if value, there := d.Fields[at]; there {
			if err := json.Unmarshal(value, &entries); err != nil {
				return err
			}
		}
		delete(d.Fields, at)
		d.Lists[key] = entries
	}
	return nil
}

// keyOf is the key under which a list is: its own, or a damaged one, which the entries tell.
func (d *Document) keyOf(key, mark string) string {
	if _, there := d.Fields[key]; there {
		return key
	}
	for _, other := range slices.Sorted(maps.Keys(d.Fields)) {
		value := d.Fields[other]
		var entries []map[string]json.RawMessage
		if json.Unmarshal(value, &entries) != nil || len(entries) == 0 {
			continue
		}
		if _, has := entries[0][mark]; has {
			return other
		}
	}
	return key
}

// take takes a line of a damaged file. It reports false for one that makes no sense.
func (d *Document) take(line []byte, lists map[string]string) bool {
	if entry := between(line, '{', '}'); entry != nil {
		var members map[string]json.RawMessage
		if json.Unmarshal(entry, &members) == nil {
			for _, key := range slices.Sorted(maps.Keys(lists)) {
				if _, has := members[lists[key]]; has {
					d.Lists[key] = append(d.Lists[key], slices.Clone(entry))
					return true
				}
			}
		}
	}
	field := bytes.Trim(line, ", \r\t")
	var fields map[string]json.RawMessage
	if json.Unmarshal(slices.Concat([]byte("{"), field, []byte("}")), &fields) != nil || len(fields) == 0 {
		return false
	}
	taken := false
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		taken = d.takeMember(key, fields[key], lists) || taken
	}
	return taken
}

// takeMember takes a member of a damaged file. One with the key of a list is no field: it would be written
// beside the list, under the same key.
func (d *Document) takeMember(key string, value json.RawMessage, lists map[string]string) bool {
	if _, list := lists[key]; !list {
		d.Fields[key] = value
		return true
	}
	var entries []json.RawMessage
	if json.Unmarshal(value, &entries) != nil {
		return false
	}
	d.Lists[key] = append(d.Lists[key], entries...)
	return true
}

// between returns the part of a line from the first of one character to the last of another, both included;
// nil where there is none.
func between(line []byte, begin, end byte) []byte {
	from := bytes.IndexByte(line, begin)
	to := bytes.LastIndexByte(line, end)
	if from < 0 || to < from {
		return nil
	}
	return line[from : to+1]
}

// With returns a JSON object with further members; those that it has already stay as they are.
func With(object json.RawMessage, more map[string]json.RawMessage) (json.RawMessage, error) {
	if len(more) == 0 {
		return object, nil
	}
	members := maps.Clone(more)
	var own map[string]json.RawMessage
	if err := json.Unmarshal(object, &own); err != nil {
		return nil, err
	}
	maps.Copy(members, own)
	return json.Marshal(members)
}
