package message_test

import (
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// sourceFiles are the files of the package, without its tests.
func sourceFiles(t *testing.T) []*ast.File {
	t.Helper()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, entry := range entries {
		name := entry.Name()
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

// typeConstants are the constants of the package that name a message type, with their values.
func typeConstants(t *testing.T) map[string]message.MsgType {
	t.Helper()
	constants := map[string]message.MsgType{}
	for _, file := range sourceFiles(t) {
		ast.Inspect(file, func(node ast.Node) bool {
			spec, ok := node.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 || !strings.HasPrefix(strings.ToLower(spec.Names[0].Name), "type") {
				return true
			}
			of, _ := spec.Type.(*ast.Ident)
			value, isLiteral := spec.Values[0].(*ast.BasicLit)
			if of == nil || of.Name != "MsgType" || !isLiteral {
				return true
			}
			number, err := strconv.ParseUint(value.Value, 0, 16)
			if err != nil {
				t.Fatalf("%s: %v", spec.Names[0].Name, err)
			}
			constants[spec.Names[0].Name] = message.MsgType(number)
			return true
		})
	}
	return constants
}

// described are the structs of the package that describe a payload.
func described(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, file := range sourceFiles(t) {
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Recv == nil || f.Name.Name != "fields" {
				continue
			}
			if receiver, ok := f.Recv.List[0].Type.(*ast.Ident); ok {
				names = append(names, receiver.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// TestEveryTypeHasARow wants each constant in the table, once, and nothing else there.
func TestEveryTypeHasARow(t *testing.T) {
	constants := typeConstants(t)
	named := map[message.MsgType]string{}
	for name, typ := range constants {
		if other, ok := named[typ]; ok {
			t.Errorf("%s and %s are both %s", name, other, typ)
		}
		named[typ] = name
		if !typ.Known() {
			t.Errorf("%s (%s) has no row in the table", name, typ)
		}
	}
	known := 0
	names := map[string]message.MsgType{}
	for n := range 0x10000 {
		typ := message.MsgType(n)
		if !typ.Known() {
			continue
		}
		known++
		if named[typ] == "" {
			t.Errorf("%s (%s) has a row and no constant", typ, typ.Name())
		}
		if other, ok := names[typ.Name()]; ok || typ.Name() == "" {
			t.Errorf("%s and %s are both called %q", typ, other, typ.Name())
		}
		names[typ.Name()] = typ
	}
	if known < 60 {
		t.Errorf("found %d rows", known)
	}
}

// TestEveryRowHasACase wants a case for each type of the table, in its direction, and for each message.
func TestEveryRowHasACase(t *testing.T) {
	cases := map[message.MsgType]int{}
	structs := map[string]bool{}
	forEachCase(t, func(t *testing.T, tc messageCase, parse parseFunc) {
		cases[tc.msg.Type()]++
		structs[strings.TrimPrefix(typeName(tc.msg), "message.")] = true
		if _, err := parse(tc.msg.Type(), tc.payload); errors.Is(err, message.ErrUnknownType) {
			t.Errorf("%s is not a type of this direction", tc.msg.Type())
		}
	})
	for n := range 0x10000 {
		if typ := message.MsgType(n); typ.Known() && cases[typ] == 0 {
			t.Errorf("%s (%s) has no case", typ, typ.Name())
		}
	}
	for _, name := range described(t) {
		if !structs[name] {
			t.Errorf("%s describes a payload and has no case", name)
		}
	}
}

// TestRowsParseToTheirType reads a payload of zeros as each type: what comes out is of this type.
func TestRowsParseToTheirType(t *testing.T) {
	for n := range 0x10000 {
		typ := message.MsgType(n)
		if !typ.Known() {
			continue
		}
		parse := message.ParseCommand
		if typ.FromDongle() {
			parse = message.ParseMessage
		}
		m, err := parse(typ, make([]byte, 100))
		if err != nil || m.Type() != typ {
			t.Errorf("%s (%s) parses to %+v, %v", typ, typ.Name(), m, err)
		}
	}
}

// checkWritten wants a message to be written as the bytes that it was parsed from. What was behind its last
// field is not written again. Two things are written in another way: a flag that was neither 0 nor 1, and
// answers after a failure, which a dongle may cut short.
func checkWritten(t *testing.T, m message.Message, payload []byte) {
	t.Helper()
	written := message.AppendPayload(nil, m)
	if len(written) > len(payload) {
		return
	}
	want := bytes.Clone(payload[:len(written)])
	if r, ok := m.(message.ReadAttributes); ok && r.ManufacturerSpecific {
		const manufacturerSpecific = 8
		want[manufacturerSpecific] = 1
	}
	if l, ok := m.(message.ManagementLQI); ok && l.Status != 0 && len(written) > 3 {
		const count = 3
		want[count] = 0 // no entries follow a refusal, whatever number the device tells
	}
	if !bytes.Equal(written, want) {
		t.Errorf("%+v, parsed from %x, is written as %x", m, payload, written)
	}
}

// checkByHand compares what is written by hand, for the way of every block, with the descriptions.
func checkByHand(t *testing.T, m message.Message, payload []byte) {
	t.Helper()
	switch m := m.(type) {
	case message.ImageBlockRequest:
		var got message.ImageBlockRequest
		if err := got.Parse(payload); err != nil || got != m {
			t.Errorf("Parse: %+v, %v; want %+v", got, err, m)
		}
	case message.Status:
		var got message.Status
		if err := got.Parse(payload); err != nil || got != m {
			t.Errorf("Parse: %+v, %v; want %+v", got, err, m)
		}
	case message.ImageBlockResponse:
		got := message.AppendImageBlockResponse([]byte{0xAA}, &m)
		want := message.AppendFrame([]byte{0xAA}, m.Type(), message.AppendPayload(nil, m))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("AppendImageBlockResponse, -want +got:\n%s", diff)
		}
	case message.WaitForData:
		got := message.AppendWaitForData([]byte{0xAA}, &m)
		want := message.AppendFrame([]byte{0xAA}, m.Type(), message.AppendPayload(nil, m))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("AppendWaitForData, -want +got:\n%s", diff)
		}
	}
}
