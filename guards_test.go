package zigateota_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
)

const (
	maxMethods = 60 // of one type
	maxFiles   = 30 // of one folder, without tests
	maxFields  = 19 // of one type
)

// wireFormats are the packages whose types have the fields that a message or a payload has, however many.
var wireFormats = []string{"zigate/message", "bridge/contract"}

// crowded are the types and folders that have more than they may, each with the number that it may have
// until it is divided. An entry that is not needed any more is to be taken out.
var crowded = map[string]int{
	"fields of otasvc/library.Candidate": 30,
	"fields of otasvc/library.weighed":   30,
	"fields of otasvc/slot.Candidate":    30,
	"fields of otasvc/upgrade.Upgrade":   45,
	"fields of zigate/sim.DeviceConfig":  60,
	"fields of zigate/sim.traits":        40,
}

// TestBounds holds types and folders to a size that can be overlooked.
func TestBounds(t *testing.T) {
	p := readSource(t)
	for name, n := range p.crowds(crowded) {
		t.Errorf("%s has %d of at most %d: divide it", name, n, boundOf(name))
	}
	all := p.counts()
	for name := range crowded {
		if all[name] <= boundOf(name) {
			t.Logf("%s has %d by now: take it out of the exceptions", name, all[name])
		}
	}
}

// crowds are the types and folders that have more than they may; exceptions may have the number that is
// given.
func (p *project) crowds(exceptions map[string]int) map[string]int {
	found := p.counts()
	maps.DeleteFunc(found, func(name string, n int) bool { return n <= max(boundOf(name), exceptions[name]) })
	return found
}

func boundOf(name string) int {
	switch kind, _, _ := strings.Cut(name, " "); kind {
	case "methods":
		return maxMethods
	case "fields":
		return maxFields
	default:
		return maxFiles
	}
}

// counts has the number of files of each folder, and of methods and fields of each type. What is embedded
// counts with the type that has it: embedding is no division.
func (p *project) counts() map[string]int {
	n := map[string]int{}
	for _, f := range p.packages {
		n["folder "+f.path] = f.all
		for _, name := range f.types.Scope().Names() {
			declared, ok := f.types.Scope().Lookup(name).(*types.TypeName)
			if !ok || declared.IsAlias() {
				continue
			}
			methods, fields := size(declared.Type())
			n["methods of "+f.path+"."+name] = methods
			if !slices.Contains(wireFormats, f.path) {
				n["fields of "+f.path+"."+name] = fields
			}
		}
	}
	return n
}

// size is the number of methods and fields of a type of the project, those of the structs that are embedded in
// it included. The fields of a document do not count: they are those that the document has.
func size(t types.Type) (methods, fields int) {
	if pointer, ok := t.(*types.Pointer); ok {
		t = pointer.Elem()
	}
	named, ok := t.(*types.Named)
	if !ok || named.Obj().Pkg() == nil || !strings.HasPrefix(named.Obj().Pkg().Path(), module) {
		return 0, 0
	}
	methods = named.NumMethods()
	structure, ok := named.Underlying().(*types.Struct)
	if !ok {
		return methods, 0
	}
	for field := range structure.Fields() {
		fields++
		if field.Embedded() {
			m, f := size(field.Type())
			methods += m
			fields += f
		}
	}
	if isDocument(structure) {
		return methods, 0
	}
	return methods, fields
}

// isDocument reports whether a type is the form of a document, such as one in JSON: a struct each of whose
// fields has a tag, or is such a form itself that is embedded.
func isDocument(t types.Type) bool {
	structure, ok := t.Underlying().(*types.Struct)
	if !ok {
		return false
	}
	for i := range structure.NumFields() {
		field := structure.Field(i)
		if structure.Tag(i) == "" && !(field.Embedded() && isDocument(field.Type())) {
			return false
		}
	}
	return true
}

