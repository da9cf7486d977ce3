package httpapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

type object = map[string]any

// document is openapi.json, as far as values are held against its schemas: type, enum, properties, required,
// additionalProperties, items, oneOf, pattern, minimum, maximum, format date-time and $ref.
type document struct {
	root object
	// seen are the keys that values had, by the schema of components that says what they are.
	seen map[string]map[string]bool
}

func readDocument(t *testing.T) *document {
	t.Helper()
	b, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	d := &document{seen: map[string]map[string]bool{}}
	if err := json.Unmarshal(b, &d.root); err != nil {
		t.Fatal(err)
	}
	return d
}

// at is what a path of keys leads to; nil where there is nothing.
func (d *document) at(keys ...string) object {
	o := d.root
	for _, key := range keys {
		o, _ = o[key].(object)
	}
	return o
}

// resolve follows a reference.
func (d *document) resolve(o object) object {
	for {
		to, ok := o["$ref"].(string)
		if !ok {
			return o
		}
		o = d.at(strings.Split(strings.TrimPrefix(to, "#/"), "/")...)
	}
}

// check holds a value against the schema of components with this name.
func (d *document) check(name string, payload []byte) error {
	var v any
	if err := json.Unmarshal(payload, &v); err != nil {
		return err
	}
	return d.value(object{"$ref": "#/components/schemas/" + name}, v, name)
}

func (d *document) value(schema object, v any, at string) error {
	name := ""
	if to, ok := schema["$ref"].(string); ok {
		name, _ = strings.CutPrefix(to, "#/components/schemas/")
		schema = d.resolve(schema)
	}
	if schema == nil {
		return fmt.Errorf("%s: there is no schema %s", at, name)
	}
	if choices, ok := schema["oneOf"].([]any); ok {
		return d.choice(choices, v, at)
	}
	types := []any{schema["type"]}
	if list, ok := schema["type"].([]any); ok {
		types = list
	}
	if !slices.Contains(types, any(typeOf(v))) && !(typeOf(v) == "integer" && slices.Contains(types, any("number"))) {
		return fmt.Errorf("%s: %v is no %v", at, v, types)
	}
	switch v := v.(type) {
	case object:
		return d.object(schema, v, name, at)
	case []any:
		items, _ := schema["items"].(object)
		for i, item := range v {
			if err := d.value(items, item, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
	case string:
		if enum, ok := schema["enum"].([]any); ok && !slices.Contains(enum, any(v)) {
			return fmt.Errorf("%s: %q is not one of %v", at, v, enum)
		}
		if pattern, ok := schema["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(v) {
			return fmt.Errorf("%s: %q is not as %s", at, v, pattern)
		}
		if _, err := time.Parse(time.RFC3339, v); schema["format"] == "date-time" && err != nil {
			return fmt.Errorf("%s: %v", at, err)
		}
	case float64:
		if least, ok := schema["minimum"].(float64); ok && v < least {
			return fmt.Errorf("%s: %v is below %v", at, v, least)
		}
		if most, ok := schema["maximum"].(float64); ok && v > most {
			return fmt.Errorf("%s: %v is above %v", at, v, most)
		}
	}
	return nil
}

// choice holds a value against alternatives, of which exactly one must do.
func (d *document) choice(choices []any, v any, at string) error {
	var wrong []string
	for _, c := range choices {
		if err := d.value(c.(object), v, at); err != nil {
			wrong = append(wrong, err.Error())
		}
	}
	if len(wrong) != len(choices)-1 {
		return fmt.Errorf("%s: is %d of the alternatives: %v", at, len(choices)-len(wrong), wrong)
	}
	return nil
}

func (d *document) object(schema, v object, name, at string) error {
	properties, _ := schema["properties"].(object)
	required, _ := schema["required"].([]any)
	for _, key := range required {
		if _, ok := v[key.(string)]; !ok {
			return fmt.Errorf("%s: %v is missing", at, key)
		}
	}
	for key, member := range v {
		property, known := properties[key].(object)
		if !known {
			property, known = schema["additionalProperties"].(object)
		}
		if !known && (properties != nil || schema["additionalProperties"] != nil) {
			return fmt.Errorf("%s: key %s is not described", at, key)
		}
		if known {
			if err := d.value(property, member, at+"."+key); err != nil {
				return err
			}
		}
	}
	if d.seen[name] == nil {
		d.seen[name] = map[string]bool{}
	}
	for key := range v {
		d.seen[name][key] = true
	}
	return nil
}

// unseen lists the keys of component schemas that no value had.
func (d *document) unseen() []string {
	var missing []string
	schemas := d.at("components", "schemas")
	for _, name := range slices.Sorted(maps.Keys(schemas)) {
		properties, _ := schemas[name].(object)["properties"].(object)
		for _, key := range slices.Sorted(maps.Keys(properties)) {
			if !d.seen[name][key] {
				missing = append(missing, name+"."+key)
			}
		}
	}
	return missing
}

func typeOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case []any:
		return "array"
	case object:
		return "object"
	case float64:
		if v == math.Trunc(v) {
			return "integer"
		}
		return "number"
	}
	return fmt.Sprintf("%T", v)
}
