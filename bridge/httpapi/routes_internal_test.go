package httpapi

import (
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/zigate-ota/zigate-ota/bridge"
)

// TestRoutesAreDescribed: every route of the API stands in openapi.json with its method.
func TestRoutesAreDescribed(t *testing.T) {
	var document struct {
		Paths map[string]map[string]json.RawMessage
	}
	b, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &document); err != nil {
		t.Fatal(err)
	}
	s := &Server{options: Options{Feed: new(bridge.Feed), LogLevel: new(slog.LevelVar)}}
	routes := s.apiRoutes()
	if len(routes) < 10 {
		t.Errorf("only %d routes were found", len(routes))
	}
	for _, r := range routes {
		method, path, _ := strings.Cut(r.pattern, " ")
		if path == "/api/v1/request/{operation}" {
			continue // each operation has a path of its own there
		}
		if document.Paths[path][strings.ToLower(method)] == nil {
			t.Errorf("openapi.json does not describe %s: add it to the paths, and to docs/api.md", r.pattern)
		}
	}
}