// settings are the structs of what can be set, each with the package whose reading of them does not count:
// what fills, checks and prints them does so with all.
var settings = []struct {
	folder, name, filler string
	least                int // so many it has at least, so that one that is not understood shows
}{
	{"cmd/zigate-ota/internal/config", "Config", "cmd/zigate-ota/internal/config", 40},
	{"otasvc", "Policy", "cmd/zigate-ota", 15},
	{"otasvc/upgrade", "Policy", "otasvc", 8},
	{"otasvc/slot", "Policy", "otasvc", 5},
}

// TestSettingsAreRead: what can be set has an effect.
func TestSettingsAreRead(t *testing.T) {
	p := readSource(t)
	for _, s := range settings {
		unread, total := p.unread(s.folder, s.name, s.filler)
		if total < s.least {
			t.Errorf("%s.%s has %d settings: it is somewhere else, or its type is not known any more",
				s.folder, s.name, total)
		}
		for _, name := range unread {
			t.Errorf("%s.%s: nothing reads %s: use it, or take it out", s.folder, s.name, name)
		}
	}
}

// unread lists the fields of a struct, and of the structs of the same package in it, that no other package
// reads: neither itself nor by calling a method that does. It also counts all fields.
func (p *project) unread(at, name, filler string) (unread []string, total int) {
	f := p.packages[at]
	if f == nil || f.types.Scope().Lookup(name) == nil {
		return nil, 0
	}
	read := map[types.Object]bool{}
	called := map[types.Object]bool{}
	for _, other := range p.packages {
		if other.path == filler {
			continue
		}
		for _, file := range other.files {
			noteReads(other.info, file, read, called)
		}
	}
	p.followCalls(p.packages[filler], f.types, read, called)

	for path, field := range settingsOf(f.types, f.types.Scope().Lookup(name).Type(), "") {
		total++
		if !read[field] {
			unread = append(unread, path)
		}
	}
	slices.Sort(unread)
	return unread, total
}

// settingsOf walks through the exported fields of a struct, and of the structs in it that are of the same
// package and have such fields themselves.
func settingsOf(home *types.Package, t types.Type, prefix string) map[string]*types.Var {
	found := map[string]*types.Var{}
	structure, ok := t.Underlying().(*types.Struct)
	if !ok {
		return found
	}
	for field := range structure.Fields() {
		if !field.Exported() {
			continue
		}
		inner := map[string]*types.Var{}
		if named, ok := field.Type().(*types.Named); ok && named.Obj().Pkg() == home {
			inner = settingsOf(home, field.Type(), prefix+field.Name()+".")
		}
		if len(inner) == 0 || isValue(field.Type()) {
			found[prefix+field.Name()] = field
			continue
		}
		maps.Copy(found, inner)
	}
	return found
}

// isValue reports whether a struct is read from one text: it has a method for that.
func isValue(t types.Type) bool {
	method, _, _ := types.LookupFieldOrMethod(types.NewPointer(t), true, nil, "Decode")
	return method != nil
}

// noteReads notes the fields that a piece of source reads, and what it calls or hands on of the functions
// there are. What is only assigned to is not read.
func noteReads(info *types.Info, node ast.Node, read, called map[types.Object]bool) {
	assigned := map[ast.Expr]bool{}
	ast.Inspect(node, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.AssignStmt:
			for _, left := range node.Lhs {
				assigned[left] = node.Tok == token.ASSIGN
			}
		case *ast.SelectorExpr:
			if selection := info.Selections[node]; selection != nil && !assigned[node] {
				read[selection.Obj()] = true
				called[selection.Obj()] = true
			}
		case *ast.Ident:
			if function, ok := info.Uses[node].(*types.Func); ok {
				called[function] = true
			}
		}
		return true
	})
}

