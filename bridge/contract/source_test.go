package contract_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// TestWordsAreListed holds the lists of words against the constants: one that is in no list is held against
// nothing else.
func TestWordsAreListed(t *testing.T) {
	declared, err := wordsIn(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	for typ, words := range vocabularies {
		if got := declared["."][typ.Name()]; !slices.Equal(got, words.lists[0]) {
			t.Errorf("the constants of type %s are %q, and its list has %q", typ.Name(), got, words.lists[0])
		}
	}
}

// TestServiceHasTheSameWords holds the service's own words against the contract's: the service, which lies
// below, cannot use the contract's.
func TestServiceHasTheSameWords(t *testing.T) {
	declared, err := wordsIn(os.DirFS("../../otasvc"))
	if err != nil {
		t.Fatal(err)
	}
	for typ, words := range vocabularies {
		if typ.Name() == "CheckStatus" {
			continue // the golden files have all three
		}
		if why := declaredSomewhere(declared, typ.Name(), words.lists[0]); why != "" {
			t.Error(why)
		}
	}
}

// declaredSomewhere says why no folder declares the words of a type, in any order; it is empty where one
// does.
func declaredSomewhere(declared map[string]map[string][]string, typ string, want []string) string {
	var instead []string
	for folder, types := range declared {
		words := slices.DeleteFunc(slices.Clone(types[typ]), func(word string) bool { return word == "" })
		if len(words) == 0 {
			continue
		}
		if sameSet(words, want) {
			return ""
		}
		instead = append(instead, fmt.Sprintf("%s has %q", folder, words))
	}
	return fmt.Sprintf("the service's words of type %s must be %q; %s",
		typ, want, strings.Join(instead, "; "))
}

// wordsIn collects the constants of named text types in all folders: by folder, by the type's name, in their
// order.
func wordsIn(files fs.FS) (map[string]map[string][]string, error) {
	found := map[string]map[string][]string{}
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !isSource(name) {
			return err
		}
		source, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		folder := path.Dir(name)
		if found[folder] == nil {
			found[folder] = map[string][]string{}
		}
		ast.Inspect(file, func(node ast.Node) bool {
			spec, ok := node.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			typ, named := spec.Type.(*ast.Ident)
			literal, isText := spec.Values[0].(*ast.BasicLit)
			if named && isText && literal.Kind == token.STRING {
				word, _ := strconv.Unquote(literal.Value)
				found[folder][typ.Name] = append(found[folder][typ.Name], word)
			}
			return true
		})
		return nil
	})
	return found, err
}

// isSource reports whether a file is Go source, and no test.
func isSource(name string) bool {
	return strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go")
}

// TestWordsInFindsThem proves that a word too many or too few is found.
func TestWordsInFindsThem(t *testing.T) {
	declared, err := wordsIn(fstest.MapFS{
		"a.go": {Data: []byte(`package a
			const (
				On Mode = "on"
				None Mode = ""
				Off Mode = "off"
			)`)},
		"below/b.go":   {Data: []byte("package below\ntype Mode int\nconst Fast Mode = 1")},
		"a_test.go":    {Data: []byte("package a\nconst Half Mode = \"half\"")},
		"other/c.json": {Data: []byte("{}")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if why := declaredSomewhere(declared, "Mode", []string{"off", "on"}); why != "" {
		t.Error(why)
	}
	for _, wrong := range [][]string{{"on"}, {"on", "off", "half"}} {
		if declaredSomewhere(declared, "Mode", wrong) == "" {
			t.Errorf("%q passes for the words", wrong)
		}
	}
}

// TestFieldsAreDocumented holds every exported field of this package to saying what it is.
func TestFieldsAreDocumented(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	fields := 0
	for _, entry := range entries {
		if !isSource(entry.Name()) {
			continue
		}
		mode := parser.ParseComments | parser.SkipObjectResolution
		file, err := parser.ParseFile(token.NewFileSet(), entry.Name(), nil, mode)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range file.Decls {
			general, ok := declaration.(*ast.GenDecl)
			if !ok || general.Tok != token.TYPE {
				continue
			}
			for _, spec := range general.Specs {
				if structure, ok := spec.(*ast.TypeSpec).Type.(*ast.StructType); ok {
					fields += checkFields(t, entry.Name(), structure)
				}
			}
		}
	}
	if fields < 100 {
		t.Errorf("only %d fields were found", fields)
	}
}

// checkFields holds the fields of one struct to having a sentence each, and counts them.
func checkFields(t *testing.T, file string, structure *ast.StructType) int {
	t.Helper()
	fields := 0
	for _, field := range structure.Fields.List {
		if len(field.Names) == 0 || field.Tag == nil {
			continue
		}
		fields++
		name := field.Names[0].Name
		text := strings.TrimSpace(field.Doc.Text())
		if !strings.HasPrefix(text, name+" ") || !strings.HasSuffix(text, ".") {
			t.Errorf("%s: the field %s needs a sentence that begins with its name, and has %q",
				file, name, text)
		}
		tag, err := strconv.Unquote(field.Tag.Value)
		if err != nil || reflect.StructTag(tag).Get("json") == "" {
			t.Errorf("%s: the field %s has no key", file, name)
		}
	}
	return fields
}
