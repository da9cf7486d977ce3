package zigateota_test

import (
	"fmt"
	"go/ast"
	"go/types"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// simulation is the package that takes commands and makes answers, as a dongle does.
const simulation = "zigate/sim"

// TestAnswersAreHeard: in the layer where a question to the dongle or to a device is made, its answer is
// looked for.
func TestAnswersAreHeard(t *testing.T) {
	p := readSource(t)
	unheard, questions := p.unheard(answers())
	if questions < 8 {
		t.Errorf("only %d questions are made: messages are made in another way, or not found any more", questions)
	}
	for _, u := range unheard {
		t.Error(u)
	}
}

// answers are the names of the messages that commands are answered with, by the commands' names.
func answers() map[string]string {
	all := map[string]string{}
	for n := range 0x8000 {
		command := message.MsgType(n)
		answer := message.AnswerOf(command).Type
		if !command.Known() || command.FromDongle() || !answer.Known() {
			continue
		}
		payload := make([]byte, 100)
		sent, err := message.ParseCommand(command, payload)
		if err != nil {
			continue
		}
		if received, err := message.ParseMessage(answer, payload); err == nil {
			all[reflect.TypeOf(sent).Name()] = reflect.TypeOf(received).Name()
		}
	}
	return all
}

// unheard says of which questions, made in any layer, nothing there names the answer. It also counts the
// questions that are made.
func (p *project) unheard(answers map[string]string) (unheard []string, questions int) {
	made := map[string]map[string]string{} // by layer and message, with the place
	named := map[string]map[string]bool{}
	for _, f := range p.sorted() {
		if f.path == numbersHome || f.path == simulation {
			continue
		}
		layer, _, _ := strings.Cut(f.path, "/")
		if made[layer] == nil {
			made[layer] = map[string]string{}
			named[layer] = map[string]bool{}
		}
		for _, file := range f.files {
			p.noteMessages(f.info, file, made[layer], named[layer])
		}
	}
	for layer, questionsThere := range made {
		for _, question := range slices.Sorted(maps.Keys(questionsThere)) {
			answer, ok := answers[question]
			if !ok {
				continue
			}
			questions++
			if !named[layer][answer] {
				unheard = append(unheard, fmt.Sprintf("%s: %s is asked, and nothing in %s takes the %s that answers it",
					questionsThere[question], question, layer, answer))
			}
		}
	}
	slices.Sort(unheard)
	return unheard, questions
}

// noteMessages notes which messages a piece of source makes, and which it names otherwise.
func (p *project) noteMessages(info *types.Info, node ast.Node, made map[string]string, named map[string]bool) {
	ast.Inspect(node, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.CompositeLit:
			if name := messageName(info, node.Type); name != "" {
				made[name] = p.position(node.Pos())
			}
		case *ast.SelectorExpr:
			if name := messageName(info, node); name != "" {
				named[name] = true
			}
		}
		return true
	})
}

// messageName is the name of a type that the package of messages declares; it is empty for anything else.
func messageName(info *types.Info, e ast.Expr) string {
	selector, ok := e.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	object, ok := info.Uses[selector.Sel].(*types.TypeName)
	if !ok || object.Pkg() == nil || object.Pkg().Path() != packagePath(numbersHome) {
		return ""
	}
	return object.Name()
}

// TestHeardCheckFindsFaults proves that a question is found whose answer nobody takes.
func TestHeardCheckFindsFaults(t *testing.T) {
	p, err := readProject(fstest.MapFS{
		"zigate/message/message.go": {Data: []byte(`package message
			type (Ask struct{}; Told struct{}; Wonder struct{}; Unheard struct{}; Order struct{})`)},
		"zigate/sim/sim.go": {Data: []byte(`package sim
			import "` + module + `/zigate/message"
			func f() any { return message.Unheard{} }`)},
		"otasvc/a.go": {Data: []byte(`package otasvc
			import "` + module + `/zigate/message"
			func f(send func(any)) { send(message.Ask{}); send(message.Wonder{}); send(message.Order{}) }`)},
		"otasvc/below/b.go": {Data: []byte(`package below
			import "` + module + `/zigate/message"
			func f(m any) { switch m.(type) { case message.Told: } }`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	unheard, questions := p.unheard(map[string]string{"Ask": "Told", "Wonder": "Unheard"})
	want := []string{"otasvc/a.go:3: Wonder is asked, and nothing in otasvc takes the Unheard that answers it"}
	if !slices.Equal(unheard, want) || questions != 2 {
		t.Errorf("of %d questions: %q, want %q of 2", questions, unheard, want)
	}
}
