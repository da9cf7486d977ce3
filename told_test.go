package zigateota_test

import (
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// sink is the interface through which the service tells what it knows.
const sink = "otasvc.Sink"

// TestWhatIsToldIsFilled: a field of what the service tells is filled by somebody. One that is not is always
// absent or null for everybody outside, however well it is described.
func TestWhatIsToldIsFilled(t *testing.T) {
	p := readSource(t)
	unfilled, total := p.unfilled(sink)
	if total < 80 {
		t.Errorf("%s tells %d things: it is somewhere else, or is not understood any more", sink, total)
	}
	for _, name := range unfilled {
		t.Errorf("nothing fills %s: fill it where the others of its struct are, or take it out", name)
	}
}

// unfilled lists the fields of all that an interface's methods take that nothing writes to, and counts all.
func (p *project) unfilled(name string) (unfilled []string, total int) {
	object := p.lookup(name)
	if object == nil {
		return nil, 0
	}
	fields := map[*types.Var]string{}
	if methods, ok := object.Type().Underlying().(*types.Interface); ok {
		for method := range methods.Methods() {
			p.tellable(method.Signature().Params(), fields)
		}
	}
	written := map[types.Object]bool{}
	for _, f := range p.packages {
		for _, file := range f.files {
			noteWrites(f.info, file, written)
		}
	}
	for field, name := range fields {
		if !written[field] {
			unfilled = append(unfilled, name)
		}
	}
	slices.Sort(unfilled)
	return unfilled, len(fields)
}

// tellable collects the exported fields of a type's structs, and of those in them, with their names.
func (p *project) tellable(t types.Type, fields map[*types.Var]string) {
	switch t := t.(type) {
	case *types.Tuple:
		for parameter := range t.Variables() {
			p.tellable(parameter.Type(), fields)
		}
	case *types.Pointer:
		p.tellable(t.Elem(), fields)
	case *types.Slice:
		p.tellable(t.Elem(), fields)
	case *types.Alias:
		p.tellable(types.Unalias(t), fields)
	case *types.Named:
		structure, ok := t.Underlying().(*types.Struct)
		if !ok {
			return
		}
		home := strings.TrimPrefix(t.Obj().Pkg().Path(), module+"/")
		for field := range structure.Fields() {
			if !field.Exported() || fields[field] != "" {
				continue
			}
			fields[field] = home + "." + t.Obj().Name() + "." + field.Name()
			p.tellable(field.Type(), fields)
		}
	}
}

// noteWrites notes the fields that a piece of source gives a value: in a literal of the struct, by an
// assignment, or through their address.
func noteWrites(info *types.Info, node ast.Node, written map[types.Object]bool) {
	note := func(e ast.Expr) {
		if selector, ok := e.(*ast.SelectorExpr); ok {
			if selection := info.Selections[selector]; selection != nil {
				written[selection.Obj()] = true
			}
		}
	}
	ast.Inspect(node, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.AssignStmt:
			for _, left := range node.Lhs {
				note(left)
			}
		case *ast.IncDecStmt:
			note(node.X)
		case *ast.UnaryExpr:
			if node.Op == token.AND {
				note(node.X)
			}
		case *ast.CompositeLit:
			noteLiteral(info, node, written)
		}
		return true
	})
}

// noteLiteral notes the fields that a literal of a struct gives a value.
func noteLiteral(info *types.Info, literal *ast.CompositeLit, written map[types.Object]bool) {
	typ := info.Types[literal].Type
	if typ == nil {
		return
	}
	structure, ok := typ.Underlying().(*types.Struct)
	if !ok {
		return
	}
	for n, element := range literal.Elts {
		if pair, ok := element.(*ast.KeyValueExpr); ok {
			if key, ok := pair.Key.(*ast.Ident); ok {
				written[info.Uses[key]] = true
			}
		} else if n < structure.NumFields() {
			written[structure.Field(n)] = true
		}
	}
}

// TestToldCheckFindsFaults proves that a field is found that nothing fills.
func TestToldCheckFindsFaults(t *testing.T) {
	p, err := readProject(fstest.MapFS{
		"otasvc/records.go": {Data: []byte(`package otasvc
			import "` + module + `/otasvc/below"
			type Event struct { ByKey, Assigned, Counted, Read, Nowhere int; At Place; own int }
			type Place struct { ByOrder, Nowhere int }
			type Alias = below.Record
			type Sink interface { Happened(Event); Changed([]*Alias) }`)},
		"otasvc/service.go": {Data: []byte(`package otasvc
			func event() Event {
				e := Event{ByKey: 1, At: Place{2}}
				e.Assigned = e.Read
				e.Counted++
				return e
			}`)},
		"otasvc/below/record.go": {Data: []byte(`package below
			type Record struct { Filled, Nowhere int }
			func fill(r *Record) { put(&r.Filled) }
			func put(*int) {}`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	unfilled, total := p.unfilled(sink)
	want := []string{
		"otasvc.Event.Nowhere", "otasvc.Event.Read", "otasvc.Place.Nowhere", "otasvc/below.Record.Nowhere",
	}
	if !slices.Equal(unfilled, want) || total != 10 {
		t.Errorf("of %d fields nothing fills %q, want %q of 10", total, unfilled, want)
	}
}
