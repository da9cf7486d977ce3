package contract_test

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
)

// document is docs/mqtt.md.
type document string

func readDocument(t *testing.T) document {
	t.Helper()
	b, err := os.ReadFile("../../docs/mqtt.md")
	if err != nil {
		t.Fatal(err)
	}
	return document(b)
}

// rows are the cells of the first table under a heading, without the two lines at its head.
func (d document) rows(heading string) [][]string {
	_, after, found := strings.Cut(string(d), "# "+heading+"\n")
	if !found {
		return nil
	}
	var rows [][]string
	lines := 0
	for line := range strings.Lines(after) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") || lines > 0 && !strings.HasPrefix(line, "|") {
			break
		}
		if !strings.HasPrefix(line, "|") {
			continue
		}
		lines++
		if lines <= 2 {
			continue
		}
		var row []string
		for _, cell := range strings.Split(strings.Trim(line, "|"), " | ") {
			row = append(row, strings.TrimSpace(cell))
		}
		rows = append(rows, row)
	}
	return rows
}

// tableProblems says where a table has other rows than those that are wanted, by their first cell and in
// their order: the others of a row must be as wanted, where something is, and must not be empty.
func (d document) tableProblems(heading string, want [][]string) []string {
	var found []string
	add := func(format string, args ...any) {
		found = append(found, "docs/mqtt.md: "+heading+": "+fmt.Sprintf(format, args...))
	}
	rows := d.rows(heading)
	if len(rows) == 0 {
		add("there is no table under a heading of that name")
	}
	var names []string
	for _, row := range rows {
		names = append(names, row[0])
		at := slices.IndexFunc(want, func(w []string) bool { return w[0] == row[0] })
		if at < 0 {
			add("%s is in the table, but there is no such thing", row[0])
			continue
		}
		if len(row) != len(want[at]) {
			add("the row of %s must have %d cells, and has %d", row[0], len(want[at]), len(row))
			continue
		}
		for n, cell := range want[at] {
			if cell != "" && row[n] != cell || row[n] == "" {
				add("the row of %s must have the cell %q, and has %q", row[0], cell, row[n])
			}
		}
	}
	var order []string // as it should be, of what is there
	for _, w := range want {
		if slices.Contains(names, w[0]) {
			order = append(order, w[0])
		} else {
			add("%s is missing; add the row %q, with its meaning", w[0], "| "+strings.Join(w, " | ")+" |")
		}
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !slices.Contains(order, name) })
	if !slices.Equal(names, order) {
		add("the rows must come in the order %s", strings.Join(order, ", "))
	}
	return found
}

// payloadRows are the rows that a payload's table must have.
func payloadRows(t reflect.Type) [][]string {
	var rows [][]string
	for _, m := range membersOf(t) {
		rows = append(rows, []string{code(m.key), phrase(m), ""})
	}
	return rows
}

func code(text string) string { return "`" + text + "`" }

// phrase says what the value of a member may be, for people.
func phrase(m member) string {
	choices := values(m.value)
	if m.null {
		choices = append(choices, "`null`")
	}
	if m.absent {
		choices = append(choices, "absent")
	}
	last := len(choices) - 1
	if last == 0 {
		return choices[0]
	}
	return strings.Join(choices[:last], ", ") + " or " + choices[last]
}

// values says what the values of a type are.
func values(t reflect.Type) []string {
	if words, ok := vocabularies[t]; ok {
		return []string{words.phrase}
	}
	switch t {
	case rawType:
		return []string{"text", "number"}
	case timeType:
		return []string{"time"}
	case euidType:
		return []string{"EUID"}
	case sha256Type:
		return []string{"SHA-256"}
	case percentType:
		return []string{"0 to 100"}
	case resultsType:
		return []string{"list of objects"}
	}
	switch t.Kind() {
	case reflect.Bool:
		return []string{"`true`", "`false`"}
	case reflect.String:
		return []string{"text"}
	case reflect.Int:
		return []string{"whole number"}
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return []string{fmt.Sprintf("0 to %d", uint64(1)<<t.Bits()-1)}
	case reflect.Slice:
		one := values(t.Elem())[0]
		if strings.HasPrefix(one, "[object]") {
			return []string{"list of " + strings.Replace(one, "object", "objects", 1)}
		}
		return []string{"list of " + one + "s"}
	case reflect.Struct:
		for _, p := range payloads {
			if reflect.TypeOf(p.value) == t && p.heading != "" {
				return []string{"[object](#" + strings.ReplaceAll(strings.ToLower(p.heading), " ", "-") + ")"}
			}
		}
	}
	panic(fmt.Sprintf("there are no words for values of type %v; name a heading in payloads", t))
}

// TestDocumentHasThePayloads holds the tables of keys against the types.
func TestDocumentHasThePayloads(t *testing.T) {
	d := readDocument(t)
	for _, p := range payloads {
		if p.heading == "" {
			continue
		}
		for _, problem := range d.tableProblems(p.heading, payloadRows(reflect.TypeOf(p.value))) {
			t.Error(problem)
		}
	}
}

// TestDocumentHasTheWords holds the tables of states, reasons, statuses and so on against those that may
// come.
func TestDocumentHasTheWords(t *testing.T) {
	d := readDocument(t)
	for _, words := range vocabularies {
		for _, problem := range d.tableProblems(words.heading, wordRows(words.lists[0])) {
			t.Error(problem)
		}
	}
}