// followCalls notes what is read by the methods that other packages call, in the package that fills the
// settings, and by whatever these call.
func (p *project) followCalls(filler *folder, home *types.Package, read, called map[types.Object]bool) {
	if filler == nil || filler.types != home {
		return
	}
	bodies := map[types.Object]*ast.FuncDecl{}
	for _, file := range filler.files {
		for _, declaration := range file.Decls {
			if function, ok := declaration.(*ast.FuncDecl); ok && function.Body != nil {
				bodies[filler.info.Defs[function.Name]] = function
			}
		}
	}
	inside := map[types.Object]bool{}
	followed := map[types.Object]bool{}
	for again := true; again; {
		again = false
		for object, function := range bodies {
			fromOutside := function.Recv != nil && called[object] // functions from there are those that fill
			if followed[object] || !fromOutside && !inside[object] {
				continue
			}
			followed[object] = true
			again = true
			noteReads(filler.info, function.Body, read, inside)
		}
	}
}

// TestSettingsCheckFindsFaults proves that a setting without effect is found.
func TestSettingsCheckFindsFaults(t *testing.T) {
	p, err := readProject(fstest.MapFS{
		"config/config.go": {Data: []byte(`package config
			type Config struct { Read, Unread, OnlyChecked, OnlySet, ByMethod int; Part Part; Text Text }
			type Part struct { Read, Unread string }
			type Text struct { Text string }
			func (t *Text) Decode(string) error { return nil }
			func (c *Config) check() bool { return c.OnlyChecked > 0 }
			func Load() (c Config) { c.check(); return c }
			func (c Config) Twice() int { return double(&c) }
			func double(c *Config) int { return 2 * c.ByMethod }`)},
		"main.go": {Data: []byte(`package main
			import ("elsewhere"; "` + module + `/config")
			func main() {
				c := config.Load()
				c.OnlySet = c.Twice()
				elsewhere.Use(c.Read, elsewhere.Options{Of: c.Part.Read, Text: c.Text})
			}`)},
		"main_test.go": {Data: []byte("package main\nvar _ = config.Load().Unread")},
	})
	if err != nil {
		t.Fatal(err)
	}
	unread, total := p.unread("config", "Config", "config")
	want := []string{"OnlyChecked", "OnlySet", "Part.Unread", "Unread"}
	if !slices.Equal(unread, want) || total != 8 {
		t.Errorf("of %d settings nothing reads %q, want %q of 8", total, unread, want)
	}
}

// oneClock are the packages in which a single function reads the clock, and that function: everything else
// there is given the time, or the function.
var oneClock = map[string]string{"otasvc": "newOwner"}

// TestOneClock: all that goes by the clock goes by the same one.
func TestOneClock(t *testing.T) {
	p := readSource(t)
	for at, reader := range oneClock {
		found, read := p.clocks(at, reader)
		for _, place := range found {
			t.Errorf("%s is a clock of its own; take the time from who calls, or from the owner's clock", place)
		}
		if !read {
			t.Errorf("%s: %s reads no clock: it has another name by now, or reading is not seen any more", at, reader)
		}
	}
}

// clocks lists the places in a package where the clock is read, outside of the function that may. It also
// reports whether that function does.
func (p *project) clocks(at, reader string) (found []string, read bool) {
	f := p.packages[at]
	if f == nil {
		return nil, false
	}
	for _, file := range f.files {
		for _, declaration := range file.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			allowed := ok && function.Recv == nil && function.Name.Name == reader
			ast.Inspect(declaration, func(node ast.Node) bool {
				selector, ok := node.(*ast.SelectorExpr)
				if !ok || !readsClock(f.info, selector) {
					return true
				}
				if allowed {
					read = true
					return true
				}
				found = append(found, p.position(selector.Pos())+": time."+selector.Sel.Name)
				return true
			})
		}
	}
	slices.Sort(found)
	return found, read
}

// readsClock reports whether an expression is a function of package time that reads the clock.
func readsClock(info *types.Info, selector *ast.SelectorExpr) bool {
	name, ok := selector.X.(*ast.Ident)
	if !ok || !slices.Contains([]string{"Now", "Since", "Until"}, selector.Sel.Name) {
		return false
	}
	imported, ok := info.Uses[name].(*types.PkgName)
	return ok && imported.Imported().Path() == "time"
}

