package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
)

type object = map[string]any

// document is openapi.json, with which answers are compared.
type document struct {
	*openapi3.T
	router routers.Router

	// seen are the keys that values had, by the schema of components that says what they are.
	seen map[string]map[string]bool
}

// loadDocument reads a document from a file. The error says where it is no valid OpenAPI document.
func loadDocument(file string) (*document, error) {
	root, err := openapi3.NewLoader().LoadFromFile(file)
	if err != nil {
		return nil, err
	}
	if err := root.Validate(context.Background()); err != nil {
		return nil, err
	}
	router, err := legacy.NewRouter(root)
	if err != nil {
		return nil, err
	}
	return &document{T: root, router: router, seen: map[string]map[string]bool{}}, nil
}

// sharedDocument is the document for the tests that only read it.
var sharedDocument = sync.OnceValues(func() (*document, error) { return loadDocument("openapi.json") })

// readDocument returns a document that has seen no value yet.
func readDocument(t *testing.T) *document {
	t.Helper()
	d, err := loadDocument("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// checkResponse compares an answer with what the document says of the request's path, method and status. The
// document need not describe what is refused, nor what lies outside the API.
func (d *document) checkResponse(req *http.Request, got reply) error {
	request := req.Clone(req.Context())
	request.URL.Scheme = "" // the document's server is "/", on any host
	request.URL.Host = ""
	if request.Method == http.MethodHead { // the document describes GET alone
		request.Method = http.MethodGet
	}
	route, values, err := d.router.FindRoute(request)
	var undescribed *routers.RouteError
	inAPI := strings.HasPrefix(request.URL.Path, "/api/v1/")
	if errors.As(err, &undescribed) && (got.status >= http.StatusBadRequest || !inAPI) {
		return nil
	}
	if err != nil {
		return err
	}
	request.Method = req.Method
	return openapi3filter.ValidateResponse(req.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: request, PathParams: values, Route: route,
		},
		Status:  got.status,
		Header:  got.header,
		Body:    io.NopCloser(strings.NewReader(got.body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	})
}

// schema returns the schema of components with this name.
func (d *document) schema(name string) *openapi3.SchemaRef {
	return openapi3.NewSchemaRef("#/components/schemas/"+name, d.Components.Schemas[name].Value)
}

// check compares a value with the schema of components with this name, and notes which keys it has.
func (d *document) check(name string, payload []byte) error {
	var v any
	if err := json.Unmarshal(payload, &v); err != nil {
		return err
	}
	schema := d.schema(name)
	if err := schema.Value.VisitJSON(v, openapi3.EnableJSONSchema2020()); err != nil {
		return err
	}
	d.note(schema, v)
	return nil
}

// note remembers the keys of a valid value and of the values in it.
func (d *document) note(ref *openapi3.SchemaRef, v any) {
	if ref == nil {
		return
	}
	for _, choice := range ref.Value.OneOf {
		if choice.Value.VisitJSON(v, openapi3.EnableJSONSchema2020()) == nil {
			d.note(choice, v)
		}
	}
	switch v := v.(type) {
	case object:
		d.noteObject(ref, v)
	case []any:
		for _, item := range v {
			d.note(ref.Value.Items, item)
		}
	}
}

func (d *document) noteObject(ref *openapi3.SchemaRef, v object) {
	name := strings.TrimPrefix(ref.Ref, "#/components/schemas/")
	if d.seen[name] == nil {
		d.seen[name] = map[string]bool{}
	}
	for key, member := range v {
		d.seen[name][key] = true
		property, named := ref.Value.Properties[key]
		if !named {
			property = ref.Value.AdditionalProperties.Schema
		}
		d.note(property, member)
	}
}

// unseen lists the keys of component schemas that no value had.
func (d *document) unseen() []string {
	var missing []string
	for _, name := range slices.Sorted(maps.Keys(d.Components.Schemas)) {
		for _, key := range slices.Sorted(maps.Keys(d.Components.Schemas[name].Value.Properties)) {
			if !d.seen[name][key] {
				missing = append(missing, name+"."+key)
			}
		}
	}
	return missing
}

// The document is valid, and what is not as it says is found.
func TestOpenAPIChecks(t *testing.T) {
	d := readDocument(t)
	for name, wrong := range map[string]string{
		"Info":       `{"version":1}`,
		"Time":       `{"time":"yesterday"}`,
		"DeviceGone": `{"euid":"0x1"}`,
		"LogLevel":   `{"level":"info","else":true}`,
		"Accepted":   `{"id":"X","status":"success"}`,
		"Result":     `{"euid":"0x000b57fffec6a5b2"}`,
	} {
		if err := d.check(name, []byte(wrong)); err == nil {
			t.Errorf("%s lets %s pass", name, wrong)
		}
	}

	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1/api/v1/log-level", nil)
	if err != nil {
		t.Fatal(err)
	}
	isJSON := http.Header{"Content-Type": {"application/json"}}
	if err := d.checkResponse(req, reply{http.StatusOK, isJSON, `{"level":"info"}`}); err != nil {
		t.Error(err)
	}
	for what, wrong := range map[string]reply{
		"another body":  {http.StatusOK, isJSON, `{"level":"loud"}`},
		"another type":  {http.StatusOK, http.Header{"Content-Type": {"text/plain"}}, `{"level":"info"}`},
		"no error body": {http.StatusTeapot, isJSON, `{"level":"info"}`},
	} {
		if d.checkResponse(req, wrong) == nil {
			t.Errorf("%s passes", what)
		}
	}
}

// What no OpenAPI document may say is found.
func TestOpenAPIDocumentIsValidated(t *testing.T) {
	b, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, broken := range map[string]string{
		"dangling reference": strings.Replace(string(b), "#/components/schemas/Info", "#/components/schemas/None", 1),
		"unknown type":       strings.Replace(string(b), `"type": "boolean"`, `"type": "yesno"`, 1),
	} {
		file := filepath.Join(t.TempDir(), "openapi.json")
		if err := os.WriteFile(file, []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := loadDocument(file); err == nil {
			t.Errorf("%s: it counts as valid", name)
		}
	}
}