func wordRows(words []string) [][]string {
	var rows [][]string
	for _, word := range words {
		rows = append(rows, []string{code(word), ""})
	}
	return rows
}

// TestDocumentHasTheOperations holds the tables of operations and of their keys against those that are taken.
func TestDocumentHasTheOperations(t *testing.T) {
	d := readDocument(t)
	for _, problem := range d.tableProblems("Asking for something", operationRows(contract.Operations())) {
		t.Error(problem)
	}
	for _, problem := range d.tableProblems("Keys of requests", keyRows(contract.Operations())) {
		t.Error(problem)
	}
}

// operationRows are the rows of the table of operations.
func operationRows(operations []contract.Operation) [][]string {
	var rows [][]string
	for _, o := range operations {
		var keys []string
		for i, key := range o.Keys() {
			cell := code(key.Name)
			if i < len(o.Required) {
				cell = "**" + cell + "**"
			}
			if key.Kind == contract.ValueDeviceOrAll {
				cell += " (or `\"all\"`)"
			}
			keys = append(keys, cell)
		}
		rows = append(rows, []string{code(o.Name), strings.Join(keys, ", "), ""})
	}
	return rows
}

// keyRows are the rows of the table of keys, in the order in which operations take them first.
func keyRows(operations []contract.Operation) [][]string {
	transaction := fmt.Sprintf("text or number of at most %d bytes", contract.MaxTransaction)
	rows := [][]string{{code(contract.KeyTransaction), transaction, ""}}
	for _, o := range operations {
		for _, key := range o.Keys() {
			name := code(key.Name)
			if !slices.ContainsFunc(rows, func(row []string) bool { return row[0] == name }) {
				phrase := keyPhrase(key)
				if key.Nullable {
					phrase += ", or `null`"
				}
				rows = append(rows, []string{name, phrase, ""})
			}
		}
	}
	return rows
}

// keyPhrase says what the value of a key may be, for people.
func keyPhrase(key contract.Key) string {
	switch key.Kind {
	case contract.ValueDevice, contract.ValueDeviceOrAll:
		return "device"
	case contract.ValueNumber:
		return fmt.Sprintf("whole number, %d to %d", key.Least, key.Most)
	case contract.ValueText:
		return fmt.Sprintf("text of at most %d bytes", key.Most)
	case contract.ValueName:
		return "text of 1 to 64 characters"
	case contract.ValueDigest:
		return fmt.Sprintf("%d hexadecimal digits", key.Most)
	case contract.ValueURL:
		return fmt.Sprintf("URL of at most %d bytes", key.Most)
	case contract.ValueBoolean:
		return "`true` or `false`"
	case contract.ValueStart:
		return "`\"now\"`, `\"window\"` or a time"
	case contract.ValueInstall:
		return "`\"now\"`, `\"hold\"` or a time"
	default:
		panic(fmt.Sprintf("there are no words for values of kind %d", key.Kind))
	}
}

// TestDocumentHasTheTopics holds the table of topics against those that there are.
func TestDocumentHasTheTopics(t *testing.T) {
	const base = contract.Topics("zigate-ota")
	var want [][]string
	for _, topic := range []struct{ name, retained, direction string }{
		{base.Status(), "yes", "out"},
		{base.Info(), "yes", "out"},
		{base.Images(), "yes", "out"},
		{base.Device("<euid>"), "yes", "out"},
		{base.Update("<euid>"), "yes", "out"},
		{base.Update("<euid>") + "/<imageTypeId>", "yes", "out"}, // see TestTopicsOfDevices
		{base.Event("<name>"), "no", "out"},
		{base.Request("<operation>"), "no", "in"},
		{base.Response("<operation>"), "no", "out"},
		{base.FrameReceived(), "no", "out"},
		{base.FrameSent(), "no", "out"},
	} {
		want = append(want, []string{code(topic.name), topic.retained, topic.direction, ""})
	}
	for _, problem := range readDocument(t).tableProblems("MQTT: topics, requests and records", want) {
		t.Error(problem)
	}
}

// TestDocumentCheckFindsFaults proves that the checks above find what they are for.
func TestDocumentCheckFindsFaults(t *testing.T) {
	d := readDocument(t)
	type event struct {
		contract.Event
		Undescribed *uint8 `json:"undescribed,omitempty"`
	}
	want := payloadRows(reflect.TypeFor[event]())
	problems := d.tableProblems("An event", want)
	expectProblem(t, problems, "`undescribed` is missing; add the row \"| `undescribed` | 0 to 255 or absent |")
	problems = d.tableProblems("An event", want[1:])
	expectProblem(t, problems, "`euid` is in the table, but there is no such thing")
	expectProblem(t, d.tableProblems("A response", want), "`time` is missing")
	slices.Reverse(want)
	order := fmt.Sprintf("must come in the order %s, %s", want[1][0], want[2][0]) // after the one that is missing
	expectProblem(t, d.tableProblems("An event", want), order)
	expectProblem(t, d.tableProblems("No such heading", want), "there is no table")

	words := append(texts(contract.States()), "dreaming")
	expectProblem(t, d.tableProblems("States", wordRows(words)), "`dreaming` is missing")

	operations := contract.Operations()
	operations[0].Required = operations[0].Optional
	problems = d.tableProblems("Asking for something", operationRows(operations))
	expectProblem(t, problems, "must have the cell \"**`deviceId`**")
}