// TestOneClockCheckFindsFaults proves that a clock is found wherever it is read.
func TestOneClockCheckFindsFaults(t *testing.T) {
	p, err := readProject(fstest.MapFS{
		"otasvc/owner.go": {Data: []byte(`package otasvc
			import "time"
			func newOwner() func() time.Time { return time.Now }
			func (o *owner) newOwner() any { return time.Now() }
			type owner struct{ time interface{ Now() int } }
			func (o *owner) f() int { time := o.time; return time.Now() }`)},
		"otasvc/other.go": {Data: []byte(`package otasvc
			import clock "time"
			var begun = clock.Now()
			func f(at clock.Time) clock.Duration {
				if clock.Until(at) > 0 { clock.AfterFunc(clock.Second, nil) }
				return clock.Since(at)
			}`)},
		"otasvc/other_test.go":    {Data: []byte("package otasvc\nimport \"time\"\nvar _ = time.Now()")},
		"otasvc/blocks/blocks.go": {Data: []byte("package blocks\nimport \"time\"\nvar _ = time.Now()")},
	})
	if err != nil {
		t.Fatal(err)
	}
	found, read := p.clocks("otasvc", "newOwner")
	want := []string{
		"otasvc/other.go:3: time.Now", "otasvc/other.go:5: time.Until", "otasvc/other.go:6: time.Since",
		"otasvc/owner.go:4: time.Now",
	}
	if !slices.Equal(found, want) || !read {
		t.Errorf("found %q, read %v, want %q", found, read, want)
	}
	if _, read := p.clocks("otasvc", "other"); read {
		t.Error("a function that is not there reads the clock")
	}
}

// numbersHome is the package that gives the message types their names.
const numbersHome = "zigate/message"

// TestMessageNumbersAreNamed: only one package knows which number a message type has.
func TestMessageNumbersAreNamed(t *testing.T) {
	p := readSource(t)
	found, err := p.messageNumbers(numbersHome)
	if err != nil {
		t.Fatal(err)
	}
	for _, place := range found {
		t.Errorf("%s is a message type that is written as a number; use its name in %s", place, numbersHome)
	}
}

// messageNumbers lists the places outside of a package where a hexadecimal number has the type of a frame's
// type: in a constant, a comparison, a conversion, a call. 0 is no type at all, and decimal numbers are steps
// from one to another.
func (p *project) messageNumbers(home string) ([]string, error) {
	messageType, err := p.messageType(home)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, f := range p.sorted() {
		if f.path == home {
			continue
		}
		for _, file := range f.files {
			ast.Inspect(file, func(node ast.Node) bool {
				literal, ok := node.(*ast.BasicLit)
				if !ok || !strings.HasPrefix(literal.Value, "0x") {
					return true
				}
				if types.Identical(f.info.Types[literal].Type, messageType) {
					found = append(found, fmt.Sprintf("%s: %s", p.position(literal.Pos()), literal.Value))
				}
				return true
			})
		}
	}
	return found, nil
}

// messageType is the type of a frame's type.
func (p *project) messageType(home string) (types.Type, error) {
	f := p.packages[home]
	if f == nil {
		return nil, fmt.Errorf("there is no package %s", home)
	}
	frame := f.types.Scope().Lookup("Frame")
	if frame == nil {
		return nil, fmt.Errorf("the package %s has no Frame", home)
	}
	field, _, _ := types.LookupFieldOrMethod(frame.Type(), true, f.types, "Type")
	if field == nil {
		return nil, fmt.Errorf("the Frame of package %s has no Type", home)
	}
	return field.Type(), nil
}

