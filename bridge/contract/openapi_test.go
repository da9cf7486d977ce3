package contract_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
)

type object = map[string]any

// openAPI is the published description of what HTTP serves.
type openAPI struct{ root object }

func readOpenAPI(t *testing.T) openAPI {
	t.Helper()
	b, err := os.ReadFile("../httpapi/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var d openAPI
	if err := json.Unmarshal(b, &d.root); err != nil {
		t.Fatal(err)
	}
	return d
}

// at follows a path of keys; it is nil where there is nothing.
func (d openAPI) at(keys ...string) object {
	o := d.root
	for _, key := range keys {
		o, _ = o[key].(object)
	}
	return o
}

func (d openAPI) schema(name string) object { return d.at("components", "schemas", name) }

// problems says where a schema describes other objects than those that a type is written as: other keys,
// other values, other keys that are always there, or any key at all.
func (d openAPI) problems(name string, schema object, t reflect.Type) []string {
	var found []string
	add := func(format string, args ...any) {
		found = append(found, "openapi.json: "+name+": "+fmt.Sprintf(format, args...))
	}
	if schema["type"] != "object" || schema["additionalProperties"] != false {
		add(`the schema must be of type "object" and have "additionalProperties": false`)
	}

	properties, _ := schema["properties"].(object)
	required := []string{}
	var known []string
	for _, m := range membersOf(t) {
		known = append(known, m.key)
		if !m.absent {
			required = append(required, m.key)
		}
		property, ok := properties[m.key].(object)
		if !ok {
			add("%q is not described; add it to the properties as %s", m.key, asJSON(d.property(m)))
			continue
		}
		if why := d.differs(m, property); why != "" {
			add("%q: %s", m.key, why)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		if !slices.Contains(known, key) {
			add("%q is described, but %v has no such key", key, t)
		}
	}
	if described := stringsIn(schema["required"]); !sameSet(required, described) {
		add("required must be %s, in any order, and is %s", asJSON(required), asJSON(described))
	}
	return found
}

// differs says how a property differs from what a member is written as; it is empty where it does not.
func (d openAPI) differs(m member, property object) string {
	described := undescribed(property)
	want := d.property(m)
	if _, bounded := want["maximum"]; !bounded && want["minimum"] != nil {
		if least, ok := described["minimum"].(float64); ok && least >= 0 { // a count may well begin above 0
			want["minimum"] = least
		}
	}
	if list := stringsIn(described["enum"]); len(list) > 0 {
		for _, allowed := range vocabularies[m.value].lists {
			if slices.Equal(list, allowed) {
				return ""
			}
		}
	}
	if asJSON(want) != asJSON(described) {
		return fmt.Sprintf("must be described as %s, and is described as %s", asJSON(want), asJSON(described))
	}
	return ""
}

// property is the schema of a member's values, without a description.
func (d openAPI) property(m member) object {
	schema := d.value(m.value)
	if !m.null {
		return schema
	}
	if _, isReference := schema["$ref"]; isReference {
		return object{"oneOf": []any{schema, object{"type": "null"}}}
	}
	schema["type"] = []any{schema["type"], "null"}
	return schema
}

func (d openAPI) value(t reflect.Type) object {
	reference := func(name string) object { return object{"$ref": "#/components/schemas/" + name} }
	if words, ok := vocabularies[t]; ok {
		if words.schema != "" {
			return reference(words.schema)
		}
		return object{"type": "string", "enum": words.lists[0]}
	}
	switch t {
	case rawType:
		return object{"type": []any{"string", "number"}}
	case timeType:
		return object{"type": "string", "format": "date-time"}
	case euidType:
		return object{"type": "string", "pattern": "^0x[0-9a-f]{16}$"}
	case sha256Type:
		return object{"type": "string", "pattern": "^[0-9a-f]{64}$"}
	case percentType:
		return object{"type": "number", "minimum": 0, "maximum": 100}
	case resultsType:
		return object{"type": "array", "items": reference("Result")}
	}
	switch t.Kind() {
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Int:
		return object{"type": "integer", "minimum": 0}
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return object{"type": "integer", "minimum": 0, "maximum": uint64(1)<<t.Bits() - 1}
	case reflect.Slice:
		return object{"type": "array", "items": d.value(t.Elem())}
	case reflect.Struct:
		for _, p := range payloads {
			if reflect.TypeOf(p.value) == t && p.schema != "" {
				return reference(p.schema)
			}
		}
	}
	panic(fmt.Sprintf("there is no schema for values of type %v; name one in payloads or vocabularies", t))
}

// TestOpenAPIHasThePayloads holds the published schemas against the types.
func TestOpenAPIHasThePayloads(t *testing.T) {
	d := readOpenAPI(t)
	for _, p := range payloads {
		if p.schema == "" {
			continue
		}
		for _, problem := range d.problems(p.schema, d.schema(p.schema), reflect.TypeOf(p.value)) {
			t.Error(problem)
		}
	}

	alternatives, _ := d.schema("Result")["oneOf"].([]any)
	results := []reflect.Type{
		reflect.TypeFor[contract.CheckResult](), reflect.TypeFor[contract.UpgradeResult](),
	}
	if len(alternatives) != len(results) {
		t.Fatalf("openapi.json: Result has %d alternatives instead of %d", len(alternatives), len(results))
	}
	for i, typ := range results {
		schema, _ := alternatives[i].(object)
		for _, problem := range d.problems(fmt.Sprintf("Result, alternative %d", i+1), schema, typ) {
			t.Error(problem)
		}
	}
}

// TestOpenAPIHasTheWords holds the published lists of words against those that may come.
func TestOpenAPIHasTheWords(t *testing.T) {
	d := readOpenAPI(t)
	for typ, words := range vocabularies {
		if words.schema == "" {
			continue
		}
		if diff := cmp.Diff(words.lists[0], stringsIn(d.schema(words.schema)["enum"])); diff != "" {
			t.Errorf("openapi.json: %s differs from the words of %v (-words +described):\n%s",
				words.schema, typ, diff)
		}
	}
}

// TestOpenAPIHasTheOperations holds the published requests against the operations: paths, keys, their values,
// and which of them are required.
func TestOpenAPIHasTheOperations(t *testing.T) {
	d := readOpenAPI(t)
	for _, problem := range d.operationProblems(contract.Operations()) {
		t.Error(problem)
	}
}

// operationProblems says where the published requests differ from the operations.
func (d openAPI) operationProblems(operations []contract.Operation) []string {
	var found []string
	var paths []string
	for _, o := range operations {
		path := "/api/v1/request/" + o.Name
		paths = append(paths, path)
		body := d.at("paths", path, "post", "requestBody")
		schema := d.at("paths", path, "post", "requestBody", "content", "application/json", "schema")
		if must, _ := body["required"].(bool); must != (len(o.Required) > 0) {
			found = append(found,
				fmt.Sprintf("openapi.json: %s: the body is described as required: %v", path, must))
		}
		found = append(found, requestProblems(path, schema, o)...)
	}
	for path := range d.at("paths") {
		if strings.HasPrefix(path, "/api/v1/request/") && !slices.Contains(paths, path) {
			found = append(found, fmt.Sprintf("openapi.json: %s: there is no such operation", path))
		}
	}
	return found
}

func requestProblems(path string, schema object, o contract.Operation) []string {
	var found []string
	add := func(format string, args ...any) {
		found = append(found, "openapi.json: "+path+": "+fmt.Sprintf(format, args...))
	}
	if schema["additionalProperties"] != false {
		add(`the schema must have "additionalProperties": false`)
	}
	want := map[string]object{contract.KeyTransaction: {"type": []any{"string", "number"}}}
	for _, key := range o.Keys() {
		want[key.Name] = keySchema(key)
	}
	properties, _ := schema["properties"].(object)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		property, ok := properties[name].(object)
		described := undescribed(property)
		switch {
		case !ok:
			add("%q is not described; add it to the properties as %s", name, asJSON(want[name]))
		case asJSON(described) != asJSON(want[name]):
			add("%q must be described as %s, and is described as %s",
				name, asJSON(want[name]), asJSON(described))
		}
	}
	for name := range properties {
		if want[name] == nil {
			add("%q is described, but the operation takes no such key", name)
		}
	}
	required := []string{}
	for _, key := range o.Required {
		required = append(required, key.Name)
	}
	if described := stringsIn(schema["required"]); !sameSet(required, described) {
		add("required must be %s, in any order, and is %s", asJSON(required), asJSON(described))
	}
	return found
}

// keySchema is the schema of a key's values, without a description.
func keySchema(key contract.Key) object {
	switch key.Kind {
	case contract.ValueDevice, contract.ValueDeviceOrAll:
		return object{"type": []any{"string", "integer"}}
	case contract.ValueNumber:
		types := []any{"integer", "string"}
		if key.Nullable {
			types = append(types, "null")
		}
		return object{"type": types, "minimum": key.Least, "maximum": key.Most}
	case contract.ValueBoolean:
		if key.Nullable {
			return object{"type": []any{"boolean", "null"}}
		}
		return object{"type": "boolean"}
	default:
		return object{"type": "string"}
	}
}

// TestOpenAPICheckFindsFaults proves that the checks above find what they are for.
func TestOpenAPICheckFindsFaults(t *testing.T) {
	d := readOpenAPI(t)
	problems := d.problems("Event", d.schema("Event"), reflect.TypeFor[doctored]())
	expectProblem(t, problems, `"undescribed" is not described`)
	problems = d.problems("Slot", d.schema("Dongle"), reflect.TypeFor[contract.Slot]())
	expectProblem(t, problems, `"firmware" is described, but`)

	type always struct {
		contract.DeviceGone
		Name *string `json:"name"`
	}
	schema := object{
		"type": "object", "additionalProperties": false, "required": []any{"euid"},
		"properties": object{"euid": d.value(euidType), "name": object{"type": "string"}},
	}
	problems = d.problems("always", schema, reflect.TypeFor[always]())
	expectProblem(t, problems, `"name": must be described as {"type":["string","null"]}`)
	expectProblem(t, problems, `required must be ["euid","name"]`)
	schema["additionalProperties"] = true
	expectProblem(t, d.problems("always", schema, reflect.TypeFor[always]()), `"additionalProperties": false`)

	operations := contract.Operations()
	loud := contract.Key{Name: "loud", Kind: contract.ValueBoolean}
	operations[0].Optional = append(operations[0].Optional, loud)
	expectProblem(t, d.operationProblems(operations), `"loud" is not described`)
	problems = d.operationProblems(operations[1:])
	expectProblem(t, problems, "/api/v1/request/service_status: there is no such operation")
}

// expectProblem wants one of the problems to have a text.
func expectProblem(t *testing.T, problems []string, text string) {
	t.Helper()
	if !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, text) }) {
		t.Errorf("a check has not found %q; it has found %q", text, problems)
	}
}

// undescribed is a property without its text, and its items without theirs.
func undescribed(property object) object {
	bare := maps.Clone(property)
	delete(bare, "description")
	if items, ok := bare["items"].(object); ok {
		bare["items"] = undescribed(items)
	}
	return bare
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func stringsIn(list any) []string {
	found := []string{}
	items, _ := list.([]any)
	for _, item := range items {
		found = append(found, fmt.Sprint(item))
	}
	return found
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
