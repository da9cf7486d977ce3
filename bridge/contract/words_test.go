package contract_test

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
)

// script is one file of the page.
type script string

func readScript(t *testing.T, name string) script {
	t.Helper()
	b, err := os.ReadFile("../httpapi/page/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return script(b)
}

// problems says which keys an object of the script does not have, and which it has besides.
func (s script) problems(name string, want []string) []string {
	_, after, found := strings.Cut(string(s), "const "+name+" = {")
	body, _, closed := strings.Cut(after, "};")
	if !found || !closed {
		return []string{fmt.Sprintf("the page has no object %s", name)}
	}
	var problems []string
	var keys []string
	for _, match := range regexp.MustCompile(`(?:^|[\n,{]) *(\w+): ["(]`).FindAllStringSubmatch(body, -1) {
		keys = append(keys, match[1])
	}
	for _, key := range want {
		if !slices.Contains(keys, key) {
			problems = append(problems, fmt.Sprintf("the page's %s has no words for %s", name, key))
		}
	}
	for _, key := range keys {
		if !slices.Contains(want, key) {
			problems = append(problems,
				fmt.Sprintf("the page's %s has words for %s, which never comes", name, key))
		}
	}
	return problems
}

// TestPageHasWords holds the page to having words for whatever may come: states, reasons, statuses, events
// and the keys of an event.
func TestPageHasWords(t *testing.T) {
	words := readScript(t, "words.js")
	var found []string
	found = append(found, words.problems("stateWords", texts(contract.States()))...)
	found = append(found, words.problems("stateTones", texts(contract.States()))...)
	found = append(found, words.problems("reasonWords", texts(contract.Reasons()))...)
	found = append(found, words.problems("waitWords", texts(contract.Waits()))...)
	found = append(found, words.problems("statusWords", texts(contract.Statuses()))...)
	found = append(found, words.problems("sourceWords", texts(contract.Sources()))...)
	found = append(found, words.problems("eventWords", texts(contract.EventNames()))...)
	found = append(found, words.problems("eventKeys", eventKeys(reflect.TypeFor[contract.NamedEvent]()))...)
	images := readScript(t, "images.js")
	found = append(found, images.problems("checkWords", texts(contract.CheckStatuses()))...)
	for _, problem := range found {
		t.Error(problem)
	}
}

func eventKeys(t reflect.Type) []string {
	var keys []string
	for _, m := range membersOf(t) {
		keys = append(keys, m.key)
	}
	return keys
}

// TestPageCheckFindsFaults proves that the check above finds what it is for.
func TestPageCheckFindsFaults(t *testing.T) {
	words := readScript(t, "words.js")
	problems := words.problems("eventKeys", eventKeys(reflect.TypeFor[doctored]()))
	expectProblem(t, problems, "eventKeys has no words for undescribed")
	problems = words.problems("stateWords", append(texts(contract.States()), "dreaming"))
	expectProblem(t, problems, "has no words for dreaming")
	problems = words.problems("statusWords", texts(contract.Statuses())[1:])
	expectProblem(t, problems, "has words for serviceAvailable, which")
	expectProblem(t, words.problems("noWords", nil), "has no object noWords")
}