// TestMessageNumbersCheckFindsFaults proves that numbers are found.
func TestMessageNumbersCheckFindsFaults(t *testing.T) {
	p, err := readProject(fstest.MapFS{
		"zigate/message/message.go": {Data: []byte(`package message
			type Number uint16
			const Block, Send Number = 0x8501, 0x0502
			type Frame struct { Type Number; Payload []byte }`)},
		"otasvc/a.go": {Data: []byte(`package otasvc
			import "` + module + `/zigate/message"
			func f(m message.Frame, n uint16) bool {
				if m.Type == 0x8501 { return true }
				switch m.Type { case 0x0502: return false; case 0, message.Send + 1: return n == 0x8501 }
				use(message.Number(0x1234), 0x8501, message.Frame{Type: 0x0502})
				return m.Type == message.Block
			}
			func use(message.Number, uint16, message.Frame) {}`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	found, err := p.messageNumbers(numbersHome)
	want := []string{
		"otasvc/a.go:4: 0x8501", "otasvc/a.go:5: 0x0502", "otasvc/a.go:6: 0x1234", "otasvc/a.go:6: 0x0502",
	}
	if err != nil || !slices.Equal(found, want) {
		t.Errorf("found %q, %v, want %q", found, err, want)
	}
	if _, err := p.messageNumbers("zigate"); err == nil {
		t.Error("a package that is not there passes for the home of message types")
	}
}

// TestBoundsCheckFindsFaults proves that what is too large is found, and that an exception holds up to its
// number.
func TestBoundsCheckFindsFaults(t *testing.T) {
	files := fstest.MapFS{}
	for i := range maxFiles + 1 {
		files[fmt.Sprintf("otasvc/f%02d.go", i)] = &fstest.MapFile{Data: []byte("package otasvc")}
	}
	methods := "package bridge\ntype List[T any] []T\n"
	for i := range maxMethods + 1 {
		methods += fmt.Sprintf("func (l *List[T]) m%d() {}\n", i)
	}
	files["bridge/list.go"] = &fstest.MapFile{Data: []byte(methods)}
	files["bridge/user.go"] = &fstest.MapFile{Data: []byte("package bridge\ntype User struct{ *List[int] }\n")}
	files["otasvc/f00.go"] = &fstest.MapFile{Data: []byte(
		"package otasvc\ntype Service struct { all }\ntype all struct { " + strings.Repeat("_ int; ", maxFields) + "}\n",
	)}
	tagged := "type %s struct { " + strings.Repeat("_ int `json:\"x\"`; ", maxFields) + "%s }\n"
	files["bridge/document.go"] = &fstest.MapFile{Data: []byte("package bridge\n" +
		fmt.Sprintf(tagged, "Document", "_ int `json:\"y\"`") + fmt.Sprintf(tagged, "Plain", "last int") +
		"type Holder struct { Document; raw []byte }\n")}
	files["bridge/contract/event.go"] = &fstest.MapFile{
		Data: []byte("package contract\n" + fmt.Sprintf(tagged, "Event", "last int")),
	}
	p, err := readProject(files)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{
		"folder otasvc":            maxFiles + 1,
		"methods of bridge.List":   maxMethods + 1,
		"methods of bridge.User":   maxMethods + 1,
		"fields of otasvc.Service": maxFields + 1,
		"fields of bridge.Plain":   maxFields + 1,
	}
	if got := p.crowds(nil); !maps.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
	delete(want, "folder otasvc")
	exceptions := map[string]int{"folder otasvc": maxFiles + 1, "methods of bridge.List": maxMethods}
	if got := p.crowds(exceptions); !maps.Equal(got, want) {
		t.Errorf("with exceptions %v found %v, want %v", exceptions, got, want)
	}
}

// readSource reads the project itself, once.
var readSource = func() func(*testing.T) *project {
	read := sync.OnceValues(func() (*project, error) { return readProject(os.DirFS(".")) })
	return func(t *testing.T) *project {
		t.Helper()
		p, err := read()
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
}()
